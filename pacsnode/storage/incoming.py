"""One instance on its way into the tree: a locked file in the incoming folder that takes bytes as
they arrive, hashes them on the way and is completed before anybody may see it.

The first bytes stay in memory: the header is read from there, not from the file; and an instance
that has no more than these is written in one go, when it is complete."""

import fcntl
import os
import time
from contextlib import suppress
from itertools import count
from typing import NamedTuple

from blake3 import blake3

from pacsnode.dicom import part10
from pacsnode.dicom.instance import InstanceUIDs
from pacsnode.errors import StorageError
from pacsnode.storage import folders, paths
from pacsnode.storage.base import Seal
from pacsnode.storage.writeback import Writeback

KEPT = 64 << 10  # bytes of a dataset, from the first one on


class Named(NamedTuple):
    """A file in the incoming folder, open and locked."""

    path: str
    descriptor: int


class IncomingFolder:
    """Where files are before they have a place."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._counter = count(1)

    def make(self, uids: InstanceUIDs | None = None) -> Named:
        """A new file, whose name tells its place if the UIDs are given. Raises OSError or
        StorageError."""
        for _ in range(folders.ATTEMPTS):
            name = f"{os.getpid()}-{next(self._counter)}"
            path = os.path.join(self.path, paths.temporary(uids, name) if uids else name)
            descriptor = lock_new(path)
            if descriptor is not None:
                return Named(path, descriptor)
        raise StorageError(f"no free name in {self.path}")


def lock_new(path: str) -> int | None:
    """Make and lock a file. None where the name is taken, or where a sweeper caught the file
    between the two. Raises OSError."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, folders.FILE_MODE)
    except FileExistsError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return descriptor
    except OSError:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def lock_leftover(path: str) -> int | None:
    """Open and lock a file whose writer is gone; None while it lives."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


class FileIncoming:
    """See storage.base.Incoming. `head` is the file meta group, its seal open. There is a file from
    the moment on when there are more bytes than are kept in memory, or when it is sealed.
    `can_wait`: whether it may be synced later, with others."""

    def __init__(
        self,
        tree: folders.Tree,
        folder: IncomingFolder,
        head: bytes,
        *,
        fsync: bool,
        can_wait: bool,
    ) -> None:
        self.path = ""
        self._tree = tree
        self._folder = folder
        self._head = head
        self._fsync = fsync
        self._can_wait = can_wait
        self._descriptor = -1
        self._dataset_offset = len(head)
        self._beginning = bytearray()
        self._hash = blake3()
        self._length = 0
        self._writeback = Writeback()
        self._seal: Seal | None = None
        self._is_temporary = True
        self.content: bytes | None = None

    def resume(self, found: Named, dataset_offset: int, seal: Seal | None) -> None:
        """Take up a file that a crash left; `seal` is what it says of itself, if it was sealed."""
        self.path, self._descriptor = found
        self._dataset_offset = dataset_offset
        self._seal = seal

    @property
    def inode(self) -> int:
        return os.fstat(self._descriptor).st_ino

    @property
    def digest(self) -> bytes:
        """BLAKE3 of the dataset's bytes so far."""
        return self._hash.digest() if self._seal is None else self._seal.digest

    def write(self, fragment: memoryview) -> None:
        self._hash.update(fragment)
        self._length += len(fragment)
        if self._length > KEPT:
            with folders.step("writing an instance"):
                if self._descriptor < 0:
                    self._begin(self._head, self._beginning, fragment)
                else:
                    self._append(fragment)
                if self._fsync:
                    self._writeback.grown(self._descriptor, self._dataset_offset + self._length)
        room = KEPT - len(self._beginning)
        if room:
            self._beginning += fragment[:room]

    def _begin(
        self, *parts: bytes | bytearray | memoryview, uids: InstanceUIDs | None = None
    ) -> None:
        self.path, self._descriptor = self._folder.make(uids)
        self._append(*parts)

    def _append(self, *parts: bytes | bytearray | memoryview) -> None:
        left = [memoryview(part) for part in parts if part]
        while left:
            written = os.writev(self._descriptor, left)
            while left and written >= len(left[0]):
                written -= len(left.pop(0))
            if left:
                left[0] = left[0][written:]

    def reader(self) -> "Reader":
        return Reader(self._beginning, self._descriptor, self._dataset_offset)

    def seal(self, later_at: InstanceUIDs | None = None) -> Seal:
        received_at = time.time_ns() // 1000
        seal = Seal(self._hash.digest(), self._length, received_at)
        offset, fields = part10.seal_fields(*seal, dataset_offset=self._dataset_offset)
        with folders.step("completing an instance"):
            if self._descriptor < 0:
                content = b"".join((self._head[:offset], fields, self._beginning))
                self._begin(content, uids=later_at)
                if later_at is not None and self._fsync and self._can_wait:
                    self.content = content
            elif os.pwrite(self._descriptor, fields, offset) != len(fields):
                raise StorageError("completing an instance: written in part")
            if self._fsync and self.content is None:
                os.fsync(self._descriptor)
        self._seal = seal
        return seal

    def sync(self) -> None:
        if self.content is not None:
            with folders.step("completing an instance"):
                os.fsync(self._descriptor)
            self.content = None

    def withdraw(self, uids: InstanceUIDs) -> bool:
        return self.withdraw_from(self._tree.place(uids))

    def withdraw_from(self, place: str) -> bool:
        """As `withdraw`, by path."""
        with folders.step("taking an instance back"):
            # What was renamed over another leaves nothing to go back to: it must stay, even where
            # the rename reported a failure.
            has_two_names = self._is_temporary and self.stands_at(self.path)
            if not (has_two_names and self.stands_at(place)):
                return False
            os.unlink(place)
            self._tree.prune([os.path.dirname(place)])
        return True

    def renamed(self, path: str) -> None:
        """The temporary name became this one, and may be another writer's from now on."""
        self.path = path
        self._is_temporary = False

    def stands_at(self, path: str) -> bool:
        """Whether this very file has that name. Raises OSError."""
        try:
            return os.stat(path).st_ino == self.inode
        except (FileNotFoundError, NotADirectoryError):
            return False

    def leave(self) -> None:
        if self._descriptor < 0:
            return
        with suppress(OSError):
            os.close(self._descriptor)
        self._descriptor = -1

    def close(self) -> None:
        if self._descriptor < 0:
            return
        # The name first, while the lock still says that it is ours.
        if self._is_temporary:
            with suppress(OSError):
                os.unlink(self.path)
        self.leave()


class Reader:
    """The dataset of an incoming instance: its first bytes out of memory, others read back."""

    def __init__(self, beginning: bytearray, descriptor: int, dataset_offset: int) -> None:
        self._beginning = beginning
        self._descriptor = descriptor
        self._dataset_offset = dataset_offset
        self._position = 0

    def tell(self) -> int:
        return self._position

    def seek(self, position: int) -> None:
        self._position = position

    def read(self, size: int) -> bytes:
        """The next `size` bytes, fewer at the end. Raises StorageError."""
        position = self._position
        data = bytes(memoryview(self._beginning)[position : position + size])
        if len(data) < size and self._descriptor >= 0:
            position += len(data)
            with folders.step("reading an instance back"):
                data += os.pread(
                    self._descriptor, size - len(data), self._dataset_offset + position
                )
        self._position += len(data)
        return data
