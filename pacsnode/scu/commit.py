"""Storage commitment asked of a peer (PS3.4 J.3): one N-ACTION for each transaction; its report
comes when the peer has looked, on the same association or on one that the peer opens."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple, Protocol

from pydicom.uid import generate_uid

from pacsnode.dicom import status
from pacsnode.dicom.commitment import (
    ALL_COMMITTED,
    FAILURES_EXIST,
    REQUEST_STORAGE_COMMITMENT,
    STORAGE_COMMITMENT_PUSH_MODEL,
    STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE,
    CommitmentReport,
    CommitmentRequest,
    Reference,
    encode_request,
    parse_report,
)
from pacsnode.dicom.message import (
    Answer,
    Channel,
    Connect,
    EventReportRequest,
    Peer,
    ProposedContext,
    accepted,
)
from pacsnode.errors import (
    DicomError,
    IndexFailure,
    NetworkError,
    NoPresentationContext,
    UnknownTransaction,
)
from pacsnode.scu.models import UNCOMPRESSED, ending, refused

MOST_REFERENCES = 10_000  # of one transaction: peers hold it in memory, and some have a limit
LOOK = 0.5  # seconds between two looks for reports

PROPOSAL = ProposedContext(STORAGE_COMMITMENT_PUSH_MODEL, UNCOMPRESSED)

# PS3.3 C.14.1.1, for people.
REASONS = {
    status.CANNOT_PROCESS: "processing failure",
    status.NO_SUCH_SOP_INSTANCE: "the peer does not have it",
    status.CLASS_INSTANCE_CONFLICT: "the peer has it with another SOP class",
    status.SOP_CLASS_NOT_SUPPORTED: "the peer does not commit to this SOP class",
    status.DUPLICATE_TRANSACTION_UID: "the transaction UID is in use",
    status.RESOURCE_LIMITATION: "the peer has no room",
}


class Reports(Protocol):
    """Where reports are kept that came in, on whichever way. Used from many threads."""

    def expect(self, transaction_uids: Iterable[str], ae_title: str) -> None:
        """Before the peer with this title is asked. Raises IndexFailure."""

    def note(self, report: CommitmentReport, ae_title: str) -> bool:
        """Keep what the peer with this title reports, durably; False where there is no room.
        Raises UnknownTransaction for what was not to be expected, IndexFailure."""

    def find(self, transaction_uid: str) -> CommitmentReport | None:
        """What came on a transaction. Raises IndexFailure."""


class ReportsInMemory:
    """Those of one command, where there is no archive to keep them."""

    def __init__(self) -> None:
        self._expected: set[str] = set()
        self._reports: dict[str, CommitmentReport] = {}

    def expect(self, transaction_uids: Iterable[str], ae_title: str) -> None:
        self._expected.update(transaction_uids)

    def note(self, report: CommitmentReport, ae_title: str) -> bool:
        if report.transaction_uid not in self._expected:
            raise UnknownTransaction(report.transaction_uid)
        self._reports[report.transaction_uid] = report
        return True

    def find(self, transaction_uid: str) -> CommitmentReport | None:
        return self._reports.get(transaction_uid)


class Verdict(NamedTuple):
    """What became of one instance: `reason` is None where the peer is committed to it."""

    reference: Reference
    reason: str | None


def requests_for(
    references: Iterable[Reference], most: int = MOST_REFERENCES
) -> list[CommitmentRequest]:
    """Transactions for all of these, each with a UID that nobody has used."""
    unique = tuple(dict.fromkeys(references))
    parts = (unique[first : first + most] for first in range(0, len(unique), most))
    return [CommitmentRequest(str(generate_uid(None)), part) for part in parts]


def verdicts(request: CommitmentRequest, report: CommitmentReport) -> Iterator[Verdict]:
    """On each instance of the request. What a report passes over is not committed; nor is what it
    names among both."""
    failed = {failure.reference.sop_instance_uid: failure.reason for failure in report.failed}
    committed = {reference.sop_instance_uid for reference in report.committed}
    for reference in request.references:
        uid = reference.sop_instance_uid
        if uid in failed:
            yield Verdict(reference, reason_text(failed[uid]))
        else:
            yield Verdict(reference, None if uid in committed else "not in the peer's report")


def reason_text(reason: int) -> str:
    return f"{status.text(reason)} {REASONS.get(reason, 'a reason of its own')}"


def answer_report(
    request: EventReportRequest, note: Callable[[CommitmentReport, str], bool]
) -> Answer:
    """The answer to a peer's report: success when it has been noted."""
    if request.event_type not in (ALL_COMMITTED, FAILURES_EXIST):
        return Answer(status.NO_SUCH_EVENT, "Event types are 1 and 2")
    try:
        report = parse_report(request.information, request.context.transfer_syntax)
        is_noted = note(report, request.caller.ae_title)
    except DicomError as error:
        return Answer(status.INVALID_ARGUMENT, str(error))
    except IndexFailure:
        return Answer(status.CANNOT_PROCESS, "The report cannot be kept now")
    if not is_noted:
        return Answer(status.RESOURCE_LIMITATION, "No room for further reports")
    return Answer(status.SUCCESS)


