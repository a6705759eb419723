"""When written bytes go to the disk: those of a large file while more arrive, so that the sync at
the end waits for little; those of many small ones all at once."""

import ctypes
import errno
import os
import re
import weakref
from collections.abc import Callable

# Bytes are handed to the disk in pieces, where the system can be asked to (Linux). Each piece costs
# a request, each byte that is left to the end costs time: so pieces grow with the object.
_SMALLEST = 192 << 10
_LARGEST = 4 << 20
_SHARE = 8  # an eighth of what is under way already

# Not the first block, in which the seal comes last, nor the last, which is not full.
_BLOCK = 4 << 10

# After so many the disk is waited for. Otherwise a disk that is slower than the network would be
# found out at the end: one long silence, and the peer's time-out would end the association.
_SYNC_EVERY = 64 << 20

_WRITE = 2  # SYNC_FILE_RANGE_WRITE: begin to write what is not being written, wait for nothing

# The system, its container or the file system does not do this: nothing is lost but time.
_UNAVAILABLE = (errno.ENOSYS, errno.EINVAL, errno.ESPIPE, errno.EPERM, errno.EOPNOTSUPP)


def _find(name: str, *arguments: type) -> Callable[..., int] | None:
    """A function of the C library, where there is one of this name."""
    try:
        function = ctypes.CDLL(None, use_errno=True)[name]
    except (AttributeError, OSError):
        return None
    function.argtypes = arguments
    function.restype = ctypes.c_int
    found: Callable[..., int] = function
    return found


_sync_file_range = _find(
    "sync_file_range", ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint
)
_syncfs = _find("syncfs", ctypes.c_int)


_fstatfs = _find("fstatfs", ctypes.c_int, ctypes.c_char_p)

# Those whose syncfs(2) is known to wait for the disk and to tell what failed: ext4, XFS, btrfs and
# F2FS. Overlays keep quiet about errors of what lies below them; FUSE does not ask its program.
_TRUSTED = frozenset((0xEF53, 0x58465342, 0x9123683E, 0xF2F52010))


def _tells_errors() -> bool:
    """Whether syncfs(2) says what it could not write: Linux does so from 5.8 on for what is in
    files, from 5.17 on for the file system's own journal."""
    version = [int(number) for number in re.findall(r"\d+", os.uname().release)[:2]]
    return os.uname().sysname == "Linux" and version >= [5, 17]


def _type(descriptor: int) -> int:
    """The file system's magic number; 0 where it cannot be had."""
    state = ctypes.create_string_buffer(1024)  # more than the structure has on any machine
    if _fstatfs is None or _fstatfs(descriptor, state) != 0:
        return 0
    return ctypes.c_long.from_buffer(state).value & 0xFFFFFFFF


class FileSystem:
    """That of a folder, which is synced as a whole: one request to the disk for any number of
    files. To be made before what it is to sync is written: who opens a folder after a failure that
    somebody else was told of is not told. Raises OSError."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        weakref.finalize(self, os.close, self._descriptor)
        self.can_sync = (
            _syncfs is not None and _tells_errors() and _type(self._descriptor) in _TRUSTED
        )

    def sync(self) -> None:
        """Bring all to stable storage. Raises OSError, once for each failure."""
        if _syncfs is None or not self.can_sync:
            raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP), self._folder)
        if _syncfs(self._descriptor) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), self._folder)


class Writeback:
    """Keeps the disk at work on one file, which grows from 0."""

    def __init__(self) -> None:
        self._begun = _BLOCK
        self._synced = 0
        self._next = _BLOCK + _SMALLEST

    def grown(self, descriptor: int, size: int) -> None:
        """The file has `size` bytes now. Raises OSError, after which it is not to be trusted."""
        if size < self._next:
            return
        if size - self._synced >= _SYNC_EVERY:
            os.fdatasync(descriptor)
            self._synced = self._begun = size // _BLOCK * _BLOCK
        else:
            self._begin(descriptor, size // _BLOCK * _BLOCK)
        self._next = self._begun + min(max(self._begun // _SHARE, _SMALLEST), _LARGEST)

    def _begin(self, descriptor: int, end: int) -> None:
        begun, self._begun = self._begun, end
        if _sync_file_range is None:
            return
        if _sync_file_range(descriptor, begun, end - begun, _WRITE) == 0:
            return
        code = ctypes.get_errno()
        if code not in _UNAVAILABLE:
            # Told here, it may not be told again by the sync at the end.
            raise OSError(code, os.strerror(code))
