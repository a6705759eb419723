"""The node's places for associations, in memory that its processes share: a limit counts over all
of them, and what a killed process held can be taken from it."""

import fcntl
import mmap
import os
import sys
import tempfile
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b

_FREE = 0
_KEY = 16  # bytes that stand for the name of a modality
_NOBODY = bytes(_KEY)

LAST_OWNER = 255


class Places:
    """So many places, for this process and for those that are forked after it was made. Every
    other method but `adopt` is called inside `counting`, which lets one thread of one process in
    at a time.

    A place is one byte, the number of the process that holds it, and a key for whom it is held.
    The byte is written last and cleared first, so that a process may be killed at any moment."""

    def __init__(self, size: int) -> None:
        # A POSIX lock belongs to the process: it ends with it, however that ends. It would end
        # with any other descriptor of the file too: so the file has no name and is opened once.
        self._descriptor = _nameless_file()
        weakref.finalize(self, os.close, self._descriptor)
        os.truncate(self._descriptor, size * (1 + _KEY))
        self._map = mmap.mmap(self._descriptor, size * (1 + _KEY))
        self._size = size
        self._owner = 1
        self._lock = threading.Lock()

    def adopt(self, owner: int) -> None:
        """From now on this process takes places under this number, from 1 to LAST_OWNER."""
        self._owner = owner
        self._lock = threading.Lock()

    @contextmanager
    def counting(self) -> Iterator[None]:
        """While nobody else takes a place or gives one back."""
        with self._lock:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.lockf(self._descriptor, fcntl.LOCK_UN)

    def taken(self) -> int:
        """How many places are."""
        return self._size - self._map[: self._size].count(_FREE)

    def held_by(self, name: str) -> int:
        """How many are held for the modality of this name."""
        wanted = _key(name)
        owners = self._map[: self._size]
        return sum(
            1 for place, owner in enumerate(owners) if owner and self._key_at(place) == wanted
        )

    def take(self, name: str | None) -> int:
        """A free place, of which there must be one, for the modality of this name or for nobody
        known; to be given back by its number."""
        place = self._map.find(bytes([_FREE]), 0, self._size)
        if place < 0:
            raise AssertionError("no place is free")
        start = self._size + place * _KEY
        self._map[start : start + _KEY] = _NOBODY if name is None else _key(name)
        self._map[place] = self._owner
        return place

    def give_back(self, place: int) -> None:
        self._map[place] = _FREE

    def vacate(self, owner: int) -> int:
        """Free what a process held that is no more; returns how many places that were."""
        held = [place for place in range(self._size) if self._map[place] == owner]
        for place in held:
            self._map[place] = _FREE
        return len(held)

    def _key_at(self, place: int) -> bytes:
        start = self._size + place * _KEY
        return self._map[start : start + _KEY]


def _nameless_file() -> int:
    """In memory where the system has that (Linux): a write to a mapped file ends the process where
    its disk is full."""
    if sys.platform == "linux":
        return os.memfd_create("pacsnode-places")
    descriptor, path = tempfile.mkstemp(prefix="pacsnode-")
    os.unlink(path)
    return descriptor


def _key(name: str) -> bytes:
    return blake2b(name.encode("utf-8", "surrogatepass"), digest_size=_KEY).digest()
