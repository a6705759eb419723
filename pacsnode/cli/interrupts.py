"""Ctrl-C that waits for the end of the file under way: what is begun is completed, or was never
there."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType
from typing import Self

SIGNALS = (signal.SIGINT, signal.SIGTERM)
WAITING = b"finishing the file under way; once more ends at once\n"


class Interrupts:
    """Takes SIGINT and SIGTERM while it is entered. Outside of `hold` and `release` they raise
    KeyboardInterrupt at once, between the two at `release`; the second one always at once."""

    def __init__(self) -> None:
        self._is_held = False
        self._came = False
        self._before: list[object] = []

    def __enter__(self) -> Self:
        self._before = [signal.signal(number, self._handle) for number in SIGNALS]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        for number, handler in zip(SIGNALS, self._before, strict=True):
            signal.signal(number, handler)  # type: ignore[arg-type]
        if error is None:
            self.release()

    def hold(self) -> None:
        """Something begins that is better not left half-done."""
        self.release()
        self._is_held = True

    def release(self) -> None:
        """It is done."""
        self._is_held = False
        if self._came:
            self._came = False
            raise KeyboardInterrupt

    @contextmanager
    def held(self) -> Iterator[None]:
        self.hold()
        yield
        self.release()

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        if not self._is_held or self._came:
            self._is_held = self._came = False
            raise KeyboardInterrupt
        self._came = True
        # Not through sys.stderr: the interrupted code may be writing to it.
        with suppress(OSError, ValueError):
            os.write(sys.stderr.fileno(), WAITING)
