"""Instances over several associations with a peer at once, each the affair of a sender in a thread
of its own. Who wants the sending stays in one thread, which hears of every outcome."""

import logging
import queue
import threading
from collections.abc import Callable, Generator, Iterator
from contextvars import copy_context
from dataclasses import replace
from typing import NamedTuple

from pacsnode.dicom.message import Connect, Peer, Tick
from pacsnode.errors import AssociationLost, PacsnodeError
from pacsnode.scu.sendable import Outcome, Sendable, Sending
from pacsnode.scu.sender import Prospects, Sender
from pacsnode.scu.tasks import LOOK_AHEAD, Stopped, Task, Tasks, pull, tasks_of

log = logging.getLogger(__name__)

SLICE = 0.5  # seconds between two ticks


class _Fault(NamedTuple):
    """What ended a thread."""

    error: BaseException


class _Opened(NamedTuple):
    """An association stands."""


def send_side_by_side(
    connect: Connect,
    peer: Peer,
    pending: Iterator[Sendable],
    sending: Sending,
    may_go_on: Callable[[], bool],
) -> Generator[Outcome, None, None]:
    """As scu.store.send, over up to `peer.associations`. Closing the iterator aborts what is under
    way."""
    senders = _Senders(connect, peer, sending)
    try:
        yield from _outcomes(senders, pending, sending, may_go_on)
        senders.finish()
    finally:
        senders.break_off()


def _outcomes(
    senders: "_Senders",
    pending: Iterator[Sendable],
    sending: Sending,
    may_go_on: Callable[[], bool],
) -> Generator[Outcome, None, None]:
    more, failure = True, None
    while True:
        if more and senders.waiting < LOOK_AHEAD // 2:  # nobody shall be idle meanwhile
            try:
                batch = pull(pending, sending.tick)
            except PacsnodeError as error:  # what was found before goes out first
                batch, failure = [], error
            more = bool(batch)
            senders.put(batch)
        if not senders.outstanding:
            break
        outcome = senders.next_outcome()
        if outcome is not None:
            yield outcome
        if not may_go_on():
            more = False
            senders.forget_waiting()
    if failure is not None:
        raise failure


class _Senders:
    """The threads and what they share. `outstanding` is how many instances have no outcome yet."""

    def __init__(self, connect: Connect, peer: Peer, sending: Sending) -> None:
        self._connect = connect
        self._peer = peer
        self._sending = sending
        self._prospects = Prospects()
        self._tasks = Tasks()
        self._results: queue.SimpleQueue[Outcome | _Opened | _Fault] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._is_ending = False
        self._is_finishing = False
        self._is_broken_off = False
        self.outstanding = 0

    @property
    def waiting(self) -> int:
        return len(self._tasks)

    def put(self, batch: list[Sendable]) -> None:
        self.outstanding += len(batch)
        self._tasks.put(tasks_of(batch, self._sending))
        if batch and not self._threads:
            self._start(None)  # the others when it has its association: not all call in vain

    def next_outcome(self) -> Outcome | None:
        """None where there is none yet, at least every 0.5 s. Raises Stopped, and what ended a
        thread unexpectedly."""
        try:
            result = self._results.get(timeout=SLICE)
        except queue.Empty:
            self._sending.tick()
            return None
        if isinstance(result, _Fault):
            raise result.error
        if isinstance(result, Outcome):
            self.outstanding -= 1
            return result
        for _ in range(min(self._peer.associations - len(self._threads), self.waiting)):
            self._start(self._tasks.peek())
        return None

    def forget_waiting(self) -> None:
        """What nobody has begun is not sent, and nothing is tried again."""
        self._is_ending = True
        self.outstanding -= self._tasks.clear()

    def finish(self) -> None:
        """Release the associations. Raises Stopped."""
        self._is_finishing = True
        self._tasks.close()
        for thread in self._threads:
            while thread.is_alive():
                thread.join(SLICE)
                self._sending.tick()

    def break_off(self) -> None:
        """Abort what is under way, wherever it is."""
        self._is_broken_off = True
        self._tasks.clear()
        self._tasks.close()
        for thread in self._threads:
            thread.join()

    def _start(self, foreseen: Task | None) -> None:
        """With a thread for one more association. The first task is `foreseen` for it, but not
        given to it yet: a peer that serves one association after the other answers no second."""

        def tick() -> None:
            if self._is_broken_off or (self._is_finishing and sender.is_opening):
                raise Stopped(AssociationLost("the sending has ended"))

        sender = Sender(
            self._connect,
            self._peer,
            replace(self._sending, tick=tick),
            self._prospects,
            lambda: not self._is_ending,
            lambda: self._results.put(_Opened()),
        )
        thread = threading.Thread(
            target=copy_context().run,  # what it logs is of the association that asked
            args=(self._run, sender, foreseen, tick),
            name="sender",
            daemon=True,
        )
        self._threads.append(thread)
        try:
            thread.start()
        except RuntimeError as error:  # no thread to be had
            self._threads.remove(thread)
            if not self._prospects.leave():
                raise
            log.warning("%s: going on with fewer associations: %s", self._peer, error)

    def _run(self, sender: Sender, foreseen: Task | None, tick: Tick) -> None:
        try:
            if foreseen is None or sender.prepare(foreseen.group):
                self._work(sender)
            tick()
            sender.release()
        except Stopped:
            sender.abort()
        except BaseException as error:  # noqa: BLE001  # raised again by next_outcome
            sender.abort()
            self._results.put(_Fault(error))

    def _work(self, sender: Sender) -> None:
        while (task := self._tasks.take(sender, wait=True)) is not None:
            result = sender.deliver(task, lambda count: self._tasks.reserve(sender, count))
            if not isinstance(result, Outcome):
                self._tasks.put_back(sender, result)
                return
            self._results.put(result)
