"""The way to a peer, gone step by step so that each can be told of; and a look around where one of
them fails. Nothing is sent on it but what a request for an association takes."""

import select
import socket
import ssl
import struct
import time
from contextlib import suppress
from typing import Any

from pacsnode import tls
from pacsnode.config.subject import subject_text
from pacsnode.dicom.message import Peer, Tick, no_tick
from pacsnode.dicom.part10 import IMPLEMENTATION_CLASS_UID
from pacsnode.dicom.route import Reached, Secured, Shown
from pacsnode.errors import PacsnodeError
from pacsnode.net import handshake
from pacsnode.net.dial import dial, look_up, open_connection, secure
from pacsnode.net.transport import ASSOCIATE_RQ, SLICE

LOOK_AROUND = 5.0  # seconds for each look around
FIRST_WORDS = 64  # bytes

_APPLICATION_CONTEXT = b"1.2.840.10008.3.1.1.1"
_VERIFICATION, _IMPLICIT_VR = b"1.2.840.10008.1.1", b"1.2.840.10008.1.2"


class DialledRoute:
    """A dicom.route.Route. `seconds` are for each of name, TCP and TLS."""

    def __init__(
        self, peer: Peer, seconds: float, outgoing: tls.Outgoing, tick: Tick = no_tick
    ) -> None:
        self._peer = peer
        self._seconds = seconds
        self._outgoing = outgoing
        self._tick = tick
        self._addresses: list[Any] = []
        self._client: socket.socket | None = None

    def look_up(self) -> tuple[str, ...]:
        self._addresses = look_up(self._peer, self._seconds, self._tick)
        return self.addresses

    @property
    def addresses(self) -> tuple[str, ...]:
        """The peer's, as far as they have been looked up."""
        return tuple(dict.fromkeys(str(address[0]) for *_, address in self._addresses))

    def reach(self) -> Reached:
        began = time.monotonic()
        client = open_connection(self._peer, self._addresses, began + self._seconds, self._tick)
        self._client = client
        seconds = time.monotonic() - began
        with suppress(OSError):  # closed again already
            self._prefer(client.getpeername())
            address, port = client.getpeername()[:2]
            return Reached(address, port, client.getsockname()[0], seconds)
        return Reached(str(self._addresses[0][4][0]), self._peer.port, "", seconds)

    def _prefer(self, reached: Any) -> None:
        """What is asked for later is about the address that answered."""
        self._addresses.sort(key=lambda one: one[4] != reached)

    def secure(self) -> Secured:
        settings = self._peer.tls
        assert settings is not None and self._client is not None  # noqa: S101, PT018
        context = self._outgoing.context(settings, handshake.where(self._peer))
        deadline = time.monotonic() + self._seconds
        client, self._client = self._client, None
        secured = secure(client, context, deadline, self._tick, self._peer)
        self._client = secured
        return Secured(secured.version() or "TLS", _cipher(secured), _shown(secured))

    def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def own_addresses(self) -> tuple[str, ...]:
        own: dict[str, None] = {}
        for family, _, _, _, address in self._addresses:
            with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect(address)  # which sends nothing
                own[str(probe.getsockname()[0])] = None
        return tuple(own)

    def certificate(self) -> Shown | None:
        with suppress(PacsnodeError, OSError), self._trusting() as client:
            return _shown(client)
        return None

    def speaks_tls(self) -> bool:
        try:
            self._trusting().close()
        except PacsnodeError as error:
            # Whoever ends TLS by an alert speaks it.
            cause = error.__cause__
            return isinstance(cause, OSError) and tls.alert(cause) is not None
        except OSError:
            return False
        return True

    def _trusting(self) -> ssl.SSLSocket:
        """A connection over TLS, whoever answers: to look at it, and to say nothing."""
        deadline = time.monotonic() + min(self._seconds, LOOK_AROUND)
        client = open_connection(self._peer, self._addresses, deadline, self._tick)
        return secure(client, tls.trusting_context(), deadline, self._tick, self._peer)

    def first_words(self) -> bytes | None:
        seconds = min(self._seconds, LOOK_AROUND)
        try:
            with dial(self._peer, seconds, self._tick, self._outgoing) as client:
                client.settimeout(None)
                client.setblocking(False)
                return self._ask(client, time.monotonic() + seconds)
        except (PacsnodeError, OSError):
            return b""

    def _ask(self, client: socket.socket, deadline: float) -> bytes | None:
        """Raises OSError."""
        client.send(_request(self._peer))
        poll = select.poll()
        poll.register(client, select.POLLIN)
        while (left := deadline - time.monotonic()) > 0:
            if poll.poll(min(left, SLICE) * 1000):
                with suppress(ssl.SSLWantReadError):
                    return client.recv(FIRST_WORDS)
            self._tick()
        return None


def _cipher(client: ssl.SSLSocket) -> str:
    cipher = client.cipher()
    return cipher[0] if cipher is not None else "no cipher"


def _shown(client: ssl.SSLSocket) -> Shown | None:
    der = client.getpeercert(binary_form=True)
    if der is None:
        return None
    try:
        read = tls.read_certificate(der)
    except ValueError:
        return None
    return Shown(
        subject_text(read.subject),
        subject_text(read.issuer),
        read.not_before,
        read.not_after,
        read.hosts,
    )


def _request(peer: Peer) -> bytes:
    """A plain A-ASSOCIATE-RQ for Verification (PS3.8 9.3.2), and an empty line after it: what waits
    for lines of text, a web server perhaps, then says what it thinks of it."""
    titles = (title.encode("latin-1", "replace")[:16].ljust(16) for title in _titles(peer))
    context = b"\1\0\0\0" + _item(0x30, _VERIFICATION) + _item(0x40, _IMPLICIT_VR)
    user = _item(0x51, struct.pack(">L", 16384)) + _item(0x52, IMPLEMENTATION_CLASS_UID.encode())
    items = _item(0x10, _APPLICATION_CONTEXT) + _item(0x20, context) + _item(0x50, user)
    body = struct.pack(">HH", 1, 0) + b"".join(titles) + bytes(32) + items
    return struct.pack(">BxL", ASSOCIATE_RQ, len(body)) + body + b"\r\n\r\n"


def _titles(peer: Peer) -> tuple[str, str]:
    return peer.ae_title, peer.calling_ae_title


def _item(kind: int, content: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(content)) + content