def ask(
    connect: Connect,
    peer: Peer,
    requests: Sequence[CommitmentRequest],
    reports: Reports,
    seconds: float,
) -> dict[str, NetworkError]:
    """Ask for all of them, then hold the association for reports that come on it: for `seconds`, or
    as long as the peer does. Returns, by transaction UID, what the peer did not take on. Raises
    NetworkError where it takes none, IndexFailure."""
    reports.expect([request.transaction_uid for request in requests], peer.ae_title)
    try:
        channel = connect(
            peer, [PROPOSAL], on_event=lambda request: answer_report(request, reports.note)
        )
    except NoPresentationContext as error:
        raise NoPresentationContext(f"{peer} does not do storage commitment") from error

    def serve(left: float) -> bool:
        return channel.serve(left) or channel.is_open

    with ending(channel):
        failed = _ask_on(channel, requests)
        taken = {request.transaction_uid for request in requests} - failed.keys()
        with suppress(NetworkError):  # a peer that aborts may report on another association
            await_reports(taken, reports, seconds, serve)
    return failed


def _ask_on(channel: Channel, requests: Sequence[CommitmentRequest]) -> dict[str, NetworkError]:
    context = accepted(channel.contexts, STORAGE_COMMITMENT_PUSH_MODEL)
    if context is None:
        raise NoPresentationContext("the peer wants to ask for storage commitment, not to be asked")
    failed: dict[str, NetworkError] = {}
    for request in requests:
        try:
            response = channel.action(
                context,
                STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE,
                REQUEST_STORAGE_COMMITMENT,
                encode_request(request, context.transfer_syntax),
            )
        except NetworkError as error:
            lost = [left.transaction_uid for left in requests[requests.index(request) :]]
            if len(lost) == len(requests):
                raise
            return failed | dict.fromkeys(lost, error)
        if not status.is_success(response.status) and not status.is_warning(response.status):
            failed[request.transaction_uid] = refused("N-ACTION", response)
    if len(failed) == len(requests):
        raise next(iter(failed.values()))
    return failed


def _sleep(seconds: float) -> bool:
    time.sleep(seconds)
    return True


def await_reports(
    uids: Iterable[str],
    reports: Reports,
    seconds: float,
    wait: Callable[[float], bool] = _sleep,
) -> Mapping[str, CommitmentReport]:
    """Look for reports on these transactions until all are there, `seconds` have passed, or `wait`,
    which is given the time until the next look, says that no more will come; what has come."""
    deadline = time.monotonic() + seconds
    missing, found = set(uids), dict[str, CommitmentReport]()
    while True:
        for uid in sorted(missing):
            report = reports.find(uid)
            if report is not None:
                found[uid] = report
        missing -= found.keys()
        left = deadline - time.monotonic()
        if not missing or left <= 0 or not wait(min(left, LOOK)):
            return found
