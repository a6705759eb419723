"""C-STOREs on one channel, one after the other, of datasets as stored or decompressed. The next
file is opened, and its beginning read, while the answer to the last is awaited."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import IO, NamedTuple, cast

from pacsnode.dicom import status
from pacsnode.dicom.message import (
    Channel,
    Context,
    DatasetSource,
    Response,
    Suboperation,
    accepted,
)
from pacsnode.dicom.transcode import ENCODINGS, transcode
from pacsnode.errors import (
    AssociationLost,
    NoPresentationContext,
    PacsnodeError,
    PeerTimeout,
    StorageError,
)
from pacsnode.scu import plan
from pacsnode.scu.decompression import Decompressor
from pacsnode.scu.sendable import Outcome, Sendable, Sending, failed

IN_MEMORY = 16 << 20  # bytes of a transcoded dataset that are not worth a file

Following = Callable[[], Sendable | None]


class _Ready(NamedTuple):
    """An instance that can go out, and what is open for it."""

    operation: Suboperation
    files: ExitStack


class StoreOperations:
    """The C-STOREs of one channel. To be closed: a file may be open that nobody sends any more."""

    def __init__(self, channel: Channel, sending: Sending) -> None:
        self._channel = channel
        self._sending = sending
        self._contexts: dict[tuple[str, str], Context] = {}
        self._ahead: tuple[Sendable, _Ready | PacsnodeError | OSError] | None = None
        self._decompressor = Decompressor()

    def perform(self, sendable: Sendable, following: Following) -> Outcome:
        """One C-STORE; `following` is asked for the instance that comes next, None where it is not
        known. Raises AssociationLost, PeerTimeout and what the tick raises; every other failure is
        the instance's own."""

        def meanwhile() -> None:
            ready.files.close()
            self._open_ahead(following())

        try:
            ready = self._take(sendable)
            with ready.files:
                response = self._channel.store(ready.operation, self._sending.tick, meanwhile)
        except (AssociationLost, PeerTimeout):
            raise
        except PacsnodeError as error:
            return failed(sendable, error)
        except OSError as error:
            return failed(sendable, StorageError(str(error)))
        return _outcome(sendable, response, ready.operation.context)

    def close(self) -> None:
        self._let_go()
        self._decompressor.close()

    def _let_go(self) -> None:
        """Close what was opened ahead."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None and isinstance(ahead[1], _Ready):
            ahead[1].files.close()

    def _take(self, sendable: Sendable) -> _Ready:
        """The instance, opened ahead or now. Raises what opening it raised."""
        if self._ahead is None or self._ahead[0] is not sendable:
            self._let_go()
            return self._open(sendable, self._context(sendable))
        ready, self._ahead = self._ahead[1], None
        if isinstance(ready, _Ready):
            return ready
        raise ready

    def _open_ahead(self, sendable: Sendable | None) -> None:
        """Get the next instance ready, unless it is to be decompressed, for which the answer would
        have to wait. What goes wrong is told in its turn."""
        self._let_go()
        if sendable is None:
            return
        try:
            context = self._context(sendable)
            if context.transfer_syntax == sendable.transfer_syntax_uid:
                self._ahead = sendable, self._open(sendable, context)
        except (PacsnodeError, OSError) as error:
            self._ahead = sendable, error

    def _open(self, sendable: Sendable, context: Context) -> _Ready:
        with ExitStack() as files:
            source = files.enter_context(sendable.open())
            stored_in, target = sendable.transfer_syntax_uid, context.transfer_syntax
            if stored_in != target:
                source = files.enter_context(self._transcoded(source, stored_in, target))
            operation = self._operation(sendable, context, source)
            self._channel.load(operation)
            return _Ready(operation, files.pop_all())

    @contextmanager
    def _transcoded(
        self, source: DatasetSource, stored_in: str, target: str
    ) -> Iterator[DatasetSource]:
        """The dataset in the transfer syntax `target`."""
        folder, tick = self._sending.spool_folder, self._sending.tick
        if stored_in in ENCODINGS:
            with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY, dir=folder) as spool:
                yield transcode(source, stored_in, target, cast(IO[bytes], spool), tick)
        else:
            with tempfile.TemporaryFile(dir=folder) as spool:
                yield self._decompressor.transcode(source, stored_in, target, spool, tick)

    def _operation(
        self, sendable: Sendable, context: Context, source: DatasetSource
    ) -> Suboperation:
        originator = self._sending.originator
        return Suboperation(
            context=context,
            sop_class_uid=sendable.sop_class_uid,
            sop_instance_uid=sendable.sop_instance_uid,
            source=source,
            move_originator_ae_title=(originator.ae_title or None) if originator else None,
            move_originator_message_id=originator.message_id if originator else None,
        )

    def _context(self, sendable: Sendable) -> Context:
        kind = sendable.sop_class_uid, sendable.transfer_syntax_uid
        context = self._contexts.get(kind)
        if context is None:
            context = choose(self._channel.contexts, sendable, self._sending.wanted)
            self._contexts[kind] = context
        return context


def choose(
    contexts: Sequence[Context], sendable: Sendable, wanted: Sequence[str] | None = None
) -> Context:
    """The accepted context to send in. Raises NoPresentationContext."""
    sop_class_uid, stored_in = sendable.sop_class_uid, sendable.transfer_syntax_uid
    for transfer_syntax_uid in plan.sendable_as(stored_in, wanted):
        context = accepted(contexts, sop_class_uid, transfer_syntax_uid)
        if context is not None:
            return context
    of_class = [context for context in contexts if context.abstract_syntax == sop_class_uid]
    if of_class and not any(context.as_scu for context in of_class):
        raise NoPresentationContext(
            f"SOP class {sop_class_uid} was agreed without the role that lets it be sent here "
            "(SCP/SCU role selection)"
        )
    if not of_class:
        raise NoPresentationContext(f"SOP class {sop_class_uid} was not accepted")
    raise NoPresentationContext(
        f"SOP class {sop_class_uid} was not accepted in transfer syntax {stored_in}, "
        "nor in one that it can be brought into"
    )


def _outcome(sendable: Sendable, response: Response, context: Context) -> Outcome:
    text = ""
    if not status.is_success(response.status):
        comment = f": {response.comment}" if response.comment else ""
        text = f"answered {status.text(response.status)}{comment}"
    return Outcome(sendable, response.status, text, sent_as=context.transfer_syntax)
