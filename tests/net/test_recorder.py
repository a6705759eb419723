"""What a recorder is told of an association, and what not."""

import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pacsnode import net
from pacsnode.config.model import Listen, Timeouts
from pacsnode.dicom.message import Answer, FindRequest, Peer, ProposedContext, Rejection
from pacsnode.dicom.recording import Opening, Recorder
from pacsnode.errors import PacsnodeError
from pacsnode.net.listener import Listener
from tests.net import raw
from tests.net.conftest import ScriptedHandler
from tests.net.raw import CT, IMPLICIT, STUDY_FIND, VERIFICATION, RawPeer

CONTEXTS = [(1, VERIFICATION, [IMPLICIT]), (3, CT, [IMPLICIT]), (5, STUDY_FIND, [IMPLICIT])]


class Told:
    """One association as told."""

    def __init__(self, opening: Opening) -> None:
        self.opening = opening
        self.events: list[tuple[Any, ...]] = []
        self.reasons: list[str] = []
        self.has_ended = threading.Event()

    def pdu(self, is_sent: bool, data: bytes) -> None:
        self.events.append(("pdu", is_sent, data[0]))

    def command(self, is_sent: bool, context_id: int, data: bytes) -> None:
        field = int.from_bytes(raw.read_command(data)[0x0100], "little")
        self.events.append(("command", is_sent, context_id, field))

    def dataset(self, is_sent: bool, context_id: int, length: int, data: bytes | None) -> None:
        self.events.append(("dataset", is_sent, context_id, length, data))

    def end(self, reason: str) -> None:
        self.reasons.append(reason)
        self.has_ended.set()

    def reason(self) -> str:
        """Once it is over."""
        assert self.has_ended.wait(20)
        (reason,) = self.reasons
        return reason


class Recorders:
    def __init__(self) -> None:
        self.told: list[Told] = []

    def begin(self, opening: Opening) -> Recorder | None:
        self.told.append(Told(opening))
        return self.told[-1]


class BrokenRecorders:
    def begin(self, opening: Opening) -> Recorder | None:
        raise ValueError("broken")


Serve = Callable[..., Listener]


@pytest.fixture
def recorders() -> Recorders:
    return Recorders()


@pytest.fixture
def recorded(handler: ScriptedHandler) -> Iterator[Serve]:
    listeners = []

    def start(recorders: Any, **timeouts: Any) -> Listener:
        listener = net.listen(
            handler,
            ae_title="PACSNODE",
            settings=Listen(host="127.0.0.1", port=0),
            timeouts=Timeouts(**timeouts),
            recorders=recorders,
        )
        listener.start()
        listeners.append(listener)
        return listener

    yield start
    for listener in listeners:
        listener.stop(0)


def test_negotiation_messages_and_release(
    recorded: Serve, recorders: Recorders, handler: ScriptedHandler, dial: Any
) -> None:
    def find(request: FindRequest) -> Iterator[Answer]:
        yield Answer(0xFF00, identifier=b"answer")

    handler.find = find
    peer: RawPeer = dial(recorded(recorders))
    peer.associate(*CONTEXTS, calling=b"R\xd6NTGEN")
    peer.send(raw.store_rq(3) + raw.pdu(raw.P_DATA, raw.pdv(3, 0, b"PIX") + raw.pdv(3, 2, b"ELS")))
    assert peer.response()[0] == 0
    peer.send(raw.find_rq(2, b"identifier", 5))
    assert [peer.response()[0] for _ in range(2)] == [0xFF00, 0]
    peer.send(raw.pdu(raw.RELEASE_RQ))
    peer.receive()
    peer.close()
    (told,) = recorders.told
    told.reason()
    assert told.opening == Opening(True, "RÖNTGEN", "PACSNODE", "127.0.0.1")
    assert told.events == [
        ("pdu", False, raw.RQ),
        ("pdu", True, raw.AC),
        ("command", False, 3, 0x0001),
        ("dataset", False, 3, 6, None),
        ("command", True, 3, 0x8001),
        ("command", False, 5, 0x0020),
        ("dataset", False, 5, 10, b"identifier"),
        ("command", True, 5, 0x8020),
        ("dataset", True, 5, 6, b"answer"),
        ("command", True, 5, 0x8020),
        ("pdu", False, raw.RELEASE_RQ),
        ("pdu", True, raw.RELEASE_RP),
    ]


