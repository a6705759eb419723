"""The connection by itself: whole PDUs out of any stream of bytes, with TLS and without."""

import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from queue import Queue
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pacsnode.dicom.message import no_tick
from pacsnode.errors import AssociationLost, PeerTimeout
from pacsnode.net.transport import FIRST_BUFFER, SLICE, Connection
from tests.net.raw import P_DATA, pdu

SOON, LATER = 0.05, 20.0


class Waits:
    """Stands for a poll that is ready at the third time, and notes how long it was to wait."""

    def __init__(self) -> None:
        self.milliseconds: list[float] = []

    def poll(self, milliseconds: float) -> bool:
        self.milliseconds.append(milliseconds)
        return len(self.milliseconds) == 3


def test_the_thread_that_takes_signals_looks_for_them_while_it_waits() -> None:
    waits: Any = Waits()
    assert Connection._wait(waits, time.monotonic() + 600, no_tick)
    assert max(waits.milliseconds) <= SLICE * 1000


def test_every_other_thread_sleeps_until_something_comes() -> None:
    waits: Any = Waits()
    deadline = time.monotonic() + 600
    thread = threading.Thread(target=lambda: Connection._wait(waits, deadline, no_tick))
    thread.start()
    thread.join()
    assert min(waits.milliseconds) > SLICE * 1000


def context(protocol: int) -> ssl.SSLContext:
    """TLS without certificates: anonymous Diffie-Hellman."""
    made = ssl.SSLContext(protocol)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    made.maximum_version = ssl.TLSVersion.TLSv1_2
    made.set_ciphers("AECDH-AES128-SHA:@SECLEVEL=0")
    made.options |= ssl.OP_IGNORE_UNEXPECTED_EOF  # as pacsnode.tls has it
    return made


def encrypted(server: socket.socket, client: socket.socket) -> tuple[socket.socket, socket.socket]:
    wrapped: list[socket.socket] = []
    handshake = threading.Thread(
        target=lambda: wrapped.append(context(ssl.PROTOCOL_TLS_CLIENT).wrap_socket(client))
    )
    handshake.start()
    secured = context(ssl.PROTOCOL_TLS_SERVER).wrap_socket(server, server_side=True)
    handshake.join()
    return secured, wrapped[0]


Pair = tuple[Connection, socket.socket]


@pytest.fixture(params=["plain", "tls"])
def connect(request: pytest.FixtureRequest) -> Iterator[Callable[..., Pair]]:
    """A connection and its peer's end; keywords are those of Connection."""
    opened: list[socket.socket] = []

    def open_pair(*, max_pdu: int = 131072, network: float = LATER) -> Pair:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            theirs = socket.create_connection(listening.getsockname(), timeout=LATER)
            ours, _ = listening.accept()
        if request.param == "tls":
            ours, theirs = encrypted(ours, theirs)
        opened.extend((ours, theirs))
        layer = SimpleNamespace(event_queue=Queue(), to_provider_queue=Queue())
        association: Any = SimpleNamespace(dul=layer)
        return Connection(association, ours, max_pdu=max_pdu, network=network), theirs

    yield open_pair
    for each in opened:
        each.close()


def soon() -> float:
    return time.monotonic() + SOON


def later() -> float:
    return time.monotonic() + LATER


class Sender(threading.Thread):
    """Sends pieces, one after the other."""

    def __init__(self, peer: socket.socket, pieces: list[bytes]) -> None:
        super().__init__()
        self._peer = peer
        self._pieces = pieces
        self.start()

    def run(self) -> None:
        for piece in self._pieces:
            self._peer.sendall(piece)


