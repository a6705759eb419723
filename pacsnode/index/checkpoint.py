"""Pages go from the write-ahead log into the database while others write on. SQLite's own
checkpoints would run inside a commit, and in the writer's turn."""

import logging
import sqlite3
import threading

from pacsnode.errors import IndexFailure
from pacsnode.index.turn import Turn
from pacsnode.index.wal import WriteAheadLog

log = logging.getLogger(__name__)

# Pages in the log: at so many more each time they are brought over; writers that go on meanwhile
# keep the log from being reused, so at LIMIT they wait until it can be.
STEP = 2_000
LIMIT = 8_000

# Commits of this process between two looks at the log.
EVERY = 16


class Checkpoints:
    """At most one at a time; SQLite lets no second process in. `connection` is used for nothing
    else. `fault`: what the disk failed at once, for nobody can tell whether that is mended."""

    def __init__(
        self,
        wal: WriteAheadLog,
        turn: Turn,
        connection: sqlite3.Connection,
    ) -> None:
        self._wal = wal
        self._turn = turn
        self._connection = connection
        self._busy = threading.Lock()
        self._commits = 0
        self._salts = b""
        self._due_at = STEP
        self.fault = ""

    def after_commit(self) -> None:
        """To be called outside the turn. What fails here is tried again later and loses nothing."""
        self._commits += 1
        if self._commits % EVERY or not self._is_due() or not self._busy.acquire(blocking=False):
            return
        try:
            if not self._turn.has_warning:
                self._run()
        except (sqlite3.Error, OSError, IndexFailure) as error:
            self._due_at += STEP
            log.warning("a checkpoint of the index failed: %s", error)
            if "I/O" in str(error):
                # Tried again it may succeed without having mended what failed (durability.py).
                self.fault = f"a checkpoint of the index failed: {error}"
                log.error(  # noqa: TRY400  # the line above says what failed
                    "the disk failed under the index: mend it, then run `pacsnode reindex`"
                )
        finally:
            self._busy.release()

    def _is_due(self) -> bool:
        salts = self._wal.salts
        if salts != self._salts:
            self._salts, self._due_at = salts, STEP
        return self._wal.holds(self._due_at)

    def _run(self) -> None:
        frames = self._checkpoint("PASSIVE")
        if frames >= LIMIT:
            # Readers that still need the log are waited for only as long as the connection does.
            with self._turn.held():
                frames = self._checkpoint("RESTART")
        self._due_at = max(frames, self._due_at) + STEP

    def _checkpoint(self, mode: str) -> int:
        """How many pages the log holds; -1 while another process is at it."""
        row = self._connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
        return int(row[1])
