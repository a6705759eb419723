"""Every file below the root of a storage tree, whatever it is."""

import os
from collections.abc import Iterator

from pacsnode.errors import InstanceMissing, StorageError
from pacsnode.storage import folders, paths, reading
from pacsnode.storage.base import StoredFile


def walk(root: str) -> Iterator[tuple[str, StoredFile | StorageError]]:
    """See Storage.walk."""
    for name, fault in _names(root):
        if fault is not None:
            yield name, fault
            continue
        uids = paths.uids_of(name) if paths.is_place(name) else None
        found = reading.open_any(os.path.join(root, name), uids)
        if not isinstance(found, InstanceMissing):
            yield name, found


def _names(root: str) -> Iterator[tuple[str, StorageError | None]]:
    """Every file below, with the names of the folders on the way in memory; folders that cannot be
    read, with the reason."""
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        try:
            files, below = _entries(root, folder)
        except OSError as error:
            fault = folders.storage_error(error, "reading a folder")
            if not folder:
                raise fault from error
            if not isinstance(error, FileNotFoundError):
                yield folder, fault
            continue
        for name in files:
            yield name, None
        waiting += reversed(below)


def _entries(root: str, folder: str) -> tuple[list[str], list[str]]:
    """Files and folders in a folder, sorted, by their names below the root. Raises OSError."""
    files: list[str] = []
    below: list[str] = []
    with os.scandir(os.path.join(root, folder)) as entries:
        for entry in entries:
            if not folder and entry.name in paths.RESERVED:
                continue
            name = f"{folder}/{entry.name}" if folder else entry.name
            (below if entry.is_dir(follow_symlinks=False) else files).append(name)
    return sorted(files), sorted(below)
