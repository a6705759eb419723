"""Every file below the root of a storage tree, whatever it is."""

import os
from collections.abc import Iterator

from pacsnode.errors import InstanceMissing, StorageError
from pacsnode.storage import folders, paths, reading
from pacsnode.storage.base import StoredFile


def walk(root: str) -> Iterator[tuple[str, StoredFile | StorageError]]:
    """See Storage.walk."""
    for name, fault in _names(root, ""):
        if fault is not None:
            yield name, fault
            continue
        uids = paths.uids_of(name) if paths.is_place(name) else None
        found = reading.open_any(os.path.join(root, name), uids)
        if not isinstance(found, InstanceMissing):
            yield name, found


def _names(root: str, folder: str) -> Iterator[tuple[str, StorageError | None]]:
    """Every file below, one folder's names at a time in memory; folders that cannot be read, with
    the reason."""
    try:
        with os.scandir(os.path.join(root, folder)) as entries:
            found = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
    except OSError as error:
        fault = folders.storage_error(error, "reading a folder")
        if not folder:
            raise fault from error
        if not isinstance(error, FileNotFoundError):
            yield folder, fault
        return
    for entry_name, is_folder in found:
        if not folder and entry_name in paths.RESERVED:
            continue
        name = f"{folder}/{entry_name}" if folder else entry_name
        if is_folder:
            yield from _names(root, name)
        else:
            yield name, None
