"""The write-ahead log stays short, and what keeps it short keeps nobody waiting."""

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pacsnode.dicom.level import Level
from pacsnode.index import Index, checkpoint
from pacsnode.index.checkpoint import Checkpoints
from tests.index.instances import make, query

PAGE = 4096 + 24
STEP, LIMIT = 100, 400

STORM = """
import sys
from pacsnode import index
from pacsnode.index import checkpoint
from tests.index.instances import make
checkpoint.STEP, checkpoint.LIMIT = {step}, {limit}
opened = index.open(sys.argv[1], fsync=False)
for n in range(1000):
    opened.add(*make(uid=f'7.{{n}}'))
opened.close()
"""


@pytest.fixture
def index(index: Index, monkeypatch: pytest.MonkeyPatch) -> Index:
    monkeypatch.setattr(checkpoint, "STEP", STEP)
    monkeypatch.setattr(checkpoint, "LIMIT", LIMIT)
    monkeypatch.setattr(checkpoint, "EVERY", 4)
    return index


def add(index: Index, thread: int, count: int) -> None:
    for number in range(count):
        assert index.add(*make(f"1.{thread}", f"1.{thread}.1", f"1.{thread}.{number}")) is None


def length(path: Path) -> int:
    """Of the log, in pages; it never gets shorter than it once was."""
    return path.with_name(path.name + "-wal").stat().st_size // PAGE


def test_it_stays_bounded_while_threads_and_processes_write_and_others_read(
    index: Index, path: Path
) -> None:
    program = STORM.format(step=STEP, limit=LIMIT)
    other = subprocess.Popen([sys.executable, "-c", program, str(path)])
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            for _ in index.find(query(Level.STUDY)):
                pass

    reader = threading.Thread(target=read)
    reader.start()
    try:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda thread: add(index, thread, 750), range(4)))
    finally:
        done.set()
        reader.join()
        assert other.wait(60) == 0
    assert index.statistics().instances == 4000
    # All of it would have been over 20,000.
    assert length(path) < 20 * LIMIT


def test_others_write_on_during_a_checkpoint(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, let_go = threading.Event(), threading.Event()

    def slow(self: Checkpoints, mode: str) -> int:
        begun.set()
        assert let_go.wait(30)
        return STEP

    monkeypatch.setattr(Checkpoints, "_checkpoint", slow)
    with ThreadPoolExecutor(1) as pool:
        one = pool.submit(add, index, 1, 60)
        assert begun.wait(30)
        add(index, 2, 60)
        assert not one.done()
        let_go.set()
        one.result(30)


@pytest.fixture
def modes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every checkpoint that is begun."""
    begun: list[str] = []
    real: Callable[[Checkpoints, str], int] = Checkpoints._checkpoint

    def note(self: Checkpoints, mode: str) -> int:
        begun.append(mode)
        return real(self, mode)

    monkeypatch.setattr(Checkpoints, "_checkpoint", note)
    return begun


def test_a_log_that_nobody_needs_is_reused_without_keeping_anyone_waiting(
    index: Index, path: Path, modes: list[str]
) -> None:
    add(index, 1, 300)
    assert len(modes) > 5
    assert set(modes) == {"PASSIVE"}
    assert length(path) < 2 * STEP


def test_a_long_reader_is_not_waited_for_and_afterwards_the_log_is_reused(
    index: Index, path: Path, modes: list[str]
) -> None:
    add(index, 0, 1)
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM instance").fetchone()
    add(index, 1, 200)
    grown = length(path)
    assert grown > LIMIT
    # Not at every commit.
    assert modes.count("RESTART") <= (grown - LIMIT) / STEP + 1
    reader.execute("ROLLBACK")
    reader.close()
    add(index, 2, 300)
    assert length(path) < grown + 2 * STEP


@pytest.mark.parametrize("text", ["disk I/O error", "database or disk is full"])
def test_a_checkpoint_that_fails_fails_nobody_and_is_tried_again(
    index: Index,
    path: Path,
    modes: list[str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    text: str,
) -> None:
    def fail(self: Checkpoints, mode: str) -> int:
        modes.append("failed")
        raise sqlite3.OperationalError(text)

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "_checkpoint", fail)
        add(index, 1, 100)
    assert 1 < modes.count("failed") < 10
    assert text in caplog.text
    assert ("reindex" in caplog.text) == ("I/O" in text)
    assert (text in index.fault) == ("I/O" in text)
    modes.clear()
    add(index, 2, 300)
    assert modes
    assert length(path) < 10 * STEP


def test_no_page_leaves_a_log_in_doubt(index: Index, modes: list[str]) -> None:
    index._database._turn.warn(True)
    add(index, 1, 100)
    assert modes == []
    index._database._turn.warn(False)
    add(index, 2, 100)
    assert modes


def test_the_last_association_to_end_leaves_the_log_to_the_next(index: Index, path: Path) -> None:
    add(index, 1, 1)
    assert length(path) > 0


def test_while_another_process_is_at_it_nothing_is_done(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def taken(self: Checkpoints, mode: str) -> int:
        asked.append(mode)
        return -1

    monkeypatch.setattr(Checkpoints, "_checkpoint", taken)
    add(index, 1, 200)
    assert set(asked) == {"PASSIVE"}
    assert len(asked) < 20
