"""Threads, processes and failures beside one another."""

import gc
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pacsnode import index as index_room
from pacsnode.dicom.level import Level
from pacsnode.errors import IndexFailure, IndexFull
from pacsnode.index import Index, turn
from pacsnode.index.database import _Connection
from tests.index.instances import make, matches, next_connection, query


def test_many_threads_add_the_same_instances_and_each_is_added_once(index: Index) -> None:
    def add(thread: int) -> int:
        added = 0
        for number in range(40):
            made = make(f"1.{number % 3}", f"1.{number % 3}.1", f"1.1.{number}")
            added += index.add(*made) is None
        return added

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(add, range(8))) == 40
    assert index.statistics()[:4] == (3, 3, 3, 40)


def test_a_reader_and_a_writer_do_not_wait_for_each_other(index: Index) -> None:
    for number in range(600):
        index.add(*make(f"1.{number}", f"1.{number}.1", f"1.{number}.1.1"))
    found = matches(index, query(Level.STUDY))
    next(found)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(index.add, *make("2", "2.1", "2.1.1")).result(timeout=10)
    # Nothing is read while answers are on their way: the log can be reset under a slow peer.
    busy, _, _ = next_connection(index).execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    assert busy == 0
    assert len(list(found)) == 600


def test_another_process_writes_beside_this_one(index: Index, path: Path) -> None:
    program = (
        "import sys; from pacsnode import index; from tests.index.instances import make\n"
        "opened = index.open(sys.argv[1], fsync=False)\n"
        "for n in range(100): opened.add(*make(uid=f'7.{n}'))\n"
        "opened.close()\n"
    )
    other = subprocess.Popen([sys.executable, "-c", program, str(path)])
    for number in range(100):
        index.add(*make(uid=f"8.{number}"))
    assert other.wait(60) == 0
    assert index.statistics().instances == 200


def test_a_lock_held_too_long_is_an_index_failure(
    index: Index, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    next_connection(index).execute("PRAGMA busy_timeout = 10")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(IndexFailure, match="another process"):
        index.add(*make())
    other.execute("ROLLBACK")
    other.close()
    assert index.add(*make()) is None


def test_after_a_full_disk_nothing_is_half_done_and_the_next_call_works(index: Index) -> None:
    index.add(*make())
    connection = next_connection(index)
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    long = "X" * 50_000
    with pytest.raises(IndexFull, match="no space"):
        index.add(*make("2", "2.1", "2.1.1", StudyDescription=long))
    assert index.statistics()[:4] == (1, 1, 1, 1)
    connection.execute("PRAGMA max_page_count = 1000000")
    assert index.add(*make("2", "2.1", "2.1.1", StudyDescription=long)) is None


def test_damage_met_later_names_the_file_and_reindex(path: Path) -> None:
    index = index_room.open(path, fsync=False)
    for number in range(300):
        index.add(*make(f"1.{number}", f"1.{number}.1", f"1.{number}.1.1"))
    index.close()
    content = bytearray(path.read_bytes())
    half = len(content) // 2 // 4096 * 4096
    content[half:] = b"\xff" * (len(content) - half)
    path.write_bytes(content)
    index = index_room.open(path, fsync=False)
    with pytest.raises(IndexFailure, match="reindex") as raised:
        list(matches(index, query(Level.STUDY)))
    assert str(path) in str(raised.value)
    index.close()


def in_a_thread(work: Callable[[], object]) -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(work).result()


def test_threads_that_do_nothing_at_the_moment_share_one_connection(index: Index) -> None:
    index.add(*make())
    opened = index._database._opened
    before = len(opened)
    over = threading.Event()
    with ThreadPoolExecutor(40) as pool:
        for number in range(40):
            pool.submit(index.add, *make(uid=f"1.{number}")).result(20)
            pool.submit(over.wait, 20)  # the next job is another thread's
        assert len(opened) == before
        over.set()
    assert index.statistics().instances == 41


def test_no_more_connections_are_kept_than_a_few(index: Index) -> None:
    opened = index._database._opened
    all_at_once = threading.Barrier(40)

    def work(_: int) -> None:
        with index._database.reading():
            all_at_once.wait(20)

    with ThreadPoolExecutor(40) as pool:
        list(pool.map(work, range(40)))
    gc.collect()
    assert len(opened) == 8 + 1, "those and the one that keeps the log"


def test_a_connection_that_cannot_be_rolled_back_is_nobodys(
    index: Index,
) -> None:
    class Broken(_Connection):
        in_transaction = True

        def execute(self, statement: str, *_: object) -> sqlite3.Cursor:
            if statement == "BEGIN":
                return super().execute(statement)
            raise sqlite3.OperationalError("disk I/O error")

    def work() -> None:
        broken = Broken(index._database.database)
        index._database._spare.append(broken)
        with pytest.raises(IndexFailure):
            index.instance("1")
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            sqlite3.Connection.execute(broken, "SELECT 1")
        assert index.instance("1") is None
        assert next_connection(index) is not broken

    in_a_thread(work)


@pytest.mark.parametrize("transaction", ["reading", "writing"])
def test_ctrl_c_at_the_beginning_of_a_transaction_leaves_none_to_whoever_comes_next(
    index: Index, monkeypatch: pytest.MonkeyPatch, transaction: str
) -> None:
    database = index._database
    begin = _Connection.execute

    def interrupted(connection: _Connection, statement: str, *parameters: object) -> None:
        begin(connection, statement, *parameters)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(_Connection, "execute", interrupted)
        with pytest.raises(KeyboardInterrupt), getattr(database, transaction)():
            raise AssertionError("it has not begun")
    assert not next_connection(index).in_transaction
    index.add(*make("1.2"))


def test_waiting_for_ones_turn_ends(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn, "PATIENCE", 0.01)
    with index._database._turn.held(), pytest.raises(IndexFailure, match="locked"):
        index.add(*make())


def test_a_forked_process_is_kept_from_its_parents_connections(index: Index) -> None:
    index.add(*make())
    child = os.fork()
    if child == 0:
        refused = 0
        for use in (index.is_empty, lambda: index.add(*make(uid="2")), index.pending):
            try:
                use()
            except IndexFailure as error:
                refused += "forked" in str(error)
        os._exit(refused)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
    assert index.add(*make(uid="2")) is None
