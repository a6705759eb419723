"""The node's places for associations, in memory that its processes share: a limit counts over all
of them, what a killed process held can be taken from it, and whoever looks sees who holds them."""

import fcntl
import mmap
import os
import sys
import tempfile
import threading
import weakref
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from hashlib import blake2b
from typing import NamedTuple

_FREE = 0
_KEY = 16  # bytes that stand for the name of a modality
_TITLE = 16  # bytes of an AE title (PS3.8 9.3.2)
_HOST = 45  # characters of an IP address at most
_HOLDER = _KEY + _TITLE + _HOST
_NOBODY = bytes(_KEY)

LAST_OWNER = 255


class Group(NamedTuple):
    """The associations of one caller. `name` is its in `modalities`, None for one that is unknown
    or is not there any more."""

    ae_title: str
    host: str
    name: str | None
    associations: int


class Places:
    """So many places, for this process and for those that are forked after it was made. Every
    other method but `adopt` is called inside `counting`, which lets one thread of one process in
    at a time; `taken` and `callers` may also be called outside, for a figure of this moment.

    A place is one byte, the number of the process that holds it, and who it is held for. The byte
    is written last and cleared first, so that a process may be killed at any moment."""

    def __init__(self, size: int) -> None:
        # A POSIX lock belongs to the process: it ends with it, however that ends. It would end
        # with any other descriptor of the file too: so the file has no name and is opened once.
        self._descriptor = _nameless_file()
        weakref.finalize(self, os.close, self._descriptor)
        os.truncate(self._descriptor, size * (1 + _HOLDER))
        self._map = mmap.mmap(self._descriptor, size * (1 + _HOLDER))
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

    def held_by(self, name: str | None) -> int:
        """How many are held for the modality of this name, or for all unknown callers."""
        wanted = _key(name)
        return sum(1 for place in self._held() if self._map[place : place + _KEY] == wanted)

    def callers(self, names: Iterable[str] = ()) -> list[Group]:
        """Who holds places, most first. `names` are those of `modalities`."""
        known = {_key(name): name for name in names}
        groups = Counter(self._map[place : place + _HOLDER] for place in self._held())
        return [
            Group(
                _text(holder[_KEY : _KEY + _TITLE]),
                _text(holder[_KEY + _TITLE :]),
                known.get(holder[:_KEY]),
                associations,
            )
            for holder, associations in groups.most_common()
        ]

    def take(self, name: str | None, ae_title: str = "", host: str = "") -> int:
        """A free place, of which there must be one, for the modality of this name or for a caller
        that is unknown; to be given back by its number."""
        place = self._map.find(bytes([_FREE]), 0, self._size)
        if place < 0:
            raise AssertionError("no place is free")
        start = self._start(place)
        self._map[start : start + _HOLDER] = (
            _key(name) + _padded(ae_title, _TITLE) + _padded(host, _HOST)
        )
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

    def _start(self, place: int) -> int:
        """Where its holder stands."""
        return self._size + place * _HOLDER

    def _held(self) -> Iterator[int]:
        """Where the holders of the places stand that are held."""
        owners = self._map[: self._size]
        return (self._start(place) for place, owner in enumerate(owners) if owner)


def _nameless_file() -> int:
    """In memory where the system has that (Linux): a write to a mapped file ends the process where
    its disk is full."""
    if sys.platform == "linux":
        return os.memfd_create("pacsnode-places")
    descriptor, path = tempfile.mkstemp(prefix="pacsnode-")
    os.unlink(path)
    return descriptor


def _key(name: str | None) -> bytes:
    if name is None:
        return _NOBODY
    return blake2b(name.encode("utf-8", "surrogatepass"), digest_size=_KEY).digest()


def _padded(text: str, length: int) -> bytes:
    return text.encode("latin-1", "replace")[:length].ljust(length, b"\0")


def _text(data: bytes) -> str:
    return data.rstrip(b"\0").decode("latin-1")
