"""Connections handed from one process to another."""

import resource
import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest

from pacsnode.config.model import Listen
from pacsnode.net.doorway import HandedOver, ListeningSocket, hand_over

ADDRESS = ("127.0.0.1", 104)


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
    return HandedOver(channel[1], ADDRESS, lambda: ended.append(1))


def test_connections_arrive_with_their_numbers_in_order(
    channel: tuple[socket.socket, socket.socket], doorway: HandedOver
) -> None:
    assert doorway.address == ADDRESS
    for number in (7, 1 << 40):
        peer, client = socket.socketpair()
        with peer, client:
            hand_over(channel[0], client, number)
        taken, told = doorway.take() or pytest.fail("nothing came")
        with taken:
            assert told == number
            assert not taken.get_inheritable()


def test_a_connection_is_the_very_one_that_was_accepted(
    channel: tuple[socket.socket, socket.socket], doorway: HandedOver
) -> None:
    listening = ListeningSocket(Listen(host="127.0.0.1", port=0))
    with socket.create_connection(listening.address) as peer:
        client, number = listening.take()
        with client:
            hand_over(channel[0], client, number)
        listening.close()
        taken, _ = doorway.take() or pytest.fail("nothing came")
        with taken:
            taken.sendall(b"hello")
            assert peer.recv(5) == b"hello"
            assert taken.getpeername() == peer.getsockname()
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
            hand_over(channel[0], client, number)

    with peer, client, pytest.raises(BlockingIOError):
        hand_over_many()


def test_a_connection_lost_for_lack_of_descriptors_is_counted_as_ended(
    channel: tuple[socket.socket, socket.socket], doorway: HandedOver, ended: list[int]
) -> None:
    peer, client = socket.socketpair()
    with peer, client:
        hand_over(channel[0], client, 1)
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
    listening = ListeningSocket(Listen(host="127.0.0.1", port=0))
    for expected in (1, 2):
        with socket.create_connection(listening.address):
            client, number = listening.take()
            client.close()
            assert number == expected
    listening.ended()
    listening.close()
    doorway.ended()
    assert ended == [1]
