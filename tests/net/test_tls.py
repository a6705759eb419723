"""Connections over TLS that come in: who is taken, who is refused, and what the log says of it."""

import logging
import select
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest

from pacsnode import net
from pacsnode.config.model import Listen, ServerTLS, Timeouts
from pacsnode.dicom import status
from pacsnode.dicom.message import Answer
from pacsnode.net.complaints import MOST
from pacsnode.net.listener import Listener
from pacsnode.tls import server_context
from tests.authority import Authority
from tests.net import raw
from tests.net.conftest import ScriptedHandler
from tests.net.raw import CT, IMPLICIT, VERIFICATION, RawPeer
from tests.net.test_acceptor import wait_until_nobody_is_served

ECHO_CONTEXT = (1, VERIFICATION, [IMPLICIT])
CT_CONTEXT = (1, CT, [IMPLICIT])
LATER = 20.0

Serve = Callable[..., Listener]
Dial = Callable[..., RawPeer]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def certificate(authority: Authority) -> Path:
    return authority.issue("ct1")


@pytest.fixture
def serve(handler: ScriptedHandler, authority: Authority) -> Iterator[Serve]:
    """Starts a listener with a plain port and one for TLS; keywords are time-outs."""
    listeners = []

    def start(tls: ServerTLS | None = None, **timeouts: float) -> Listener:
        tls = tls or authority.server()
        listener = net.listen(
            handler,
            ae_title="PACSNODE",
            settings=Listen(host="127.0.0.1", port=0, tls=tls),
            timeouts=Timeouts(**timeouts),
            secure=server_context(tls),
        )
        listener.start()
        listeners.append(listener)
        return listener

    yield start
    for listener in listeners:
        if listener.is_alive:
            listener.stop(0)


def client(
    authority: Authority, certificate: Path | None, version: ssl.TLSVersion | None = None
) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(authority.file)
    if certificate is not None:
        context.load_cert_chain(certificate)
    if version is not None:
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = version
    return context


def secure_address(listener: Listener) -> tuple[str, int]:
    assert listener.addresses.tls is not None
    return listener.addresses.tls


