"""Storage commitment: whether instances that somebody wants kept safe are, which takes reading all
of their bytes; and what the index notes of it (index/commitments.py)."""

import logging
import math
import time
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from typing import Any, BinaryIO, cast

from pacsnode.archive.fetch import open_stored
from pacsnode.archive.settle import CharacterSets
from pacsnode.archive.verify import Fault, check_again
from pacsnode.dicom import status
from pacsnode.dicom.commitment import CommitmentReport, CommitmentRequest, Failure, Reference
from pacsnode.dicom.instance import StoredInstance
from pacsnode.dicom.message import Tick, no_tick
from pacsnode.errors import IndexFailure, InstanceDamaged, InstanceMissing, OutOfSpace, StorageError
from pacsnode.index import Asked, Backlog, Commitment, Index, NotedReport
from pacsnode.storage import Storage, measure

log = logging.getLogger(__name__)

SECOND = 1_000_000  # microseconds
RENEWED = 20 * SECOND  # how often a lease is extended by who works on a transaction


class Commitments:
    """Transactions of storage commitment. Safe to use from many threads and processes."""

    def __init__(
        self,
        storage: Storage,
        index: Index,
        character_sets: CharacterSets,
        min_free: int = 0,
        clock: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self._storage = storage
        self._index = index
        self._noted = index.commitments
        self._character_sets = character_sets
        self._min_free = min_free
        self._clock = clock

    def open(self, request: CommitmentRequest, ae_title: str, host: str) -> Commitment | None:
        """Take a request, durably, on lease to the caller; None where too many are open. Raises
        OutOfSpace, StorageError or IndexFailure."""
        free = self._storage.free()
        if free < self._min_free:
            raise OutOfSpace(f"{free:,} bytes are free, less than storage.min_free")
        return self._noted.open(Asked(request, ae_title, host), self._clock())

    def claim(self) -> Commitment | None:
        """The lease on a transaction that is due; None where none is. Raises IndexFailure."""
        return self._noted.claim(self._clock())

    def give_back(self, commitment: Commitment) -> None:
        """Whoever comes next may have it at once. Raises IndexFailure."""
        self._noted.give_back(commitment, self._clock())

    def give_back_all(self) -> None:
        """For a node that starts: those who worked on something are no more."""
        self._noted.give_back_all()

    def finish(self, commitment: Commitment) -> None:
        """It was reported, or never will be."""
        self._noted.finish(commitment)

    def hasten(self, ae_title: str | None = None) -> None:
        """What waits for this requester (None: for any) is due: it takes reports, or may do so."""
        self._noted.hasten(ae_title, self._clock())

    def postpone(self, commitment: Commitment, seconds: float, *, others: bool = False) -> None:
        """An attempt failed: the next one is after so many seconds; with `others`, whatever else
        is for this requester does not come earlier."""
        due_at = self._clock() + round(seconds * SECOND)
        self._noted.postpone(commitment, due_at)
        if others:
            self._noted.postpone_all(commitment.ae_title, due_at)

    def due_in(self) -> float:
        """Seconds until the next is due or its lease ends; infinite where nothing is open."""
        due_at = self._noted.due_at()
        return math.inf if due_at is None else (due_at - self._clock()) / SECOND

    def age(self, commitment: Commitment) -> float:
        """Seconds since it was asked for."""
        return (self._clock() - commitment.asked_at) / SECOND

    def backlog(self) -> Backlog:
        return self._noted.backlog()

    def renewing(self, commitment: Commitment) -> Tick:
        """To be called often by who works on a transaction: its lease is extended in time."""
        renewed_at = self._clock()

        def tick() -> None:
            nonlocal renewed_at
            now = self._clock()
            if now - renewed_at >= RENEWED:
                renewed_at = now
                with suppress(IndexFailure):  # another process may do the same work again
                    self._noted.extend(commitment, now)

        return tick

    def holds(self, commitment: Commitment) -> bool:
        """Whether the lease is still the caller's, which goes on now; to be asked before a report
        goes out. A disk that hung, or a clock that was set, may have ended it. Where it is, all
        that was found is durable. Raises IndexFailure."""
        return self._noted.extend(commitment, self._clock())

    def report(self, commitment: Commitment, tick: Tick = no_tick) -> CommitmentReport:
        """What is to be reported: every byte is read once; before a later attempt the index is
        asked whether it is still so. `tick` is called often, and what it raises passes. Raises
        IndexFailure."""
        request, known = commitment.request, commitment.report
        if commitment.is_duplicate:
            duplicates = (
                Failure(reference, status.DUPLICATE_TRANSACTION_UID)
                for reference in request.references
            )
            return CommitmentReport(request.transaction_uid, (), tuple(duplicates))
        if known is None:
            found = self._report(request.transaction_uid, request.references, self._verdict, tick)
        else:
            found = self._report(known.transaction_uid, known.committed, self._look, tick)
            found = found._replace(failed=known.failed + found.failed)
        if found != known:
            self._noted.keep_report(commitment, found)
        return found

    def _report(
        self,
        transaction_uid: str,
        references: Iterable[Reference],
        verdict: Callable[[Reference, Tick], int],
        tick: Tick,
    ) -> CommitmentReport:
        committed, failed = [], []
        for reference in references:
            tick()
            reason = verdict(reference, tick)
            if reason == status.SUCCESS:
                committed.append(reference)
            else:
                failed.append(Failure(reference, reason))
        return CommitmentReport(transaction_uid, tuple(committed), tuple(failed))

    def _verdict(self, reference: Reference, tick: Tick) -> int:
        """0000, or why there is no commitment (PS3.3 C.14.1.1)."""
        row = self._index.instance(reference.sop_instance_uid)
        if row is None or row.sop_class_uid != reference.sop_class_uid:
            return _by_row(row, reference)
        try:
            is_whole = self._is_whole(row, tick)
        except StorageError as error:
            log.error("no commitment to %s: %s", reference.sop_instance_uid, error)  # noqa: TRY400
            return status.CANNOT_PROCESS
        if not is_whole:
            return self._second_look(row, reference)
        if row.is_lost:
            self._index.set_lost(row.uids.sop_instance_uid, False)
        return status.SUCCESS

    def _is_whole(self, row: StoredInstance, tick: Tick) -> bool:
        try:
            opened = open_stored(self._storage, row)
        except (InstanceMissing, InstanceDamaged):
            return False
        with closing(opened.file):
            watched = cast("BinaryIO", _Watched(opened.file, tick))
            return measure(watched) == (row.digest, row.length)

    def _second_look(self, row: StoredInstance, reference: Reference) -> int:
        """A deletion or replacement under way looks like damage. What is damaged is marked."""
        finding = check_again(self._storage, self._index, row, self._character_sets)
        if finding is not None:
            log.error("no commitment: %s", finding.text)
            if finding.fault is Fault.UNREADABLE:
                return status.CANNOT_PROCESS
            return status.NO_SUCH_SOP_INSTANCE
        return _by_row(self._index.instance(reference.sop_instance_uid), reference)

    def _look(self, reference: Reference, _tick: Tick) -> int:
        """Whether what was found whole is still here, and was not found lost since."""
        row = self._index.instance(reference.sop_instance_uid)
        return _by_row(None if row is not None and row.is_lost else row, reference)

    def expect_reports(self, transaction_uids: Iterable[str], of_ae_title: str) -> None:
        """Before they are asked for: reports on other transactions are not kept. Raises
        IndexFailure."""
        self._noted.expect(transaction_uids, of_ae_title, self._clock())

    def note_report(self, report: CommitmentReport, from_ae_title: str) -> bool:
        """Keep a peer's report on what was asked of it, durably; False where there is no room.
        Raises UnknownTransaction, IndexFailure."""
        return self._noted.note_report(report, from_ae_title, self._clock())

    def noted_report(self, transaction_uid: str) -> NotedReport | None:
        """What a peer reported. Raises IndexFailure."""
        return self._noted.report(transaction_uid)


def _by_row(row: StoredInstance | None, reference: Reference) -> int:
    if row is None:
        return status.NO_SUCH_SOP_INSTANCE
    if row.sop_class_uid != reference.sop_class_uid:
        return status.CLASS_INSTANCE_CONFLICT
    return status.SUCCESS


class _Watched:
    """A file that is being read: `tick` is called at each block."""

    def __init__(self, file: BinaryIO, tick: Tick) -> None:
        self.name = file.name
        self._read: Any = file.readinto  # type: ignore[attr-defined]  # every file of ours has it
        self._tick = tick

    def readinto(self, block: memoryview) -> int:
        self._tick()
        return int(self._read(block))
