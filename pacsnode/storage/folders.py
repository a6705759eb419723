"""Folders and their entries, made and removed so that a power cut cannot take them back; and what
an OSError is called in this house."""

import errno
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from types import TracebackType

from pacsnode.dicom.instance import InstanceUIDs
from pacsnode.errors import OutOfSpace, StorageError
from pacsnode.storage import paths

# Patients' data: nobody but the node's own user and group.
FILE_MODE = 0o640
FOLDER_MODE = 0o750

# Times to begin again where others take, remove and take again.
ATTEMPTS = 100

# So many folders are remembered as durable before they are forgotten, all at once.
_REMEMBERED = 10_000


def storage_error(error: OSError, step: str) -> StorageError:
    """What failed, by step, path and errno; OutOfSpace for a full disk or quota."""
    name = errno.errorcode.get(error.errno or 0, "error")
    path = error.filename2 or error.filename
    where = f"{path}: " if isinstance(path, str) else ""
    text = f"{step}: {where}{error.strerror or error} [{name}]"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutOfSpace(text)
    return StorageError(text)


class step:  # noqa: N801  # a context manager, by its name a word of the caller's sentence
    """Translates what the operating system raises meanwhile. A class, for there are many for each
    instance, and a generator costs three times as much."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        if isinstance(error, OSError):
            raise storage_error(error, self._text) from error


def sync_folder(folder: str | os.PathLike[str]) -> None:
    """Bring a folder's entries to stable storage. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Tree:
    """The two floors of folders below a root: a folder for each study, in it one for each series.

    A file's entry is durable when its folder, and each folder above that was made on the way, is
    synced. Who finds a folder that another thread made a moment ago cannot know that it is durable,
    and a sync of all three costs two flushes of the disk too many for each of a study's thousand
    instances: so what this process has synced is remembered, until anybody removes a folder, which
    the time stamp of `changes` tells."""

    def __init__(self, root: str, changes: str, fsync: bool) -> None:
        self._root = root
        self._changes = changes
        self._fsync = fsync
        self._durable: tuple[int, set[str]] = (0, set())

    def place(self, uids: InstanceUIDs) -> str:
        """The path of an instance's place."""
        return os.path.join(self._root, paths.place(uids))

    def make(self, folder: str) -> None:
        """Make a series' folder and its study's, if they are not there. The root itself is never
        made: a file system that is no longer mounted must not be rebuilt beneath its mount point.
        Raises OSError."""
        study = os.path.dirname(folder)
        for _ in range(ATTEMPTS):
            with suppress(FileExistsError):
                os.mkdir(study, FOLDER_MODE)
            # A deletion may take the study's folder away before there is anything in it.
            with suppress(FileNotFoundError), suppress(FileExistsError):
                os.mkdir(folder, FOLDER_MODE)
                return
            if os.path.isdir(folder):
                return
        raise FileNotFoundError(errno.ENOENT, "removed by others all the time", folder)

    def sync(self, folder: str) -> None:
        """Make a series' folder and its new entries durable. Raises OSError."""
        if not self._fsync:
            return
        # Read after the entry was made: a folder that has an entry is not removed any more.
        time_stamp = os.stat(self._changes).st_mtime_ns
        known_at, known = self._durable
        if known_at != time_stamp or len(known) > _REMEMBERED:
            known = set()
            self._durable = (time_stamp, known)
        sync_folder(folder)
        if folder in known:
            return
        sync_folder(os.path.dirname(folder))
        sync_folder(self._root)
        known.add(folder)

    def prune(self, folders: Iterable[str]) -> None:
        """Make removals from these series' folders durable, and remove those that are empty now.
        Raises OSError."""
        self._forget()
        studies = set()
        for folder in folders:
            if self._sync_or_remove(folder):
                studies.add(os.path.dirname(folder))
        removed = [study for study in studies if self._sync_or_remove(study)]
        if removed and self._fsync:
            sync_folder(self._root)

    def _sync_or_remove(self, folder: str) -> bool:
        """Whether it is gone."""
        try:
            os.rmdir(folder)
        except FileNotFoundError:
            return True
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            if self._fsync:
                with suppress(FileNotFoundError):
                    sync_folder(folder)
            return False
        return True

    def _forget(self) -> None:
        """Tell every process that what it takes for durable may be removed and made anew. The
        step is explicit: the clock of a file system is too coarse to tell two removals apart."""
        now = max(time.time_ns(), os.stat(self._changes).st_mtime_ns + 1)
        os.utime(self._changes, ns=(now, now))