def test_an_association_that_is_idle_ends_with_that_reason(
    recorded: Serve, recorders: Recorders, dial: Any
) -> None:
    peer: RawPeer = dial(recorded(recorders, idle=0.1))
    peer.associate(*CONTEXTS)
    peer.expect_abort()
    (told,) = recorders.told
    assert told.reason() == "idle for 0.1 s"
    assert told.events[-1] == ("pdu", True, raw.ABORT)


def test_bytes_out_of_place_are_told_of_and_not_kept(
    recorded: Serve, recorders: Recorders, dial: Any
) -> None:
    peer: RawPeer = dial(recorded(recorders))
    peer.associate(*CONTEXTS)
    peer.send(raw.pdu(raw.RELEASE_RQ) + raw.pdu(raw.P_DATA, raw.pdv(3, 2, b"PIXELS")))
    while peer.receive() is not None:
        continue
    (told,) = recorders.told
    told.reason()
    assert ("pdu", False, raw.P_DATA) not in told.events


def test_a_dataset_that_does_not_come_whole_is_not_told(
    recorded: Serve, recorders: Recorders, dial: Any
) -> None:
    peer: RawPeer = dial(recorded(recorders))
    peer.associate(*CONTEXTS)
    peer.send(raw.store_rq(3) + raw.pdu(raw.P_DATA, raw.pdv(3, 0, b"PIX")))
    peer.close()
    (told,) = recorders.told
    assert "closed" in told.reason()
    assert told.events[-1] == ("command", False, 3, 0x0001)


def test_a_rejection_is_told(
    recorded: Serve, recorders: Recorders, handler: ScriptedHandler, dial: Any
) -> None:
    handler.rejection = Rejection(1, 1, 3, "who?")
    peer: RawPeer = dial(recorded(recorders))
    peer.send(raw.associate_rq(CONTEXTS))
    answer = peer.receive()
    assert answer is not None
    assert answer[0] == raw.RJ
    peer.close()
    (told,) = recorders.told
    told.reason()
    assert told.events == [("pdu", False, raw.RQ), ("pdu", True, raw.RJ)]


def test_a_recorder_that_fails_ends_no_association(
    recorded: Serve, dial: Any, caplog: pytest.LogCaptureFixture
) -> None:
    peer: RawPeer = dial(recorded(BrokenRecorders()))
    peer.associate(*CONTEXTS)
    peer.send(raw.echo_rq())
    assert peer.response()[0] == 0
    assert "recording: unexpected fault" in caplog.text


def test_what_the_node_opens_is_told(
    recorded: Serve, recorders: Recorders, handler: ScriptedHandler
) -> None:
    host, port = recorded(Recorders()).address
    peer = Peer("node", "PACSNODE", host, port, "ME")
    proposed = [ProposedContext(VERIFICATION, (IMPLICIT,))]
    channel = net.connect(peer, proposed, timeouts=Timeouts(), recorders=recorders)
    channel.echo()
    channel.release()
    (told,) = recorders.told
    assert told.opening == Opening(False, "ME", "PACSNODE", host, port)
    assert told.events == [
        ("pdu", True, raw.RQ),
        ("pdu", False, raw.AC),
        ("command", True, 1, 0x0030),
        ("command", False, 1, 0x8030),
        ("pdu", True, raw.RELEASE_RQ),
        ("pdu", False, raw.RELEASE_RP),
    ]
    assert told.reasons == [""]


def test_an_attempt_that_failed_is_told_with_its_reason(recorders: Recorders) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        peer = Peer("node", "PACSNODE", *closed.getsockname(), "ME")
        with pytest.raises(PacsnodeError) as raised:
            net.connect(
                peer,
                [ProposedContext(VERIFICATION, (IMPLICIT,))],
                timeouts=Timeouts(),
                recorders=recorders,
            )
    assert recorders.told[0].reasons == [str(raised.value)]
