"""Connections handed from one process to another."""

import resource
import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from pacsnode.config.model import Listen, ServerTLS
from pacsnode.errors import ConfigurationError
from pacsnode.net.doorway import Addresses, Arrival, HandedOver, ListeningSockets, hand_over

ADDRESSES = Addresses(("127.0.0.1", 104), ("127.0.0.1", 2762))


@pytest.fixture
def channel() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        yield ours, theirs


@pytest.fixture
def ended() -> list[int]:
    return []


@pytest.fixture
def doorway(channel: tuple[socket.socket, socket.socket], ended: list[int]) -> HandedOver:
    return HandedOver(channel[1], ADDRESSES, lambda: ended.append(1))


def test_connections_arrive_with_their_numbers_in_order(
    channel: tuple[socket.socket, socket.socket], doorway: HandedOver
) -> None:
    assert doorway.addresses == ADDRESSES
    for number, is_tls in ((7, False), (1 << 40, True)):
        peer, client = socket.socketpair()
        with peer, client:
            hand_over(channel[0], Arrival(client, number, is_tls))
        taken = doorway.take() or pytest.fail("nothing came")
        with taken.client:
            assert (taken.number, taken.is_tls) == (number, is_tls)
            assert not taken.client.get_inheritable()


def test_a_connection_is_the_very_one_that_was_accepted(
    channel: tuple[socket.socket, socket.socket], doorway: HandedOver
) -> None:
    listening = ListeningSockets(Listen(host="127.0.0.1", port=0))
    with socket.create_connection(listening.addresses.plain or ()) as peer:
        arrival = listening.take()
        with arrival.client:
            hand_over(channel[0], arrival)
        listening.close()
        taken = doorway.take() or pytest.fail("nothing came")
        with taken.client:
            taken.client.sendall(b"hello")
            assert peer.recv(5) == b"hello"
            assert taken.client.getpeername() == peer.getsockname()
        assert peer.recv(1) == b""


def test_nothing_yet_blocks_and_a_closed_channel_is_the_end(
    channel: tuple[socket.socket, socket.socket], doorway: HandedOver
) -> None:
    with pytest.raises(BlockingIOError):
        doorway.take()
    channel[0].close()
    assert doorway.take() is None


def test_a_process_that_does_not_keep_up_is_told_to_whoever_hands_over(
    channel: tuple[socket.socket, socket.socket],
) -> None:
    peer, client = socket.socketpair()

    def hand_over_many() -> None:
        for number in range(100_000):
            hand_over(channel[0], Arrival(client, number, False))

    with peer, client, pytest.raises(BlockingIOError):
        hand_over_many()


def test_a_connection_lost_for_lack_of_descriptors_is_counted_as_ended(
    channel: tuple[socket.socket, socket.socket], doorway: HandedOver, ended: list[int]
) -> None:
    peer, client = socket.socketpair()
    with peer, client:
        hand_over(channel[0], Arrival(client, 1, False))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    held: list[socket.socket] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, limits[1]))
    try:
        with suppress(OSError):
            while True:
                held.append(socket.socket())
        with pytest.raises(OSError, match="lost on its way"):
            doorway.take()
    finally:
        for each in held:
            each.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert ended == [1]


def test_numbers_start_at_1_and_ends_are_told(doorway: HandedOver, ended: list[int]) -> None:
    listening = ListeningSockets(Listen(host="127.0.0.1", port=0))
    for expected in (1, 2):
        with socket.create_connection(listening.addresses.plain or ()):
            arrival = listening.take()
            arrival.client.close()
            assert arrival.number == expected
    listening.ended()
    listening.close()
    doorway.ended()
    assert ended == [1]


def test_both_doors_are_open_and_neither_keeps_the_other_shut() -> None:
    tls = ServerTLS(port=0, certificate=Path("x"), require_client_certificate=False)
    listening = ListeningSockets(Listen(host="127.0.0.1", port=0, tls=tls))
    with ExitStack() as stack:
        stack.callback(listening.close)
        for address, count in ((listening.addresses.plain, 5), (listening.addresses.tls, 2)):
            for _ in range(count):
                stack.enter_context(socket.create_connection(address or ()))
        poll = select.poll()
        poll.register(listening, select.POLLIN)
        doors = []
        while poll.poll(0):
            arrival = listening.take()
            arrival.client.close()
            doors.append(arrival.is_tls)
        assert sorted(doors) == [False] * 5 + [True] * 2
        assert sum(doors[:4]) == 2
        with pytest.raises(BlockingIOError):
            listening.take()


def test_tls_alone() -> None:
    tls = ServerTLS(port=0, certificate=Path("x"), require_client_certificate=False)
    listening = ListeningSockets(Listen(host="::1", port=None, tls=tls))
    assert listening.addresses.plain is None
    assert listening.addresses.tls is not None
    with socket.create_connection(listening.addresses.tls):
        arrival = listening.take()
        arrival.client.close()
        assert arrival.is_tls
    listening.close()


def test_a_tls_port_in_use_is_told_by_its_own_key() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        tls = ServerTLS(port=port, certificate=Path("x"), require_client_certificate=False)
        with pytest.raises(ConfigurationError, match=r"choose another listen\.tls\.port"):
            ListeningSockets(Listen(host="127.0.0.1", port=0, tls=tls))
