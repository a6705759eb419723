"""The only way instances leave the node: over associations, as stored or transcoded, for C-MOVE,
C-GET and `pacsnode send` alike."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, suppress
from itertools import islice

from pacsnode.dicom.message import Channel, Connect, Peer, Tick, no_tick
from pacsnode.errors import PacsnodeError
from pacsnode.scu import plan
from pacsnode.scu.codecs import Codecs
from pacsnode.scu.parallel import send_side_by_side
from pacsnode.scu.sendable import Originator, Outcome, Sendable, Sending
from pacsnode.scu.sender import Prospects, Sender
from pacsnode.scu.storing import StoreOperations
from pacsnode.scu.tasks import Stopped, Tasks, guarded, pull, tasks_of

Ask = Callable[[], bool]


def always() -> bool:
    return True


def send(
    connect: Connect,
    peer: Peer,
    sendables: Iterable[Sendable],
    *,
    originator: Originator | None = None,
    tick: Tick = no_tick,
    may_go_on: Ask = always,
    spool_folder: str | None = None,
    codecs: Codecs | None = None,
    priority: int = 0,
) -> Generator[Outcome, None, None]:
    """Send to `peer`, over up to `peer.associations` at once; one Outcome for each instance, in an
    order of the sender's own.

    An instance whose association is lost or times out, or that is answered A7xx, is tried once more
    on a fresh association, which then serves those that follow; where none can be opened the rest
    fail at once, but for one beside others: those go on. `may_go_on` is asked after each outcome,
    and every 0.5 s beside others: where it says no, for a requester that has cancelled, what is
    under way comes to its end, and nothing else is begun or tried again.

    What `tick` or `may_go_on` raises ends everything. Closing the iterator releases the
    association; where several are at work it aborts them.
    """
    own = Codecs()
    sending = Sending(
        plan.wishes_of(peer), originator, guarded(tick), spool_folder, codecs or own, priority
    )
    ask, pending = guarded(may_go_on), iter(sendables)
    try:
        if peer.associations > 1:
            yield from send_side_by_side(connect, peer, pending, sending, ask)
        else:
            yield from _send(
                Sender(connect, peer, sending, Prospects(), ask), pending, sending, ask
            )
    except Stopped as stopped:
        raise stopped.reason from None
    finally:
        own.close()


def _send(
    sender: Sender, pending: Iterator[Sendable], sending: Sending, may_go_on: Ask
) -> Generator[Outcome, None, None]:
    try:
        yield from _outcomes(sender, pending, sending, may_go_on)
        sender.release()
    except GeneratorExit:
        with suppress(Stopped):  # nobody is left to be told
            sender.release()
        raise
    except BaseException:
        sender.abort()
        raise


def _outcomes(
    sender: Sender, pending: Iterator[Sendable], sending: Sending, may_go_on: Ask
) -> Generator[Outcome, None, None]:
    tasks = Tasks()
    while batch := pull(pending, sending.tick):
        tasks.put(tasks_of(batch, sending))
        while (task := tasks.take(sender)) is not None:
            outcome = sender.deliver(task, lambda count: tasks.reserve(sender, count))
            assert isinstance(outcome, Outcome)  # noqa: S101  # there is nobody to leave it to
            yield outcome
            if not may_go_on():
                return


def send_on(
    channel: Channel, sendables: Iterable[Sendable], sending: Sending, may_go_on: Ask = always
) -> Generator[Outcome, None, None]:
    """Send on an association that is there (C-GET); `may_go_on` is asked after each. Raises
    AssociationLost or PeerTimeout when it ends: there is nobody left to send to."""
    coming = _Coming(iter(sendables))
    with closing(StoreOperations(channel, sending)) as operations:
        for sendable in coming:
            yield operations.perform(sendable, coming.peek)
            if not may_go_on():
                return


class _Coming(Iterator[Sendable]):
    """Instances, of which the next ones may be known before their turn."""

    def __init__(self, sendables: Iterator[Sendable]) -> None:
        self._sendables = sendables
        self._known: deque[Sendable] = deque()
        self._failure: PacsnodeError | None = None

    def peek(self, count: int) -> list[Sendable]:
        """The next ones. What goes wrong in finding them is raised in its turn."""
        try:
            while len(self._known) < count and self._failure is None:
                self._known.append(next(self._sendables))
        except StopIteration:
            pass
        except PacsnodeError as error:
            self._failure = error
        return list(islice(self._known, count))

    def __next__(self) -> Sendable:
        if self._known:
            return self._known.popleft()
        if self._failure is not None:
            raise self._failure
        return next(self._sendables)
