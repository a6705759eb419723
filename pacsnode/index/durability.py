"""Commits reach stable storage together. SQLite leaves them in the page cache (synchronous=NORMAL);
who must not lose what it wrote or read waits here, outside the turn, for a sync of the log that
begins afterwards. Those that wait at the same moment share one.

The log is one sequence: a sync covers every commit, of any thread or process, up to its beginning.
After one that failed the log is in doubt: Linux reports an error once to each descriptor and takes
the pages for written, and ext4 may leave new blocks marked as never written however often they are
written again. So nobody gets an answer until a new log was begun (Database.renew_log)."""

import logging
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from errno import ENOSPC

from pacsnode.errors import IndexFailure, IndexFull
from pacsnode.index.turn import Turn
from pacsnode.index.wal import WriteAheadLog

log = logging.getLogger(__name__)


class Durability:
    """`renew` begins a new log and raises OSError or IndexFailure where it cannot."""

    def __init__(
        self,
        wal: WriteAheadLog,
        turn: Turn,
        renew: Callable[[], None],
    ) -> None:
        self._wal = wal
        self._turn = turn
        self._renew = renew
        self._condition = threading.Condition()
        # Syncs are numbered: the last that began, that ended, that succeeded.
        self._begun = 0
        self._ended = 0
        self._succeeded = 0
        self._failure = IndexFailure("")
        # A process that saw a sync fail, and died, leaves a warning: a descriptor that is opened
        # only now is not told of that failure.
        self._in_doubt = turn.has_warning

    @property
    def in_doubt(self) -> bool:
        return self._in_doubt

    def reach(self) -> None:
        """Return when all that has been committed is on stable storage. Raises IndexFailure."""
        with self._condition:
            number = self._begun + 1  # one under way may have begun too early
            while self._ended < number:
                if self._begun == self._ended:
                    self._lead()
                else:
                    self._condition.wait()
            if self._succeeded < number:
                raise type(self._failure)(*self._failure.args)

    def _lead(self) -> None:
        """The next sync, for all who wait for it."""
        self._begun += 1
        failure: IndexFailure | None = IndexFailure(f"{self._wal.path}: syncing was interrupted")
        self._condition.release()
        try:
            failure = self._sync()
        finally:
            self._condition.acquire()
            self._ended = self._begun
            if failure is None:
                self._succeeded = self._ended
            else:
                self._failure = failure
            self._condition.notify_all()

    def _sync(self) -> IndexFailure | None:
        try:
            if self._in_doubt:
                self._dispel_doubt()
            else:
                self._wal.sync()
        except OSError as error:
            self._doubt()
            kind = IndexFull if error.errno == ENOSPC else IndexFailure
            return kind(f"{self._wal.path}: syncing: {os.strerror(error.errno or 0)}")
        except IndexFailure as error:
            return error
        return None

    def _doubt(self) -> None:
        if not self._in_doubt:
            log.error("%s could not be synced: the index takes nothing in", self._wal.path)
        self._in_doubt = True
        with suppress(OSError):
            self._turn.warn(True)

    def _dispel_doubt(self) -> None:
        self._renew()
        self._turn.warn(False)
        self._in_doubt = False
        log.warning("%s was begun anew: the index takes instances in again", self._wal.path)
