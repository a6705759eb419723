"""The SQLite file: connections that are lent for one short transaction each, foreign errors
translated."""

import contextlib
import os
import sqlite3
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import peewee

from pacsnode.errors import IndexDamaged, IndexFailure, IndexFull
from pacsnode.index.checkpoint import Checkpoints
from pacsnode.index.durability import Durability
from pacsnode.index.turn import PATIENCE, Turn
from pacsnode.index.wal import WriteAheadLog

_KIBIBYTE = 1024

# Connections that are kept for the next transactions: to open one costs as much as storing an
# instance. Each may hold _CACHE of the file; so many transactions are seldom under way at once.
_SPARE = 8
_CACHE = 16 * _KIBIBYTE  # in KiB

# How long a checkpoint that keeps writers waiting waits for readers.
_READERS_MILLISECONDS = 100

# What SQLite says, and what is to be done about it. The first line whose words are in the text.
_DAMAGED = "the file is damaged: stop the node and run `pacsnode reindex`"
_REMEDIES: tuple[tuple[str, type[IndexFailure], str], ...] = (
    ("malformed", IndexDamaged, _DAMAGED),
    ("not a database", IndexDamaged, _DAMAGED),
    ("no such table", IndexDamaged, _DAMAGED),
    ("no such column", IndexDamaged, _DAMAGED),
    ("locked", IndexFailure, f"another process has held the index for over {PATIENCE:.0f} s"),
    ("full", IndexFull, "no space left on the device"),
    ("unable to open", IndexFailure, "is data_dir still there, and may this user write to it?"),
    ("readonly", IndexFailure, "may this user write to it?"),
)


Statement = tuple[str, Sequence[object]]  # with its parameters


class _Connection(sqlite3.Connection):
    """As its base, but can be weakly referenced. `durable_at`: the state of the index, as this
    connection counts, that is known to be on stable storage. What other connections commit changes
    PRAGMA data_version; what it commits itself is counted in `commits`."""

    durable_at: tuple[int, int] | None = None
    commits = 0
    is_usable = True


class _Upkeep(NamedTuple):
    """What there is once of an open index. While `keeper` is open nobody removes the log, and an
    association that ends, the last one too, does not have to bring it into the database."""

    keeper: _Connection
    wal: WriteAheadLog
    checkpoints: Checkpoints
    durability: Durability | None  # None: commits may be lost
    identity: tuple[int, int]  # the file's device and inode


