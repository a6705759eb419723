"""How the node is, for `pacsnode status`: told over a socket in the data folder, which whoever may
work there may ask. The main thread answers, so that an answer is a sign of life as well."""

import errno
import fcntl
import json
import logging
import os
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import Any

from pacsnode import __version__
from pacsnode.archive.folder import NODE_LOCK
from pacsnode.config.model import Configuration
from pacsnode.errors import NodeUnavailable
from pacsnode.net.doorway import Addresses
from pacsnode.node.address import addresses_text
from pacsnode.node.notices import Notices
from pacsnode.scp.places import Places

logger = logging.getLogger(__name__)

NAME = ".status"
PATIENCE = 5.0  # seconds in which a node that is well answers
SPARE = 4  # descriptors
_BLOCK = 1 << 16

Status = Mapping[str, Any]


class State(StrEnum):
    """Ready and degraded nodes take associations; a degraded one needs somebody to look at it."""

    READY = "ready"
    DEGRADED = "degraded"
    STOPPING = "stopping"


def state_of(troubles: Sequence[str]) -> State:
    return State.DEGRADED if troubles else State.READY


class StatusSocket:
    """Answers each connection with one JSON object. For one thread; never blocks it."""

    def __init__(self, folder: Path) -> None:
        """For the node that holds the lock on `folder`. Raises OSError."""
        self._path = folder / NAME
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with suppress(FileNotFoundError):
                os.unlink(self._path)  # of a node that was killed
            with _address(folder) as address:
                self._socket.bind(address)
            os.chmod(self._path, 0o600)  # before anybody can connect
            self._socket.listen()
        except BaseException:
            self._socket.close()
            raise
        self._socket.setblocking(False)
        self._spare = [os.dup(self._socket.fileno()) for _ in range(SPARE)]

    def fileno(self) -> int:
        """Readable when somebody asks."""
        return self._socket.fileno()

    def answer(self, status: Status) -> None:
        """Tell whoever asks."""
        data = json.dumps(status).encode()
        try:
            with self._accept() as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, len(data))
                client.setblocking(False)
                client.sendall(data)
                self._keep(client)
        except OSError as error:  # it did not wait for the answer, or would have to
            logger.debug("status: %s", error)

    def _accept(self) -> socket.socket:
        """Also where no descriptor is left, which may be what somebody asks about: a few are kept,
        as the thread that takes associations may be faster."""
        while True:
            try:
                return self._socket.accept()[0]
            except OSError as error:
                if error.errno != errno.EMFILE or not self._spare:
                    raise
            os.close(self._spare.pop())

    def _keep(self, client: socket.socket) -> None:
        """End a connection, whose descriptor nobody else gets where a spare one is missing."""
        if len(self._spare) < SPARE:
            os.dup2(self._socket.fileno(), client.fileno(), inheritable=False)
            self._spare.append(client.detach())

    def leave(self) -> None:
        """For a process that was forked: the others go on with it."""
        self._socket.close()
        while self._spare:
            os.close(self._spare.pop())

    def close(self) -> None:
        self.leave()
        with suppress(OSError):
            os.unlink(self._path)


def open_status_socket(folder: Path) -> StatusSocket | None:
    """None where the file system has no sockets: a node works without."""
    try:
        return StatusSocket(folder)
    except OSError as error:
        logger.warning("`pacsnode status` will not reach this node: %s: %s", folder / NAME, error)
        return None


def describe(
    configuration: Configuration,
    *,
    addresses: Addresses,
    state: State,
    troubles: Sequence[str],
    started_at: float,
    workers: Sequence[Mapping[str, Any]],
    places: Places,
    notices: Notices,
) -> Status:
    """What a node tells. `started_at` is Unix time in seconds; so are all times that are told."""
    with places.counting():
        callers = places.callers(configuration.modalities)
    return {
        "state": state.value,
        "troubles": list(troubles),
        "ae_title": configuration.ae_title,
        "address": addresses_text(addresses),
        "version": __version__,
        "process": os.getpid(),
        "started_at": round(started_at, 3),
        "max_associations": configuration.listen.max_associations,
        "associations": sum(caller.associations for caller in callers),
        "callers": [caller._asdict() for caller in callers],
        "workers": list(workers),
        "last_errors": [notice._asdict() for notice in notices.errors()],
        "last_warnings": [notice._asdict() for notice in notices.warnings()],
    }


def ask(folder: Path) -> Status:
    """What the node that runs on a data folder says of itself. Raises NodeUnavailable."""
    try:
        with _address(folder) as address, closing(socket.socket(socket.AF_UNIX)) as client:
            client.settimeout(PATIENCE)
            client.connect(address)
            data = b"".join(iter(lambda: client.recv(_BLOCK), b""))
        status: Status = json.loads(data)
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        raise NodeUnavailable(_absence(folder)) from None
    except TimeoutError:
        raise NodeUnavailable(
            f"the node on {folder} (process {holder(folder)}) has not answered for {PATIENCE:g} s"
        ) from None
    except ValueError as error:  # it ended while it answered
        raise NodeUnavailable(f"the node on {folder} broke off its answer: {error}") from error
    except OSError as error:
        raise NodeUnavailable(f"{folder / NAME}: {error.strerror or error}") from error
    return status


def _absence(folder: Path) -> str:
    process = holder(folder)
    if process:
        return f"the node on {folder} (process {process}) is starting or stopping"
    return f"no node runs on {folder}"


def holder(folder: Path) -> str:
    """The process that has locked the folder as its node; "" where none has."""
    with suppress(OSError), open(folder / NODE_LOCK, encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return file.read().strip()
    return ""


@contextmanager
def _address(folder: Path) -> Iterator[str]:
    """Of the socket: however long the folder's path is, of which a socket's has 107 bytes."""
    if sys.platform != "linux":
        yield str(folder / NAME)
        return
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{NAME}"
    finally:
        os.close(descriptor)
