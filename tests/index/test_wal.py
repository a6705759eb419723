"""How far the write-ahead log is filled, as SQLite says it."""

import errno
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from pacsnode.index.wal import WriteAheadLog


@pytest.fixture
def connection(path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = wal")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute("CREATE TABLE filled (content)")
    yield connection
    connection.close()


@pytest.fixture
def wal(path: Path, connection: sqlite3.Connection) -> Iterator[WriteAheadLog]:
    wal = WriteAheadLog(path)
    yield wal
    wal.close()


def fill(connection: sqlite3.Connection, pages: int) -> None:
    connection.execute("INSERT INTO filled VALUES (?)", (bytes(4000 * pages),))


def frames(connection: sqlite3.Connection, mode: str = "PASSIVE") -> int:
    _, log, done = connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
    assert log == done
    return int(log)


def test_it_holds_what_was_written_and_no_more(
    connection: sqlite3.Connection, wal: WriteAheadLog
) -> None:
    fill(connection, 30)
    held = frames(connection)
    assert held > 30
    assert wal.holds(1)
    assert wal.holds(held)
    assert not wal.holds(held + 1)


def test_what_stays_from_before_it_began_anew_does_not_count(
    connection: sqlite3.Connection, wal: WriteAheadLog
) -> None:
    fill(connection, 30)
    held = frames(connection)
    salts = wal.salts
    fill(connection, 3)
    assert wal.salts != salts
    assert not wal.holds(held)
    assert wal.holds(frames(connection))


def test_an_empty_log_holds_nothing(connection: sqlite3.Connection, wal: WriteAheadLog) -> None:
    assert connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone() == (0, 0, 0)
    assert not wal.holds(1)
    assert wal.salts == b""


def test_written_again_it_is_the_same_whether_that_succeeds_or_not(
    path: Path, connection: sqlite3.Connection, wal: WriteAheadLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(connection, 1000)  # more than one block
    content = Path(wal.path).read_bytes()
    wal.write_again()
    assert Path(wal.path).read_bytes() == content

    def fail(descriptor: int) -> None:
        assert os.fstat(descriptor).st_size > len(content)  # new blocks are tried too
        raise OSError(errno.EIO, "failed")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", fail)
        with pytest.raises(OSError, match="failed"):
            wal.write_again()
    assert Path(wal.path).read_bytes() == content
    other = sqlite3.connect(path)
    assert other.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    other.close()