def data_pdu(number: int, length: int) -> bytes:
    return pdu(P_DATA, struct.pack(">H", number) * (length // 2))


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30
)
@given(
    lengths=st.lists(
        st.one_of(st.integers(0, 100), st.sampled_from([16_384, 131_072])), min_size=1, max_size=12
    ),
    cuts=st.lists(st.integers(0, 400_000), max_size=8),
)
def test_pdus_come_out_whole_however_the_stream_is_cut(
    connect: Callable[..., Pair], lengths: list[int], cuts: list[int]
) -> None:
    connection, peer = connect()
    sent = [data_pdu(number, length) for number, length in enumerate(lengths)]
    stream = b"".join(sent)
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    sender = Sender(peer, [stream[a:b] for a, b in pairwise(edges)])
    for expected in sent:
        received = connection.read_pdu(later())
        assert received is not None
        assert received == expected
    sender.join()
    assert not connection.has_input()
    assert connection.read_pdu(soon()) is None


def test_the_buffer_grows_with_what_comes_and_not_with_what_is_announced(
    connect: Callable[..., Pair],
) -> None:
    connection, peer = connect(network=SOON)
    peer.sendall(data_pdu(1, 131_072)[:1000])
    with pytest.raises(PeerTimeout):
        connection.read_pdu(later())
    assert len(connection._buffer) == FIRST_BUFFER


def test_the_buffer_holds_no_more_than_two_pdus_and_a_little(connect: Callable[..., Pair]) -> None:
    connection, peer = connect()
    sender = Sender(peer, [data_pdu(number, 131_072) for number in range(200)])
    for number in range(200):
        assert connection.read_pdu(later()) == data_pdu(number, 131_072)
    sender.join()
    assert len(connection._buffer) in (8 * FIRST_BUFFER, 16 * FIRST_BUFFER)
    assert 16 * FIRST_BUFFER < 2.2 * 131_072


def test_input_is_there_once_it_has_come(connect: Callable[..., Pair]) -> None:
    connection, peer = connect()
    assert not connection.has_input()
    peer.sendall(data_pdu(1, 40) + data_pdu(2, 40))
    assert select.select([connection], [], [], LATER)[0]
    assert connection.has_input()
    assert connection.read_pdu(later()) == data_pdu(1, 40)
    assert connection.has_input()  # the second has been read, or decrypted, already
    assert connection.read_pdu(later()) == data_pdu(2, 40)
    assert not connection.has_input()


def test_what_tls_has_decrypted_counts_as_input(connect: Callable[..., Pair]) -> None:
    """One record may hold more than the buffer takes: the socket itself has nothing then."""
    connection, peer = connect()
    whole = b"".join(data_pdu(number, 5000) for number in range(9))
    sender = Sender(peer, [whole])
    sender.join()
    taken = 0
    while connection.has_input():
        assert connection.read_pdu(later()) == data_pdu(taken, 5000)
        taken += 1
    assert taken == 9


def test_all_is_sent_to_a_peer_that_is_slow_to_take_it(connect: Callable[..., Pair]) -> None:
    connection, peer = connect()
    data = bytes(range(256)) * 50_000
    received = bytearray()

    def drain() -> None:
        while len(received) < len(data):
            received.extend(peer.recv(65536))

    thread = threading.Thread(target=drain)
    thread.start()
    connection.send(data)
    thread.join()
    assert received == data


def test_a_peer_that_takes_nothing_is_given_up(connect: Callable[..., Pair]) -> None:
    connection, _peer = connect(network=SOON)
    with pytest.raises(PeerTimeout, match="taken nothing"):
        connection.send(bytes(50 << 20))


def test_the_peers_end_is_the_associations(connect: Callable[..., Pair]) -> None:
    connection, peer = connect()
    peer.close()
    with pytest.raises(AssociationLost):
        connection.read_pdu(later())


def test_a_reader_is_woken(connect: Callable[..., Pair]) -> None:
    connection, peer = connect()
    threading.Timer(SOON, connection.wake).start()
    with pytest.raises(AssociationLost):
        connection.read_pdu(later())
    connection.send(b"A-ABORT")
    assert peer.recv(100) == b"A-ABORT"


def test_a_severed_connection_sends_nothing_more(connect: Callable[..., Pair]) -> None:
    connection, _peer = connect()
    connection.sever()
    with pytest.raises(AssociationLost):
        connection.send(bytes(100))


@pytest.mark.parametrize(
    ("blocked", "event"),
    [
        (ssl.SSLWantReadError(), select.POLLIN),
        (ssl.SSLWantWriteError(), select.POLLOUT),
        (BlockingIOError(), None),
    ],
)
def test_tls_says_what_it_waits_for(
    connect: Callable[..., Pair], blocked: OSError, event: int | None
) -> None:
    connection, _peer = connect()
    for usual in (select.POLLIN, select.POLLOUT):
        poll = connection._poll(blocked, usual)
        ready = [found for _, found in poll.poll(0)]
        # Nothing has come, and there is room to send.
        assert ready == ([select.POLLOUT] if (event or usual) == select.POLLOUT else [])
