"""C-STOREs on one channel, one after the other, of datasets as stored or transcoded. The next file
is opened, and its beginning read, while the answer to the last is awaited; codecs begin earlier."""

import logging
from collections import deque
from collections.abc import Callable, Sequence

from pacsnode.dicom import status
from pacsnode.dicom.message import Channel, Context, Response, Suboperation
from pacsnode.errors import (
    AssociationLost,
    NoPresentationContext,
    PacsnodeError,
    PeerTimeout,
    StorageError,
)
from pacsnode.scu import plan
from pacsnode.scu.preparing import Preparation
from pacsnode.scu.sendable import Outcome, Sendable, Sending, failed, kind_of

log = logging.getLogger(__name__)

MOST_AHEAD = 8  # instances whose transcoding has begun, each a file

# The instances that come next, as many as are known and at most so many.
Following = Callable[[int], Sequence[Sendable]]


class StoreOperations:
    """The C-STOREs of one channel. To be closed: a file may be open that nobody sends any more."""

    def __init__(self, channel: Channel, sending: Sending) -> None:
        self._channel = channel
        self._sending = sending
        self._contexts: dict[plan.Kind, Sequence[Context]] = {}
        self._ahead: deque[Preparation] = deque()

    def perform(self, sendable: Sendable, following: Following) -> Outcome:
        """One C-STORE; `following` is asked for the instances that come next. Raises
        AssociationLost, PeerTimeout and what the tick raises; every other failure is the
        instance's own."""

        def meanwhile() -> None:
            preparation.close()
            self._load_next(following)

        try:
            with self._take(sendable) as preparation:
                self._begin_ahead(following)
                operation = self._operation(preparation)
                response = self._channel.store(operation, self._sending.tick, meanwhile)
        except (AssociationLost, PeerTimeout):
            raise
        except PacsnodeError as error:
            return failed(sendable, error)
        except OSError as error:
            return failed(sendable, StorageError(str(error)))
        return _outcome(sendable, response, operation.context)

    def close(self) -> None:
        """Let go of what was got ready."""
        while self._ahead:
            self._ahead.popleft().close()

    def _take(self, sendable: Sendable) -> Preparation:
        """The instance, as it was got ready or from now on. Raises NoPresentationContext."""
        while self._ahead:
            preparation = self._ahead.popleft()
            if preparation.sendable is sendable:
                return preparation
            preparation.close()
        preparation = self._preparation(sendable)
        preparation.begin()
        return preparation

    def _begin_ahead(self, following: Following) -> None:
        """Have codecs work on what comes next, so that each of them has something to do."""
        next_ones = following(1)
        if not any(map(self._needs_codec, next_ones)):
            return
        count = min(self._sending.codecs.count, MOST_AHEAD)
        for sendable in following(count)[len(self._ahead) :]:
            if not self._needs_codec(sendable):
                return
            self._begin(sendable)

    def _needs_codec(self, sendable: Sendable) -> bool:
        try:
            return self._preparation(sendable).needs_codec
        except NoPresentationContext:
            return False

    def _begin(self, sendable: Sendable) -> None:
        preparation = self._preparation(sendable)
        self._ahead.append(preparation)
        preparation.begin()

    def _load_next(self, following: Following) -> None:
        """Get the next instance ready, unless the answer would have to wait for that. What goes
        wrong is told in its turn."""
        try:
            for sendable in following(1):
                if not self._ahead and self._preparation(sendable).is_as_stored:
                    self._begin(sendable)
        except NoPresentationContext:
            return
        if self._ahead and self._ahead[0].is_ready:
            try:
                self._operation(self._ahead[0])
            except (AssociationLost, PeerTimeout):
                raise  # of whoever waits for all this
            except (PacsnodeError, OSError) as error:
                self._ahead[0].fail(error)

    def _preparation(self, sendable: Sendable) -> Preparation:
        """Raises NoPresentationContext."""
        kind = kind_of(sendable)
        contexts = self._contexts.get(kind)
        if contexts is None:
            contexts = plan.choose(self._channel.contexts, kind, self._sending.wishes)
            self._contexts[kind] = contexts
        return Preparation(sendable, contexts, self._sending)

    def _operation(self, preparation: Preparation) -> Suboperation:
        """What goes out, the beginning of its dataset read."""
        if preparation.operation is None:
            source = preparation.dataset()
            sendable, originator = preparation.sendable, self._sending.originator
            if source.sop_instance_uid is not None:
                log.info(
                    "%s goes out compressed with losses, as %s",
                    sendable.sop_instance_uid,
                    source.sop_instance_uid,
                )
            operation = Suboperation(
                context=preparation.context,
                sop_class_uid=sendable.sop_class_uid,
                sop_instance_uid=source.sop_instance_uid or sendable.sop_instance_uid,
                source=source,
                move_originator_ae_title=(originator.ae_title or None) if originator else None,
                move_originator_message_id=originator.message_id if originator else None,
                priority=self._sending.priority,
            )
            self._channel.load(operation)
            preparation.operation = operation
        return preparation.operation


def _outcome(sendable: Sendable, response: Response, context: Context) -> Outcome:
    text = ""
    if not status.is_success(response.status):
        comment = f": {response.comment}" if response.comment else ""
        text = f"answered {status.text(response.status)}{comment}"
    return Outcome(sendable, response.status, text, sent_as=context.transfer_syntax)
