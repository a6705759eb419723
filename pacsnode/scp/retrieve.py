"""What C-MOVE and C-GET have in common: the sub-operations, their four counters, and how they are
told (PS3.4 C.4.2 and C.4.3)."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

from pacsnode.dicom import status
from pacsnode.dicom.instance import StoredInstance
from pacsnode.dicom.message import (
    Answer,
    Counters,
    DatasetSource,
    GetRequest,
    MoveRequest,
    Tick,
)
from pacsnode.dicom.query import Model, Query, parse_query
from pacsnode.errors import (
    DicomError,
    IndexFailure,
    InvalidQuery,
    NetworkError,
    NoPresentationContext,
    PacsnodeError,
    StorageError,
)
from pacsnode.scp.failed_list import failed_list
from pacsnode.scp.failure import Table, failure, status_of
from pacsnode.scp.precedence import Precedence
from pacsnode.scp.summary import Summary
from pacsnode.scp.witness import UNSEEN, SendingWitness
from pacsnode.scu.sendable import Outcome, Sendable

if TYPE_CHECKING:
    from pacsnode.archive import Archive

log = logging.getLogger(__name__)

STATUS: Table = {
    InvalidQuery: status.DATASET_DOES_NOT_MATCH,
    DicomError: status.CANNOT_UNDERSTAND,
    StorageError: status.CANNOT_COUNT_MATCHES,
    IndexFailure: status.CANNOT_COUNT_MATCHES,
}

MODELS = {
    "1.2.840.10008.5.1.4.1.2.1.2": Model.PATIENT_ROOT,
    "1.2.840.10008.5.1.4.1.2.1.3": Model.PATIENT_ROOT,
    "1.2.840.10008.5.1.4.1.2.2.2": Model.STUDY_ROOT,
    "1.2.840.10008.5.1.4.1.2.2.3": Model.STUDY_ROOT,
    "1.2.840.10008.5.1.4.1.2.3.2": Model.PATIENT_STUDY_ONLY,
    "1.2.840.10008.5.1.4.1.2.3.3": Model.PATIENT_STUDY_ONLY,
}

# Ticks come every 0.5 s at most: a pending answer leaves within a second of the one before.
TELL_EVERY = 0.45  # seconds
TELL_EACH = 100  # instances

HELD = 5000  # instances selected once; of more than these only the number is kept at first
ASK_EACH = 500  # instances counted between two looks at whether the peer is still interested

LOGGED_IN_FULL = 10  # sub-operations that ended in the same way
UIDS_A_LINE = 500  # in the log: systemd's journal cuts lines at 48 KB

LONGEST_COMMENT = 64  # characters (PS3.7 C.4)

STEPS = {"name": "name", "tcp": "TCP", "tls": "TLS", "association": "association"}

Send = Callable[[Iterable[Sendable], Tick], Generator[Outcome, None, None]]
Retrieval = MoveRequest | GetRequest


@dataclass(frozen=True, slots=True)
class ArchivedInstance:
    """An instance of the archive as the sender wants it, who calls `give_way` before it is read."""

    archive: "Archive"
    stored: StoredInstance
    give_way: Callable[[], None] = lambda: None

    @property
    def sop_class_uid(self) -> str:
        return self.stored.sop_class_uid

    @property
    def sop_instance_uid(self) -> str:
        return self.stored.uids.sop_instance_uid

    @property
    def transfer_syntax_uid(self) -> str:
        return self.stored.transfer_syntax_uid

    @contextmanager
    def open(self) -> Iterator[DatasetSource]:
        self.give_way()
        with self.archive.fetch(self.stored) as found:
            if found.stored.transfer_syntax_uid != self.transfer_syntax_uid:
                raise StorageError(f"{self.sop_instance_uid} was replaced meanwhile")
            yield DatasetSource(found.file, found.stored.length)


def retrieve(
    request: Retrieval,
    archive: "Archive",
    send: Send,
    default_character_set: str | None = None,
    witness: SendingWitness = UNSEEN,
    summary: Summary | None = None,
    precedence: Precedence | None = None,
) -> Iterator[Answer]:
    """Answer a C-MOVE or C-GET: pending answers leave through `request.send`, so that they can do
    so while an instance is under way; the final one is yielded. Raises what tells that the
    requester has gone."""
    try:
        query = parse_query(
            request.identifier,
            request.context.transfer_syntax,
            MODELS[request.context.abstract_syntax],
            retrieve=True,
            default_character_set=default_character_set,
            extensions=request.context.extensions,
        )
        total, selected = _select(archive, query, request, witness)
    except (DicomError, StorageError, IndexFailure) as error:
        yield failure(error, STATUS)
        return
    operations = Suboperations(request, total)
    precedence = precedence or Precedence()
    give_way = partial(precedence.give_way, request.priority)
    sendables = (ArchivedInstance(archive, stored, give_way) for stored in selected)
    witness.begin()
    try:
        with precedence.under_way(request.priority):
            outcomes = send(sendables, operations.tick)
            answer = _perform(request, operations, outcomes, witness, summary)
        yield answer
    finally:
        witness.end()
        if summary is not None:
            summary.log()


def _select(
    archive: "Archive", query: Query, request: Retrieval, witness: SendingWitness
) -> tuple[int, Iterator[StoredInstance]]:
    """How many there are, and all of them. A large number is gone through twice: the pending
    answers need to know it, and memory stays flat."""
    with closing(_planned(archive.select(query), witness)) as selected:
        held = list(islice(selected, HELD))
        total = len(held)
        for _ in selected:
            total += 1
            if total % ASK_EACH == 0 and request.cancelled():
                break
    if total == len(held):
        return total, iter(held)
    del held
    return total, _closable(archive.select(query))


def _planned(
    selected: Iterable[StoredInstance], witness: SendingWitness
) -> Generator[StoredInstance, None, None]:
    for stored in selected:
        witness.plan(stored)
        yield stored


def _closable(selected: Iterable[StoredInstance]) -> Generator[StoredInstance, None, None]:
    yield from selected


class Suboperations:
    """The four counters of one retrieve, the instances that failed, and the clock of the pending
    answers."""

    def __init__(self, request: Retrieval, total: int) -> None:
        self._request = request
        self._total = total
        self._told_at = time.monotonic()
        self._untold = 0
        self.completed = 0
        self.warning = 0
        self.failed: list[str] = []
        self.first_failure: Outcome | None = None
        self._logged: Counter[tuple[type[PacsnodeError | None], int | None]] = Counter()
        self._unlogged: list[str] = []

    @property
    def done(self) -> int:
        return self.completed + self.warning + len(self.failed)

    @property
    def remaining(self) -> int:
        return max(self._total - self.done, 0)

    def take(self, outcome: Outcome) -> None:
        """Count one instance. Raises AssociationLost where nobody is left to tell."""
        if outcome.is_success:
            self.completed += 1
        elif outcome.is_warning:
            self.warning += 1
        else:
            self.failed.append(outcome.sendable.sop_instance_uid)
            self.first_failure = self.first_failure or outcome
        if not outcome.is_success:
            self._log(outcome)
        self._untold += 1
        if self._untold >= TELL_EACH:
            self.tell()
        self.tick()

    def tick(self) -> None:
        """Tell the requester how things stand, where it is time. Raises AssociationLost."""
        if time.monotonic() - self._told_at >= TELL_EVERY:
            self.tell()

    def tell(self) -> None:
        self._request.send(Answer(status.PENDING, counters=self.counters(with_remaining=True)))
        self._told_at = time.monotonic()
        self._untold = 0

    def counters(self, *, with_remaining: bool) -> Counters:
        remaining = self.remaining if with_remaining else None
        return Counters(remaining, self.completed, len(self.failed), self.warning)

    def _log(self, outcome: Outcome) -> None:
        """In full for the first of their kind; a destination that is down would fill the log."""
        kind = type(outcome.error), outcome.status
        self._logged[kind] += 1
        if self._logged[kind] <= LOGGED_IN_FULL:
            log.warning("sub-operation %s: %s", outcome.sendable.sop_instance_uid, outcome.text)
            return
        self._unlogged.append(outcome.sendable.sop_instance_uid)
        if len(self._unlogged) >= UIDS_A_LINE:
            self.log_rest()

    def log_rest(self) -> None:
        """Name the instances that went the way of those logged in full."""
        if self._unlogged:
            log.warning(
                "%d more sub-operations with the same outcome: %s",
                len(self._unlogged),
                " ".join(self._unlogged),
            )
            self._unlogged.clear()

    def final(self) -> Answer:
        """The last answer after all sub-operations have been tried."""
        if not self.failed and not self.warning:
            return Answer(status.SUCCESS, counters=self.counters(with_remaining=False))
        if not self.completed and not self.warning:
            return self.ended(status.CANNOT_PERFORM_SUBOPERATIONS, self._why_none())
        return self.ended(status.SUBOPERATIONS_COMPLETE_WITH_FAILURES, self._why_some())

    def _why_some(self) -> str:
        """As _why_none; the first that went nowhere is named where that can be helped."""
        counted = f"{len(self.failed)} of {self.done}"
        comment = f"{counted} sub-operations failed"
        if self.warning:
            return f"{comment}, {self.warning} with warning"
        first = self.first_failure
        if first is not None and isinstance(first.error, NoPresentationContext):
            named = f"{counted} failed: no context for {first.sendable.sop_class_uid}"
            return named if len(named) <= LONGEST_COMMENT else comment
        return comment

    def _why_none(self) -> str:
        """Why all sub-operations failed, in the 64 characters that an Error Comment has."""
        first = self.first_failure
        if first is None:
            return "All sub-operations failed"
        error = first.error
        if isinstance(error, NoPresentationContext):
            return no_context_comment(first.sendable.sop_class_uid, self._request)
        if isinstance(error, NetworkError) and error.step in STEPS:
            return f"Destination not reached: {STEPS[error.step]} failed"
        if first.status is not None:
            return f"All sub-operations failed, the first with {status.text(first.status)}"
        return "All sub-operations failed"

    def ended(self, code: int, comment: str) -> Answer:
        """A last answer other than success, with the list of what failed."""
        identifier = None
        if self.failed:
            identifier = failed_list(self.failed, self._request.context.transfer_syntax)
        counters = self.counters(with_remaining=code == status.CANCELLED)
        return Answer(code, comment, identifier, counters)


def _perform(
    request: Retrieval,
    operations: Suboperations,
    outcomes: Generator[Outcome, None, None],
    witness: SendingWitness,
    summary: Summary | None,
) -> Answer:
    """Run the sub-operations to their end; after a C-CANCEL `outcomes` begins no more of them."""
    try:
        if request.cancelled():
            return operations.ended(status.CANCELLED, "")
        for outcome in outcomes:
            if isinstance(outcome.sendable, ArchivedInstance):
                witness.done(outcome.sendable.stored, outcome)
            if summary is not None:
                summary.take(outcome)
            operations.take(outcome)
        if operations.remaining and request.cancelled():
            return operations.ended(status.CANCELLED, "")
    except NetworkError as error:
        # The requester has gone: what still goes out elsewhere is cut off, not ended politely.
        outcomes.throw(error)
        raise
    except PacsnodeError as error:
        code = status_of(error, STATUS)
        if code is None:
            raise
        log.warning("sub-operations ended early: %s", error)
        return operations.ended(code, "The archive cannot be read now")
    finally:
        operations.log_rest()
        outcomes.close()
    return operations.final()


def no_context_comment(sop_class_uid: str, request: Retrieval) -> str:
    """What is to be done about it, where it is short enough to be told."""
    comment = f"Destination accepts no context for {sop_class_uid}"
    if isinstance(request, GetRequest):
        comment = f"Propose {sop_class_uid} with the SCP role"
    fallback = "All sub-operations failed: no presentation context accepted"
    return comment if len(comment) <= LONGEST_COMMENT else fallback
