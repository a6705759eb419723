"""Memory that peers may make the node hold: long identifiers are rare, and many at once are an
attack, or a mistake that must not end the node."""

import threading

MOST = 256 << 20  # bytes, of all associations of a process together


class Allowance:
    """Counts bytes. Thread-safe."""

    def __init__(self, most: int = MOST) -> None:
        self.most = most
        self._lock = threading.Lock()
        self._held = 0

    @property
    def held(self) -> int:
        """Bytes that are taken now."""
        return self._held

    def take(self, count: int) -> bool:
        """False where so many more would be too many: they are not taken then."""
        with self._lock:
            if self._held + count > self.most:
                return False
            self._held += count
            return True

    def give_back(self, count: int) -> None:
        with self._lock:
            self._held -= count
