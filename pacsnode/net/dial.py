"""A connection to a peer: name, TCP and TLS as separate steps, each with its own words when it
fails."""

import errno
import os
import queue
import select
import socket
import ssl
import threading
import time
from typing import Any

from pacsnode.dicom.message import Peer, Tick
from pacsnode.errors import PeerUnreachable
from pacsnode.net import handshake
from pacsnode.net.transport import SLICE
from pacsnode.tls import Outgoing

# Of several addresses: a refusal says more of the host than silence, and silence more than that no
# road leads there, as none does to IPv6 addresses from many networks.
_WEIGHTS = {
    errno.ECONNREFUSED: 2,
    errno.EADDRNOTAVAIL: 0,
    errno.EAFNOSUPPORT: 0,
    errno.ENETUNREACH: 0,
    errno.EHOSTUNREACH: 0,
}


def dial(peer: Peer, seconds: float, tick: Tick, outgoing: Outgoing) -> socket.socket:
    """Connect to `peer`, over TLS where its settings say so: name, and then TCP and TLS, each
    within `seconds`. Raises PeerUnreachable; ConfigurationError where those settings' files cannot
    be used."""
    context = outgoing.context(peer.tls, handshake.where(peer)) if peer.tls is not None else None
    addresses = look_up(peer, seconds, tick)
    deadline = time.monotonic() + seconds
    client = open_connection(peer, addresses, deadline, tick)
    return client if context is None else secure(client, context, deadline, tick, peer)


def secure(
    client: socket.socket, context: ssl.SSLContext, deadline: float, tick: Tick, peer: Peer
) -> ssl.SSLSocket:
    """TLS on a connection, by `deadline` (time.monotonic). Raises PeerUnreachable, the connection
    being closed."""
    try:
        name = peer.host.encode("idna").decode("ascii")  # before the socket changes hands
        secured = context.wrap_socket(client, server_hostname=name, do_handshake_on_connect=False)
    except (OSError, ValueError) as error:  # reset already; a name that no certificate can have
        client.close()
        raise PeerUnreachable(f"{peer}: TLS: {error}", "tls") from error
    try:
        handshake.enter(secured, deadline, tick, peer)
    except BaseException:
        secured.close()
        raise
    return secured


def open_connection(peer: Peer, addresses: list[Any], deadline: float, tick: Tick) -> socket.socket:
    """TCP to the first of the peer's addresses that answers, all by `deadline`: each has its share
    of what is left, so that a silent one leaves time for the others. Raises PeerUnreachable, whose
    cause is the OSError that says most."""
    fault = OSError(errno.EADDRNOTAVAIL, "no address")
    for number, (family, kind, protocol, _, address) in enumerate(addresses):
        try:
            client = socket.socket(family, kind, protocol)
        except OSError as error:  # no descriptor left, or no IPv6 here
            fault = _more_telling(fault, error)
            continue
        now = time.monotonic()
        share = (deadline - now) / (len(addresses) - number)
        try:
            refusal = _try_address(client, address, now + share, tick)
        except BaseException:
            client.close()
            raise
        if refusal is None:
            return client
        client.close()
        fault = _more_telling(fault, refusal)
    reason = fault.strerror or str(fault)
    raise PeerUnreachable(f"{peer}: no TCP connection: {reason}", "tcp") from fault


def _more_telling(one: OSError, other: OSError) -> OSError:
    return max(other, one, key=lambda fault: _WEIGHTS.get(fault.errno or 0, 1))


def look_up(peer: Peer, seconds: float, tick: Tick) -> list[Any]:
    """The peer's addresses. Asking has no time limit of its own and cannot be broken off, so it
    gets a thread, which is left behind where the name service is silent for too long."""
    answers: queue.SimpleQueue[list[Any] | Exception] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(socket.getaddrinfo(peer.host, peer.port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            answers.put(error)

    try:
        threading.Thread(target=ask, name="name service", daemon=True).start()
    except RuntimeError as error:  # no thread to be had
        raise PeerUnreachable(f"{peer}: the name service was not asked: {error}", "name") from error
    deadline = time.monotonic() + seconds
    while True:
        left = deadline - time.monotonic()
        try:
            answer = answers.get(timeout=max(min(left, SLICE), 0))
        except queue.Empty:
            if left <= 0:
                raise PeerUnreachable(f"{peer}: the name service is silent", "name") from None
            tick()
            continue
        if isinstance(answer, Exception):
            reason = getattr(answer, "strerror", None) or str(answer)
            raise PeerUnreachable(f"{peer}: host name not found: {reason}", "name") from answer
        return answer


def _try_address(
    client: socket.socket, address: Any, deadline: float, tick: Tick
) -> OSError | None:
    """Connect; None when it stands, otherwise why it does not."""
    client.setblocking(False)
    code = client.connect_ex(address)
    if code == errno.EINPROGRESS:
        poll = select.poll()
        poll.register(client, select.POLLOUT)
        while not poll.poll(max(min(deadline - time.monotonic(), SLICE), 0) * 1000):
            if time.monotonic() >= deadline:
                return OSError(errno.ETIMEDOUT, "timed out")
            tick()
        code = client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    return OSError(code, os.strerror(code)) if code else None
