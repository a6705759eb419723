"""Commits are on stable storage when they are answered for: together, and after a sync that failed
not before another succeeded."""

import errno
import os
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pacsnode import index as index_room
from pacsnode.errors import IndexFailure, IndexFull
from pacsnode.index import Index
from pacsnode.index.turn import Turn
from tests.index.instances import make


class Disk:
    """Stands before os.fdatasync: counts, holds syncs up, lets them fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.syncs = 0
        self.failure: int | None = None
        self.failing_from = 0
        self.begun = threading.Semaphore(0)
        self.open = threading.Event()
        self.open.set()
        self._sync = os.fdatasync
        monkeypatch.setattr(os, "fdatasync", self._fdatasync)

    def _fdatasync(self, descriptor: int) -> None:
        self.syncs += 1
        number = self.syncs
        self.begun.release()
        assert self.open.wait(30)
        if self.failure is not None and number >= self.failing_from:
            raise OSError(self.failure, os.strerror(self.failure))
        self._sync(descriptor)

    def hold(self) -> None:
        """The next sync, and those after it, do not end."""
        self.begun = threading.Semaphore(0)
        self.open.clear()


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


@pytest.fixture
def index(path: Path, disk: Disk) -> Iterator[Index]:
    opened = index_room.open(path)
    yield opened
    disk.open.set()
    opened.close()


@pytest.fixture
def others() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


def add(index: Index, number: int) -> None:
    assert index.add(*make(uid=f"1.{number}")) is None


def wait_for_waiters(index: Index, number: int) -> None:
    """Until so many threads wait for a sync that has not begun."""
    upkeep = index._database._upkeep
    assert upkeep is not None
    assert upkeep.durability is not None
    condition = upkeep.durability._condition
    while True:
        with condition:
            if len(condition._waiters) == number:  # type: ignore[attr-defined]
                return


def test_a_commit_is_synced_when_it_is_answered_for(index: Index, disk: Disk) -> None:
    before = disk.syncs
    index.add(*make())
    assert disk.syncs == before + 1


def test_without_fsync_nothing_is_synced(path: Path, disk: Disk) -> None:
    index = index_room.open(path, fsync=False)
    index.add(*make())
    assert index.instance("1.2.1.1.1")
    index.close()
    assert disk.syncs == 0


def test_those_that_wait_at_the_same_moment_share_one_sync(
    index: Index, disk: Disk, others: ThreadPoolExecutor
) -> None:
    disk.hold()
    before = disk.syncs
    first = others.submit(add, index, 0)
    assert disk.begun.acquire(timeout=30)
    rest = [others.submit(add, index, number) for number in range(1, 6)]
    wait_for_waiters(index, 5)
    assert not any(each.done() for each in (first, *rest))
    disk.open.set()
    for each in (first, *rest):
        each.result(30)
    # The second sync began after the five commits.
    assert disk.syncs == before + 2


def test_a_sync_that_is_under_way_covers_no_later_commit(
    index: Index, disk: Disk, others: ThreadPoolExecutor
) -> None:
    disk.hold()
    first = others.submit(add, index, 0)
    assert disk.begun.acquire(timeout=30)
    later = others.submit(add, index, 1)
    wait_for_waiters(index, 1)
    disk.failure, disk.failing_from = errno.EIO, disk.syncs + 1
    disk.open.set()
    assert first.exception(30) is None
    assert isinstance(later.exception(30), IndexFailure)


def test_what_others_have_not_synced_yet_is_no_ground_for_an_answer(
    path: Path, index: Index, disk: Disk, others: ThreadPoolExecutor
) -> None:
    disk.hold()
    adding = others.submit(add, index, 0)
    assert disk.begun.acquire(timeout=30)
    # Each reader has its own idea of what is synced: this process and another.
    second = index_room_of_another_process(path, disk)
    reading: list[Future[Any]] = [
        others.submit(index.instance, "1.0"),
        others.submit(second.instance, "1.0"),
    ]
    wait_for_waiters(index, 1)
    assert disk.begun.acquire(timeout=30)
    assert not any(each.done() for each in reading)
    disk.open.set()
    for each in reading:
        assert each.result(30) is not None
    adding.result(30)
    second.close()


def index_room_of_another_process(path: Path, disk: Disk) -> Index:
    """Opened while syncs are held up: its own first one is let through."""
    held, disk.open = disk.open, threading.Event()
    disk.open.set()
    begun, disk.begun = disk.begun, threading.Semaphore(0)
    try:
        return index_room.open(path)
    finally:
        disk.open, disk.begun = held, begun


def test_removals_are_synced_before_anyone_may_remove_files(
    index: Index, disk: Disk, others: ThreadPoolExecutor
) -> None:
    index.add(*make(uid="1"))
    disk.hold()
    removing = others.submit(index.remove, ["1"])
    assert disk.begun.acquire(timeout=30)
    reading = others.submit(index.pending)
    wait_for_waiters(index, 1)
    assert not reading.done()
    disk.open.set()
    assert reading.result(30) == removing.result(30)


def test_what_has_not_changed_is_not_synced_again(index: Index, disk: Disk) -> None:
    index.add(*make(uid="1"))
    index.instance("1")
    before = disk.syncs
    for _ in range(10):
        assert index.instance("1") is not None
        assert index.instance("2") is None
    assert disk.syncs == before
    with ThreadPoolExecutor(1) as pool:
        pool.submit(add, index, 2).result(30)
    index.instance("1")
    assert disk.syncs == before + 2


@pytest.mark.parametrize(("code", "kind"), [(errno.EIO, IndexFailure), (errno.ENOSPC, IndexFull)])
def test_a_failed_sync_is_a_failure_for_all_that_wait_and_all_that_come(
    index: Index, disk: Disk, others: ThreadPoolExecutor, code: int, kind: type[IndexFailure]
) -> None:
    disk.hold()
    disk.failure = code
    adding = [others.submit(add, index, 0)]
    assert disk.begun.acquire(timeout=30)
    adding += [others.submit(add, index, number) for number in range(1, 4)]
    wait_for_waiters(index, 3)
    disk.open.set()
    for each in adding:
        error = each.exception(30)
        assert type(error) is kind
        assert os.strerror(code) in str(error)
    known = index.statistics().instances
    for number in range(10, 13):
        with pytest.raises(kind):
            index.add(*make(uid=f"1.{number}"))
    # Nothing that could not be answered for piles up.
    assert index.statistics().instances == known
    # There, but nobody may rely on it.
    with pytest.raises(kind):
        index.instance("1.0")


def log_of(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def in_the_database(path: Path, folder: Path) -> int:
    """How many instances the database holds without its log."""
    copy = folder / "copy.sqlite"
    shutil.copyfile(path, copy)
    with closing(sqlite3.connect(copy)) as connection:
        (count,) = connection.execute("SELECT count(*) FROM instance").fetchone()
    return int(count)


def test_after_a_failed_sync_a_new_log_is_begun(
    index: Index, disk: Disk, path: Path, tmp_path: Path
) -> None:
    """Blocks of the old one may be lost however often they are written again."""
    index.add(*make(uid="1.0"))
    disk.failure = errno.EIO
    with pytest.raises(IndexFailure):
        index.add(*make(uid="1.1"))
    length = log_of(path).stat().st_size
    for _ in range(3):
        with pytest.raises(IndexFailure):
            index.instance("1.1")
    assert log_of(path).stat().st_size == length
    disk.failure = None
    index.instance("1.1")
    assert log_of(path).stat().st_size == 0
    assert in_the_database(path, tmp_path) == 2
    assert index.add(*make(uid="1.2")) is None
    assert log_of(path).stat().st_size > 0
    assert index.statistics().instances == 3


def test_while_somebody_reads_the_log_it_stays_in_doubt(
    index: Index, disk: Disk, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.add(*make(uid="1.0"))
    disk.failure = errno.EIO
    with pytest.raises(IndexFailure):
        index.add(*make(uid="1.1"))
    disk.failure = None
    monkeypatch.setattr(index._database, "_timeout", 0.01)
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM instance").fetchone()
    with pytest.raises(IndexFailure, match="still reads"):
        index.add(*make(uid="1.2"))
    reader.execute("ROLLBACK")
    reader.close()
    assert index.add(*make(uid="1.2")) is None


def test_a_process_that_comes_later_does_not_trust_the_log_either(
    index: Index, disk: Disk, path: Path, tmp_path: Path
) -> None:
    disk.failure = errno.EIO
    with pytest.raises(IndexFailure):
        index.add(*make(uid="1.0"))
    with pytest.raises(IndexFailure):
        index_room.open(path)
    disk.failure = None
    second = index_room.open(path)
    assert in_the_database(path, tmp_path) == 1
    second.add(*make(uid="1.1"))
    third = index_room.open(path)
    # The second did it for all that come after.
    assert in_the_database(path, tmp_path) == 1
    for each in (second, third):
        each.close()


def test_a_log_in_doubt_is_renewed_before_it_is_closed(path: Path, disk: Disk) -> None:
    index = index_room.open(path)
    disk.failure = errno.EIO
    with pytest.raises(IndexFailure):
        index.add(*make(uid="1.0"))
    disk.failure = None
    index.close()
    assert not Turn(path).has_warning


def test_an_interrupted_sync_counts_for_nobody(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(descriptor: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", interrupt)
        with pytest.raises(KeyboardInterrupt):
            index.add(*make(uid="1.0"))
    assert index.instance("1.0") is not None
    assert index.add(*make(uid="1.1")) is None