class Database(peewee.SqliteDatabase):
    """One file, in WAL mode, so that readers and the writer do not wait for each other. Of one
    process: after a fork only the parent may use it."""

    def __init__(self, path: Path, *, fsync: bool = True) -> None:
        self._opened: weakref.WeakSet[_Connection] = weakref.WeakSet()
        self._spare: deque[_Connection] = deque()
        self._path = path
        self._fsync = fsync
        self._process = os.getpid()
        self._turn = Turn(path)
        self._upkeep: _Upkeep | None = None
        super().__init__(
            str(path),
            pragmas={
                "journal_mode": "wal",
                # The file stays whole whatever happens. Whether commits do is durability.py's care.
                "synchronous": "normal",
                "wal_autocheckpoint": 0,
                "foreign_keys": 1,
                "temp_store": "memory",
                "cache_size": -_CACHE,
                "journal_size_limit": 64 * _KIBIBYTE * _KIBIBYTE,
            },
            timeout=PATIENCE,  # for programs that know nothing of the turn
            check_same_thread=False,  # `close_all` closes the connections of all threads
            factory=_Connection,
            cached_statements=256,
        )

    def start_upkeep(self) -> None:
        """Once the tables are there. What earlier processes left unsynced is durable afterwards.
        Raises IndexFailure."""
        self.release_thread()
        with self.translated("opening the write-ahead log"):
            keeper = self._connect()
            # Its first read makes the log.
            keeper.execute("SELECT count(*) FROM sqlite_master").fetchone()
            keeper.execute(f"PRAGMA busy_timeout = {_READERS_MILLISECONDS}")
        try:
            wal = WriteAheadLog(self._path)
        except OSError as error:
            raise IndexFailure(f"{error.filename}: {error.strerror}") from error
        renew = partial(self.renew_log, wal)
        durability = Durability(wal, self._turn, renew) if self._fsync else None
        checkpoints = Checkpoints(wal, self._turn, keeper)
        state = os.stat(self._path)
        self._upkeep = _Upkeep(keeper, wal, checkpoints, durability, (state.st_dev, state.st_ino))
        if durability is not None:
            durability.reach()

    def _connect(self) -> _Connection:
        with contextlib.suppress(IndexError):
            return self._spare.pop()  # the one that was used last knows most
        if self._upkeep is not None:
            self._require_in_place()  # SQLite would make another
        connection: _Connection = super()._connect()  # type: ignore[misc]
        self._opened.add(connection)
        return connection

    def _require_in_place(self) -> None:
        """What is done in a file that was moved away, or replaced, is lost. Raises IndexFailure."""
        try:
            state = os.stat(self._path)
        except OSError as error:
            raise IndexFailure(f"{self._path}: {error.strerror}: is data_dir gone?") from error
        if self._upkeep is not None and (state.st_dev, state.st_ino) != self._upkeep.identity:
            raise IndexFailure(f"{self._path}: is not the index that was opened: restart pacsnode")

    def _close(self, conn: _Connection) -> None:
        if conn.is_usable and len(self._spare) < _SPARE:
            self._spare.append(conn)
        else:
            conn.close()

    @contextlib.contextmanager
    def lent(self) -> Iterator[_Connection]:
        """A connection that nobody else has meanwhile."""
        if os.getpid() != self._process:
            raise IndexFailure(f"{self.database} was opened before this process was forked")
        connection = self._connect()
        try:
            yield connection
        finally:
            self._close(connection)

    @contextlib.contextmanager
    def translated(self, doing: str) -> Iterator[None]:
        """Turns what SQLite and peewee raise into IndexFailure, naming the file and the step."""
        try:
            yield
        except (sqlite3.Error, peewee.PeeweeException) as error:
            raise self.failure(doing, error) from error

    def failure(self, doing: str, error: Exception) -> IndexFailure:
        text = str(error)
        for words, kind, remedy in _REMEDIES:
            if words in text:
                return kind(f"{self.database}: {doing}: {text} ({remedy})")
        return IndexFailure(f"{self.database}: {doing}: {text}")

    @contextlib.contextmanager
    def writing(self, *, sorts_in_files: bool = False) -> Iterator[sqlite3.Connection]:
        """A transaction that writes: committed and durable at the end, rolled back by an exception
        in its body. Where it could not be synced IndexFailure is raised, and others may see it all
        the same. `sorts_in_files`: temporary tables and what is sorted are not held in memory."""
        self._require_trust()
        # Only whose turn it is needs a connection.
        with self.translated("writing"), self._turn.held(), self.lent() as connection:
            connection.commits += 1
            try:
                if sorts_in_files:
                    connection.is_usable = False  # by nobody else
                    connection.execute("PRAGMA temp_store = file")
                connection.execute("BEGIN IMMEDIATE")
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                self._roll_back(connection)
                raise
        self._committed()

    def write_once(self, *statements: Statement) -> bool:
        """As `writing`, statements of which the last one decides: where it changes nothing, which
        is returned as False, none does. A single one, being a transaction of its own, lets go of
        the interpreter once, not three times, while others wait for the turn."""
        self._require_trust()
        with self.translated("writing"), self._turn.held(), self.lent() as connection:
            connection.commits += 1
            try:
                changed = _execute(connection, statements)
            except BaseException:
                self._roll_back(connection)
                raise
        if changed:
            self._committed()
        return changed

    def _require_trust(self) -> None:
        """Where a sync failed nothing new is begun until one succeeds."""
        self._require_in_place()
        if self._upkeep and self._upkeep.durability and self._upkeep.durability.in_doubt:
            self._upkeep.durability.reach()

    def _committed(self) -> None:
        if self._upkeep is None:
            return
        if self._upkeep.durability is not None:
            self._upkeep.durability.reach()
        self._upkeep.checkpoints.after_commit()

    def make_durable(self) -> None:
        """What has been read is on stable storage when this returns. Others may have shown what a
        power cut would still undo. Raises IndexFailure."""
        if self._upkeep is None or self._upkeep.durability is None:
            return
        with self.translated("reading"), self.lent() as connection:
            (version,) = connection.execute("PRAGMA data_version").fetchone()
            state = version, connection.commits
        if state != connection.durable_at:
            self._upkeep.durability.reach()
            connection.durable_at = state

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A transaction that sees one state of the index. To be left before anything is sent: while
        it lasts the write-ahead log cannot be reset."""
        with self.translated("reading"), self.lent() as connection:
            try:
                connection.execute("BEGIN")
                yield connection
            finally:
                self._roll_back(connection)

    @staticmethod
    def _roll_back(connection: _Connection) -> None:
        """SQLite has rolled back by itself after a full disk or an I/O error."""
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            connection.is_usable = False  # nobody else gets it

    def renew_log(self, wal: WriteAheadLog) -> None:
        """After a sync that failed: bring the log into the database and cut it off, so that its
        blocks are given back. The pages in memory are whole; but as long as the log on the disk is
        not, the database must not be left half changed: so first the disk shows that it works.
        Raises OSError or IndexFailure."""
        with self.translated("renewing the log"), self._turn.held():
            # One whose descriptors were not told of the failure.
            connection: sqlite3.Connection = super()._connect()  # type: ignore[misc]
            with contextlib.closing(connection):
                connection.execute("BEGIN IMMEDIATE")  # for programs that know nothing of the turn
                wal.write_again()
                connection.execute("ROLLBACK")
                busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise IndexFailure(f"{self.database}: renewing the log: somebody still reads it")

    @property
    def fault(self) -> str:
        """See Checkpoints."""
        return self._upkeep.checkpoints.fault if self._upkeep is not None else ""

    def check(self) -> None:
        """Read all of the file and see that it is whole. Raises IndexDamaged or IndexFailure."""
        with self.reading() as connection:
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise IndexDamaged(f"{self.database}: {' '.join(found.split())} ({_DAMAGED})")

    def release_thread(self) -> None:
        """Let go of the connection that peewee keeps for this thread, where it was used here."""
        with contextlib.suppress(sqlite3.Error, peewee.PeeweeException):
            self.close()

    def close_all(self) -> None:
        """Close all connections; nothing may be using them. SQLite brings the write-ahead log into
        the file, and removes it, when the last process does so."""
        with contextlib.suppress(IndexFailure):
            self._require_trust()
        self.release_thread()
        self._spare.clear()
        upkeep, self._upkeep = self._upkeep, None
        for connection in list(self._opened):
            connection.close()
        if upkeep is not None:
            upkeep.wal.close()
        self._turn.close()


def _execute(connection: sqlite3.Connection, statements: Sequence[Statement]) -> bool:
    """Whether the last one changed anything."""
    if len(statements) == 1:
        return connection.execute(*statements[0]).rowcount > 0
    connection.execute("BEGIN IMMEDIATE")
    changed = [connection.execute(*statement).rowcount > 0 for statement in statements][-1]
    connection.execute("COMMIT" if changed else "ROLLBACK")
    return changed
