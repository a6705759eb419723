"""A thread that does what is due, when it is due: the one place, beside associations, where an
unexpected fault ends the attempt and not the process."""

import logging
import threading
from collections.abc import Sequence
from typing import Protocol

from pacsnode.dicom.message import Tick
from pacsnode.errors import PacsnodeError

log = logging.getLogger(__name__)

EVERY = 30.0  # seconds between two looks for what other processes left or a clock has made due
SHORTEST = 0.2  # seconds between two looks for what is due and in somebody else's hands


class Stopped(Exception):
    """Raised by a job's tick when the node stops. Never leaves this room."""


class Job(Protocol):
    """One kind of work. Several processes run the same job: it sees to it that no two do the same
    piece of it at once."""

    @property
    def name(self) -> str:
        """For the log."""

    def run_due(self, tick: Tick) -> float:
        """Do all that is due; returns in how many seconds there will be more, as far as is known.
        `tick` is to be called at least every 0.5 s: what it raises ends the work."""


class Runner:
    """Runs jobs until it is stopped. Made and started in the process that it is for, not forked."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._jobs = jobs
        self._is_wanted = threading.Event()
        self._is_stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Without a thread to be had, what is due waits for another process or the next start."""
        thread = threading.Thread(target=self._run, name="jobs", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            log.error("what is left to do is not done in this process: %s", error)  # noqa: TRY400
            return
        self._thread = thread

    def wake(self) -> None:
        """There is something to do now. From any thread."""
        self._is_wanted.set()

    def break_off(self) -> None:
        """Begin to stop: what is under way is done again later."""
        self._is_stopping.set()
        self._is_wanted.set()

    def stop(self, seconds: float) -> None:
        """Break off, and wait for the end so long at most."""
        self.break_off()
        if self._thread is None:
            return
        self._thread.join(seconds)
        if self._thread.is_alive():
            log.warning("what is under way does not end within %g s: it is left", seconds)

    def _run(self) -> None:
        while not self._is_stopping.is_set():
            self._is_wanted.clear()
            pause = min((self._run_job(job) for job in self._jobs), default=EVERY)
            self._is_wanted.wait(min(max(pause, SHORTEST), EVERY))

    def _run_job(self, job: Job) -> float:
        try:
            return job.run_due(self._tick)
        except Stopped:
            return EVERY
        except PacsnodeError as error:
            log.error("%s: %s", job.name, error)  # noqa: TRY400  # the text says all
        except Exception:
            if not self._is_stopping.is_set():  # else what it uses may be closed already
                log.exception("%s: unexpected fault", job.name)
        return EVERY

    def _tick(self) -> None:
        if self._is_stopping.is_set():
            raise Stopped
