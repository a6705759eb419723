"""The TLS handshake on sockets that do not block, from either side, and what goes wrong with it."""

import select
import socket
import ssl
import time

from pacsnode import tls
from pacsnode.dicom.message import Peer, Tick, no_tick
from pacsnode.errors import AssociationLost, PeerTimeout, PeerUnreachable
from pacsnode.net.transport import ASSOCIATE_RQ, BLOCKED, SLICE

HANDSHAKE = 0x16  # what a connection over TLS begins with (RFC 8446 5.1)
PARTING = 1.0  # seconds that a peer gets to read why it was refused


class LeftAtOnce(AssociationLost):
    """The peer connected and closed without a word: a port probe. Never leaves this room."""


def admit(client: ssl.SSLSocket, deadline: float) -> None:
    """Be the server until `deadline` (time.monotonic). Raises LeftAtOnce, AssociationLost and
    PeerTimeout, with words that follow the client's name."""
    try:
        _listen_to(client, deadline)
        _shake_hands(client, deadline, no_tick)
    except TimeoutError as error:
        raise PeerTimeout("it stalled in the TLS handshake", "tls") from error
    except OSError as error:
        _part(client)
        raise AssociationLost(tls.client_fault(error), "tls") from error


def enter(client: ssl.SSLSocket, deadline: float, tick: Tick, peer: Peer) -> None:
    """Be the client of `peer` until `deadline`. Raises PeerUnreachable."""
    try:
        _shake_hands(client, deadline, tick)
    except TimeoutError as error:
        raise PeerUnreachable(
            f"{peer}: TLS: no answer in time: does it speak TLS ({where(peer)})?", "tls"
        ) from error
    except OSError as error:
        raise refused(peer, error) from error


def refused(peer: Peer, error: BaseException | None) -> PeerUnreachable:
    """What to say of a peer that TLS failed with. Over TLS 1.3 a server that refuses the client's
    certificate says so only after the handshake."""
    has_ca = peer.tls is not None and peer.tls.ca is not None
    if not isinstance(error, OSError):
        return PeerUnreachable(
            f"{peer}: TLS: it speaks nothing else: {where(peer)} is not set", "tls"
        )
    fault = tls.server_fault(error, where(peer), peer.host, has_ca=has_ca)
    return PeerUnreachable(f"{peer}: TLS: {fault}", "tls")


def subject_of(client: ssl.SSLSocket) -> tls.Subject | None:
    """That of the certificate that the client has shown, and that was found good; None where it
    has shown none, or none was asked for. Where it cannot be read it is nobody's."""
    der = client.getpeercert(binary_form=True)
    if der is None or client.context.verify_mode == ssl.CERT_NONE:
        return None
    try:
        return tls.read_certificate(der).subject
    except ValueError:
        return ()


def where(peer: Peer) -> str:
    """The key path of the settings for TLS with `peer`."""
    return f"modalities.{peer.name}.tls"


def _listen_to(client: ssl.SSLSocket, deadline: float) -> None:
    """Wait for the client's first byte, and look at it: OpenSSL's words for what is no TLS depend
    on its version."""
    if not _wait(client, select.POLLIN, deadline, no_tick):
        raise PeerTimeout("it has said nothing, where a TLS handshake is to begin", "tls")
    try:
        first = socket.socket.recv(client, 1, socket.MSG_PEEK)
    except ConnectionError:  # some probes end like that
        first = b""
    if not first:
        raise LeftAtOnce("it left without a word", "tls")
    if first[0] == ASSOCIATE_RQ:
        raise AssociationLost(
            "it asks for an association in the clear: that is for listen.port; here it is to use "
            "TLS",
            "tls",
        )
    if first[0] != HANDSHAKE:
        raise AssociationLost("it speaks neither TLS nor DICOM", "tls")


def _shake_hands(client: ssl.SSLSocket, deadline: float, tick: Tick) -> None:
    """Raises TimeoutError, OSError."""
    while True:
        try:
            client.do_handshake()
        except BLOCKED as blocked:
            writes = isinstance(blocked, ssl.SSLWantWriteError)
            if not _wait(client, select.POLLOUT if writes else select.POLLIN, deadline, tick):
                raise TimeoutError("the TLS handshake did not end in time") from blocked
        else:
            return


def _wait(client: ssl.SSLSocket, event: int, deadline: float, tick: Tick) -> bool:
    poll = select.poll()
    poll.register(client, event)
    while (left := deadline - time.monotonic()) > 0:
        if poll.poll(min(left, SLICE) * 1000):
            return True
        tick()
    return False


def _part(client: ssl.SSLSocket) -> None:
    """Let the client read the alert: it would be lost with an unread byte of the client's in the
    way (RFC 1122 4.2.2.13)."""
    deadline = time.monotonic() + PARTING
    try:
        socket.socket.shutdown(client, socket.SHUT_WR)
        while _wait(client, select.POLLIN, deadline, no_tick):
            if not socket.socket.recv(client, 65536):
                return
    except OSError:
        return
