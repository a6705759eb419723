"""The list of `send --resume`: what a peer has acknowledged, a line of text each, so that a second
run sends the rest. It survives whatever ends the first one: a line counts when it is whole."""

import errno
import fcntl
import os
import stat
import time
from pathlib import Path
from typing import Self

from pacsnode.dicom.message import Peer
from pacsnode.errors import StorageError, UsageError

HEAD = "# pacsnode send, acknowledged by "
EXPLANATION = (
    "# SOP Instance UID, file, its bytes, when changed (ns); - for the node's own instances"
)
SYNC_EVERY = 2.0  # seconds
OWN = "-"


class Acknowledged:
    """A list bound to one peer, made where there is none. An instance is known by its UID and its
    file as that is now: two files of one UID may differ, and so may one that is changed later.
    Raises UsageError where the file is another peer's list, none at all, or in use; OSError."""

    def __init__(self, path: Path, peer: Peer) -> None:
        self._path = path
        self._known: set[tuple[str, str]] = set()
        self._synced_at = time.monotonic()
        self._descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            self._lock()
            self._read(f"{HEAD}{peer}")
        except BaseException:
            os.close(self._descriptor)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_details: object) -> None:
        try:
            os.fsync(self._descriptor)
        finally:
            os.close(self._descriptor)

    def has(self, sop_instance_uid: str, file: Path | None) -> bool:
        """Whether it was acknowledged; `file` is None for one of the node's own."""
        return (sop_instance_uid, _place(file)) in self._known

    def add(self, sop_instance_uid: str, file: Path | None) -> None:
        """It has been acknowledged now. Raises StorageError."""
        if not sop_instance_uid.isprintable():
            return  # no line could hold it: it is sent again
        now = time.monotonic()
        try:
            self._write(f"{sop_instance_uid}\t{_place(file)}")
            if now - self._synced_at >= SYNC_EVERY:
                os.fdatasync(self._descriptor)
                self._synced_at = now
        except OSError as error:
            raise StorageError(f"{self._path}: {error.strerror}") from error

    def _lock(self) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"{self._path} is in use by another run") from None

    def _read(self, head: str) -> None:
        if not stat.S_ISREG(os.fstat(self._descriptor).st_mode):
            raise UsageError(f"{self._path} is no regular file")  # a pipe would be read for ever
        with open(self._descriptor, "rb", closefd=False) as file:
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        lines = whole.decode("utf-8", "surrogateescape").split("\n")[:-1]
        if not lines and HEAD.encode().startswith(data[: len(HEAD)]):
            os.ftruncate(self._descriptor, 0)
            self._write(head)
            self._write(EXPLANATION)
            return
        self._require(lines[0] if lines else "", head)
        os.ftruncate(self._descriptor, len(whole))  # what follows was torn
        for line in lines[1:]:
            uid, tab, place = line.partition("\t")
            if tab and not uid.startswith("#"):
                self._known.add((uid, place))

    def _require(self, found: str, head: str) -> None:
        if not found.startswith(HEAD):
            raise UsageError(f"{self._path} is no list of `pacsnode send --resume`")
        if found != head:
            whose = found.removeprefix(HEAD)
            raise UsageError(
                f"{self._path} is what {whose} has acknowledged: another peer wants another list"
            )

    def _write(self, line: str) -> None:
        data = f"{line}\n".encode("utf-8", "surrogateescape")
        if os.write(self._descriptor, data) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _place(file: Path | None) -> str:
    """As it stands in the list: in one line, wherever the command was given."""
    if file is None:
        return OWN
    name = str(file.absolute()).replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t")
    try:
        found = file.stat()
    except OSError:  # gone meanwhile
        return name
    return f"{name}\t{found.st_size}\t{found.st_mtime_ns}"
