"""Storage Commitment on the wire (PS3.7 10.3): N-ACTION and N-EVENT-REPORT, in and out, and what
an association does after the answer to an N-ACTION."""

import logging
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from pacsnode import net
from pacsnode.config.model import Timeouts
from pacsnode.dicom import status
from pacsnode.dicom.message import (
    ActionRequest,
    Answer,
    Channel,
    EventReportRequest,
    Peer,
    ProposedContext,
    Response,
    no_tick,
)
from pacsnode.errors import AssociationLost, NetworkError, PeerTimeout
from pacsnode.net import messages
from pacsnode.net.listener import Listener
from tests.net import raw
from tests.net.conftest import ScriptedHandler
from tests.net.raw import COMMITMENT, COMMITMENT_INSTANCE, CT, IMPLICIT, VERIFICATION, RawPeer

CONTEXT = (1, COMMITMENT, [IMPLICIT])
AS_BOTH = (ProposedContext(COMMITMENT, (IMPLICIT,), as_scu=True, as_scp=True),)

Serve = Callable[..., Listener]
Dial = Callable[[Listener], RawPeer]
Play = Callable[[Callable[[socket.socket], None]], tuple[str, int]]


class Reporter:
    """The `action` of a handler: answers, then reports on the same association. `outcome` is what
    came of the report."""

    def __init__(self, handler: ScriptedHandler, information: bytes = b"report") -> None:
        self.requests: list[ActionRequest] = []
        self.outcomes: list[Response | NetworkError] = []
        self.reported = threading.Event()
        self.may_report: Callable[[], object] = lambda: None
        self._information = information
        handler.action = self

    def __call__(self, request: ActionRequest) -> Iterator[Answer]:
        self.requests.append(request)
        yield Answer(status.SUCCESS)
        self.may_report()
        try:
            response = request.channel.report_event(
                request.context, COMMITMENT_INSTANCE, 1, self._information
            )
        except NetworkError as error:
            self.outcomes.append(error)
        else:
            self.outcomes.append(response)
        self.reported.set()

    def outcome(self) -> Response | NetworkError:
        assert self.reported.wait(20)
        return self.outcomes[-1]


def number_of(elements: dict[int, bytes], element: int) -> int:
    number: int = struct.unpack("<H", elements[element])[0]
    return number


def text_of(elements: dict[int, bytes], element: int) -> str:
    return elements[element].decode("ascii").rstrip("\0")


def role_answers(accepted: bytes) -> dict[str, tuple[int, int]]:
    """The role selection of an A-ASSOCIATE-AC, by SOP class."""
    found, position = {}, 68
    while position < len(accepted):
        kind, length = struct.unpack_from(">BxH", accepted, position)
        position += 4
        if kind == 0x50:
            continue  # its items follow
        if kind == 0x54:
            content = accepted[position : position + length]
            found[content[2:-2].decode()] = (content[-2], content[-1])
        position += length
    return found


def open_channel(
    address: tuple[str, int],
    contexts: Sequence[ProposedContext] = AS_BOTH,
    on_event: Callable[[EventReportRequest], Answer] | None = None,
    **timeouts: float,
) -> Channel:
    peer = Peer("PEER", "PEER", *address, "PACSNODE")
    return net.connect(peer, contexts, None, no_tick, on_event, timeouts=Timeouts(**timeouts))


# --- incoming -------------------------------------------------------------------------------


def test_an_action_is_handed_on_and_answered_with_all_its_fields(
    serve: Serve, dial: Dial, handler: ScriptedHandler
) -> None:
    seen: list[ActionRequest] = []

    def action(request: ActionRequest) -> Iterator[Answer]:
        seen.append(request)
        yield Answer(status.SUCCESS)

    handler.action = action
    peer = dial(serve())
    peer.associate(CONTEXT)
    peer.send(raw.action_rq(7, b"what", action_type=3))
    answer, dataset = peer.message()
    assert number_of(answer, 0x0100) == 0x8130
    assert number_of(answer, 0x0120) == 7
    assert number_of(answer, 0x0900) == status.SUCCESS
    assert number_of(answer, 0x1008) == 3
    assert text_of(answer, 0x0002) == COMMITMENT
    assert text_of(answer, 0x1000) == COMMITMENT_INSTANCE
    assert 0x1002 not in answer
    assert not dataset
    (request,) = seen
    assert (request.sop_class_uid, request.sop_instance_uid) == (COMMITMENT, COMMITMENT_INSTANCE)
    assert (request.action_type, request.information) == (3, b"what")


