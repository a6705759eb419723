"""The data folder: what lies where in it, who works with it at the moment, and whether index and
storage tree in it are of one archive."""

import fcntl
import logging
import os
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from pacsnode.errors import ArchiveMismatch, ConfigurationError, DataFolderLocked
from pacsnode.index import Index
from pacsnode.storage import Storage
from pacsnode.storage.folders import FILE_MODE, FOLDER_MODE, sync_folder

INSTANCES = "instances"
CONFLICTS = "conflicts"
QUARANTINE = "quarantine"
INDEX = "index.sqlite"
NODE_LOCK = ".node.lock"
WRITERS_LOCK = ".writers.lock"

# An index of at most so many bytes is read whole at the start of a node: a second or two. Of larger
# ones `pacsnode verify` does it.
CHECKED_WHOLE = 1 << 30

log = logging.getLogger(__name__)


class DataFolder:
    """data_dir with its subfolders, made where they are missing, and the locks on it. Raises
    ConfigurationError where it cannot be used for writing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._locks: list[int] = []
        try:
            _make(path)
            for name in (INSTANCES, CONFLICTS, QUARANTINE):
                _make(path / name)
        except OSError as error:
            raise _unusable(path, error) from error

    @property
    def instances(self) -> Path:
        return self.path / INSTANCES

    @property
    def conflicts(self) -> Path:
        return self.path / CONFLICTS

    @property
    def quarantine(self) -> Path:
        return self.path / QUARANTINE

    @property
    def index(self) -> Path:
        return self.path / INDEX

    @property
    def successor(self) -> Path:
        """Where an index is rebuilt."""
        return self.path / f"{INDEX}.new"

    @property
    def has_index(self) -> bool:
        """An empty file is an index that a crash kept from being made."""
        try:
            return self.index.stat().st_size > 0
        except FileNotFoundError:
            return False

    def make_private(self, path: Path) -> None:
        """An empty file for an index, where there is none, that not everybody may read; SQLite
        makes what it keeps beside it alike."""
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, FILE_MODE))
        except OSError as error:
            raise _unusable(self.path, error) from error

    def use(self, *, serving: bool = False, alone: bool = False) -> None:
        """Lock the folder until `release`: any number of processes may work in it beside each
        other, one of them the node that serves, unless one must be alone. Raises DataFolderLocked,
        naming the node's process where there is one."""
        try:
            if serving:
                self._lock_node()
            self._lock(WRITERS_LOCK, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        except BaseException:
            self.release()
            raise

    def _lock_node(self) -> None:
        descriptor = self._lock(NODE_LOCK, fcntl.LOCK_EX)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)

    def _lock(self, name: str, kind: int) -> int:
        try:
            descriptor = os.open(self.path / name, os.O_RDWR | os.O_CREAT, FILE_MODE)
        except OSError as error:
            raise _unusable(self.path, error) from error
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise DataFolderLocked(f"data_dir: {self.path} is in use by {self._holder()}") from None
        except OSError as error:
            os.close(descriptor)
            raise _unusable(self.path, error) from error
        self._locks.append(descriptor)
        return descriptor

    @property
    def has_other_node(self) -> bool:
        """Whether it is in use by a node that is neither this process nor, as a node has the folder
        prepared by a child, the one that this is a child of."""
        return self._node() not in ("", str(os.getpid()), str(os.getppid()))

    def _node(self) -> str:
        """The process of the node that uses it; empty where none does."""
        with suppress(OSError), open(self.path / NODE_LOCK, encoding="ascii") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return file.read().strip() or "unknown"
        return ""

    def _holder(self) -> str:
        """Who is in the way, as far as can be told."""
        if node := self._node():
            return f"a running node (process {node})"
        holders = [_process(number) for number in lock_holders(self.path / WRITERS_LOCK)]
        return ", ".join(holders) or "another pacsnode command"

    def release(self) -> None:
        while self._locks:
            with suppress(OSError):
                os.close(self._locks.pop())


def lock_holders(path: Path) -> list[int]:
    """The processes that have locked a file (flock), this one left out; those that the system
    shows."""
    holders = set()
    with suppress(OSError):
        inode = path.stat().st_ino
        for line in Path("/proc/locks").read_text("ascii").splitlines():
            fields = line.split()  # 1: FLOCK ADVISORY WRITE 4711 fe:00:123456 0 EOF
            if fields[1:2] == ["FLOCK"] and fields[5].rpartition(":")[2] == str(inode):
                holders.add(int(fields[4]))
    return sorted(number for number in holders if number > 0 and number != os.getpid())


def _process(number: int) -> str:
    """A process with the words of its command line that say what it does."""
    with suppress(OSError):
        words = Path(f"/proc/{number}/cmdline").read_text("utf-8", "replace").split("\0")
        for command in words:
            if command in ("import", "delete", "verify", "reindex", "conflicts", "ls", "stats"):
                return f"pacsnode {command} (process {number})"
    return f"process {number}"


def _make(path: Path) -> None:
    """Make a folder and those above it, durably."""
    if path.is_dir():
        return
    if not path.parent.is_dir():
        _make(path.parent)
    with suppress(FileExistsError):
        path.mkdir(FOLDER_MODE)
    if not path.is_dir():
        raise NotADirectoryError(20, "is no folder", str(path))
    sync_folder(path.parent)


def _unusable(path: Path, error: OSError) -> ConfigurationError:
    where = error.filename or path
    return ConfigurationError(
        f"data_dir: {path} cannot be used: {where}: {error.strerror or error}; allowed is a folder "
        "that this user may write to"
    )


def identity(folder: DataFolder, storage: Storage) -> str:
    """The id that a new index is to be made with. Raises ArchiveMismatch where an index is missing
    that there must have been."""
    if folder.has_index:
        # Should it turn out to have lost its tables, it must not pass for the tree's.
        return uuid.uuid4().hex
    if not storage.is_empty:
        raise _mismatch(f"{folder.index} is missing beside a storage tree with instances")
    return storage.archive_id or uuid.uuid4().hex


def agree(
    folder: DataFolder, storage: Storage, archive_id: str, is_index_empty: Callable[[], bool]
) -> None:
    """Index and storage tree are of one archive from now on. Raises ArchiveMismatch."""
    known = storage.archive_id
    if known == archive_id:
        return
    # A new folder, or a crash on its first start.
    if storage.is_empty and is_index_empty():
        storage.claim(archive_id)
        return
    if known is None:
        raise _mismatch(f"{folder.instances} does not say which archive it is of")
    raise _mismatch(
        f"{folder.index} is the index of another archive ({archive_id}) than {folder.instances} "
        f"({known})"
    )


def check_index(folder: DataFolder, index: Index) -> None:
    """What a node looks at before it serves. Raises IndexDamaged."""
    if folder.index.stat().st_size <= CHECKED_WHOLE:
        index.check()
    if folder.successor.exists():
        log.warning(
            "%s is of a reindex that was interrupted: run `pacsnode reindex` to go on with it, or "
            "remove it",
            folder.successor,
        )


def _mismatch(text: str) -> ArchiveMismatch:
    return ArchiveMismatch(
        f"data_dir: {text}; put back what belongs together, or rebuild the index from the storage "
        "tree with `pacsnode --config FILE reindex`"
    )
