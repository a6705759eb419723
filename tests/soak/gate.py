"""Lets a crowd of threads work, and stops them all for a moment."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE = 60.0  # seconds until somebody who does not come to the gate is a failure


class Gate:
    """`workers` threads pass it again and again, until it is closed for good."""

    def __init__(self, workers: int) -> None:
        self._working = workers
        self._is_open = True
        self._is_over = False
        self._changed = threading.Condition()

    def passed(self) -> bool:
        """Wait while the gate is shut; False where the work is over."""
        with self._changed:
            self._working -= 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._is_open or self._is_over)
            self._working += 1
            return not self._is_over

    def left(self) -> None:
        """One of the threads comes no more."""
        with self._changed:
            self._working -= 1
            self._changed.notify_all()

    @contextmanager
    def shut(self) -> Iterator[None]:
        """Nobody is at work while the `with` lasts."""
        with self._changed:
            self._is_open = False
            assert self._changed.wait_for(lambda: not self._working, PATIENCE), "somebody hangs"
        try:
            yield
        finally:
            with self._changed:
                self._is_open = True
                self._changed.notify_all()

    def close(self) -> None:
        """The work is over."""
        with self._changed:
            self._is_over = True
            self._changed.notify_all()
