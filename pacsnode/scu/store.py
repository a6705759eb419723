"""The only sender in the node: instances over associations, as stored or decompressed, for C-MOVE,
C-GET and `pacsnode send` alike."""

import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from typing import IO, NamedTuple, Protocol, TypeVar, cast

from pacsnode.dicom import status
from pacsnode.dicom.message import (
    Channel,
    Connect,
    Context,
    DatasetSource,
    Peer,
    ProposedContext,
    Suboperation,
    Tick,
    accepted,
    no_tick,
)
from pacsnode.dicom.transcode import transcode
from pacsnode.errors import (
    AssociationLost,
    NetworkError,
    NoPresentationContext,
    PacsnodeError,
    PeerTimeout,
    StorageError,
)
from pacsnode.scu import plan

T = TypeVar("T")

LOOK_AHEAD = 500  # instances known at a time; their presentation contexts are planned together
IN_MEMORY = 16 << 20  # bytes of a decompressed dataset that are not worth a file
LOST_IN_A_ROW = 8  # associations, after which a peer is given up


class Sendable(Protocol):
    """An instance that can be sent. `open` may raise any PacsnodeError or OSError: it is then the
    one that fails."""

    @property
    def sop_class_uid(self) -> str: ...

    @property
    def sop_instance_uid(self) -> str: ...

    @property
    def transfer_syntax_uid(self) -> str: ...

    def open(self) -> AbstractContextManager[DatasetSource]: ...


class Originator(NamedTuple):
    """Whose C-MOVE a C-STORE belongs to (PS3.7 9.1.1.1.8 and 9)."""

    ae_title: str
    message_id: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one instance. `status` is the peer's answer, None where there was none;
    `text` says what went wrong; `error` is what was raised, if anything."""

    sendable: Sendable
    status: int | None
    text: str = ""
    error: PacsnodeError | None = None

    @property
    def is_success(self) -> bool:
        return self.status is not None and status.is_success(self.status)

    @property
    def is_warning(self) -> bool:
        return self.status is not None and status.is_warning(self.status)

    @property
    def is_failure(self) -> bool:
        return not (self.is_success or self.is_warning)


@dataclass(frozen=True, slots=True)
class Sending:
    """What is the same for all instances of one sending. `wanted` are the transfer syntaxes that
    the peer is to be sent, in order of preference; None: as stored, else uncompressed. Large
    decompressed datasets wait in `spool_folder` (None: the system's temporary folder)."""

    wanted: Sequence[str] | None = None
    originator: Originator | None = None
    tick: Tick = no_tick
    spool_folder: str | None = None


def send(
    connect: Connect,
    peer: Peer,
    sendables: Iterable[Sendable],
    *,
    originator: Originator | None = None,
    tick: Tick = no_tick,
    may_retry: Callable[[], bool] = lambda: True,
    spool_folder: str | None = None,
) -> Generator[Outcome, None, None]:
    """Send to `peer`; one Outcome for each instance, in an order of the sender's own within every
    LOOK_AHEAD. An instance whose association is lost or times out, or that is answered A7xx, is
    tried once more on a fresh association, which then serves those that follow; where none can be
    opened the rest fail at once, and where `may_retry` says no, for a requester that has cancelled,
    nothing is tried again. What `tick` or `may_retry` raises ends everything. Closing the iterator
    releases the association."""
    sending = Sending(peer.transfer_syntaxes, originator, _guarded(tick), spool_folder)
    sender = _Sender(connect, peer, sending, _guarded(may_retry))
    pending = iter(sendables)
    try:
        while batch := _pull(pending, sending.tick):
            yield from sender.send(batch)
        sender.release()
    except GeneratorExit:
        with suppress(_Stopped):  # nobody is left to be told
            sender.release()
        raise
    except _Stopped as stopped:
        sender.abort()
        raise stopped.reason from None
    except BaseException:
        sender.abort()
        raise


def send_on(
    channel: Channel, sendables: Iterable[Sendable], sending: Sending
) -> Generator[Outcome, None, None]:
    """Send on an association that is there (C-GET). Raises AssociationLost or PeerTimeout when it
    ends: there is nobody left to send to."""
    for sendable in sendables:
        yield attempt(channel, sendable, sending)


def attempt(channel: Channel, sendable: Sendable, sending: Sending) -> Outcome:
    """One C-STORE. Raises AssociationLost, PeerTimeout and what the tick raises; every other
    failure is the instance's own."""
    try:
        context = choose(channel.contexts, sendable, sending.wanted)
        with sendable.open() as source, _in_syntax(source, sendable, context, sending) as ready:
            response = channel.store(_operation(context, sendable, ready, sending), sending.tick)
    except (AssociationLost, PeerTimeout):
        raise
    except PacsnodeError as error:
        return Outcome(sendable, None, str(error), error)
    except OSError as error:
        return Outcome(sendable, None, str(error), StorageError(str(error)))
    if status.is_success(response.status):
        return Outcome(sendable, response.status)
    comment = f": {response.comment}" if response.comment else ""
    return Outcome(sendable, response.status, f"answered {status.text(response.status)}{comment}")


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


def _operation(
    context: Context, sendable: Sendable, source: DatasetSource, sending: Sending
) -> Suboperation:
    originator = sending.originator
    return Suboperation(
        context=context,
        sop_class_uid=sendable.sop_class_uid,
        sop_instance_uid=sendable.sop_instance_uid,
        source=source,
        move_originator_ae_title=(originator.ae_title or None) if originator else None,
        move_originator_message_id=originator.message_id if originator else None,
    )


@contextmanager
def _in_syntax(
    source: DatasetSource, sendable: Sendable, context: Context, sending: Sending
) -> Iterator[DatasetSource]:
    """The dataset in the transfer syntax of `context`: as it is, or decompressed."""
    stored_in, target = sendable.transfer_syntax_uid, context.transfer_syntax
    if stored_in == target:
        yield source
        return
    with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY, dir=sending.spool_folder) as spool:
        yield transcode(source, stored_in, target, cast(IO[bytes], spool), sending.tick)