@pytest.fixture
def dial(authority: Authority, certificate: Path) -> Iterator[Dial]:
    """A peer over TLS, by default with a certificate of the authority."""
    peers = []

    def connect(listener: Listener, context: ssl.SSLContext | None = None) -> RawPeer:
        context = context or client(authority, certificate)
        plain = socket.create_connection(secure_address(listener), LATER)
        peer = RawPeer.over(context.wrap_socket(plain, server_hostname="127.0.0.1"))
        peers.append(peer)
        return peer

    yield connect
    for peer in peers:
        peer.close()


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def echoes(peer: RawPeer) -> bool:
    peer.associate(ECHO_CONTEXT)
    peer.send(raw.echo_rq())
    return peer.response()[0] == status.SUCCESS


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_an_association_over_tls_knows_whose_it_is(
    serve: Serve,
    dial: Dial,
    handler: ScriptedHandler,
    authority: Authority,
    certificate: Path,
    version: ssl.TLSVersion,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    listener = serve()
    peer = dial(listener, client(authority, certificate, version))
    assert echoes(peer)
    (caller,) = handler.callers
    assert caller.is_tls
    assert caller.certificate_subject is not None
    assert caller.certificate_subject[0] == ("CN", "ct1")
    assert ("O", "Hospital") in caller.certificate_subject
    peer.send(raw.pdu(raw.RELEASE_RQ))
    answer = peer.receive()
    assert answer is not None
    assert answer[0] == raw.RELEASE_RP
    peer.close()  # without TLS's own goodbye, as most do
    wait_until_nobody_is_served(listener)
    assert "RAW from 127.0.0.1 over TLS, called PACSNODE: released" in caplog.text
    assert warnings(caplog) == []


def test_beside_it_the_plain_port_is_served(serve: Serve, handler: ScriptedHandler) -> None:
    peer = RawPeer(serve().address)
    assert echoes(peer)
    peer.close()
    assert not handler.callers[0].is_tls
    assert handler.callers[0].certificate_subject is None


def test_a_certificate_may_be_shown_where_none_is_demanded(
    serve: Serve, dial: Dial, handler: ScriptedHandler, authority: Authority, certificate: Path
) -> None:
    listener = serve(authority.server(require_client_certificate=False))
    assert echoes(dial(listener, client(authority, None)))
    assert echoes(dial(listener, client(authority, certificate)))
    assert [caller.is_tls for caller in handler.callers] == [True, True]
    assert handler.callers[0].certificate_subject is None
    assert handler.callers[1].certificate_subject is not None


def test_what_nobody_has_looked_at_is_nobodys_subject(
    serve: Serve, dial: Dial, handler: ScriptedHandler, authority: Authority, tmp_path: Path
) -> None:
    listener = serve(authority.server(require_client_certificate=False, client_ca=None))
    foreign = Authority(tmp_path, "clinic").issue("ct1")
    assert echoes(dial(listener, client(authority, foreign)))
    assert handler.callers[0].certificate_subject is None


def _plain_request(address: tuple[str, int], *_: object) -> None:
    peer = RawPeer(address)
    peer.send(raw.associate_rq([ECHO_CONTEXT]))
    assert peer.receive() is None
    peer.close()


def _browser(address: tuple[str, int], *_: object) -> None:
    peer = RawPeer(address)
    peer.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert peer.receive() is None
    peer.close()


def _garbled(address: tuple[str, int], *_: object) -> None:
    peer = RawPeer(address)
    peer.send(b"\x16\x03\x01\x00\x05hello")
    while peer.socket.recv(100):  # an alert
        continue
    peer.close()


def _leaving(address: tuple[str, int], *_: object) -> None:
    peer = RawPeer(address)
    peer.send(client_hello()[:100])
    peer.socket.shutdown(socket.SHUT_WR)
    while peer.socket.recv(100):  # until the node has seen it
        pass
    peer.close()


def _refused(address: tuple[str, int], context: ssl.SSLContext, expected: str) -> None:
    """The client is told why, whatever it has sent by then."""
    plain = socket.create_connection(address, LATER)

    def ask() -> None:
        with context.wrap_socket(plain, server_hostname="127.0.0.1") as secured:
            secured.sendall(raw.associate_rq([ECHO_CONTEXT]))
            secured.recv(100)

    with plain, pytest.raises(ssl.SSLError, match=expected):
        ask()


def _expired(address: tuple[str, int], authority: Authority, *_: object) -> None:
    _refused(address, client(authority, authority.expired()), "(?i)certificate.expired")


def _foreign(address: tuple[str, int], authority: Authority, folder: Path) -> None:
    certificate = Authority(folder, "clinic").issue("ct1")
    _refused(address, client(authority, certificate), "(?i)unknown.ca")


def _without(address: tuple[str, int], authority: Authority, *_: object) -> None:
    _refused(address, client(authority, None), "(?i)certificate.required")


def _without_over_1_2(address: tuple[str, int], authority: Authority, *_: object) -> None:
    context = client(authority, None, ssl.TLSVersion.TLSv1_2)
    _refused(address, context, "(?i)handshake.failure")


def _too_old(address: tuple[str, int], authority: Authority, *_: object) -> None:
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context = client(authority, None, ssl.TLSVersion.TLSv1_1)
    _refused(address, context, "(?i)protocol.version")


def _weak_suites(address: tuple[str, int], authority: Authority, *_: object) -> None:
    context = client(authority, None, ssl.TLSVersion.TLSv1_2)
    context.set_ciphers("AES128-SHA:@SECLEVEL=0")
    _refused(address, context, "(?i)handshake.failure")


def _mistrusting(address: tuple[str, int], _: Authority, folder: Path) -> None:
    context = client(Authority(folder, "clinic"), None)
    _refused(address, context, "(?i)certificate.verify.failed")


REFUSED = {
    "a plain client": (_plain_request, "it asks for an association in the clear"),
    "a browser": (_browser, "it speaks neither TLS nor DICOM"),
    "a garbled handshake": (_garbled, "the TLS handshake failed: "),
    "a client that leaves": (_leaving, "it left during the TLS handshake"),
    "an expired certificate": (_expired, "its certificate, or one above it, has expired"),
    "a foreign certificate": (_foreign, "is of no authority in listen.tls.client_ca"),
    "no certificate": (_without, "which listen.tls.require_client_certificate demands"),
    "no certificate, TLS 1.2": (_without_over_1_2, "listen.tls.require_client_certificate"),
    "an old protocol": (_too_old, "it offers no version of TLS from 1.2 on"),
    "old cipher suites": (_weak_suites, "it offers none of what is taken: TLS 1.3, or TLS 1.2"),
    "one who mistrusts us": (_mistrusting, "it refuses the node's certificate, listen.tls.certi"),
}


@pytest.mark.parametrize(("attempt", "reason"), REFUSED.values(), ids=REFUSED)
def test_who_cannot_be_taken_is_refused_in_one_line_that_says_why(
    serve: Serve,
    dial: Dial,
    handler: ScriptedHandler,
    authority: Authority,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    attempt: Callable[..., None],
    reason: str,
) -> None:
    listener = serve()
    neighbour = dial(listener)
    assert echoes(neighbour)
    attempt(secure_address(listener), authority, tmp_path)
    neighbour.send(raw.echo_rq())
    assert neighbour.response()[0] == status.SUCCESS
    neighbour.close()
    wait_until_nobody_is_served(listener)
    (line,) = warnings(caplog)
    assert line.startswith("connection from 127.0.0.1: no association, TLS: ")
    assert reason in line
    assert len(handler.callers) == 1


def test_tls_on_the_plain_port_is_told_from_nonsense(
    serve: Serve, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    listener = serve()
    plain = socket.create_connection(listener.address, LATER)
    with pytest.raises(ssl.SSLError), plain:
        client(authority, None).wrap_socket(plain, server_hostname="127.0.0.1")
    wait_until_nobody_is_served(listener)
    (line,) = warnings(caplog)
    assert line == (
        "connection from 127.0.0.1: no association, the peer speaks TLS, and this connection is "
        "plain: listen.tls.port"
    )


@pytest.mark.parametrize("secure", [False, True])
def test_a_port_probe_is_worth_no_line(
    serve: Serve, caplog: pytest.LogCaptureFixture, secure: bool
) -> None:
    caplog.set_level(logging.INFO)
    listener = serve()
    for _ in range(3):
        address = secure_address(listener) if secure else listener.address
        socket.create_connection(address, LATER).close()
        rude = socket.create_connection(address, LATER)
        rude.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        rude.close()  # with a reset
    wait_until_nobody_is_served(listener)
    assert caplog.records == []


def client_hello() -> bytes:
    """The first message of a handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    connection = context.wrap_bio(incoming, outgoing, server_hostname="x")
    with pytest.raises(ssl.SSLWantReadError):
        connection.do_handshake()
    return outgoing.read()


@pytest.mark.parametrize("sent", [0, 1, 100, None], ids=["nothing", "a byte", "half", "a hello"])
def test_a_handshake_that_stalls_is_given_up_while_others_are_served(
    serve: Serve, dial: Dial, caplog: pytest.LogCaptureFixture, sent: int | None
) -> None:
    listener = serve(acse=0.5)
    stalled = RawPeer(secure_address(listener))
    stalled.send(client_hello()[:sent])
    assert echoes(dial(listener))
    while stalled.socket.recv(4096):  # the server's part of the handshake, perhaps an alert
        continue
    stalled.close()
    (line,) = warnings(caplog)
    assert "it stalled in the TLS handshake" in line or (not sent and "said nothing" in line)


def test_a_handshake_a_byte_at_a_time_is_given_up(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    listener = serve(acse=0.5)
    slow = RawPeer(secure_address(listener))
    ended = threading.Event()

    def trickle() -> None:
        try:
            for byte in client_hello():
                slow.send(bytes([byte]))
                if ended.wait(0.05):
                    return
        except OSError:
            return

    thread = threading.Thread(target=trickle)
    thread.start()
    assert slow.receive() is None
    ended.set()
    thread.join()
    slow.close()
    wait_until_nobody_is_served(listener)
    assert "stalled in the TLS handshake" in caplog.text


def test_a_handshake_does_not_outlive_a_stop(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    listener = serve()
    peer = RawPeer(secure_address(listener))
    peer.send(client_hello()[:50])
    while listener.waiting == 0:
        continue
    listener.stop(LATER)
    assert listener.associations == 0
    peer.close()
    assert warnings(caplog) == []


def test_an_idle_association_over_tls_is_aborted_when_the_node_stops(
    serve: Serve, dial: Dial
) -> None:
    listener = serve()
    peer = dial(listener)
    assert echoes(peer)
    stopper = threading.Thread(target=listener.stop, args=(LATER,))
    stopper.start()
    peer.expect_abort()
    stopper.join(LATER)
    assert not stopper.is_alive()


def test_a_store_under_way_over_tls_is_finished_when_the_node_stops(
    serve: Serve, dial: Dial, handler: ScriptedHandler
) -> None:
    listener = serve()
    peer = dial(listener)
    peer.associate(CT_CONTEXT)
    peer.send(raw.store_rq() + raw.pdu(raw.P_DATA, raw.pdv(1, 0, b"first half, ")))
    assert handler.fragment_came.wait(LATER)
    stopper = threading.Thread(target=listener.stop, args=(LATER,))
    stopper.start()
    while listener.is_alive:
        continue
    peer.send(raw.pdu(raw.P_DATA, raw.pdv(1, 2, b"second half")))
    assert peer.response()[0] == status.SUCCESS
    peer.expect_abort()
    stopper.join(LATER)
    assert not stopper.is_alive()
    assert handler.stored == [b"first half, second half"]


def test_a_changed_certificate_is_for_new_associations(
    serve: Serve, dial: Dial, authority: Authority, certificate: Path, tmp_path: Path
) -> None:
    listener = serve()
    before = dial(listener)
    assert echoes(before)
    renewed = Authority(tmp_path, "renewed")
    listener.secure(server_context(renewed.server(client_ca=authority.file)))
    after = dial(listener, client(renewed, certificate))
    assert echoes(after)
    with pytest.raises(ssl.SSLCertVerificationError):
        dial(listener)
    before.send(raw.echo_rq())
    assert before.response()[0] == status.SUCCESS


def test_a_fault_with_one_connection_ends_no_others(
    serve: Serve, dial: Dial, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    listener = serve()
    listener.secure(cast("ssl.SSLContext", object()))
    with socket.create_connection(secure_address(listener), LATER) as victim:
        assert victim.recv(1) == b""
    listener.secure(server_context(authority.server()))
    assert echoes(dial(listener))
    assert "connection: unexpected fault" in caplog.text


def test_an_unwelcome_host_is_turned_away_before_a_byte_is_read(
    serve: Serve, dial: Dial, handler: ScriptedHandler, caplog: pytest.LogCaptureFixture
) -> None:
    listener = serve()
    handler.unwelcome.add("127.0.0.1")
    for address in [listener.address, secure_address(listener)] * MOST:
        peer = RawPeer(address)
        assert peer.receive() is None
        peer.close()
    assert (
        warnings(caplog)
        == ["connection from 127.0.0.1: closed: not of a network in access.networks"] * MOST
    )
    handler.unwelcome.clear()
    assert echoes(dial(listener))


def test_tls_is_ended_in_order(serve: Serve, dial: Dial) -> None:
    peer = dial(serve())
    assert isinstance(peer.socket, ssl.SSLSocket)
    peer.socket.suppress_ragged_eofs = False  # an end without close_notify would raise
    peer.send(raw.associate_rq([ECHO_CONTEXT], version=2))
    assert (peer.receive() or (0,))[0] == raw.RJ
    plain = peer.socket.unwrap()  # the node lingers until it is told so
    assert plain.recv(1) == b""
    plain.close()


def test_large_datasets_go_both_ways_over_one_association(
    serve: Serve, dial: Dial, handler: ScriptedHandler
) -> None:
    big = bytes(range(256)) * 4096 * 4  # 4 MiB
    handler.find = lambda _: iter([Answer(status.PENDING, identifier=big)] * 3)
    peer = dial(serve())
    peer.associate((1, raw.STUDY_FIND, [IMPLICIT]), (3, CT, [IMPLICIT]), max_pdu=131_072)
    fragments = [big[start : start + 100_000] for start in range(0, len(big), 100_000)]
    stream = raw.store_rq(3)
    for number, fragment in enumerate(fragments, 1):
        stream += raw.pdu(raw.P_DATA, raw.pdv(3, 2 * (number == len(fragments)), fragment))
    pdus = Exchange(peer.socket, raw.find_rq(7) + stream).pdus()
    received, answers = bytearray(), list[int]()
    while len(answers) < 5:
        for control, content in values_of(next(pdus)):
            if control & 1:
                answers.append(int.from_bytes(raw.read_command(content)[0x0900], "little"))
            else:
                received += content
    assert answers == [status.PENDING] * 3 + [status.SUCCESS] * 2
    assert bytes(received) == big * 3
    assert handler.stored == [big]


class Exchange:
    """Sends `data` as fast as the other side takes it, and reads meanwhile: in one thread, as an
    SSLSocket is not for two."""

    def __init__(self, connection: socket.socket, data: bytes) -> None:
        self._connection = connection
        self._unsent = memoryview(data)
        self._unread = bytearray()
        connection.setblocking(False)

    def pdus(self) -> Iterator[bytes]:
        """The contents of those that come."""
        while True:
            size = 6 + int.from_bytes(self._unread[2:6], "big")
            if len(self._unread) >= max(size, 6):
                yield bytes(self._unread[6:size])
                del self._unread[:size]
            elif not self._send() and not self._receive():
                writing = [self._connection] if self._unsent else []
                assert any(select.select([self._connection], writing, [], LATER))

    def _send(self) -> int:
        try:
            sent = self._connection.send(self._unsent) if self._unsent else 0
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return 0
        self._unsent = self._unsent[sent:]
        return sent

    def _receive(self) -> int:
        try:
            chunk = self._connection.recv(1 << 16)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return 0
        assert chunk
        self._unread += chunk
        return len(chunk)


def values_of(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Control bytes and fragments of a P-DATA-TF."""
    while content:
        length = int.from_bytes(content[:4], "big")
        yield content[5], content[6 : 4 + length]
        content = content[4 + length :]
