"""A file that recordings of associations are added to, by several processes at once."""

import fcntl
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from pacsnode.dicom.recording import Header, header_line

MODE = 0o600  # it may name patients
LARGEST = 64 << 20  # bytes; then it is moved away, in the place of the one moved before


class TraceFile:
    """`header` begins each file."""

    def __init__(self, path: Path, header: Header, largest: int = LARGEST) -> None:
        self._path = path
        self._header = header_line(header)
        self._largest = largest

    @property
    def previous(self) -> Path:
        """Where the file goes when it is full."""
        return self._path.with_name(f"{self._path.name}.1")

    def add(self, lines: Sequence[bytes]) -> bool:
        """Add lines, all of them or none; True where that began another file, the last one being
        full. Raises OSError."""
        data = b"".join(lines)
        descriptor = self._open()
        try:
            size = os.fstat(descriptor).st_size
            is_full = size > len(self._header) and size + len(data) > self._largest
            if is_full:
                os.replace(self._path, self.previous)
                full, descriptor = descriptor, self._open()
                os.close(full)
                size = os.fstat(descriptor).st_size
            _write(descriptor, data if size else self._header + data, size)
        finally:
            os.close(descriptor)
        return is_full

    def _open(self) -> int:
        """The file at the path, locked against the others who write to it."""
        while True:
            # O_NONBLOCK: a FIFO that nobody reads is a fault, and not waited for.
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
            descriptor = os.open(self._path, flags, MODE)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                if _is_at(descriptor, self._path):
                    return descriptor
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)  # another has moved it away meanwhile


def _is_at(descriptor: int, path: Path) -> bool:
    ours = os.fstat(descriptor)
    try:
        there = os.stat(path)
    except FileNotFoundError:
        return False
    return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)


def _write(descriptor: int, data: bytes, before: int) -> None:
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
    except OSError:
        with suppress(OSError):  # no line is better than half of one
            os.ftruncate(descriptor, before)
        raise
