"""Several associations at once: outcomes as of one, and no thread is left behind."""

import contextvars
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from pacsnode import log
from pacsnode.dicom.message import Channel, Suboperation, Tick
from pacsnode.errors import (
    AssociationLost,
    AssociationRejected,
    IndexFailure,
    InstanceMissing,
    PeerUnreachable,
)
from pacsnode.scu import sender, tasks
from pacsnode.scu.sendable import Outcome
from pacsnode.scu.store import send
from tests.scu.scripted import CT, JPEG, MR, PEER, Sample, ScriptedPeer, Verdict, lost

PATIENCE = 20.0  # seconds until what does not come is a failure
THREE, TWO = replace(PEER, associations=3), replace(PEER, associations=2)


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    assert [thread for thread in threading.enumerate() if thread.name == "sender"] == []


def samples(count: int) -> list[Sample]:
    return [Sample(f"1.2.{number}") for number in range(1, count + 1)]


def uids(outcomes: list[Outcome]) -> list[str]:
    return sorted(outcome.sendable.sop_instance_uid for outcome in outcomes)


class Meeting:
    """Verdicts for all instances: the first one on each of so many associations waits for those on
    the others."""

    def __init__(self, associations: int) -> None:
        self._barrier = threading.Barrier(associations)
        self._met: set[int] = set()

    def __call__(self, operation: Suboperation, tick: Tick) -> int:
        thread = threading.get_ident()
        if thread not in self._met:
            self._met.add(thread)
            self._barrier.wait(PATIENCE)
        return 0


def verdicts(verdict: Verdict, count: int) -> dict[str, list[Verdict]]:
    return {f"1.2.{number}": [verdict] for number in range(1, count + 1)}


