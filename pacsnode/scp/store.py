"""C-STORE (PS3.4 B.2): the dataset goes to the archive as it comes, and what became of it is the
answer."""

import logging

from pacsnode.archive import Archive, Arrival, Kind, Outcome, Receipt
from pacsnode.dicom import status
from pacsnode.dicom.message import Answer, Sink, StoreRequest
from pacsnode.errors import (
    DuplicateRefused,
    IndexFailure,
    IndexFull,
    MismatchedUID,
    OutOfSpace,
    PacsnodeError,
    StorageError,
    UnreadableDataset,
    UnusableUID,
)
from pacsnode.scp.failure import Table, status_of
from pacsnode.scp.witness import ReceivingWitness

log = logging.getLogger(__name__)

STATUS: Table = {
    StorageError: status.OUT_OF_RESOURCES,
    IndexFailure: status.OUT_OF_RESOURCES,
    MismatchedUID: status.DATASET_DOES_NOT_MATCH,
    UnreadableDataset: status.CANNOT_UNDERSTAND,
    DuplicateRefused: status.DUPLICATE_SOP_INSTANCE,
}

# What the sender's people read (0000,0902): what to do, nothing of our inside, 64 characters.
COMMENTS: dict[type[PacsnodeError], str] = {
    OutOfSpace: "Archive is full: its administrator must free space",
    StorageError: "Archive cannot write now: send again, tell its administrator",
    IndexFull: "Archive is full: its administrator must free space",
    IndexFailure: "Archive cannot index now: send again, tell its administrator",
    MismatchedUID: "SOP Class or Instance UID of dataset is not the command's",
    UnreadableDataset: "Dataset cannot be read in the negotiated transfer syntax",
    DuplicateRefused: "Instance is here already, and this archive refuses duplicates",
}

# What a person may want to know of an instance that was taken.
_NOTABLE = (Kind.CONFLICT, Kind.REPLACED, Kind.RESTORED)


def begin_store(
    request: StoreRequest,
    archive: Archive,
    default_character_set: str | None = None,
    witness: ReceivingWitness | None = None,
) -> Sink:
    """Begin to take an instance. What is known to be refused reaches no disk."""
    arrival = Arrival(
        request.sop_class_uid,
        request.sop_instance_uid,
        request.context.transfer_syntax,
        request.caller.ae_title,
        archive.ae_title,
    )
    sink = StoreSink(request, witness)
    try:
        sink.receipt = archive.begin(arrival, default_character_set)
    except PacsnodeError as error:
        sink.fail(error)
    return sink


class StoreSink:
    """Takes one dataset. After a failure the rest of it is drained, and the failure answered."""

    def __init__(self, request: StoreRequest, witness: ReceivingWitness | None = None) -> None:
        self._request = request
        self._witness = witness
        self._error: PacsnodeError | None = None
        self.receipt: Receipt | None = None

    def write(self, fragment: memoryview) -> None:
        if self.receipt is None:
            return
        try:
            self.receipt.write(fragment)
        except StorageError as error:
            self.fail(error)

    def finish(self) -> Answer:
        if self.receipt is not None:
            try:
                outcome = self.receipt.finish()
            except PacsnodeError as error:
                self.fail(error)
            else:
                self._log(outcome)
                if self._witness is not None:
                    self._witness.taken(outcome)
                return Answer(status.SUCCESS)
        return self._refusal()

    def discard(self) -> None:
        if self.receipt is not None:
            self.receipt.discard()

    def fail(self, error: PacsnodeError) -> None:
        """Remember why, and give back at once what the disk holds of it."""
        self.discard()
        self.receipt = None
        self._error = error

    def _refusal(self) -> Answer:
        error = self._error
        code = status_of(error, STATUS) if error is not None else None
        if error is None or code is None:
            raise error or AssertionError("finish was called twice")
        log.warning(
            "store from %r: %s: %r: %s",
            self._request.caller.ae_title,
            status.text(code),
            self._request.sop_instance_uid,
            error,
        )
        answer = Answer(code, comment_of(error))
        if self._witness is not None:
            self._witness.failed(self._request, answer)
        return answer

    def _log(self, outcome: Outcome) -> None:
        level = logging.INFO if outcome.kind in _NOTABLE else logging.DEBUG
        if log.isEnabledFor(level):
            log.log(
                level,
                "store from %r: %r: %s",
                self._request.caller.ae_title,
                outcome.stored.uids.sop_instance_uid,
                outcome.kind.value,
            )


def comment_of(error: PacsnodeError) -> str:
    if isinstance(error, UnusableUID):
        return str(error)  # which one, and that it is missing or how long it is
    return next(COMMENTS[kind] for kind in type(error).__mro__ if kind in COMMENTS)
