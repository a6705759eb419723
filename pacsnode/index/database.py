"""The SQLite file: a connection for each thread, short transactions, foreign errors translated."""

import contextlib
import sqlite3
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path

import peewee

from pacsnode.errors import IndexFailure, IndexFull

BUSY_SECONDS = 30
_KIBIBYTE = 1024

# What SQLite says, and what is to be done about it. The first line whose words are in the text.
_REMEDIES = (
    ("malformed", "the file is damaged: run `pacsnode reindex`"),
    ("not a database", "the file is damaged: run `pacsnode reindex`"),
    ("no such table", "the file is damaged: run `pacsnode reindex`"),
    ("no such column", "the file is damaged: run `pacsnode reindex`"),
    ("locked", f"another process has held the index for over {BUSY_SECONDS} s"),
    ("full", "no space left on the device"),
)


class _Connection(sqlite3.Connection):
    """As its base, but can be weakly referenced, and closes when its thread is gone."""

    def __del__(self) -> None:
        with contextlib.suppress(sqlite3.Error):  # one that was never opened
            self.close()


class Database(peewee.SqliteDatabase):
    """One file, in WAL mode, so that readers and the writer do not wait for each other."""

    def __init__(self, path: Path, *, fsync: bool = True) -> None:
        self._opened: weakref.WeakSet[_Connection] = weakref.WeakSet()
        # Threads of this process queue here rather than in SQLite's busy handler, which sleeps up
        # to 100 ms between its tries.
        self._turn = threading.Lock()
        super().__init__(
            str(path),
            pragmas={
                "journal_mode": "wal",
                # FULL: a commit has been synced when it returns. NORMAL: a power cut may lose the
                # last ones, the file stays whole.
                "synchronous": "full" if fsync else "normal",
                "foreign_keys": 1,
                "temp_store": "memory",
                "cache_size": -16 * _KIBIBYTE,
                "journal_size_limit": 64 * _KIBIBYTE * _KIBIBYTE,
            },
            timeout=BUSY_SECONDS,
            check_same_thread=False,  # `close_all` closes the connections of all threads
            factory=_Connection,
            cached_statements=256,
        )

    def _connect(self) -> _Connection:
        connection: _Connection = super()._connect()  # type: ignore[misc]
        self._opened.add(connection)
        return connection

    @contextlib.contextmanager
    def translated(self, doing: str) -> Iterator[None]:
        """Turns what SQLite and peewee raise into IndexFailure, naming the file and the step."""
        try:
            yield
        except (sqlite3.Error, peewee.PeeweeException) as error:
            raise self.failure(doing, error) from error

    def failure(self, doing: str, error: Exception) -> IndexFailure:
        text = str(error)
        remedy = next((remedy for words, remedy in _REMEDIES if words in text), "")
        kind = IndexFull if "full" in text else IndexFailure
        return kind(f"{self.database}: {doing}: {text}" + (f" ({remedy})" if remedy else ""))

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that writes: committed at the end, rolled back by any exception."""
        with self.translated("writing"):
            if not self._turn.acquire(timeout=BUSY_SECONDS):
                raise IndexFailure(f"{self.database}: writing: locked for over {BUSY_SECONDS} s")
            try:
                connection: sqlite3.Connection = self.connection()
                connection.execute("BEGIN IMMEDIATE")
                try:
                    yield connection
                    connection.execute("COMMIT")
                except BaseException:
                    self._roll_back(connection)
                    raise
            finally:
                self._turn.release()

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A transaction that sees one state of the index. To be left before anything is sent: while
        it lasts the write-ahead log cannot be reset."""
        with self.translated("reading"):
            connection: sqlite3.Connection = self.connection()
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                self._roll_back(connection)

    def _roll_back(self, connection: sqlite3.Connection) -> None:
        """SQLite has rolled back by itself after a full disk or an I/O error."""
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            self.release_thread()

    def release_thread(self) -> None:
        """Close this thread's connection; the next use opens one anew."""
        with contextlib.suppress(sqlite3.Error, peewee.PeeweeException):
            self.close()

    def close_all(self) -> None:
        """Bring the write-ahead log into the file, so that the next start finds none, and close the
        connections of all threads. Nothing may be using them."""
        with contextlib.suppress(sqlite3.Error, peewee.PeeweeException):
            self.connection().execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self.release_thread()
        for connection in list(self._opened):
            connection.close()
