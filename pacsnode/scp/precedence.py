"""Which retrieves go first, by the priority that their requests have (PS3.7 9.1.4.1.5): a less
urgent one pauses before each instance while a more urgent one is under way, in any process."""

import mmap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

MEDIUM, HIGH, LOW = 0, 1, 2  # as they are on the wire

_RANK = {HIGH: 0, MEDIUM: 1, LOW: 2}

# Seconds before each instance, so that nobody waits for ever. Not long: there are clients that ask
# for low priority unless they are told otherwise.
PAUSE = {HIGH: 0.0, MEDIUM: 0.02, LOW: 0.05}
STEP = 0.01  # seconds between two looks at who is under way


class Precedence:
    """Counts retrieves that are under way, for this process and for `processes` that are forked
    after it was made; each writes its own counts alone, after `adopt`. Those of one that was killed
    stand until the process that replaces it adopts its number."""

    def __init__(self, processes: int = 1) -> None:
        self._map = mmap.mmap(-1, (processes + 1) * len(_RANK) * 8)
        self._counts = memoryview(self._map).cast("Q")
        self._number = 0
        self._lock = threading.Lock()

    def adopt(self, number: int) -> None:
        """From now on this process counts under this number, from 1 on."""
        self._number = number
        self._lock = threading.Lock()
        for rank in _RANK.values():
            self._counts[self._cell(rank)] = 0

    @contextmanager
    def under_way(self, priority: int) -> Iterator[None]:
        """While a retrieve of this priority is."""
        cell = self._cell(_rank(priority))
        with self._lock:
            self._counts[cell] += 1
        try:
            yield
        finally:
            with self._lock:
                self._counts[cell] -= 1

    def give_way(self, priority: int) -> None:
        """Before an instance goes: let those pass that are more urgent."""
        rank = _rank(priority)
        until = time.monotonic() + PAUSE.get(priority, PAUSE[MEDIUM])
        while self._is_preceded(rank) and time.monotonic() < until:
            time.sleep(STEP)

    def _is_preceded(self, rank: int) -> bool:
        ranks = len(_RANK)
        return any(
            count and cell % ranks < rank for cell, count in enumerate(self._counts.tolist())
        )

    def _cell(self, rank: int) -> int:
        return self._number * len(_RANK) + rank


def _rank(priority: int) -> int:
    """What is no priority counts as medium."""
    return _RANK.get(priority, _RANK[MEDIUM])
