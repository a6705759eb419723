"""Places are counted over all processes, and a killed one's can be had back."""

import os
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from pacsnode.scp.places import Places


@contextmanager
def child(places: Places, owner: int, work: Callable[[], object]) -> Iterator[Callable[[], None]]:
    """A forked process that has done `work` and stopped; yields what kills it."""
    process = os.fork()
    if process == 0:
        places.adopt(owner)
        result = work()
        os.kill(os.getpid(), signal.SIGSTOP)
        os._exit(result is None)  # unreachable unless somebody continues it
    os.waitpid(process, os.WUNTRACED)
    with ExitStack() as stack:

        def kill() -> None:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)

        stack.callback(kill)
        yield stack.close


def test_places_are_taken_and_given_back() -> None:
    places = Places(3)
    with places.counting():
        assert places.taken() == 0
        first, second = places.take("CT1"), places.take(None)
        assert places.taken() == 2
        places.give_back(first)
        assert places.taken() == 1
        assert {places.take("CT1"), places.take("CT1"), second} == {0, 1, 2}
        with pytest.raises(AssertionError, match="no place"):
            places.take(None)


def test_places_are_counted_by_modality() -> None:
    places = Places(10)
    with places.counting():
        mine = places.take("CT1")
        places.take("CT1")
        places.take("Röntgen " * 20)
        places.take(None)
        assert [places.held_by(name) for name in ("CT1", "Röntgen " * 20, "MR")] == [2, 1, 0]
        places.give_back(mine)
        assert places.held_by("CT1") == 1


def test_what_another_process_took_counts_and_is_vacated_when_it_was_killed() -> None:
    places = Places(5)
    with places.counting():
        places.take("CT1")

    def work() -> None:
        with places.counting():
            places.take("CT1")
            places.take("MR")

    with child(places, 2, work) as kill:
        with places.counting():
            assert places.taken() == 3
            assert places.held_by("CT1") == 2
        kill()
    with places.counting():
        assert places.vacate(2) == 2
        assert places.taken() == 1
        assert places.held_by("CT1") == 1


def test_a_process_killed_while_it_counts_keeps_nobody_out() -> None:
    places = Places(5)

    def work() -> object:
        counting = places.counting()
        counting.__enter__()
        places.take("CT1")
        return counting

    entered = threading.Event()

    def enter() -> None:
        with places.counting():
            entered.set()

    thread = threading.Thread(target=enter)
    with child(places, 2, work) as kill:
        thread.start()
        assert not entered.wait(0.05), "the child is inside"
        kill()
        assert entered.wait(30)
    thread.join()
    with places.counting():
        assert places.vacate(2) == 1


def test_a_limit_holds_over_processes_that_crowd() -> None:
    places = Places(20)

    def crowd() -> None:
        for _ in range(10_000):
            with places.counting():
                if places.taken() >= 20:
                    return
                places.take(None)

    children = []
    for owner in (2, 3, 4):
        process = os.fork()
        if process == 0:
            places.adopt(owner)
            crowd()
            os._exit(0)
        children.append(process)
    codes = [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in children]
    assert codes == [0, 0, 0]
    with places.counting():
        assert places.taken() == 20
        assert sum(places.vacate(owner) for owner in (2, 3, 4)) == 20


def test_a_full_disk_has_no_bearing_on_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write to a mapped file that its disk has no room for ends the process by SIGBUS."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "full"))
    places = Places(1)
    with places.counting():
        places.take("CT1")
        assert places.taken() == 1


def test_unknown_callers_are_counted_together() -> None:
    places = Places(5)
    with places.counting():
        places.take(None, "A", "192.0.2.1")
        places.take(None, "B", "192.0.2.2")
        places.take("CT1", "A", "192.0.2.1")
        assert places.held_by(None) == 2


def test_whoever_looks_sees_who_holds_places() -> None:
    places = Places(6)
    address = "2001:0db8:0000:0000:0000:ffff:192.168.100.200"

    def work() -> None:
        with places.counting():
            places.take("CT1", "CT1", "192.0.2.1")
            places.take(None, "STRÄNGER IS LONG", address)

    with places.counting():
        places.take("CT1", "CT1", "192.0.2.1")
        places.take(None, "CT1", "192.0.2.1")
        places.give_back(places.take("MR1", "MR1", "192.0.2.3"))
    with child(places, 2, work):
        found = places.callers(["MR1", "CT1"])
    assert found[0] == ("CT1", "192.0.2.1", "CT1", 2)
    assert set(found[1:]) == {
        ("CT1", "192.0.2.1", None, 1),
        ("STRÄNGER IS LONG", address, None, 1),
    }


def test_an_odd_title_is_held_like_any_other() -> None:
    places = Places(1)
    with places.counting():
        places.take(None, "\u20ac\ud800" * 20, "x" * 80)
        assert places.callers() == [("??" * 8, "x" * 45, None, 1)]
