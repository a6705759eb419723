"""Where connections come from: the listening socket itself, or a supervisor that owns it and hands
over to this process what it accepted."""

import errno
import itertools
import os
import socket
import struct
from collections.abc import Callable
from typing import Protocol

from pacsnode.config.model import Listen
from pacsnode.errors import ConfigurationError

BACKLOG = 512

# What to do about an address that cannot be had.
_ADVICE = {
    errno.EADDRINUSE: "another program has it, perhaps a node that runs already: "
    "stop that one, or choose another listen.port",
    errno.EACCES: "a port below 1024 takes CAP_NET_BIND_SERVICE, which systemd/pacsnode.service "
    "gives: or choose another listen.port",
    errno.EADDRNOTAVAIL: "listen.host must be an address of this machine, 0.0.0.0 or ::",
}

_NUMBER = struct.Struct("=Q")


class Doorway(Protocol):
    """A source of connections, each with a number that no other connection of the node has."""

    @property
    def address(self) -> tuple[str, int]:
        """Host and port as bound."""

    def fileno(self) -> int:
        """Readable when `take` has something to say."""

    def take(self) -> tuple[socket.socket, int] | None:
        """The next connection and its number; None where no more will ever come. Raises OSError:
        BlockingIOError where there is none now."""

    def ended(self) -> None:
        """One of the connections taken is over. May be called from any thread."""

    def close(self) -> None:
        """Take no more."""


class ListeningSocket:
    """The configured address, bound. Raises ConfigurationError where it cannot be had."""

    def __init__(self, settings: Listen) -> None:
        self._socket = _listen(settings.host, settings.port or 0)
        self._numbers = itertools.count(1)
        host, port = self._socket.getsockname()[:2]
        self._address: tuple[str, int] = (host, port)

    @property
    def address(self) -> tuple[str, int]:
        return self._address

    def fileno(self) -> int:
        return self._socket.fileno()

    def take(self) -> tuple[socket.socket, int]:
        client, _ = self._socket.accept()
        return client, next(self._numbers)

    def ended(self) -> None:
        """Nobody counts them here."""

    def close(self) -> None:
        """For this process alone: others may go on with theirs."""
        self._socket.close()


class HandedOver:
    """Connections to `address` that `hand_over` sends through the other end of `channel`."""

    def __init__(
        self, channel: socket.socket, address: tuple[str, int], on_end: Callable[[], None]
    ) -> None:
        self._channel = channel
        self._address = address
        self._on_end = on_end

    @property
    def address(self) -> tuple[str, int]:
        return self._address

    def fileno(self) -> int:
        return self._channel.fileno()

    def take(self) -> tuple[socket.socket, int] | None:
        message, descriptors, _, _ = socket.recv_fds(self._channel, _NUMBER.size, 1)
        if not message:
            return None
        if not descriptors:
            self._on_end()  # it is closed already
            raise OSError(errno.EMFILE, "a connection was lost on its way to a worker")
        client = socket.socket(fileno=descriptors[0])
        client.set_inheritable(False)
        return client, _NUMBER.unpack(message)[0]

    def ended(self) -> None:
        self._on_end()

    def close(self) -> None:
        """The channel belongs to the process, which says more on it."""


def hand_over(channel: socket.socket, client: socket.socket, number: int) -> None:
    """Send a connection to the process at the other end, which must not block. Raises OSError;
    BlockingIOError where that process does not keep up."""
    socket.send_fds(channel, [_NUMBER.pack(number)], [client.fileno()])


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.create_server(
            address,
            family=family,
            backlog=BACKLOG,
            dualstack_ipv6=family == socket.AF_INET6 and host in ("::", ""),
        )
    except (OSError, UnicodeError) as error:
        raise ConfigurationError(
            f"listen: cannot listen on {host} port {port}: {_reason(error)}"
        ) from error
    listening.setblocking(False)
    return listening


def _reason(error: OSError | UnicodeError) -> str:
    if isinstance(error, OSError) and not isinstance(error, socket.gaierror) and error.errno:
        advice = _ADVICE.get(error.errno)
        words = os.strerror(error.errno)  # create_server adds words of its own
        return f"{words}; {advice}" if advice else words
    return getattr(error, "strerror", None) or str(error)