class Held:
    """C-STOREs that are under way until they are let go, or the tick ends them."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.may_end = threading.Event()

    def __call__(self, operation: Suboperation, tick: Tick) -> int:
        self.begun.release()
        while not self.may_end.wait(0.05):
            tick()
        return 0


def test_instances_go_over_several_associations_at_once() -> None:
    peer = ScriptedPeer(verdicts=verdicts(Meeting(3), 100))
    outcomes = list(send(peer, THREE, samples(100)))
    assert all(outcome.is_success for outcome in outcomes)
    assert uids(outcomes) == sorted(sample.sop_instance_uid for sample in samples(100))
    assert Counter(peer.received) == Counter(s.sop_instance_uid for s in samples(100))
    assert [channel.end for channel in peer.channels] == ["released"] * 3


def test_on_each_association_they_go_in_order() -> None:
    peer = ScriptedPeer(verdicts=verdicts(Meeting(3), 200))
    list(send(peer, THREE, samples(200)))
    for channel in peer.channels:
        numbers = [int(operation.sop_instance_uid[4:]) for operation, _ in channel.stored]
        assert numbers == sorted(numbers)


def test_no_more_associations_are_opened_than_there_are_instances() -> None:
    peer = ScriptedPeer()
    assert len(list(send(peer, replace(PEER, associations=9), samples(2)))) == 2
    assert peer.attempts <= 2


def test_nothing_to_send_opens_none() -> None:
    peer = ScriptedPeer()
    assert list(send(peer, THREE, [])) == []
    assert peer.attempts == 0


def test_a_peer_that_takes_one_association_only_gets_all_on_that() -> None:
    refused = AssociationRejected("local limit exceeded", 2, 3, 2)
    peer = ScriptedPeer(refusals=[None, refused, refused])
    outcomes = list(send(peer, THREE, samples(50)))
    assert all(outcome.is_success for outcome in outcomes)
    assert len(outcomes) == 50
    assert len(peer.channels) == 1


def test_a_peer_that_serves_one_association_after_the_other_delays_nothing() -> None:
    """It answers the second association request when the first association is over."""
    asking, given_up = threading.Semaphore(0), threading.Semaphore(0)

    def wait_for_others(operation: Suboperation, tick: Tick) -> int:
        assert asking.acquire(timeout=PATIENCE)
        assert asking.acquire(timeout=PATIENCE)
        return 0

    peer = ScriptedPeer(verdicts={"1.2.1": [wait_for_others]})
    is_first = iter([True])

    def connect(*arguments: Any, tick: Tick, **more: Any) -> Channel:
        if next(is_first, False):
            return peer(*arguments, tick=tick, **more)
        asking.release()
        try:
            while True:
                tick()
                time.sleep(0.01)
        finally:
            given_up.release()

    outcomes = list(send(connect, THREE, samples(50)))
    assert all(outcome.is_success for outcome in outcomes)
    assert len(outcomes) == 50
    assert given_up.acquire(timeout=PATIENCE)
    assert given_up.acquire(timeout=PATIENCE)
    assert [channel.end for channel in peer.channels] == ["released"]


def test_an_unreachable_peer_is_tried_once_for_all() -> None:
    peer = ScriptedPeer(refusals=[PeerUnreachable("refused", "tcp")])
    outcomes = list(send(peer, THREE, samples(2 * tasks.LOOK_AHEAD)))
    assert len(outcomes) == 2 * tasks.LOOK_AHEAD
    assert all(isinstance(outcome.error, PeerUnreachable) for outcome in outcomes)
    assert peer.attempts == 1


def test_an_association_that_is_lost_is_replaced_and_its_instance_tried_again() -> None:
    peer = ScriptedPeer(verdicts={"1.2.7": [lost()]})
    outcomes = list(send(peer, TWO, samples(50)))
    assert all(outcome.is_success for outcome in outcomes)
    assert len(outcomes) == 50


def test_where_a_lost_one_cannot_be_replaced_the_others_take_over() -> None:
    meeting = Meeting(2)
    losses = iter([lost()])

    def meet_and_lose(operation: Suboperation, tick: Tick) -> int:
        meeting(operation, tick)
        for error in losses:
            raise error
        return 0

    refused = AssociationRejected("local limit exceeded", 2, 3, 2)
    peer = ScriptedPeer(verdicts=verdicts(meet_and_lose, 50), refusals=[None, None, refused])
    outcomes = list(send(peer, TWO, samples(50)))
    assert all(outcome.is_success for outcome in outcomes)
    assert len(outcomes) == 50
    assert [channel.end for channel in peer.channels].count("aborted") == 1
    assert peer.attempts == 3


def test_the_last_association_that_cannot_be_replaced_ends_all() -> None:
    refused = AssociationRejected("local limit exceeded", 2, 3, 2)
    peer = ScriptedPeer(
        verdicts={f"1.2.{n}": [lost(), lost()] for n in range(1, 51)},
        refusals=[None, *[refused] * 20],
    )
    outcomes = list(send(peer, THREE, samples(50)))
    assert len(outcomes) == 50
    assert all(outcome.is_failure for outcome in outcomes)


def test_a_peer_that_loses_every_association_is_given_up() -> None:
    peer = ScriptedPeer(verdicts={f"1.2.{n}": [lost(), lost()] for n in range(1, 501)})
    outcomes = list(send(peer, THREE, samples(500)))
    assert len(outcomes) == 500
    assert all(outcome.is_failure for outcome in outcomes)
    assert peer.attempts <= 3 * sender.LOST_IN_A_ROW + 3


def test_a_peer_that_loses_all_associations_at_once_is_not_given_up() -> None:
    """It was started anew: that is one loss for each association, and not many in a row."""
    prospects = sender.Prospects()
    for _ in range(sender.LOST_IN_A_ROW):
        prospects.join()
    for _ in range(sender.LOST_IN_A_ROW):
        prospects.lost(lost())
    assert prospects.failure(frozenset()) is None
    for _ in range(sender.LOST_IN_A_ROW**2):
        prospects.lost(lost())
    assert prospects.failure(frozenset()) is not None


def test_where_no_more_threads_are_to_be_had_those_that_run_do_the_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start, is_first, in_vain = threading.Thread.start, iter([True]), []
    has_gone_on = threading.Event()

    def start_one(thread: threading.Thread) -> None:
        if thread.name == "sender" and not next(is_first, False):
            in_vain.append(thread)
            raise RuntimeError("can't start new thread")
        start(thread)

    def wait(operation: Suboperation, tick: Tick) -> int:
        assert has_gone_on.wait(PATIENCE)
        return 0

    def may_go_on() -> bool:
        if len(in_vain) == 2:
            has_gone_on.set()
        return True

    monkeypatch.setattr(threading.Thread, "start", start_one)
    refused = AssociationRejected("local limit exceeded", 2, 3, 2)
    peer = ScriptedPeer(verdicts={"1.2.1": [wait], "1.2.9": [lost()]}, refusals=[None, refused])
    outcomes = list(send(peer, THREE, samples(20), may_go_on=may_go_on))
    assert len(outcomes) == 20
    assert sum(outcome.is_success for outcome in outcomes) == 8, "the one that runs is the last"


def test_where_no_thread_is_to_be_had_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    start = threading.Thread.start

    def start_others(thread: threading.Thread) -> None:
        if thread.name == "sender":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_others)
    with pytest.raises(RuntimeError, match="can't start"):
        list(send(ScriptedPeer(), THREE, samples(20)))


def test_what_threads_log_has_the_number_of_the_association_that_asked() -> None:
    numbers: set[int | None] = set()

    def look(operation: Suboperation, tick: Tick) -> int:
        numbers.add(log.association.get())
        return 0

    def ask() -> None:
        log.association.set(7)
        list(send(ScriptedPeer(verdicts=verdicts(look, 9)), THREE, samples(9)))

    contextvars.copy_context().run(ask)
    assert numbers == {7}


def test_a_bad_instance_fails_alone() -> None:
    wanted = samples(20)
    wanted[4] = Sample("1.2.5", error=InstanceMissing("no file"))
    outcomes = list(send(ScriptedPeer(), THREE, wanted))
    failures = [outcome for outcome in outcomes if outcome.is_failure]
    assert uids(failures) == ["1.2.5"]
    assert len(outcomes) == 20


def test_more_kinds_than_one_association_takes_are_shared_too() -> None:
    classes = [f"1.2.840.10008.5.1.4.1.1.{number}" for number in range(100)]
    wanted = [Sample(f"1.2.{n}.{m}", uid, JPEG) for n, uid in enumerate(classes) for m in range(4)]
    outcomes = list(send(ScriptedPeer(), THREE, wanted))
    assert all(outcome.is_success for outcome in outcomes)
    assert len(outcomes) == 400


def test_batches_of_different_kinds_follow_each_other() -> None:
    many = [
        Sample(f"1.2.{n}", CT if n // tasks.LOOK_AHEAD % 2 else MR)
        for n in range(4 * tasks.LOOK_AHEAD)
    ]
    outcomes = list(send(ScriptedPeer(), THREE, iter(many)))
    assert all(outcome.is_success for outcome in outcomes)
    assert len(set(uids(outcomes))) == len(many)


class Cancel:
    """A may_go_on that says no once `is_due`. When it is asked again what was waiting has been
    forgotten: `settled` is set."""

    def __init__(self, is_due: Callable[[], bool]) -> None:
        self._is_due = is_due
        self._has_come = False
        self.settled = threading.Event()

    def __call__(self) -> bool:
        if self._has_come:
            self.settled.set()
        self._has_come = self._has_come or self._is_due()
        return not self._has_come


def test_after_a_cancel_what_is_under_way_ends_and_nothing_else_begins() -> None:
    held = Held()
    peer = ScriptedPeer(verdicts=verdicts(held, 100))
    peer.verdicts["1.2.1"] = [0]

    def is_due() -> bool:
        if not peer.received:
            return False
        return all(held.begun.acquire(timeout=PATIENCE) for _ in range(3))

    cancel = Cancel(is_due)
    held.may_end = cancel.settled
    outcomes = list(send(peer, THREE, samples(100), may_go_on=cancel))
    assert all(outcome.is_success for outcome in outcomes)
    assert uids(outcomes) == sorted(peer.received), "what went out is told"
    assert len(outcomes) == 4
    assert [channel.end for channel in peer.channels] == ["released"] * 3


def test_after_a_cancel_nothing_is_tried_again() -> None:
    begun = threading.Event()
    cancel = Cancel(begun.is_set)

    def lose(operation: Suboperation, tick: Tick) -> int:
        begun.set()
        assert cancel.settled.wait(PATIENCE)
        raise lost()

    peer = ScriptedPeer(verdicts={"1.2.1": [lose]})
    outcomes = list(send(peer, TWO, samples(5), may_go_on=cancel))
    first = next(o for o in outcomes if o.sendable.sop_instance_uid == "1.2.1")
    assert isinstance(first.error, AssociationLost)


def test_closing_early_aborts_what_is_under_way() -> None:
    held = Held()
    peer = ScriptedPeer(verdicts=verdicts(held, 100))
    peer.verdicts["1.2.1"] = [0]
    outcomes = send(peer, THREE, samples(100))
    assert next(outcomes).is_success
    for _ in range(3):
        assert held.begun.acquire(timeout=PATIENCE)
    outcomes.close()
    assert [channel.end for channel in peer.channels] == ["aborted"] * 3


def test_an_interrupt_while_outcomes_are_awaited_ends_all() -> None:
    held = Held()
    peer = ScriptedPeer(verdicts=verdicts(held, 100))

    def tick() -> None:
        if held.begun.acquire(blocking=False):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(send(peer, TWO, samples(100), tick=tick))
    assert {channel.end for channel in peer.channels} == {"aborted"}


def test_a_tick_that_raises_ends_everything() -> None:
    held = Held()
    peer = ScriptedPeer(verdicts=verdicts(held, 100))

    def tick() -> None:
        if held.begun.acquire(blocking=False):
            raise AssociationLost("the requester is gone")

    with pytest.raises(AssociationLost, match="the requester is gone"):
        list(send(peer, TWO, samples(100), tick=tick))
    assert {channel.end for channel in peer.channels} == {"aborted"}


def test_what_goes_wrong_unexpectedly_in_a_thread_is_raised() -> None:
    wanted = samples(20)
    wanted[4] = Sample("1.2.5", error=RuntimeError("a fault of ours"))
    peer = ScriptedPeer()
    with pytest.raises(RuntimeError, match="a fault of ours"):
        list(send(peer, THREE, wanted))
    assert "" not in [channel.end for channel in peer.channels]


def test_a_selection_that_fails_does_so_after_what_it_found() -> None:
    def failing() -> Iterator[Sample]:
        yield from samples(tasks.LOOK_AHEAD)
        raise IndexFailure("disk I/O error")

    outcomes = send(ScriptedPeer(), THREE, failing())
    assert all(next(outcomes).is_success for _ in range(tasks.LOOK_AHEAD))
    with pytest.raises(IndexFailure):
        next(outcomes)


def test_ticks_come_while_nothing_ends() -> None:
    held = Held()
    peer = ScriptedPeer(verdicts={"1.2.1": [held]})
    ticks = []
    here = threading.get_ident()

    def tick() -> None:
        ticks.append(threading.get_ident())
        if len(ticks) > 4:
            held.may_end.set()

    assert len(list(send(peer, TWO, samples(2), tick=tick))) == 2
    assert set(ticks) == {here}, "the requester's association is this thread's"