@pytest.mark.parametrize("roles", [b"", raw.role(COMMITMENT, 0, 1), raw.role(COMMITMENT, 1, 1)])
def test_a_report_is_taken_whatever_role_its_sender_has_negotiated(
    serve: Serve, dial: Dial, handler: ScriptedHandler, roles: bytes
) -> None:
    peer = dial(serve())
    accepted = peer.associate(CONTEXT, user_items=roles)
    expected = {COMMITMENT: (roles[-2], roles[-1])} if roles else {}
    assert role_answers(accepted) == expected
    peer.send(raw.event_report_rq(9, b"came of it", event_type=2))
    answer, _ = peer.message()
    assert number_of(answer, 0x0100) == 0x8100
    assert number_of(answer, 0x0120) == 9
    assert number_of(answer, 0x0900) == status.SUCCESS
    assert number_of(answer, 0x1002) == 2
    assert text_of(answer, 0x0002) == COMMITMENT
    assert text_of(answer, 0x1000) == COMMITMENT_INSTANCE
    assert 0x1008 not in answer
    (request,) = handler.requests
    assert isinstance(request, EventReportRequest)
    assert (request.event_type, request.information) == (2, b"came of it")
    assert (request.sop_class_uid, request.sop_instance_uid) == (COMMITMENT, COMMITMENT_INSTANCE)


def test_a_peer_that_is_only_the_scp_may_not_ask(
    serve: Serve, dial: Dial, handler: ScriptedHandler
) -> None:
    peer = dial(serve())
    peer.associate(CONTEXT, user_items=raw.role(COMMITMENT, 0, 1))
    peer.send(raw.action_rq(1))
    assert peer.response()[0] == status.SOP_CLASS_NOT_SUPPORTED
    assert handler.requests == []


def test_a_type_that_is_no_number_ends_the_association(
    serve: Serve, dial: Dial, caplog: pytest.LogCaptureFixture
) -> None:
    peer = dial(serve())
    peer.associate(CONTEXT)
    data = raw.command(x0003=COMMITMENT, x0100=0x130, x0110=1, x0800=0x101, x1008="four")
    peer.send(raw.pdu(raw.P_DATA, raw.pdv(1, 3, data)))
    peer.expect_abort()
    assert "Traceback" not in caplog.text


def test_a_hundred_thousand_references_fit_and_there_is_a_bound(
    serve: Serve, dial: Dial, handler: ScriptedHandler
) -> None:
    Reporter(handler).may_report = lambda: None
    peer = dial(serve(max_pdu=1 << 20))
    peer.associate(CONTEXT)
    command = raw.action_rq(1)[: -len(raw.pdu(raw.P_DATA, raw.pdv(1, 2, b"")))]
    block = bytes((1 << 20) - 6)
    blocks = messages.LONGEST_INFORMATION // len(block)
    assert blocks * len(block) > 100_000 * 116
    peer.send(command)
    for number in range(blocks):
        peer.send(raw.pdu(raw.P_DATA, raw.pdv(1, 2 if number == blocks - 1 else 0, block)))
    assert peer.response()[0] == status.SUCCESS
    assert number_of(peer.message()[0], 0x0100) == 0x100
    peer.send(raw.event_report_rsp(1))
    peer.send(command)
    for _ in range(blocks):
        peer.send(raw.pdu(raw.P_DATA, raw.pdv(1, 0, block)))
    peer.send(raw.pdu(raw.P_DATA, raw.pdv(1, 0, block)))
    peer.expect_abort()


# --- reports on the association of the request ----------------------------------------------


