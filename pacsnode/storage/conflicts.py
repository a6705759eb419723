"""Instances that came with other bytes than those stored, in data_dir/conflicts: those that wait
for a person, and, in settled/ below, those that somebody decided to keep beside what is stored."""

import os
from collections.abc import Container, Iterator
from contextlib import suppress
from itertools import count

from pacsnode.dicom.instance import InstanceUIDs
from pacsnode.errors import InstanceMissing, StorageError
from pacsnode.storage import folders, paths, reading
from pacsnode.storage.base import Conflicts, StoredFile

SETTLED = "settled"


class ConflictsFolder(Conflicts):
    """A name tells SOP Instance UID and bytes: what was settled once is recognised when it comes
    again."""

    def __init__(self, path: str, *, fsync: bool) -> None:
        self.path = path
        self._settled = os.path.join(path, SETTLED)
        self._fsync = fsync
        self._counter = count(1)

    def link(self, path: str, uids: InstanceUIDs, digest: bytes) -> str | None:
        """Give the file at `path` a name here, durably; None where its bytes were settled. The same
        bytes are here only once. Raises OSError."""
        name = paths.conflict_name(uids, digest)
        if _holds(os.path.join(self._settled, name), digest):
            return None
        self._link(path, os.path.join(self.path, name), digest)
        return name

    def link_settled(self, path: str, uids: InstanceUIDs, digest: bytes) -> str:
        """As `link`, for what no person need look at. Raises OSError."""
        self._make_settled()
        name = paths.conflict_name(uids, digest)
        self._link(path, os.path.join(self._settled, name), digest)
        return f"{SETTLED}/{name}"

    def _link(self, path: str, target: str, digest: bytes) -> None:
        try:
            os.link(path, target)
        except FileExistsError:
            # Take the fresh copy where the one that is here suffered.
            if not reading.holds(target, digest):
                spare = f"{target}.{os.getpid()}-{next(self._counter)}"
                os.link(path, spare)
                os.replace(spare, target)
        self._sync(os.path.dirname(target))

    def _make_settled(self) -> None:
        with suppress(FileExistsError):
            os.mkdir(self._settled, folders.FOLDER_MODE)
            self._sync(self.path)

    def _sync(self, folder: str) -> None:
        if self._fsync:
            folders.sync_folder(folder)

    def names(self) -> set[str]:
        with folders.step("reading the conflicts folder"), os.scandir(self.path) as entries:
            # Ours are ASCII; others need not even be text.
            return {
                entry.name for entry in entries if entry.name != SETTLED and entry.name.isascii()
            }

    def unknown(self, known: Container[str]) -> Iterator[tuple[str, StoredFile | StorageError]]:
        for name in sorted(self.names()):
            if name not in known:
                found = reading.open_any(os.path.join(self.path, name), None)
                if not isinstance(found, InstanceMissing):
                    yield name, found

    def open(self, name: str) -> StoredFile:
        found = reading.open_any(os.path.join(self.path, name), None)
        if isinstance(found, StorageError):
            raise found
        try:
            reading.check_length(found, name)
        except BaseException:
            found.file.close()
            raise
        return found

    def path_of(self, name: str) -> str:
        return os.path.join(self.path, name)

    def settle(self, name: str) -> None:
        with folders.step("settling a conflict"):
            self._make_settled()
            with suppress(FileNotFoundError):
                os.rename(self.path_of(name), os.path.join(self._settled, name))
            self._sync(self._settled)
            self._sync(self.path)

    def drop(self, name: str) -> None:
        with folders.step("dropping a conflict"):
            with suppress(FileNotFoundError):
                os.unlink(self.path_of(name))
            self._sync(self.path)


def _holds(path: str, digest: bytes) -> bool:
    try:
        return reading.holds(path, digest)
    except FileNotFoundError:
        return False
