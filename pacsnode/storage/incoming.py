"""One instance on its way into the tree: a locked file in the incoming folder that takes bytes as
they arrive, hashes them on the way and is completed before anybody may see it."""

import fcntl
import os
import time
from contextlib import suppress
from typing import BinaryIO

from blake3 import blake3

from pacsnode.dicom import part10
from pacsnode.dicom.instance import InstanceUIDs
from pacsnode.errors import StorageError
from pacsnode.storage import folders, paths
from pacsnode.storage.base import Arrival, Seal

# The disk is kept busy while bytes arrive. Left to the end, the writing of a 4 GB object would be
# one long silence, and the peer's time-out would end the association.
_SYNC_EVERY = 64 << 20


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
    """See storage.base.Incoming. `descriptor` is open, locked and owned by this from now on; the
    file meta group stands in it already, `dataset_offset` bytes long."""

    def __init__(
        self,
        tree: folders.Tree,
        root: str,
        path: str,
        descriptor: int,
        dataset_offset: int,
        fsync: bool,
    ) -> None:
        self.path = path
        self._tree = tree
        self._root = root
        self._descriptor = descriptor
        self._dataset_offset = dataset_offset
        self._fsync = fsync
        self._hash = blake3()
        self._length = 0
        self._synced = 0
        self._seal: Seal | None = None
        self._is_temporary = True

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
        try:
            while fragment:
                fragment = fragment[os.write(self._descriptor, fragment) :]
            if self._fsync and self._length - self._synced >= _SYNC_EVERY:
                os.fdatasync(self._descriptor)
                self._synced = self._length
        except OSError as error:
            raise folders.storage_error(error, "writing an instance") from error

    def reader(self) -> BinaryIO:
        with folders.step("reading an instance back"):
            file = open(self.path, "rb")  # noqa: SIM115  # the caller closes it
            file.seek(self._dataset_offset)
        return file

    def seal(self) -> Seal:
        received_at = time.time_ns() // 1000
        seal = Seal(self._hash.digest(), self._length, received_at)
        offset, fields = part10.seal_fields(*seal, dataset_offset=self._dataset_offset)
        with folders.step("completing an instance"):
            if os.pwrite(self._descriptor, fields, offset) != len(fields):
                raise StorageError("completing an instance: written in part")
            if self._fsync:
                os.fsync(self._descriptor)
        self._seal = seal
        return seal

    def resume(self, seal: Seal) -> None:
        """Take up a file that was sealed before a crash."""
        self._seal = seal

    def withdraw(self, uids: InstanceUIDs) -> bool:
        place = os.path.join(self._root, paths.place(uids))
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


def begin(
    tree: folders.Tree, root: str, path: str, arrival: Arrival, fsync: bool
) -> FileIncoming | None:
    """A new file with its file meta group; None where the name is taken. Raises OSError."""
    descriptor = lock_new(path)
    if descriptor is None:
        return None
    head = part10.encode_meta(*arrival)
    incoming = FileIncoming(tree, root, path, descriptor, len(head), fsync)
    try:
        if os.write(descriptor, head) != len(head):
            raise StorageError("beginning an instance: written in part")
    except BaseException:
        incoming.close()
        raise
    return incoming
