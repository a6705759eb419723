"""One writer at a time, over all threads and processes. SQLite's own way to wait sleeps for up to
100 ms between two tries: here threads wait at a lock, and processes at an flock on a file beside
the index, which the kernel takes from a holder that dies."""

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pacsnode.errors import IndexFailure

FILE = ".index.lock"
PATIENCE = 30.0  # seconds


class Turn:
    """The right to write to the index at `path`. The file beside it can hold a warning that a
    process leaves for those that come later; durability.py says of what."""

    def __init__(self, path: Path) -> None:
        self._index = path
        self._lock = threading.Lock()
        self._opening = threading.Lock()
        self._descriptor = -1

    @contextmanager
    def held(self) -> Iterator[None]:
        """Raises what `take` raises."""
        self.take()
        try:
            yield
        finally:
            self.leave()

    def take(self) -> None:
        """Raises IndexFailure where other threads do not come to an end. While a process is stopped
        in its turn, one thread of each other process waits for it, and the rest end like this."""
        if not self._lock.acquire(timeout=PATIENCE):
            raise IndexFailure(f"{self._index}: writing: locked for over {PATIENCE:.0f} s")
        try:
            fcntl.flock(self._opened(), fcntl.LOCK_EX)
        except OSError as error:
            self._lock.release()
            raise IndexFailure(f"{self._index}: locking: {error.strerror}") from error
        except BaseException:
            self._lock.release()
            raise

    def leave(self) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        finally:
            self._lock.release()

    @property
    def has_warning(self) -> bool:
        return os.fstat(self._opened()).st_size > 0

    def warn(self, warning: bool) -> None:
        """Leave a warning, or take it away. Raises OSError."""
        os.ftruncate(self._opened(), int(warning))

    def close(self) -> None:
        with self._opening:
            if self._descriptor >= 0:
                os.close(self._descriptor)
            self._descriptor = -1

    def _opened(self) -> int:
        if self._descriptor < 0:
            with self._opening:
                if self._descriptor < 0:
                    self._descriptor = _open(self._index)
        return self._descriptor


def _open(index: Path) -> int:
    path = index.with_name(FILE)
    try:
        like = index.stat()
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, like.st_mode & 0o666)
    except OSError as error:
        raise IndexFailure(f"{path}: {error.strerror}") from error
    if os.geteuid() == 0:
        # As SQLite does with its files: what root's command makes, the node must be able to open.
        with suppress(OSError):
            os.fchown(descriptor, like.st_uid, like.st_gid)
    return descriptor
