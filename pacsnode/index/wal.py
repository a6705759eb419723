"""SQLite's write-ahead log as a file (https://www.sqlite.org/fileformat2.html#walformat): how far
it is filled, and how it gets to stable storage.

SQLite's locks are on the database and on its -shm file, never on the log, so that a descriptor of
our own does no harm here; there, closing one would drop all locks of this process."""

import os
from pathlib import Path

_HEADER = 32
_FRAME_HEADER = 24
_BLOCK = 1 << 20


class WriteAheadLog:
    """Open while a connection that has read is: nobody removes the log beneath that. Raises
    OSError."""

    def __init__(self, database: Path) -> None:
        self.path = f"{database}-wal"
        self._descriptor = os.open(self.path, os.O_RDWR)

    @property
    def salts(self) -> bytes:
        """Others each time that the log has begun anew."""
        return os.pread(self._descriptor, 8, 16)

    def holds(self, frames: int) -> bool:
        """Whether so many pages have been written since the log began anew."""
        header = os.pread(self._descriptor, _HEADER, 0)
        if len(header) < _HEADER:
            return False
        page = int.from_bytes(header[8:12], "big")
        last = _HEADER + (frames - 1) * (_FRAME_HEADER + page)
        return os.pread(self._descriptor, 8, last + 8) == header[16:24]

    def sync(self) -> None:
        os.fdatasync(self._descriptor)

    def write_again(self) -> None:
        """The same bytes over themselves, and for the time of a sync new ones behind them, while
        nobody else writes. What failed once need not be mended by that; but where it succeeds the
        disk takes what is written, into old blocks and new ones."""
        offset = 0
        while block := os.pread(self._descriptor, _BLOCK, offset):
            offset += os.pwrite(self._descriptor, block, offset)
        try:
            os.pwrite(self._descriptor, bytes(_BLOCK), offset)
            self.sync()
        finally:
            os.ftruncate(self._descriptor, offset)

    def close(self) -> None:
        os.close(self._descriptor)