class _Stopped(Exception):
    """The tick raised. Kept apart from what the association raises, which may look the same."""

    def __init__(self, reason: PacsnodeError) -> None:
        super().__init__(str(reason))
        self.reason = reason


def _guarded(function: Callable[[], T]) -> Callable[[], T]:
    if function is no_tick:
        return function

    def guarded() -> T:
        try:
            return function()
        except PacsnodeError as error:
            raise _Stopped(error) from error

    return guarded


def _pull(pending: Iterator[Sendable], tick: Tick) -> list[Sendable]:
    """The next instances; `tick` meanwhile, as finding them may mean reading many files."""
    batch = []
    for sendable in islice(pending, LOOK_AHEAD):
        batch.append(sendable)
        tick()
    return batch


def _kind(sendable: Sendable) -> plan.Kind:
    return plan.Kind(sendable.sop_class_uid, sendable.transfer_syntax_uid)


class _Sender:
    """The associations of one sending, one after the other."""

    def __init__(
        self, connect: Connect, peer: Peer, sending: Sending, may_retry: Callable[[], bool]
    ) -> None:
        self._connect = connect
        self._peer = peer
        self._sending = sending
        self._may_retry = may_retry
        self._channel: Channel | None = None
        self._needed: frozenset[ProposedContext] = frozenset()
        self._proposed: tuple[ProposedContext, ...] = ()
        self._given_up: NetworkError | None = None
        self._none_accepted: NetworkError | None = None
        self._lost_in_a_row = 0
        self._may_refresh = True

    def send(self, batch: Sequence[Sendable]) -> Iterator[Outcome]:
        for group in plan.group(map(_kind, batch), self._sending.wanted):
            self._prepare(group)
            for sendable in batch:
                if _kind(sendable) in group.kinds:
                    yield self._deliver(sendable)

    def release(self) -> None:
        if self._channel is not None:
            channel, self._channel = self._channel, None
            channel.release(self._sending.tick)

    def abort(self) -> None:
        if self._channel is not None:
            self._channel.abort()
            self._channel = None

    def _prepare(self, group: plan.Group) -> None:
        """Let go of an association that was not asked for what this group needs."""
        self._needed = group.contexts
        if not self._needed <= set(self._proposed):
            self._none_accepted = None
            self.release()

    def _deliver(self, sendable: Sendable) -> Outcome:
        if not plan.contexts_of(_kind(sendable), self._sending.wanted):
            return _not_proposable(sendable)
        outcome = self._try(sendable)
        if not self._deserves_another(outcome) or not self._may_retry():
            return outcome
        self.release()
        again = self._try(sendable)
        # The first reason says more than that there was no second chance.
        return outcome if again.error is not None and again.error is self._failure else again

    @property
    def _failure(self) -> NetworkError | None:
        """Why there is no association, and none to be tried."""
        return self._given_up or self._none_accepted

    def _deserves_another(self, outcome: Outcome) -> bool:
        if self._failure is not None:
            return False
        if isinstance(outcome.error, AssociationLost | PeerTimeout):
            return True
        if outcome.status is None or outcome.status >> 8 != 0xA7:
            return False
        # A peer that is full stays full: one fresh association, not one for each instance.
        may_refresh, self._may_refresh = self._may_refresh, False
        return may_refresh

    def _try(self, sendable: Sendable) -> Outcome:
        channel = self._open()
        if channel is None:
            return Outcome(sendable, None, str(self._failure), self._failure)
        try:
            outcome = attempt(channel, sendable, self._sending)
        except (AssociationLost, PeerTimeout) as error:
            self._lost(error)
            return Outcome(sendable, None, str(error), error)
        if not outcome.is_failure:
            self._lost_in_a_row = 0
            self._may_refresh = True
        return outcome

    def _lost(self, error: NetworkError) -> None:
        self.abort()
        self._lost_in_a_row += 1
        if self._lost_in_a_row >= LOST_IN_A_ROW:
            self._given_up = error

    def _open(self) -> Channel | None:
        """The association, opened anew where there is none; None where that is in vain."""
        if self._failure is not None:
            return None
        if self._channel is not None and self._channel.is_open:
            return self._channel
        self.abort()
        self._proposed = plan.widen(self._needed, self._proposed)
        try:
            self._channel = self._connect(self._peer, self._proposed, tick=self._sending.tick)
        except NoPresentationContext as error:
            self._none_accepted = error  # of these: other SOP classes may fare better
        except NetworkError as error:
            self._given_up = error
        return self._channel


def _not_proposable(sendable: Sendable) -> Outcome:
    error = NoPresentationContext(
        f"no presentation context can be proposed for SOP class {sendable.sop_class_uid!r} in "
        f"transfer syntax {sendable.transfer_syntax_uid!r}"
    )
    return Outcome(sendable, None, str(error), error)
