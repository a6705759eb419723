"""Recorded requests said again, and peers that take them in odd ways."""

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pacsnode.config.model import Timeouts
from pacsnode.dicom.message import Answer, Caller, FindRequest, Peer, Rejection
from pacsnode.errors import AssociationLost, PeerTimeout, PeerUnreachable
from pacsnode.net import command as commands
from pacsnode.net.listener import Listener
from pacsnode.net.replaying import ReplayedAssociation
from tests.net import raw
from tests.net.conftest import ScriptedHandler
from tests.net.raw import IMPLICIT, STUDY_FIND, VERIFICATION

Play = Callable[[Callable[[socket.socket], None]], tuple[str, int]]
REQUEST = raw.associate_rq(
    [(7, VERIFICATION, [IMPLICIT]), (9, STUDY_FIND, [IMPLICIT])],
    called="RECORDED",
    calling=b"R\xd6NTGEN",
)
ECHO = raw.command(x0002=VERIFICATION, x0100=0x30, x0110=1, x0800=0x0101)
FIND = raw.command(x0002=STUDY_FIND, x0100=0x20, x0110=2, x0700=0, x0800=1)


def opened(address: Any, **timeouts: float) -> ReplayedAssociation:
    settings = Timeouts.model_validate(timeouts)
    return ReplayedAssociation(Peer("x", "TEST", *address[:2], "ANY"), REQUEST, settings)


def test_a_request_goes_out_as_recorded_but_for_whom_it_calls(
    serve: Callable[..., Listener], handler: ScriptedHandler
) -> None:
    def find(request: FindRequest) -> Iterator[Answer]:
        yield Answer(0xFF00, identifier=b"1" * 40_000)
        yield Answer(0)

    handler.find = find
    association = opened(serve().address)
    assert association.answer is not None
    assert association.answer.transfer_syntaxes == {7: IMPLICIT, 9: IMPLICIT}
    (caller,) = handler.callers
    assert isinstance(caller, Caller)
    assert (caller.ae_title, caller.called_ae_title) == ("RÖNTGEN", "TEST")
    association.send(7, ECHO)
    assert association.receive().command.number(commands.STATUS) == 0
    association.send(9, FIND, b"identifier" * 5000)
    assert [association.receive().command.number(commands.STATUS) for _ in range(2)] == [0xFF00, 0]
    request = handler.requests[-1]
    assert isinstance(request, FindRequest)
    assert request.identifier == b"identifier" * 5000
    assert association.release()


def test_a_rejection_is_told(serve: Callable[..., Listener], handler: ScriptedHandler) -> None:
    handler.rejection = Rejection(1, 1, 7, "whom?")
    association = opened(serve().address)
    assert association.answer is None
    assert association.rejection == (1, 1, 7)
    association.close()


def test_a_peer_that_says_nothing_is_waited_for_as_long_as_is_set(play: Play) -> None:
    with pytest.raises(PeerTimeout):
        opened(play(raw.until_closed), acse=0.2)


def test_a_peer_that_leaves_is_told(play: Play) -> None:
    def leave(connection: socket.socket) -> None:
        raw.accept(connection, 7)
        connection.recv(65536)

    association = opened(play(leave))
    association.send(7, ECHO)
    with pytest.raises(AssociationLost, match="closed"):
        association.receive()
    assert not association.release()


@pytest.mark.parametrize(
    "answer",
    [
        raw.pdu(raw.P_DATA, b"\0\0\0\xff\7\3" + b"short"),
        raw.pdu(raw.P_DATA, b"\0\0"),
        raw.pdu(raw.P_DATA, raw.pdv(7, 3, b"\1\0\0\0\0\0\0\0")),
        raw.pdu(raw.ABORT),
        b"\4\0\xff\xff\xff\xff",
    ],
)
def test_what_breaks_the_protocol_is_told(play: Play, answer: bytes) -> None:
    def say(connection: socket.socket) -> None:
        raw.accept(connection, 7)
        connection.recv(65536)
        connection.sendall(answer)
        raw.until_closed(connection)

    association = opened(play(say))
    association.send(7, ECHO)
    with pytest.raises(AssociationLost):
        association.receive()
    association.abort()


def test_nobody_there(free: tuple[str, int]) -> None:
    with pytest.raises(PeerUnreachable):
        opened(free)


@pytest.fixture
def free() -> Iterator[tuple[str, int]]:
    """An address that is taken, and that nobody listens on."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        yield closed.getsockname()


def test_requests_of_the_peers_are_granted(play: Play) -> None:
    taken: list[bytes] = []

    def ask(connection: socket.socket) -> None:
        raw.accept(connection, 7)
        peer = raw.RawPeer.over(connection)
        peer.message()
        peer.send(raw.store_rq(7) + raw.pdu(raw.P_DATA, raw.pdv(7, 2, b"dataset")))
        taken.append(peer.message()[0][0x0900])
        raw.until_closed(connection)

    association = opened(play(ask))
    association.send(7, ECHO)
    request = association.receive()
    assert not request.is_response
    association.accept(request)
    association.abort()