def test_the_answer_to_an_action_is_on_the_wire_before_the_handler_goes_on(
    serve: Serve, dial: Dial, handler: ScriptedHandler
) -> None:
    answered = threading.Event()
    reporter = Reporter(handler)
    reporter.may_report = lambda: answered.wait(20)
    peer = dial(serve())
    peer.associate(CONTEXT)
    peer.send(raw.action_rq(1, b"what"))
    assert peer.response()[0] == status.SUCCESS
    answered.set()
    report, information = peer.message()
    assert number_of(report, 0x0100) == 0x100
    assert number_of(report, 0x1002) == 1
    assert text_of(report, 0x0002) == COMMITMENT
    assert text_of(report, 0x1000) == COMMITMENT_INSTANCE
    assert information == b"report"
    peer.send(raw.event_report_rsp(number_of(report, 0x0110)))
    outcome = reporter.outcome()
    assert isinstance(outcome, Response)
    assert status.is_success(outcome.status)


def test_a_release_instead_of_waiting_for_the_report_is_answered_in_order(
    serve: Serve, dial: Dial, handler: ScriptedHandler, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    release_sent = threading.Event()
    reporter = Reporter(handler)
    reporter.may_report = lambda: release_sent.wait(20)
    listener = serve()
    peer = dial(listener)
    peer.associate(CONTEXT)
    peer.send(raw.action_rq(1))
    assert peer.response()[0] == status.SUCCESS
    peer.send(raw.pdu(raw.RELEASE_RQ))
    release_sent.set()
    answer = peer.receive()
    assert answer is not None
    assert answer[0] == raw.RELEASE_RP  # and no report before it, which nobody would answer
    assert isinstance(reporter.outcome(), AssociationLost)
    listener.stop(20)
    assert "released after" in caplog.text
    assert "1 N-ACTION" in caplog.text
    assert "broken off" not in caplog.text


def test_a_release_instead_of_an_answer_to_the_report_is_answered_in_order(
    serve: Serve, dial: Dial, handler: ScriptedHandler
) -> None:
    reporter = Reporter(handler)
    peer = dial(serve())
    peer.associate(CONTEXT)
    peer.send(raw.action_rq(1))
    assert peer.response()[0] == status.SUCCESS
    assert number_of(peer.message()[0], 0x0100) == 0x100
    peer.send(raw.pdu(raw.RELEASE_RQ))
    answer = peer.receive()
    assert answer is not None
    assert answer[0] == raw.RELEASE_RP
    assert isinstance(reporter.outcome(), AssociationLost)


@pytest.mark.parametrize("how", ["abort", "close"])
def test_a_peer_that_vanishes_ends_the_wait_for_its_answer(
    serve: Serve, dial: Dial, handler: ScriptedHandler, how: str
) -> None:
    reporter = Reporter(handler)
    peer = dial(serve())
    peer.associate(CONTEXT)
    peer.send(raw.action_rq(1))
    assert peer.response()[0] == status.SUCCESS
    assert number_of(peer.message()[0], 0x0100) == 0x100
    if how == "abort":
        peer.send(raw.pdu(raw.ABORT))
    peer.close()
    assert isinstance(reporter.outcome(), AssociationLost)
    handler.wait_until_all_ended()


def test_what_comes_before_the_report_is_answered_waits_its_turn(
    serve: Serve, dial: Dial, handler: ScriptedHandler
) -> None:
    """A second N-ACTION with the number of the first, a C-STORE and a C-ECHO."""
    sent = threading.Event()
    reporter = Reporter(handler)
    reporter.may_report = lambda: sent.wait(20)
    peer = dial(serve())
    peer.associate(CONTEXT, (3, CT, [IMPLICIT]), (5, VERIFICATION, [IMPLICIT]))
    peer.send(raw.action_rq(1, b"first"))
    assert peer.response()[0] == status.SUCCESS
    peer.send(raw.action_rq(1, b"second"))
    peer.send(raw.store_rq(3, message_id=2) + raw.pdu(raw.P_DATA, raw.pdv(3, 2, b"data")))
    peer.send(raw.echo_rq(3, context_id=5))
    sent.set()
    report, _ = peer.message()
    assert number_of(report, 0x0100) == 0x100
    assert handler.stored == []
    peer.send(raw.event_report_rsp(number_of(report, 0x0110)))
    fields = []
    for _ in range(4):
        message, _ = peer.message()
        fields.append(number_of(message, 0x0100))
        if fields[-1] == 0x100:
            peer.send(raw.event_report_rsp(number_of(message, 0x0110)))
    assert fields == [0x8130, 0x100, 0x8001, 0x8030]
    assert [request.information for request in reporter.requests] == [b"first", b"second"]
    assert handler.stored == [b"data"]
    peer.send(raw.pdu(raw.RELEASE_RQ))
    answer = peer.receive()
    assert answer is not None
    assert answer[0] == raw.RELEASE_RP


def test_requests_without_end_instead_of_an_answer_end_the_association(
    serve: Serve, dial: Dial, handler: ScriptedHandler
) -> None:
    reporter = Reporter(handler)
    peer = dial(serve())
    peer.associate(CONTEXT, (5, VERIFICATION, [IMPLICIT]))
    peer.send(raw.action_rq(1))
    assert peer.response()[0] == status.SUCCESS
    peer.send(b"".join(raw.echo_rq(number, context_id=5) for number in range(2, 60)))
    peer.expect_abort()
    assert isinstance(reporter.outcome(), AssociationLost)


def test_a_report_that_is_never_answered_ends_when_its_time_is_up(
    serve: Serve, dial: Dial, handler: ScriptedHandler
) -> None:
    reporter = Reporter(handler)
    peer = dial(serve(dimse=0.3))
    peer.associate(CONTEXT)
    peer.send(raw.action_rq(1))
    assert peer.response()[0] == status.SUCCESS
    peer.expect_abort()
    assert isinstance(reporter.outcome(), PeerTimeout)


def test_a_stop_of_the_node_ends_the_wait_for_an_answer(
    serve: Serve, dial: Dial, handler: ScriptedHandler
) -> None:
    reporter = Reporter(handler)
    listener = serve()
    peer = dial(listener)
    peer.associate(CONTEXT)
    peer.send(raw.action_rq(1))
    assert peer.response()[0] == status.SUCCESS
    assert number_of(peer.message()[0], 0x0100) == 0x100
    listener.stop(20)
    assert isinstance(reporter.outcome(), AssociationLost)
    peer.expect_abort()


def test_a_fault_after_the_answer_is_logged_and_not_answered_again(
    serve: Serve, dial: Dial, handler: ScriptedHandler, caplog: pytest.LogCaptureFixture
) -> None:
    def action(_: ActionRequest) -> Iterator[Answer]:
        yield Answer(status.SUCCESS)
        raise RuntimeError("inner detail")

    handler.action = action
    peer = dial(serve())
    peer.associate(CONTEXT, (5, VERIFICATION, [IMPLICIT]))
    peer.send(raw.action_rq(1))
    assert peer.response()[0] == status.SUCCESS
    peer.send(raw.echo_rq(2, context_id=5))
    answer, _ = peer.message()
    assert number_of(answer, 0x0100) == 0x8030
    assert "RuntimeError: inner detail" in caplog.text


# --- outgoing -------------------------------------------------------------------------------


def script(*steps: Callable[[RawPeer], Any]) -> Callable[[socket.socket], None]:
    """A server's side: accepts the association, without role selection, then does `steps`."""

    def run(connection: socket.socket) -> None:
        raw.accept(connection)
        peer = RawPeer.over(connection)
        for step in steps:
            step(peer)
        raw.until_closed(connection)

    return run


def test_an_action_goes_out_with_all_its_fields(play: Play) -> None:
    seen: list[tuple[dict[int, bytes], bytes]] = []
    address = play(
        script(
            lambda peer: seen.append(peer.message()), lambda peer: peer.send(raw.action_rsp(1, 1))
        )
    )
    channel = open_channel(address)
    response = channel.action(channel.contexts[0], COMMITMENT_INSTANCE, 1, b"what")
    channel.abort()
    assert response == Response(status.SUCCESS)
    ((command, information),) = seen
    assert number_of(command, 0x0100) == 0x130
    assert text_of(command, 0x0003) == COMMITMENT
    assert text_of(command, 0x1001) == COMMITMENT_INSTANCE
    assert number_of(command, 0x1008) == 1
    assert not {0x0002, 0x1000, 0x1002} & set(command)
    assert information == b"what"


def test_a_report_before_the_answer_to_the_action_and_one_after_it_are_taken(play: Play) -> None:
    events: list[EventReportRequest] = []
    answers: list[int] = []

    def take(request: EventReportRequest) -> Answer:
        events.append(request)
        return Answer(status.SUCCESS)

    address = play(
        script(
            lambda peer: peer.message(),
            lambda peer: peer.send(raw.event_report_rq(1, b"early")),
            lambda peer: answers.append(number_of(peer.message()[0], 0x0100)),
            lambda peer: peer.send(raw.action_rsp(1)),
            lambda peer: peer.send(raw.event_report_rq(2, b"late")),
            lambda peer: answers.append(number_of(peer.message()[0], 0x0100)),
            lambda peer: peer.send(raw.pdu(raw.RELEASE_RQ)),
            lambda peer: answers.append((peer.receive() or (0, b""))[0]),
        )
    )
    channel = open_channel(address, on_event=take)
    channel.action(channel.contexts[0], COMMITMENT_INSTANCE, 1, b"what")
    assert [event.information for event in events] == [b"early"]
    assert channel.serve(20)
    assert [event.information for event in events] == [b"early", b"late"]
    assert not channel.serve(20)  # the peer's release
    assert not channel.is_open
    assert not channel.serve(20)
    channel.release()
    assert answers == [0x8100, 0x8100, raw.RELEASE_RP]


def test_serving_ends_when_nothing_comes_and_fails_where_the_peer_aborts(play: Play) -> None:
    go_on = threading.Event()
    address = play(script(lambda _: go_on.wait(20), lambda peer: peer.send(raw.pdu(raw.ABORT))))
    channel = open_channel(address, on_event=lambda _: Answer(status.SUCCESS))
    assert not channel.serve(0.05)
    assert channel.is_open
    go_on.set()
    with pytest.raises(AssociationLost):
        channel.serve(20)
    assert not channel.is_open


def test_a_report_goes_out_where_the_peer_ignores_role_selection(play: Play) -> None:
    seen: list[dict[int, bytes]] = []
    address = play(
        script(
            lambda peer: seen.append(peer.message()[0]),
            lambda peer: peer.send(raw.event_report_rsp(1)),
        )
    )
    channel = open_channel(
        address, [ProposedContext(COMMITMENT, (IMPLICIT,), as_scu=False, as_scp=True)]
    )
    (context,) = channel.contexts
    assert not context.as_scp
    response = channel.report_event(context, COMMITMENT_INSTANCE, 2, b"report")
    channel.abort()
    assert response == Response(status.SUCCESS)
    assert number_of(seen[0], 0x1002) == 2


def test_a_peer_that_releases_instead_of_answering_a_report_gets_its_answer(play: Play) -> None:
    answers: list[int] = []
    address = play(
        script(
            lambda peer: peer.message(),
            lambda peer: peer.send(raw.pdu(raw.RELEASE_RQ)),
            lambda peer: answers.append((peer.receive() or (0, b""))[0]),
        )
    )
    channel = open_channel(address)
    with pytest.raises(AssociationLost, match="ended the association"):
        channel.report_event(channel.contexts[0], COMMITMENT_INSTANCE, 1, b"report")
    channel.release()
    assert answers == [raw.RELEASE_RP]


def test_a_node_reports_to_a_node(serve: Serve, handler: ScriptedHandler) -> None:
    """Both sides ours: roles agreed, action and report in either direction."""
    reporter = Reporter(handler)
    events: list[bytes] = []

    def take(request: EventReportRequest) -> Answer:
        events.append(request.information)
        return Answer(status.SUCCESS)

    channel = open_channel(serve().address, on_event=take)
    (context,) = channel.contexts
    assert context.as_scu
    assert context.as_scp
    assert status.is_success(channel.action(context, COMMITMENT_INSTANCE, 1, b"what").status)
    assert channel.serve(20)
    assert events == [b"report"]
    assert isinstance(reporter.outcome(), Response)
    response = channel.report_event(context, COMMITMENT_INSTANCE, 1, b"the other way")
    assert status.is_success(response.status)
    channel.release()
    assert isinstance(handler.requests[-1], EventReportRequest)
