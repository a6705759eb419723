"""Storage commitment, asked of us (PS3.4 J.3): a request is answered when it is on stable storage,
and reported on, as the requester's row of modalities says, on this association or by jobs/."""

import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from pacsnode.config.model import Modality
from pacsnode.dicom import status
from pacsnode.dicom.commitment import (
    REQUEST_STORAGE_COMMITMENT,
    STORAGE_COMMITMENT_PUSH_MODEL,
    STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE,
    parse_request,
)
from pacsnode.dicom.message import ActionRequest, Answer
from pacsnode.errors import (
    AssociationLost,
    IndexFailure,
    NetworkError,
    PacsnodeError,
    StorageError,
    UnreadableDataset,
)
from pacsnode.jobs.commit import abandon, deliver_on, log_delivery
from pacsnode.scp.failure import Table, status_of

if TYPE_CHECKING:
    from pacsnode.archive import Archive
    from pacsnode.index import Commitment

log = logging.getLogger(__name__)

STATUS: Table = {
    UnreadableDataset: status.INVALID_ARGUMENT,
    StorageError: status.RESOURCE_LIMITATION,
    IndexFailure: status.RESOURCE_LIMITATION,
}

_NO_ROOM = "Archive cannot take requests now: ask again later"
_TOO_MANY = "Too many requests without a report yet: ask again later"


def commit(
    request: ActionRequest, archive: "Archive", modality: Modality | None, wake: Callable[[], None]
) -> Iterator[Answer]:
    """`modality` is the requester's row; `wake` tells jobs/ that there is something to report."""
    refusal = _refusal(request)
    if refusal is not None:
        yield refusal
        return
    taken = _take(request, archive)
    if isinstance(taken, Answer):
        yield taken
        return
    is_settled = False
    try:
        yield Answer(status.SUCCESS)
        if modality is None or modality.commit_report == "same":
            is_settled = _report_here(request, archive, taken, modality)
    finally:
        if not is_settled:
            _hand_over(archive, taken, modality, wake)


def _refusal(request: ActionRequest) -> Answer | None:
    if request.sop_class_uid != STORAGE_COMMITMENT_PUSH_MODEL:
        return Answer(status.NO_SUCH_SOP_CLASS, "Not the Storage Commitment Push Model")
    if request.sop_instance_uid != STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE:
        return Answer(
            status.NO_SUCH_SOP_INSTANCE,
            f"The SOP Instance UID is {STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE}",
        )
    if request.action_type != REQUEST_STORAGE_COMMITMENT:
        return Answer(status.NO_SUCH_ACTION, f"Action type is {REQUEST_STORAGE_COMMITMENT}")
    return None


def _take(request: ActionRequest, archive: "Archive") -> "Commitment | Answer":
    """The transaction, noted durably, or the answer that refuses it."""
    try:
        wanted = parse_request(request.information, request.context.transfer_syntax)
        taken = archive.commitments.open(wanted, request.caller.ae_title, request.caller.host)
    except PacsnodeError as error:
        code = status_of(error, STATUS)
        if code is None:
            raise
        log.warning("storage commitment from %r: %s", request.caller.ae_title, error)
        return Answer(code, str(error) if isinstance(error, UnreadableDataset) else _NO_ROOM)
    return taken if taken is not None else Answer(status.RESOURCE_LIMITATION, _TOO_MANY)


def _report_here(
    request: ActionRequest, archive: "Archive", taken: "Commitment", modality: Modality | None
) -> bool:
    """Whether the requester took the report on its own association, or another process has taken it
    over, which knows of no requester but those in modalities."""
    commitments = archive.commitments
    renew = commitments.renewing(taken)

    def tick() -> None:
        request.cancelled()
        if not request.channel.is_open:
            raise AssociationLost("the requester ended the association before the report")
        renew()

    try:
        report = commitments.report(taken, tick)
        if not commitments.holds(taken) and modality is not None:
            return True
        deliver_on(request.channel, request.context, report, renew)
    except (NetworkError, IndexFailure) as error:
        log.info("storage commitment %s: not reported here: %s", taken.transaction_uid, error)
        return False
    commitments.finish(taken)
    log_delivery(report, taken, "on the same association")
    return True


def _hand_over(
    archive: "Archive", taken: "Commitment", modality: Modality | None, wake: Callable[[], None]
) -> None:
    """To jobs/, which can report to whoever is in modalities."""
    try:
        if modality is None:
            why = "its association has ended, and modalities does not say where it is"
            abandon(archive, taken, why)
            return
        archive.commitments.give_back(taken)
    except IndexFailure as error:
        uid = taken.transaction_uid
        log.error("storage commitment %s waits for the end of its lease: %s", uid, error)  # noqa: TRY400
    wake()
