"""What is asked of a peer, and what its report says of each instance."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from pacsnode.dicom import status
from pacsnode.dicom.commitment import (
    CommitmentReport,
    CommitmentRequest,
    Failure,
    Reference,
    encode_report,
    parse_request,
)
from pacsnode.dicom.message import (
    Answer,
    Caller,
    Channel,
    Context,
    EventReportRequest,
    Peer,
    ProposedContext,
    Response,
    Sink,
    StoreRequest,
    Tick,
    no_tick,
)
from pacsnode.errors import (
    AssociationLost,
    IndexFailure,
    NetworkError,
    NoPresentationContext,
    RequestFailed,
)
from pacsnode.scu.commit import (
    ReportsInMemory,
    answer_report,
    ask,
    await_reports,
    requests_for,
    verdicts,
)
from tests.scu.scripted import CT, EXPLICIT, PEER, ScriptedChannel, ScriptedPeer, lost

COMMITMENT, INSTANCE = "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1"
CALLER = Caller("ARCHIVE", "PACSNODE", "192.0.2.9", 3)
CONTEXT = Context(1, COMMITMENT, EXPLICIT, as_scu=True, as_scp=False)

OnEvent = Callable[[EventReportRequest], Answer]


def reference(number: int) -> Reference:
    return Reference(CT, f"1.2.3.{number}")


def report_request(
    report: CommitmentReport | None, event_type: int | None = None
) -> EventReportRequest:
    """As the wire hands it on; without a report with information that is none."""
    return EventReportRequest(
        caller=CALLER,
        context=CONTEXT,
        message_id=1,
        sop_class_uid=COMMITMENT,
        sop_instance_uid=INSTANCE,
        event_type=event_type or (report.event_type if report else 1),
        information=b"\x08\x00nonsense" if report is None else encode_report(report, EXPLICIT),
    )


def all_of(request: CommitmentRequest) -> CommitmentReport:
    return CommitmentReport(request.transaction_uid, request.references)


@dataclass
class CommittingChannel(ScriptedChannel):
    """Answers each N-ACTION by `answers_to`, in turn; reports, one each time that it is served, on
    what it took, for as long as it holds."""

    on_event: OnEvent | None = None
    answers_to: list[int | NetworkError] = field(default_factory=list)
    holds: int = 1000
    taken: list[CommitmentRequest] = field(default_factory=list)
    served: int = 0

    def action(
        self, context: Context, sop_instance_uid: str, action_type: int, information: bytes
    ) -> Response:
        assert self.is_open
        assert (context.abstract_syntax, sop_instance_uid, action_type) == (COMMITMENT, INSTANCE, 1)
        answer = self.answers_to.pop(0) if self.answers_to else 0
        if isinstance(answer, NetworkError):
            self.end = "aborted"
            raise answer
        if answer == 0:
            self.taken.append(parse_request(information, context.transfer_syntax))
        return Response(answer, "no room" if answer else "")

    def serve(self, seconds: float, tick: Tick = no_tick) -> bool:
        assert seconds > 0
        self.served += 1
        if self.served > self.holds:
            self.end = "released"
            return False
        assert self.on_event is not None
        answer = self.on_event(report_request(all_of(self.taken[self.served - 1])))
        assert answer == Answer(status.SUCCESS)
        return True


@dataclass
class CommittingPeer:
    """A message.Connect to one CommittingChannel."""

    answers_to: Sequence[int | NetworkError] = ()
    holds: int = 1000
    accepts: bool = True
    channel: CommittingChannel | None = None

    def __call__(
        self,
        peer: Peer,
        contexts: Sequence[ProposedContext],
        on_store: Callable[[StoreRequest], Sink] | None = None,
        tick: Tick = no_tick,
        on_event: OnEvent | None = None,
    ) -> Channel:
        (proposed,) = contexts
        assert proposed.abstract_syntax == COMMITMENT
        assert proposed.as_scu
        assert not proposed.as_scp
        if not self.accepts:
            raise NoPresentationContext("none was accepted")
        self.channel = CommittingChannel(
            ScriptedPeer(),
            [CONTEXT],
            on_event=on_event,
            answers_to=list(self.answers_to),
            holds=self.holds,
        )
        return self.channel


def test_each_instance_is_asked_for_once_in_transactions_of_a_bounded_size() -> None:
    references = [reference(number) for number in (1, 2, 3, 2, 4, 5)]
    requests = requests_for(references, most=2)
    asked = [request.references for request in requests]
    assert asked == [
        (reference(1), reference(2)),
        (reference(3), reference(4)),
        (reference(5),),
    ]
    uids = {request.transaction_uid for request in requests}
    assert len(uids) == 3
    assert all(uid.startswith("2.25.") and len(uid) <= 64 for uid in uids)
    assert requests_for([]) == []


def test_what_a_report_does_not_clearly_commit_to_is_not_committed() -> None:
    request = CommitmentRequest("1.2", tuple(reference(number) for number in range(5)))
    report = CommitmentReport(
        "1.2",
        (reference(0), reference(2)),
        (Failure(reference(1), 0x0119), Failure(reference(2), 0x0112), Failure(reference(3), 9)),
    )
    assert [verdict.reason for verdict in verdicts(request, report)] == [
        None,
        "0119 the peer has it with another SOP class",
        "0112 the peer does not have it",
        "0009 a reason of its own",
        "not in the peer's report",
    ]


def test_reports_on_the_association_are_waited_for_as_long_as_some_are_missing() -> None:
    requests = requests_for([reference(number) for number in range(3)], most=1)
    connect, reports = CommittingPeer(), ReportsInMemory()
    assert ask(connect, PEER, requests, reports, 60) == {}
    assert connect.channel is not None
    assert connect.channel.served == 3
    assert connect.channel.end == "released"
    assert [reports.find(request.transaction_uid) for request in requests] == [
        all_of(request) for request in requests
    ]


def test_not_to_wait_serves_nothing() -> None:
    connect = CommittingPeer()
    assert ask(connect, PEER, requests_for([reference(1)]), ReportsInMemory(), 0) == {}
    assert connect.channel is not None
    assert connect.channel.served == 0
    assert connect.channel.end == "released"


def test_a_peer_that_ends_the_association_is_not_waited_for_there() -> None:
    connect, reports = CommittingPeer(holds=1), ReportsInMemory()
    requests = requests_for([reference(1), reference(2)], most=1)
    assert ask(connect, PEER, requests, reports, 60) == {}
    assert connect.channel is not None
    assert connect.channel.served == 2
    assert reports.find(requests[1].transaction_uid) is None


def test_what_is_refused_is_told_apart() -> None:
    requests = requests_for([reference(1), reference(2)], most=1)
    connect = CommittingPeer(answers_to=(0x0213,))
    refusals = ask(connect, PEER, requests, ReportsInMemory(), 60)
    (uid, error), *others = refusals.items()
    assert (uid, others) == (requests[0].transaction_uid, [])
    assert str(error) == "N-ACTION was answered 0213: no room"
    with pytest.raises(RequestFailed):
        ask(CommittingPeer(answers_to=(0x0110, 0x0213)), PEER, requests, ReportsInMemory(), 60)


def test_an_association_that_breaks_midway_fails_what_was_not_taken() -> None:
    requests = requests_for([reference(number) for number in range(3)], most=1)
    refusals = ask(CommittingPeer(answers_to=(0, lost())), PEER, requests, ReportsInMemory(), 60)
    assert list(refusals) == [request.transaction_uid for request in requests[1:]]
    with pytest.raises(AssociationLost):
        ask(CommittingPeer(answers_to=(lost(),)), PEER, requests, ReportsInMemory(), 60)


def test_a_peer_without_the_service_is_named() -> None:
    with pytest.raises(NoPresentationContext, match=r"STORESCP@.* does not do storage commitment"):
        ask(CommittingPeer(accepts=False), PEER, requests_for([reference(1)]), ReportsInMemory(), 1)


def test_reports_that_are_there_are_found_without_waiting() -> None:
    reports = ReportsInMemory()
    report = CommitmentReport("1.2", (reference(1),))
    reports.expect(["1.2"], "ARCHIVE")
    assert reports.find("1.2") is None
    reports.note(report, "ARCHIVE")

    def never(_: float) -> bool:
        raise AssertionError("it waits")

    assert await_reports(["1.2"], reports, 60, never) == {"1.2": report}
    assert await_reports(["1.2", "1.3"], reports, 60, lambda _: False) == {"1.2": report}
    assert await_reports(["1.3"], reports, 0) == {}


def test_a_report_on_what_was_not_asked_for_is_refused() -> None:
    reports = ReportsInMemory()
    reports.expect(["1.2"], "ARCHIVE")
    other = report_request(CommitmentReport("1.3", (reference(1),)))
    answer = answer_report(other, reports.note)
    assert answer.status == status.INVALID_ARGUMENT
    assert "nobody here has asked for transaction 1.3" in answer.comment
    assert reports.find("1.3") is None


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (report_request(CommitmentReport("1.2", (reference(1),))), status.SUCCESS),
        (report_request(CommitmentReport("1.2", (), (Failure(reference(1), 1),))), status.SUCCESS),
        (report_request(CommitmentReport("1.2", ()), event_type=3), status.NO_SUCH_EVENT),
        (report_request(None), status.INVALID_ARGUMENT),
    ],
)
def test_a_report_is_answered_by_what_it_is(request_: EventReportRequest, answer: int) -> None:
    noted: list[tuple[CommitmentReport, str]] = []

    def note(report: CommitmentReport, ae_title: str) -> bool:
        noted.append((report, ae_title))
        return True

    assert answer_report(request_, note).status == answer
    assert [title for _, title in noted] == (["ARCHIVE"] if answer == status.SUCCESS else [])


def test_a_report_that_is_not_kept_is_not_taken() -> None:
    request = report_request(CommitmentReport("1.2", (reference(1),)))

    def fail(report: CommitmentReport, ae_title: str) -> bool:
        raise IndexFailure("inner detail")

    assert answer_report(request, lambda *_: False).status == status.RESOURCE_LIMITATION
    answer = answer_report(request, fail)
    assert answer.status == status.CANNOT_PROCESS
    assert "inner" not in answer.comment
