"""Instances over associations with a peer, one association after the other, until they have arrived
or it is clear that they will not."""

import logging
import threading
from collections.abc import Callable

from pacsnode.dicom.message import Channel, Connect, Peer, ProposedContext
from pacsnode.errors import AssociationLost, NetworkError, NoPresentationContext, PeerTimeout
from pacsnode.scu import plan
from pacsnode.scu.sendable import Outcome, Sending, failed
from pacsnode.scu.storing import Following, StoreOperations
from pacsnode.scu.tasks import Task

log = logging.getLogger(__name__)

LOST_IN_A_ROW = 8  # associations, for each sender at work, after which a peer is given up


class Prospects:
    """What is known of a peer's readiness, shared by the senders that are at work."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._at_work = 0
        self._given_up: NetworkError | None = None
        self._none_accepted: tuple[frozenset[ProposedContext], NetworkError] | None = None
        self._lost_in_a_row = 0
        self._may_refresh = True

    def failure(self, needed: frozenset[ProposedContext]) -> NetworkError | None:
        """Why there can be no association for these, as far as is known."""
        with self._lock:
            if self._given_up is None and self._none_accepted is not None:
                proposed, error = self._none_accepted
                return error if needed <= proposed else None
            return self._given_up

    def join(self) -> None:
        """One more sender is at work."""
        with self._lock:
            self._at_work += 1

    def leave(self) -> bool:
        """Whether a sender may leave its work to others: there are some."""
        with self._lock:
            may_leave = self._at_work > 1
            self._at_work -= may_leave
        return may_leave

    def opened(self) -> None:
        with self._lock:
            self._none_accepted = None

    def refused(self, proposed: frozenset[ProposedContext], error: NetworkError) -> None:
        """Nobody can open an association that proposes these."""
        with self._lock:
            if isinstance(error, NoPresentationContext):
                self._none_accepted = proposed, error  # other SOP classes may fare better
            else:
                self._given_up = error

    def lost(self, error: NetworkError) -> None:
        """An association has ended under an instance."""
        with self._lock:
            self._lost_in_a_row += 1
            # A peer that is started anew loses those of all senders, and each counts.
            if self._lost_in_a_row >= LOST_IN_A_ROW * self._at_work:
                self._given_up = error

    def arrived(self) -> None:
        """The peer has taken an instance."""
        with self._lock:
            self._lost_in_a_row = 0
            self._may_refresh = True

    def may_refresh(self) -> bool:
        """A peer that is full stays full: one fresh association, not one for each instance."""
        with self._lock:
            may_refresh, self._may_refresh = self._may_refresh, False
        return may_refresh


class Sender:
    """Has one association at a time. `may_retry` is asked before a second try."""

    def __init__(
        self,
        connect: Connect,
        peer: Peer,
        sending: Sending,
        prospects: Prospects,
        may_retry: Callable[[], bool],
        opened: Callable[[], None] = lambda: None,
    ) -> None:
        self._connect = connect
        self._peer = peer
        self._sending = sending
        self._prospects = prospects
        self._may_retry = may_retry
        self._opened = opened
        self._channel: Channel | None = None
        self._operations: StoreOperations | None = None
        self._group: plan.Group | None = None
        self._proposed: tuple[ProposedContext, ...] = ()
        self.is_opening = False
        prospects.join()

    def prepare(self, group: plan.Group) -> bool:
        """Open the association before there is a task for it. False where that cannot be, beside
        those of other senders: this one has no more to do."""
        try:
            self._open(group)
        except NetworkError as error:
            return not self._leaves(error)
        return True

    def deliver(self, task: Task, following: Following) -> Outcome | Task:
        """Send one instance, twice where need be; `following` as of StoreOperations. Returns the
        task where no association can be had beside those of other senders: it is theirs then, and
        this one has no more to do. Raises what the tick raises."""
        if task.kind in task.group.unproposable:
            why = plan.why_unproposable(task.kind, self._sending.wishes)
            return failed(task.sendable, NoPresentationContext(why))
        outcome = task.earlier
        if outcome is None:
            outcome = self._try(task, following)
            if outcome is None:
                return task
            if not self._deserves_another(task, outcome) or not self._may_retry():
                return outcome
            self.release()
        again = self._try(task, following)
        if again is None:
            return task._replace(earlier=outcome)
        # The first reason says more than that there was no second chance.
        return outcome if again.error is not None and again.error is self._failure(task) else again

    def release(self) -> None:
        channel = self._let_go()
        if channel is not None:
            channel.release(self._sending.tick)

    def abort(self) -> None:
        channel = self._let_go()
        if channel is not None:
            channel.abort()

    def _let_go(self) -> Channel | None:
        if self._operations is not None:
            self._operations.close()
        channel, self._channel, self._operations = self._channel, None, None
        return channel

    def _failure(self, task: Task) -> NetworkError | None:
        """Why there is no association, and none to be tried."""
        return self._prospects.failure(task.group.contexts)

    def _deserves_another(self, task: Task, outcome: Outcome) -> bool:
        if self._failure(task) is not None:
            return False
        if isinstance(outcome.error, AssociationLost | PeerTimeout):
            return True
        if outcome.status is None or outcome.status >> 8 != 0xA7:
            return False
        return self._prospects.may_refresh()

    def _try(self, task: Task, following: Following) -> Outcome | None:
        """None where other senders shall try."""
        failure = self._failure(task)
        if failure is not None:
            return failed(task.sendable, failure)
        try:
            operations = self._open(task.group)
        except NetworkError as error:
            if self._leaves(error):
                return None
            self._prospects.refused(frozenset(self._proposed), error)
            return failed(task.sendable, error)
        try:
            outcome = operations.perform(task.sendable, following)
        except (AssociationLost, PeerTimeout) as error:
            self.abort()
            self._prospects.lost(error)
            return failed(task.sendable, error)
        if not outcome.is_failure:
            self._prospects.arrived()
        return outcome

    def _leaves(self, error: NetworkError) -> bool:
        """Whether there are others, so that an association less matters little."""
        leaves = self._prospects.leave()
        if leaves:
            log.info("%s: going on with fewer associations: %s", self._peer, error)
        return leaves

    def _open(self, group: plan.Group) -> StoreOperations:
        """On the association that there is, or on a new one. Raises NetworkError."""
        if group is not self._group:
            self._group = group
            if not group.contexts <= set(self._proposed):
                self.release()
        if self._channel is not None and self._operations is not None and self._channel.is_open:
            return self._operations
        self.abort()
        self._proposed = plan.widen(group.contexts, self._proposed)
        self.is_opening = True
        try:
            self._channel = self._connect(self._peer, self._proposed, tick=self._sending.tick)
        finally:
            self.is_opening = False
        self._operations = StoreOperations(self._channel, self._sending)
        self._prospects.opened()
        self._opened()
        return self._operations
