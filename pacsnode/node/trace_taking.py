"""One run of `pacsnode trace`: what is told of associations goes into a file."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from pacsnode.dicom.recording import (
    Begin,
    CommandSet,
    End,
    Header,
    Opening,
    Record,
    header_line,
    to_line,
)
from pacsnode.errors import UsageError
from pacsnode.node.signals import Signals
from pacsnode.node.trace_file import MODE
from pacsnode.node.trace_redaction import Redaction
from pacsnode.node.trace_sockets import TraceSocket

LARGEST = 1 << 30  # bytes
_LAST_LOOKS = 1000  # at what has been said before the run ended
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_LOOK = 3600.0  # seconds that poll waits at most
_STOPPED = "the recording ended before"

Wanted = Callable[[Opening], bool]


class Outcome(NamedTuple):
    """What was recorded. `is_full`: the run ended for that."""

    associations: int
    messages: int
    is_full: bool


class Taking:
    """Writes what is said on associations that are `wanted` into a new file, `largest` bytes at
    most, until a signal comes; names stay where there is no `redaction`."""

    def __init__(
        self,
        data_dir: Path,
        path: Path,
        header: Header,
        wanted: Wanted,
        redaction: Redaction | None,
        largest: int = LARGEST,
    ) -> None:
        """Raises UsageError where the file is there already, OSError."""
        self._path = path
        self._wanted = wanted
        self._redact: Callable[[Record], Record] = redaction or (lambda record: record)
        self._largest = largest
        self._open: set[str] = set()
        self._begun = self._ended = self._messages = self._size = 0
        self._signals = Signals(_ENDING)
        self._socket = TraceSocket(data_dir, self._signals.fileno())
        try:
            self._file = _create(path)
        except BaseException:
            self._socket.close()
            raise
        self._add(header_line(header))

    def run(self, associations: int | None = None, seconds: float | None = None) -> Outcome:
        """Until a signal, so many seconds, or so many associations that have ended. Raises OSError,
        RecordingDamaged."""
        deadline = float("inf") if seconds is None else time.monotonic() + seconds
        most = float("inf") if associations is None else associations
        with _naming(self._path), self._file:
            try:
                while self._ended < most and not self._is_full:
                    left = min(deadline - time.monotonic(), _LOOK)
                    if left <= 0 or self._signals.next() is not None:
                        break
                    self._take(left, most)
                self._socket.stop_listening()
                self._take_the_rest(most)
            finally:
                self._socket.close()
                self._finish()
        return Outcome(self._begun, self._messages, self._is_full)

    @property
    def _is_full(self) -> bool:
        return self._size >= self._largest

    def _take(self, seconds: float, most: float) -> bool:
        """Whether there was anything."""
        is_any = False
        for record in self._socket.records(seconds):
            is_any = True
            if isinstance(record, Begin):
                self._begin(record, most)
            if record.association in self._open and not self._is_full:
                self._write(record)
        self._file.flush()
        return is_any

    def _take_the_rest(self, most: float) -> None:
        for _ in range(_LAST_LOOKS):
            if not self._take(0, most):
                return

    def _begin(self, record: Begin, most: float) -> None:
        if self._begun >= most or not self._wanted(record.opening):
            self._socket.refuse(record.association)
            return
        self._begun += 1
        self._open.add(record.association)

    def _write(self, record: Record) -> None:
        self._add(to_line(self._redact(record)))
        self._messages += isinstance(record, CommandSet)
        if isinstance(record, End):
            self._ended += 1
            self._open.discard(record.association)

    def _add(self, line: bytes) -> None:
        self._file.write(line)
        self._size += len(line)

    def _finish(self) -> None:
        for association in sorted(self._open):
            self._add(to_line(End(association, time.time(), _STOPPED, 0)))


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """A full disk, for one, is told with the file that it kept from growing."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def _create(path: Path) -> BinaryIO:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, MODE)
    except FileExistsError as error:
        raise UsageError(f"{path} is there already: name a new file") from error
    return os.fdopen(descriptor, "wb")
