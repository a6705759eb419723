"""Reports on storage commitment, delivered on an association of their own (PS3.4 J.3.3): retried
with growing pauses, for the requester may be off for the weekend."""

import logging
from collections.abc import Callable, Mapping

from pacsnode.archive import Archive
from pacsnode.config.model import Modality
from pacsnode.dicom import status
from pacsnode.dicom.commitment import (
    STORAGE_COMMITMENT_PUSH_MODEL,
    STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE,
    CommitmentReport,
    encode_report,
)
from pacsnode.dicom.message import Channel, Connect, Context, Peer, ProposedContext, Tick, no_tick
from pacsnode.errors import NetworkError, NoPresentationContext, RequestFailed
from pacsnode.index import Commitment
from pacsnode.jobs.runner import Stopped
from pacsnode.scu.models import UNCOMPRESSED, ending, refused
from pacsnode.scu.peer import find_modality, peer_of

log = logging.getLogger(__name__)

PAUSES = (10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)  # seconds after each attempt, the last for good
_HOUR = 3600.0

# As SCP, which a requester of an association must propose (PS3.7 D.3.3.4).
PROPOSAL = ProposedContext(STORAGE_COMMITMENT_PUSH_MODEL, UNCOMPRESSED, as_scu=False, as_scp=True)


class CommitmentReports:
    """The job: what is open in the index and on lease to nobody is looked into and reported.
    `modalities` are asked for anew each time: a reload may have changed them."""

    name = "storage commitment"

    def __init__(
        self,
        archive: Archive,
        connect: Connect,
        modalities: Callable[[], Mapping[str, Modality]],
        retry_hours: float,
    ) -> None:
        self._archive = archive
        self._connect = connect
        self._modalities = modalities
        self._seen: Mapping[str, Modality] | None = None
        self._retry_seconds = retry_hours * _HOUR

    def run_due(self, tick: Tick) -> float:
        self._hasten_after_changes()
        while True:
            tick()
            commitment = self._archive.commitments.claim()
            if commitment is None:
                return self._archive.commitments.due_in()
            self._attempt(commitment, tick)

    def _hasten_after_changes(self) -> None:
        """After a start or a reload nothing waits for its time: what was in the way may be gone."""
        modalities = self._modalities()
        if modalities is not self._seen:
            self._archive.commitments.hasten()
            self._seen = modalities

    def _attempt(self, commitment: Commitment, tick: Tick) -> None:
        """Whatever happens, the transaction is finished, or due again later."""
        try:
            self._report(commitment, tick)
        except NetworkError as error:
            self._failed(commitment, error, is_off=not isinstance(error, RequestFailed))
        except Stopped:
            self._archive.commitments.give_back(commitment)
            raise
        except BaseException as error:
            # A fault of ours: it may be one of this transaction, and others wait.
            self._failed(commitment, error, is_off=False)
            raise

    def _report(self, commitment: Commitment, tick: Tick) -> None:
        found = find_modality(commitment.ae_title, self._modalities())
        if found is None:
            abandon(self._archive, commitment, "modalities does not say where it is")
            return
        peer = peer_of(*found, self._archive.ae_title)
        commitments = self._archive.commitments
        renew = commitments.renewing(commitment)

        def ticking() -> None:
            tick()
            renew()

        report = commitments.report(commitment, ticking)
        if not commitments.holds(commitment):
            return  # another process reports
        deliver(self._connect, peer, report, ticking)
        commitments.finish(commitment)
        log_delivery(report, commitment, f"on an association to {peer}")
        commitments.hasten(commitment.ae_title)  # what waits because it was off goes now

    def _failed(self, commitment: Commitment, error: BaseException, *, is_off: bool) -> None:
        left = self._retry_seconds - self._archive.commitments.age(commitment)
        if left <= 0:
            why = f"commit.retry_hours are over: {error}"
            abandon(self._archive, commitment, why, logging.ERROR)
            return
        pause = min(_pause(commitment), left)
        log.warning(
            "storage commitment %s of %r: attempt %d to report failed, the next is in %.0f s: %s",
            commitment.transaction_uid,
            commitment.ae_title,
            commitment.attempts + 1,
            pause,
            error,
        )
        self._archive.commitments.postpone(commitment, pause, others=is_off)


def _pause(commitment: Commitment) -> float:
    return PAUSES[min(commitment.attempts, len(PAUSES) - 1)]


def deliver(connect: Connect, peer: Peer, report: CommitmentReport, tick: Tick = no_tick) -> None:
    """Report to a peer on an association of its own. What `tick` raises passes. Raises
    NetworkError."""
    with ending(connect(peer, [PROPOSAL], tick=tick)) as channel:
        deliver_on(channel, _context(channel), report, tick)


def _context(channel: Channel) -> Context:
    """In whichever role: peers that ignore the negotiation of roles take reports all the same."""
    for context in channel.contexts:
        if context.abstract_syntax == STORAGE_COMMITMENT_PUSH_MODEL:
            return context
    raise NoPresentationContext("the peer takes no reports on storage commitment")


def deliver_on(
    channel: Channel, context: Context, report: CommitmentReport, tick: Tick = no_tick
) -> None:
    """Report on an association that is there. Raises NetworkError, RequestFailed among them."""
    response = channel.report_event(
        context,
        STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE,
        report.event_type,
        encode_report(report, context.transfer_syntax),
        tick,
    )
    if not status.is_success(response.status) and not status.is_warning(response.status):
        raise refused("N-EVENT-REPORT", response)


def log_delivery(report: CommitmentReport, commitment: Commitment, how: str) -> None:
    """One line for each transaction that was reported."""
    log.info(
        "storage commitment %s of %r: %d committed, %d failed; reported %s",
        commitment.transaction_uid,
        commitment.ae_title,
        len(report.committed),
        len(report.failed),
        how,
    )


def abandon(
    archive: Archive, commitment: Commitment, why: str, level: int = logging.WARNING
) -> None:
    """It will never be reported."""
    archive.commitments.finish(commitment)
    log.log(
        level,
        "storage commitment %s of %r from %s, %d instances, is given up and was not reported: %s",
        commitment.transaction_uid,
        commitment.ae_title,
        commitment.host,
        len(commitment.request.references),
        why,
    )
