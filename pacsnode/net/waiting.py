"""Connections that have no association yet. Each has a thread and a descriptor, and nobody has
asked who it is: so there are so many and no more."""

import threading
from collections.abc import Hashable
from typing import Generic, TypeVar

Visitor = TypeVar("Visitor", bound=Hashable)


class WaitingRoom(Generic[Visitor]):
    """Room for `most` of them. Where it is full, whoever has filled it makes room: of the host that
    has most of them here, the one that has waited longest. Thread-safe."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._count = 0
        self._hosts: dict[str, dict[Visitor, None]] = {}  # in the order of their coming

    def __len__(self) -> int:
        return self._count

    def enter(self, host: str, visitor: Visitor) -> tuple[str, Visitor] | None:
        """Returns who has to go for this one, and from which host; it has left the room already."""
        with self._lock:
            displaced = self._displace() if self._count >= self._most else None
            self._hosts.setdefault(host, {})[visitor] = None
            self._count += 1
            return displaced

    def leave(self, host: str, visitor: Visitor) -> None:
        """Doing so twice, or after having been made to, does no harm."""
        with self._lock:
            self._remove(host, visitor)

    def _displace(self) -> tuple[str, Visitor]:
        host = max(self._hosts, key=lambda host: len(self._hosts[host]))
        visitor = next(iter(self._hosts[host]))
        self._remove(host, visitor)
        return host, visitor

    def _remove(self, host: str, visitor: Visitor) -> None:
        waiting = self._hosts.get(host, {})
        if visitor not in waiting:
            return
        del waiting[visitor]
        self._count -= 1
        if not waiting:
            del self._hosts[host]
