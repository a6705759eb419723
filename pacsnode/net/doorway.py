"""Where connections come from: the listening sockets themselves, plain and TLS, or a supervisor
that owns them and hands over to this process what it accepted."""

import errno
import itertools
import os
import select
import socket
import struct
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from pacsnode.config.model import Listen
from pacsnode.errors import ConfigurationError

BACKLOG = 512
PATIENCE = 3.0  # seconds that an address which is in use is tried for
PAUSE = 0.1

# What to do about an address that cannot be had.
_ADVICE = {
    errno.EADDRINUSE: "another program has it, perhaps a node that runs already: "
    "stop that one, or choose another {key}",
    errno.EACCES: "a port below 1024 takes CAP_NET_BIND_SERVICE, which systemd/pacsnode.service "
    "gives: or choose another {key}",
    errno.EADDRNOTAVAIL: "listen.host must be an address of this machine, 0.0.0.0 or ::",
}

_ARRIVAL = struct.Struct("=Q?")

Address = tuple[str, int]


class Addresses(NamedTuple):
    """Host and port, as bound, of each door that there is."""

    plain: Address | None
    tls: Address | None


class Arrival(NamedTuple):
    """A connection, with a number that no other connection of the node has."""

    client: socket.socket
    number: int
    is_tls: bool


class Doorway(Protocol):
    """A source of connections."""

    @property
    def addresses(self) -> Addresses:
        """Where they come in."""

    def fileno(self) -> int:
        """Readable when `take` has something to say."""

    def take(self) -> Arrival | None:
        """The next connection; None where no more will ever come. Raises OSError: BlockingIOError
        where there is none now."""

    def ended(self) -> None:
        """One of the connections taken is over. May be called from any thread."""

    def close(self) -> None:
        """Take no more."""


class _Door(NamedTuple):
    socket: socket.socket
    is_tls: bool

    @property
    def address(self) -> Address:
        host, port = self.socket.getsockname()[:2]
        return host, port


class ListeningSockets:
    """The configured addresses, bound. Raises ConfigurationError where one cannot be had."""

    def __init__(self, settings: Listen) -> None:
        self._doors = deque(_open_doors(settings))
        self._addresses = Addresses(
            next((door.address for door in self._doors if not door.is_tls), None),
            next((door.address for door in self._doors if door.is_tls), None),
        )
        self._either = select.epoll()
        for door in self._doors:
            self._either.register(door.socket, select.EPOLLIN)
        self._numbers = itertools.count(1)

    @property
    def addresses(self) -> Addresses:
        return self._addresses

    def fileno(self) -> int:
        return self._either.fileno()

    def take(self) -> Arrival:
        """From each door in turn, so that a crowd at one does not keep the other shut."""
        for _ in range(len(self._doors)):
            self._doors.rotate()
            door = self._doors[0]
            try:
                client, _ = door.socket.accept()
            except BlockingIOError:
                continue
            return Arrival(client, next(self._numbers), door.is_tls)
        raise BlockingIOError(errno.EAGAIN, "nobody is at the doors")

    def ended(self) -> None:
        """Nobody counts them here."""

    def close(self) -> None:
        """For this process alone: others may go on with theirs."""
        self._either.close()
        for door in self._doors:
            door.socket.close()


class HandedOver:
    """Connections to `addresses` that `hand_over` sends through the other end of `channel`."""

    def __init__(
        self, channel: socket.socket, addresses: Addresses, on_end: Callable[[], None]
    ) -> None:
        self._channel = channel
        self._addresses = addresses
        self._on_end = on_end

    @property
    def addresses(self) -> Addresses:
        return self._addresses

    def fileno(self) -> int:
        return self._channel.fileno()

    def take(self) -> Arrival | None:
        message, descriptors, _, _ = socket.recv_fds(self._channel, _ARRIVAL.size, 1)
        if not message:
            return None
        if not descriptors:
            self._on_end()  # it is closed already
            raise OSError(errno.EMFILE, "a connection was lost on its way to a worker")
        client = socket.socket(fileno=descriptors[0])
        client.set_inheritable(False)
        return Arrival(client, *_ARRIVAL.unpack(message))

    def ended(self) -> None:
        self._on_end()

    def close(self) -> None:
        """The channel belongs to the process, which says more on it."""


def hand_over(channel: socket.socket, arrival: Arrival) -> None:
    """Send a connection to the process at the other end, which must not block. Raises OSError;
    BlockingIOError where that process does not keep up."""
    message = _ARRIVAL.pack(arrival.number, arrival.is_tls)
    socket.send_fds(channel, [message], [arrival.client.fileno()])


def _open_doors(settings: Listen) -> list[_Door]:
    doors: list[_Door] = []
    try:
        if settings.port is not None:
            plain = _listen(settings.host, settings.port, "listen.port")
            doors.append(_Door(plain, is_tls=False))
        if settings.tls is not None:
            secure = _listen(settings.host, settings.tls.port, "listen.tls.port")
            doors.append(_Door(secure, is_tls=True))
    except ConfigurationError:
        for door in doors:
            door.socket.close()
        raise
    return doors


def _listen(host: str, port: int, key: str) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        is_dual = family == socket.AF_INET6 and host in ("::", "")
        listening = _bound(address, family, is_dual)
    except (OSError, UnicodeError) as error:
        raise ConfigurationError(
            f"listen: cannot listen on {host} port {port}: {_reason(error, key)}"
        ) from error
    listening.setblocking(False)
    return listening


def _bound(address: tuple[Any, ...], family: int, is_dual: bool) -> socket.socket:
    """Who has the address may be about to leave: a node that ends, or a command in its place."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return socket.create_server(
                address, family=family, backlog=BACKLOG, dualstack_ipv6=is_dual
            )
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() >= deadline:
                raise
            time.sleep(PAUSE)


def _reason(error: OSError | UnicodeError, key: str) -> str:
    if isinstance(error, OSError) and not isinstance(error, socket.gaierror) and error.errno:
        advice = _ADVICE.get(error.errno, "").format(key=key)
        words = os.strerror(error.errno)  # create_server adds words of its own
        return f"{words}; {advice}" if advice else words
    return getattr(error, "strerror", None) or str(error)
