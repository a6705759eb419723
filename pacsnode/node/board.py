"""What workers tell their supervisor without a word: numbers in memory that they share."""

import mmap
import threading
import time

_ENDED, _BEATEN_AT, _FIELDS = 0, 1, 2


class Board:
    """A line for each worker, from number 1 on, that it alone writes. Made before they are
    forked."""

    def __init__(self, workers: int) -> None:
        self._map = mmap.mmap(-1, (workers + 1) * _FIELDS * 8)
        self._cells = memoryview(self._map).cast("Q")
        self._lock = threading.Lock()

    def clear(self, worker: int) -> None:
        """For a worker that is about to be forked."""
        self._cells[worker * _FIELDS + _ENDED] = 0
        self.beat(worker)

    def count_end(self, worker: int) -> None:
        """One connection of the worker's is over. From any of its threads."""
        with self._lock:
            self._cells[worker * _FIELDS + _ENDED] += 1

    def ended(self, worker: int) -> int:
        """How many connections of the worker's are over."""
        return self._cells[worker * _FIELDS + _ENDED]

    def beat(self, worker: int) -> None:
        """The worker is alive."""
        self._cells[worker * _FIELDS + _BEATEN_AT] = time.monotonic_ns()

    def silence(self, worker: int) -> float:
        """Seconds since the worker was last heard of."""
        return (time.monotonic_ns() - self._cells[worker * _FIELDS + _BEATEN_AT]) / 1e9
