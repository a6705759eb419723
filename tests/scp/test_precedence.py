"""Less urgent retrieves let more urgent ones pass, and get on all the same."""

import os
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from pacsnode.dicom.message import ProposedContext
from pacsnode.scp import Access, Dispatcher, precedence
from pacsnode.scp.precedence import HIGH, LOW, MEDIUM, Precedence
from pacsnode.scp.retrieve import retrieve
from pacsnode.scu.sendable import Outcome
from tests.scp.conftest import FakeArchive, Requester, stored
from tests.scp.test_access import settings
from tests.scu.scripted import CT, EXPLICIT, PEER, ScriptedPeer


class Clock:
    """Sleep takes no time, and is counted."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(precedence, "time", clock)
    return clock


@pytest.mark.parametrize(
    ("running", "asking", "waits"),
    [
        (HIGH, MEDIUM, True),
        (HIGH, LOW, True),
        (MEDIUM, LOW, True),
        (7, LOW, True),  # no priority at all: medium
        (HIGH, HIGH, False),
        (MEDIUM, MEDIUM, False),
        (MEDIUM, HIGH, False),
        (LOW, LOW, False),
        (LOW, 7, False),
    ],
)
def test_who_gives_way_to_whom(clock: Clock, running: int, asking: int, waits: bool) -> None:
    order = Precedence()
    with order.under_way(running):
        order.give_way(asking)
    assert (clock.now > 0) is waits
    assert clock.now <= max(precedence.PAUSE.values()) + precedence.STEP
    before = clock.now
    order.give_way(asking)
    assert clock.now == before, "nobody is under way any more"


def test_one_that_gives_way_goes_on_as_soon_as_the_other_has_ended() -> None:
    order = Precedence()
    has_passed = threading.Event()
    with order.under_way(HIGH):
        waiting = threading.Thread(target=lambda: (order.give_way(LOW), has_passed.set()))
        waiting.start()
    assert has_passed.wait(20)
    waiting.join()


def test_it_holds_between_processes_and_a_killed_one_holds_nobody_up_once_it_is_replaced(
    clock: Clock,
) -> None:
    order = Precedence(2)
    order.adopt(1)
    process = os.fork()
    if not process:
        order.adopt(2)
        with order.under_way(HIGH):
            os._exit(0)  # as if it were killed
    os.waitpid(process, 0)
    order.give_way(LOW)
    assert clock.now > 0
    order.adopt(2)  # as its successor does
    before = clock.now
    order.give_way(LOW)
    assert clock.now == before


def test_before_each_instance_a_retrieve_gives_way(clock: Clock) -> None:
    order = Precedence()
    archive = FakeArchive([stored(number) for number in range(3)])
    request = replace(Requester().move(), priority=LOW)

    def send(sendables: object, _tick: object) -> Iterator[Outcome]:
        for sendable in sendables:
            with sendable.open():
                yield Outcome(sendable, 0)

    with order.under_way(MEDIUM):
        (final,) = retrieve(request, archive, send, precedence=order)
    assert final.counters.completed == 3
    assert clock.now == pytest.approx(3 * precedence.PAUSE[LOW], abs=3 * precedence.STEP)


@pytest.mark.parametrize("service", ["move", "get"])
def test_whoever_asks_for_low_priority_gives_way(clock: Clock, service: str) -> None:
    order = Precedence()
    archive = FakeArchive([stored(0)])
    access = Access(settings({"unknown_callers": frozenset({service})}, STORE={}))
    dispatcher = Dispatcher(archive, access, ScriptedPeer(), precedence=order)
    requester = Requester()
    channel = ScriptedPeer()(PEER, [ProposedContext(CT, (EXPLICIT,))])
    request = requester.move() if service == "move" else requester.get(channel)
    assert dispatcher.admit(request.caller) is None
    with order.under_way(HIGH):
        list(dispatcher.handle(replace(request, priority=LOW)))
    assert clock.now > 0
