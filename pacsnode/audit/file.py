"""The audit trail as a file: lines added by several processes, never torn, moved away at will."""

import errno
import fcntl
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from pacsnode.errors import ConfigurationError

MODE = 0o640  # it holds names of patients


class AuditFile:
    """A sink. For one thread. Lines are handed to the system, not synced: they outlast this
    process, but not a power failure in the seconds after it."""

    def __init__(self, path: Path) -> None:
        """Raises ConfigurationError where the file cannot be written."""
        self._path = path
        try:
            self._descriptor = self._open()
        except OSError as error:
            raise _unusable(path, error.strerror) from error

    def __str__(self) -> str:
        return f"file {self._path}"

    def send(self, lines: Sequence[bytes]) -> int:
        """Add lines, all of them or none. Raises OSError."""
        self._follow()
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        try:
            self._write(b"".join(lines))
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        return len(lines)

    def close(self) -> None:
        os.close(self._descriptor)

    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        return os.open(self._path, flags, MODE)

    def _follow(self) -> None:
        """Where the file was moved away, as logrotate does, a new one takes its place."""
        ours = os.fstat(self._descriptor)
        try:
            there = os.stat(self._path)
            if (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino):
                return
        except FileNotFoundError:
            pass
        new = self._open()
        os.close(self._descriptor)
        self._descriptor = new

    def _write(self, data: bytes) -> None:
        before = os.fstat(self._descriptor).st_size
        try:
            if os.write(self._descriptor, data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            with suppress(OSError):  # no line is better than half of one
                os.ftruncate(self._descriptor, before)
            raise


def check_file(path: Path) -> None:
    """Raises ConfigurationError where AuditFile would, as far as can be told without making it."""
    place = path if path.exists() else path.parent
    if path.is_dir():
        raise _unusable(path, os.strerror(errno.EISDIR))
    if not place.exists():
        raise _unusable(path, os.strerror(errno.ENOENT))
    if not os.access(place, os.W_OK):
        raise _unusable(path, os.strerror(errno.EACCES))


def _unusable(path: Path, why: str | None) -> ConfigurationError:
    return ConfigurationError(
        f"audit.file: {path}: {why}; allowed is a file in a folder that this user may write to"
    )
