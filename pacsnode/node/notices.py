"""What the processes of a node have to say to whoever asks how it is: what is wrong now, and the
last errors and warnings that they logged. In memory that they share, so that the supervisor tells
what a worker that is stuck or dead wrote down."""

import logging
import mmap
import struct
import threading
import time
import zlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

_CELL = struct.Struct("=IHd")  # checksum, length, time
_TEXT = 500  # bytes of a text
_SIZE = _CELL.size + _TEXT
_KEPT = 8  # errors, and warnings, that each process keeps
_ERRORS, _WARNINGS = range(1, 1 + _KEPT), range(1 + _KEPT, 1 + 2 * _KEPT)
_CELLS = 1 + 2 * _KEPT


class Notice(NamedTuple):
    """`at` is Unix time in seconds."""

    at: float
    text: str


class Notices:
    """A page for each process, from number 0 on, that it alone writes. Made before they are
    forked."""

    def __init__(self, processes: int) -> None:
        self._processes = processes
        self._map = mmap.mmap(-1, processes * _CELLS * _SIZE)

    def page(self, process: int) -> "Page":
        """That of the process with this number."""
        return Page(memoryview(self._map)[process * _CELLS * _SIZE :][: _CELLS * _SIZE])

    def troubles(self) -> list[str]:
        """What is wrong now; once, where several processes say the same up to the first colon."""
        first: dict[str, str] = {}
        for page in self._pages():
            for line in filter(None, page.trouble().split("\n")):
                first.setdefault(line.partition(":")[0], line)
        return list(first.values())

    def errors(self) -> list[Notice]:
        """The last ones of all processes, newest first."""
        return _newest_first(notice for page in self._pages() for notice in page.errors())

    def warnings(self) -> list[Notice]:
        """The same of warnings: who was refused, above all."""
        return _newest_first(notice for page in self._pages() for notice in page.warnings())

    def _pages(self) -> Iterator["Page"]:
        return map(self.page, range(self._processes))


def _newest_first(notices: Iterable[Notice]) -> list[Notice]:
    return sorted(notices, reverse=True)


class Page:
    """One process's. A reader of another process may come at any moment: what it finds half
    written has the wrong checksum, and counts as nothing."""

    def __init__(self, memory: memoryview) -> None:
        self._memory = memory
        self._lock = threading.Lock()
        self._counts = {_ERRORS: 0, _WARNINGS: 0}

    def set_troubles(self, troubles: Iterable[str]) -> None:
        """What is wrong now, in place of what was."""
        self._write(0, "\n".join(troubles))

    def remember(self, text: str) -> None:
        """An error, in place of the oldest one. From any thread."""
        self._keep(text, _ERRORS)

    def note(self, text: str) -> None:
        """The same of a warning."""
        self._keep(text, _WARNINGS)

    def _keep(self, text: str, cells: range) -> None:
        with self._lock:
            self._write(cells[self._counts[cells] % _KEPT], text)
            self._counts[cells] += 1

    def clear(self) -> None:
        """For a process that takes the place of one that is no more: its errors stay."""
        self.set_troubles(())

    def trouble(self) -> str:
        notice = self._read(0)
        return notice.text if notice is not None else ""

    def errors(self) -> list[Notice]:
        return self._found(_ERRORS)

    def warnings(self) -> list[Notice]:
        return self._found(_WARNINGS)

    def _found(self, cells: range) -> list[Notice]:
        found = map(self._read, cells)
        return [notice for notice in found if notice is not None]

    def _write(self, cell: int, text: str) -> None:
        data = text.encode("utf-8", "backslashreplace")[:_TEXT]
        at = time.time()
        start = cell * _SIZE
        self._memory[start + _CELL.size : start + _CELL.size + len(data)] = data
        _CELL.pack_into(self._memory, start, _checksum(data, at), len(data), at)

    def _read(self, cell: int) -> Notice | None:
        start = cell * _SIZE
        checksum, length, at = _CELL.unpack_from(self._memory, start)
        data = bytes(self._memory[start + _CELL.size : start + _CELL.size + min(length, _TEXT)])
        if not data or _checksum(data, at) != checksum:
            return None
        return Notice(at, data.decode("utf-8", "ignore"))


def _checksum(data: bytes, at: float) -> int:
    return zlib.crc32(data, zlib.crc32(struct.pack("=d", at)))


class ErrorKeeper(logging.Handler):
    """Writes errors and warnings that are logged down on a page, without what a traceback would
    add."""

    def __init__(self, page: Page) -> None:
        super().__init__(logging.WARNING)
        self._page = page

    def emit(self, record: logging.LogRecord) -> None:
        keep = self._page.remember if record.levelno >= logging.ERROR else self._page.note
        keep(record.getMessage())


def keep_errors(page: Page) -> None:
    """What this process logs as an error or a warning from now on is kept on `page`, and on no
    other."""
    logger = logging.getLogger("pacsnode")
    logger.handlers[:] = [ErrorKeeper(page)]
