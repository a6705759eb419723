"""The audit trail to a syslog server (PS3.15 A.6, A.7): RFC 5424, over UDP (RFC 5426) or TLS
(RFC 5425)."""

import errno
import fcntl
import os
import re
import socket
import ssl
import struct
import sys
import termios
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from pacsnode.audit.event import Event
from pacsnode.audit.message import to_xml
from pacsnode.audit.text import utc
from pacsnode.errors import ConfigurationError
from pacsnode.tls import server_fault

TLS_SETTINGS = "audit.syslog.tls"

FACILITY, SEVERITY = 10, 5  # security and authorisation; normal, but significant
MESSAGE_ID = "DICOM+RFC3881"
BYTE_ORDER_MARK = "\ufeff"  # says that the text is UTF-8

CONNECTING = 10.0  # seconds, the handshake included
WRITING = 10.0  # seconds that a server may leave data unacknowledged
LOOK_UP_AGAIN = 300.0  # seconds that the address of a name is believed, where nothing says no


def to_syslog(event: Event, source: str, host: str) -> bytes:
    """The whole message, `host` being the name of this machine."""
    name = re.sub(r"[^!-~]", "", host)[:255] or "-"
    head = f"<{FACILITY * 8 + SEVERITY}>1 {utc(event.at)} {name} pacsnode {os.getpid()}"
    text = f"{head} {MESSAGE_ID} - {BYTE_ORDER_MARK}{to_xml(event, source)}"
    return text.encode("utf-8", "replace")


class UdpSyslog:
    """A sink that tells a dead server only where the network says so. For one thread."""

    def __init__(self, host: str, port: int) -> None:
        self._address = host, port
        self._socket: socket.socket | None = None
        self._opened_at = 0.0

    def __str__(self) -> str:
        return "syslog server {}, port {} (UDP)".format(*self._address)

    def send(self, messages: Sequence[bytes]) -> int:
        """A datagram each. Raises OSError."""
        if self._socket is None or time.monotonic() - self._opened_at > LOOK_UP_AGAIN:
            self.close()
            self._socket = self._open()
            self._opened_at = time.monotonic()
        for number, message in enumerate(messages):
            try:
                self._send(self._socket, message)
            except OSError:
                self.close()
                if not number:
                    raise
                return number
        return len(messages)

    def _send(self, opened: socket.socket, message: bytes) -> None:
        opened.send(message)
        # On this machine, or the next, refusal is known by now.
        if fault := opened.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(fault, os.strerror(fault))

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _open(self) -> socket.socket:
        host, port = self._address
        with _naming(host):
            found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
        for family, kind, protocol, _, address in found:
            made = socket.socket(family, kind, protocol)
            try:
                made.connect(address)
            except OSError:
                made.close()
                continue
            return made
        raise OSError(errno.EHOSTUNREACH, os.strerror(errno.EHOSTUNREACH))


class TlsSyslog:
    """A sink that has taken a message when the server's machine has acknowledged it: no connection
    that breaks loses one, though it may bring some twice. For one thread."""

    def __init__(
        self, host: str, port: int, context: Callable[[], ssl.SSLContext], *, has_ca: bool
    ) -> None:
        """`context` is made anew for each connection: certificates may have been renewed. `has_ca`
        says whether its settings name authorities."""
        self._host, self._port = host, port
        self._context = context
        self._has_ca = has_ca
        self._socket: ssl.SSLSocket | None = None

    def __str__(self) -> str:
        return f"syslog server {self._host}, port {self._port} (TLS)"

    def send(self, messages: Sequence[bytes]) -> int:
        """All of them. Raises OSError, of which ssl.SSLError is one."""
        try:
            if self._socket is not None and _is_closed(self._socket):
                self._drop()
            self._socket = self._socket or self._connect()
            self._socket.sendall(b"".join(map(_frame, messages)))
            _wait_for_acknowledgement(self._socket)
        except OSError:
            self._drop()
            raise
        return len(messages)

    def close(self) -> None:
        if self._socket is not None:
            with suppress(OSError):
                self._socket.settimeout(1)
                self._socket.unwrap()
            self._drop()

    def _drop(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _connect(self) -> ssl.SSLSocket:
        with _naming(self._host):
            plain = socket.create_connection((self._host, self._port), CONNECTING)
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if sys.platform == "linux":
                option = socket.TCP_USER_TIMEOUT
                plain.setsockopt(socket.IPPROTO_TCP, option, int(WRITING * 1000))
            secured = self._context().wrap_socket(plain, server_hostname=self._host)
        except (ssl.SSLError, ConfigurationError) as error:
            plain.close()
            raise OSError(errno.EPROTO, self._explain(error)) from error
        except BaseException:
            plain.close()
            raise
        secured.settimeout(WRITING)
        return secured

    def _explain(self, error: ssl.SSLError | ConfigurationError) -> str:
        if isinstance(error, ssl.SSLError):
            return server_fault(error, TLS_SETTINGS, self._host, has_ca=self._has_ca)
        return str(error)


@contextmanager
def _naming(host: str) -> Iterator[None]:
    """Where a name is looked up that may be no name at all."""
    try:
        yield
    except UnicodeError as error:
        raise OSError(errno.EINVAL, f"{host!r} is no name of a host") from error


def _frame(message: bytes) -> bytes:
    """Its length before it (RFC 5425 4.3.1)."""
    return b"%d %b" % (len(message), message)


def _is_closed(connection: ssl.SSLSocket) -> bool:
    """A server has nothing to say: what it says is that it closes."""
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
        return False
    except OSError:
        return True
    finally:
        connection.settimeout(WRITING)


def _wait_for_acknowledgement(connection: ssl.SSLSocket) -> None:
    """Until the other machine has all that was sent. Raises OSError where it does not take it."""
    deadline, pause = time.monotonic() + WRITING, 0.001
    while _unacknowledged(connection):
        if time.monotonic() >= deadline:
            raise TimeoutError(errno.ETIMEDOUT, "it does not acknowledge what it is sent")
        time.sleep(pause)  # of this there is no event
        pause = min(pause * 2, 0.02)


def _unacknowledged(connection: ssl.SSLSocket) -> int:
    """Bytes that are sent, or wait to be, and not acknowledged; 0 where the system does not say.
    Raises OSError where the connection is broken."""
    if fault := connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
        raise OSError(fault, os.strerror(fault))
    if sys.platform != "linux":
        return 0
    answer = fcntl.ioctl(connection, termios.TIOCOUTQ, struct.pack("i", 0))
    return int(struct.unpack("i", answer)[0])
