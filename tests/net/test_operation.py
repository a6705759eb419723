"""The responses to one request: which leave together, which wait for nothing."""

import threading
from collections.abc import Callable, Iterator

import pytest

from pacsnode.dicom import status
from pacsnode.dicom.message import Answer, Counters, FindRequest, Tick, no_tick
from pacsnode.net.listener import Listener
from pacsnode.net.messages import TOGETHER
from pacsnode.net.transport import Connection
from tests.net import raw
from tests.net.conftest import ScriptedHandler
from tests.net.raw import IMPLICIT, STUDY_FIND, RawPeer

FIND_CONTEXT = (1, STUDY_FIND, [IMPLICIT])

Serve = Callable[..., Listener]
Dial = Callable[[Listener], RawPeer]


def page(count: int, size: int = 4) -> Iterator[Answer]:
    """Answers that are at hand together."""
    for number in range(count):
        identifier = b"%0*d" % (size, number)
        yield Answer(status.PENDING, identifier=identifier, more=number < count - 1)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes of each write to a connection."""
    sizes = []
    send = Connection.send

    def record(self: Connection, data: bytes, tick: Tick = no_tick) -> None:
        sizes.append(len(data))
        send(self, data, tick)

    monkeypatch.setattr(Connection, "send", record)
    return sizes


def test_answers_at_hand_leave_together(
    serve: Serve, dial: Dial, handler: ScriptedHandler, sent: list[int]
) -> None:
    handler.find = lambda _: page(100)
    peer = dial(serve())
    peer.associate(FIND_CONTEXT)
    sent.clear()
    peer.send(raw.find_rq(1))
    assert [peer.response() for _ in range(100)] == [
        (status.PENDING, b"%04d" % number) for number in range(100)
    ]
    assert peer.response() == (status.SUCCESS, b"")
    assert len(sent) == 2  # the page, and the final one, which was not at hand


def test_what_waits_is_bounded(
    serve: Serve, dial: Dial, handler: ScriptedHandler, sent: list[int]
) -> None:
    handler.find = lambda _: page(50, size=10_000)
    peer = dial(serve())
    peer.associate(FIND_CONTEXT)
    sent.clear()
    peer.send(raw.find_rq(1))
    assert [len(peer.response()[1]) for _ in range(50)] == [10_000] * 50
    assert peer.response()[0] == status.SUCCESS
    assert max(sent) < TOGETHER + 11_000


def test_a_page_does_not_wait_for_the_next(
    serve: Serve, dial: Dial, handler: ScriptedHandler
) -> None:
    received = threading.Event()

    def find(_: FindRequest) -> Iterator[Answer]:
        yield from page(3)
        assert received.wait(20)
        yield from page(1)

    handler.find = find
    peer = dial(serve())
    peer.associate(FIND_CONTEXT)
    peer.send(raw.find_rq(1))
    assert [peer.response()[0] for _ in range(3)] == [status.PENDING] * 3
    received.set()
    assert [peer.response()[0] for _ in range(2)] == [status.PENDING, status.SUCCESS]


def test_a_cancel_between_two_pages_is_seen(
    serve: Serve, dial: Dial, handler: ScriptedHandler
) -> None:
    cancel_sent = threading.Event()

    def find(request: FindRequest) -> Iterator[Answer]:
        assert not request.cancelled()
        yield from page(70)
        assert cancel_sent.wait(20)
        while not request.cancelled():
            continue
        yield Answer(status.CANCELLED)

    handler.find = find
    peer = dial(serve())
    peer.associate(FIND_CONTEXT)
    peer.send(raw.find_rq(1))
    assert {peer.response()[0] for _ in range(70)} == {status.PENDING}
    peer.send(raw.cancel_rq(1))
    cancel_sent.set()
    assert peer.response()[0] == status.CANCELLED


def test_each_response_has_a_command_set_of_its_own_making(
    serve: Serve, dial: Dial, handler: ScriptedHandler
) -> None:
    answers = [
        Answer(status.PENDING, identifier=b"1 ", more=True),
        Answer(status.PENDING_KEYS_IGNORED, identifier=b"2 ", more=True),
        Answer(status.PENDING, identifier=b"3 ", counters=Counters(1, 2, 3, 4), more=True),
        Answer(status.PENDING, "why", identifier=b"4 ", more=True),
        Answer(status.PENDING, identifier=b"5 "),
    ]
    handler.find = lambda _: iter(answers)
    peer = dial(serve())
    peer.associate(FIND_CONTEXT)
    for message_id in (1, 2):
        peer.send(raw.find_rq(message_id))
        for answer in answers:
            command, dataset = peer.message()
            assert dataset == answer.identifier
            assert command[0x0900] == answer.status.to_bytes(2, "little")
            assert command[0x0120] == message_id.to_bytes(2, "little")
            assert (0x0902 in command) == bool(answer.comment)
            assert (0x1021 in command) == bool(answer.counters)
        assert peer.response()[0] == status.SUCCESS


def test_a_fault_after_answers_that_wait_comes_behind_them(
    serve: Serve, dial: Dial, handler: ScriptedHandler
) -> None:
    def find(_: FindRequest) -> Iterator[Answer]:
        yield Answer(status.PENDING, identifier=b"1 ", more=True)
        raise RuntimeError("inner detail")

    handler.find = find
    peer = dial(serve())
    peer.associate(FIND_CONTEXT)
    peer.send(raw.find_rq(1))
    assert peer.response() == (status.PENDING, b"1 ")
    assert peer.response()[0] == status.PROCESSING_FAILURE


@pytest.mark.parametrize("max_pdu", [8, 64, 16384, 0])
def test_pages_go_to_peers_with_pdus_of_any_length(
    serve: Serve, dial: Dial, handler: ScriptedHandler, max_pdu: int
) -> None:
    handler.find = lambda _: page(5, size=300)
    peer = dial(serve())
    peer.associate(FIND_CONTEXT, max_pdu=max_pdu)
    peer.send(raw.find_rq(1))
    datasets = [b""]
    while len(datasets) < 6:
        answer = peer.receive()
        assert answer is not None
        kind, content = answer
        assert kind == raw.P_DATA
        assert not max_pdu or len(content) <= max_pdu
        if not content[5] & 1:
            datasets[-1] += content[6:]
            if content[5] & 2:
                datasets.append(b"")
    assert datasets == [b"%0300d" % number for number in range(5)] + [b""]
