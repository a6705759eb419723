"""One writer at a time: threads, processes, those that die and those that stop."""

import os
import signal
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pacsnode.errors import IndexFailure
from pacsnode.index import turn as turn_module
from pacsnode.index.turn import FILE, Turn


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "index.sqlite"
    path.touch(0o640)
    return path


@pytest.fixture
def turns(path: Path) -> Iterator[Callable[[], Turn]]:
    """Turns on one index, each as a process of its own has it."""
    made: list[Turn] = []

    def make() -> Turn:
        made.append(Turn(path))
        return made[-1]

    yield make
    for turn in made:
        turn.close()


def waits(turn: Turn) -> tuple[threading.Thread, threading.Event]:
    """Someone who wants the turn, and whether they have had it."""
    had = threading.Event()

    def take() -> None:
        with turn.held():
            had.set()

    thread = threading.Thread(target=take)
    thread.start()
    return thread, had


@pytest.mark.parametrize("same", [True, False])
def test_a_second_writer_waits_until_the_first_is_done(
    turns: Callable[[], Turn], same: bool
) -> None:
    first = turns()
    second = first if same else turns()
    with first.held():
        thread, had = waits(second)
        assert not had.wait(0.1)
    thread.join(10)
    assert had.is_set()


def test_an_exception_ends_the_turn(turns: Callable[[], Turn]) -> None:
    turn = turns()
    with pytest.raises(ZeroDivisionError), turn.held():
        _ = 1 / 0
    with turn.held(), pytest.raises(ZeroDivisionError):
        _ = 1 / 0


def child_in_its_turn(path: Path) -> int:
    """A process that has the turn and keeps it."""
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        with Turn(path).held():
            os.write(tell, b"x")
            signal.pause()
        os._exit(1)
    assert os.read(told, 1) == b"x"
    os.close(told)
    os.close(tell)
    return child


def test_a_holder_that_is_killed_is_in_nobodys_way(turns: Callable[[], Turn], path: Path) -> None:
    child = child_in_its_turn(path)
    thread, had = waits(turns())
    assert not had.wait(0.1)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    thread.join(10)
    assert had.is_set()


def test_behind_a_stopped_process_one_thread_waits_and_the_others_give_up(
    turns: Callable[[], Turn], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = child_in_its_turn(path)
    os.kill(child, signal.SIGSTOP)
    turn = turns()
    thread, had = waits(turn)
    while not turn._lock.locked():
        assert thread.is_alive()
    monkeypatch.setattr(turn_module, "PATIENCE", 0.01)
    with pytest.raises(IndexFailure, match="locked"), turn.held():
        pass
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    thread.join(10)
    assert had.is_set()


def test_the_lock_is_as_private_as_the_index(turns: Callable[[], Turn], path: Path) -> None:
    before = os.umask(0)
    try:
        with turns().held():
            pass
    finally:
        os.umask(before)
    assert stat.S_IMODE((path.parent / FILE).stat().st_mode) == 0o640


def test_a_lock_that_cannot_be_opened_is_named(turns: Callable[[], Turn], path: Path) -> None:
    (path.parent / FILE).mkdir()
    with pytest.raises(IndexFailure, match=FILE), turns().held():
        pass


def test_a_warning_is_seen_by_others_until_it_is_taken_away(turns: Callable[[], Turn]) -> None:
    one, other = turns(), turns()
    assert not other.has_warning
    one.warn(True)
    one.warn(True)
    assert other.has_warning
    other.warn(False)
    assert not one.has_warning
