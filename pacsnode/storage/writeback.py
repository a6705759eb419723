"""Written bytes go to the disk while more arrive, so that the sync at the end waits for little."""

import ctypes
import errno
import os
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


def _find() -> Callable[[int, int, int, int], int] | None:
    """sync_file_range(2), where there is one."""
    try:
        function = ctypes.CDLL(None, use_errno=True).sync_file_range
    except (AttributeError, OSError):
        return None
    function.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    function.restype = ctypes.c_int
    found: Callable[[int, int, int, int], int] = function
    return found


_sync_file_range = _find()


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
