"""The supervisor of several processes: it owns the listening socket and the lock on the data
folder, hands each connection to the worker that has fewest, and replaces workers that die. It has
no threads and no open database, so that forking is safe at any time."""

import errno
import gc
import itertools
import logging
import os
import select
import signal
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from pacsnode.archive.folder import DataFolder
from pacsnode.config.model import Configuration
from pacsnode.errors import ConfigurationError
from pacsnode.net.doorway import Addresses, Arrival, ListeningSockets, hand_over
from pacsnode.node.board import Board
from pacsnode.node.build import (
    build_trail,
    changed_keys,
    preload,
    prepare_archive,
    reloaded,
    tell_stop,
)
from pacsnode.node.forking import ending, in_child, run
from pacsnode.node.notices import Notices, keep_errors
from pacsnode.node.security import build_security
from pacsnode.node.signals import Signals, held_back
from pacsnode.node.status import State, Status, describe, open_status_socket, state_of
from pacsnode.node.worker import BEAT, READY, RELOADED, Shared, work
from pacsnode.scp.places import Places
from pacsnode.scp.precedence import Precedence
from pacsnode.scu.codecs import Codecs

logger = logging.getLogger(__name__)

REPLACE_AFTER = 1.0  # seconds from one start of a worker to the next: no storm of forks
STALE = 4 * BEAT  # seconds after which a silent worker is taken for stuck
RELOADING = 5.0  # seconds that workers get to take over a changed configuration
LAST_STEPS = 5.0  # seconds beyond the grace that a worker gets to end
PAUSE = 0.1  # seconds that connections wait when nobody can take one
FOREVER = float("inf")
BURST = 32  # connections taken in one turn

# A connection that cannot be taken for lack of these waits.
_SHORTAGE = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


@dataclass(slots=True)
class _Worker:
    """One that lives."""

    number: int
    process: int
    channel: socket.socket
    is_ready: bool = False
    handed: int = 0


class Supervisor:
    """Runs the configured number of workers. To be used from the main thread alone."""

    def __init__(self, configuration: Configuration, path: Path | None) -> None:
        """Locks the data folder, prepares the archive and binds the address. Raises
        ConfigurationError or IndexFailure."""
        preload()
        self.configuration = configuration
        self._security = build_security(configuration)
        build_trail(configuration).close()  # what is wrong with it is told here
        self._folder = DataFolder(configuration.data_dir)
        self._folder.use(serving=True)
        try:
            in_child(lambda: prepare_archive(configuration))
            self._doorway = ListeningSockets(configuration.listen)
        except BaseException:
            self._folder.release()
            raise
        count = configuration.listen.processes
        self._shared = Shared(
            path,
            self._doorway.addresses,
            Places(configuration.listen.max_associations),
            Board(count),
            Notices(1 + count),
            Codecs(),
            Precedence(count),
        )
        self._shared.codecs.start()
        keep_errors(self._shared.notices.page(0))
        self._status_socket = open_status_socket(configuration.data_dir)
        self._started_at = time.time()
        self._due = dict.fromkeys(range(1, count + 1), 0.0)  # not to be forked before (monotonic)
        self._workers: dict[int, _Worker] = {}
        self._turns = itertools.count()
        self._pause_until = 0.0
        self._codecs_due = 0.0
        self._awaited: set[int] = set()
        self._has_started = False
        self._is_stopping = False

    @property
    def addresses(self) -> Addresses:
        return self._doorway.addresses

    @property
    def is_healthy(self) -> bool:
        """Whether associations are taken, and no worker is stuck."""
        ready = self._ready()
        return bool(ready) and not any(map(self._is_stuck, ready))

    def troubles(self) -> list[str]:
        """What is wrong now."""
        ready, count = self._ready(), len(self._due)
        troubles = self._shared.notices.troubles()
        if len(ready) < count:
            troubles.append(f"{len(ready)} of {count} workers serve")
        stuck = [str(worker.process) for worker in ready if self._is_stuck(worker)]
        if stuck:
            troubles.append(f"stuck, without a sign of life: process {', '.join(stuck)}")
        return troubles

    def _is_stuck(self, worker: _Worker) -> bool:
        return self._shared.board.silence(worker.number) >= STALE

    def start(self) -> None:
        """Fork the workers; returns when all are ready. Raises ConfigurationError where one ends
        before it is."""
        gc.collect()
        gc.freeze()  # memory that nobody writes to stays shared
        try:
            self._replace()
            while len(self._ready()) < len(self._due):
                if len(self._workers) < len(self._due):
                    raise ConfigurationError("the node cannot start: the log says why")
                self._turn(accepting=False)
        except BaseException:
            self.stop(0)
            raise
        self._has_started = True

    def wait(self, signals: Signals, seconds: float) -> int | None:
        """Keep the workers busy until a signal comes, whose number is returned, or `seconds` have
        passed."""
        deadline = time.monotonic() + seconds
        while True:
            number = signals.next()
            if number is not None or time.monotonic() >= deadline:
                return number
            self._keep_codecs()
            self._turn(deadline, signals)

    def reconfigure(self, changed: Configuration) -> list[str]:
        """As Node.reconfigure; returns when all workers have taken over what is new."""
        configuration = reloaded(self.configuration, changed)
        self._security = build_security(configuration)
        waiting = changed_keys(self.configuration, changed)
        self.configuration = configuration
        self._tell(signal.SIGHUP)
        self._awaited = set(self._workers)
        deadline = time.monotonic() + RELOADING
        while self._awaited and time.monotonic() < deadline:
            self._turn(deadline)
        for number in self._awaited:
            logger.warning("worker %d is slow to take over the configuration", number)
        return waiting

    def stop(self, grace: float) -> None:
        """As Node.stop, for all workers; one that does not end in time is killed."""
        self._is_stopping = True
        self._doorway.close()
        self._tell(signal.SIGTERM)
        deadline = time.monotonic() + grace + LAST_STEPS
        while self._workers and time.monotonic() < deadline:
            self._turn(deadline, accepting=False)
        if self._workers:
            logger.error("workers that did not end in time are killed")
            self._tell(signal.SIGKILL)
        while self._workers:
            self._turn(accepting=False)
        self._shared.codecs.close()
        if self._status_socket is not None:
            self._status_socket.close()
        if self._has_started:
            tell_stop(self.configuration)
        self._folder.release()

    def _keep_codecs(self) -> None:
        """Those who wait for one while its pool is started anew get theirs then."""
        if time.monotonic() < self._codecs_due:
            return
        self._codecs_due = time.monotonic() + REPLACE_AFTER
        try:
            self._shared.codecs.start()
        except OSError as error:  # no process to be had
            logger.error("the pool of codecs cannot be started: %s", error.strerror)  # noqa: TRY400

    def _ready(self) -> list[_Worker]:
        return [worker for worker in self._workers.values() if worker.is_ready]

    def _tell(self, number: int) -> None:
        for worker in self._workers.values():
            os.kill(worker.process, number)

    def _turn(
        self, until: float = FOREVER, signals: Signals | None = None, *, accepting: bool = True
    ) -> None:
        """Wait for the next event until then (monotonic), and act on it."""
        until = min(until, self._replace())
        poll = select.poll()
        speaking = {worker.channel.fileno(): worker for worker in self._workers.values()}
        for descriptor in speaking:
            poll.register(descriptor, select.POLLIN)
        for waiting in (signals, self._status_socket):
            if waiting is not None:
                poll.register(waiting, select.POLLIN)
        now = time.monotonic()
        if accepting and now < self._pause_until:
            until = min(until, self._pause_until)
        elif accepting and self._ready():
            poll.register(self._doorway, select.POLLIN)
        for descriptor, _ in poll.poll(None if until == FOREVER else max(until - now, 0) * 1000):
            if descriptor in speaking:
                self._hear(speaking[descriptor])
            elif self._status_socket is not None and descriptor == self._status_socket.fileno():
                self._status_socket.answer(self._status())
            elif accepting and descriptor == self._doorway.fileno():
                self._take()

    def _status(self) -> Status:
        troubles = self.troubles()
        return describe(
            self.configuration,
            addresses=self.addresses,
            state=State.STOPPING if self._is_stopping else state_of(troubles),
            troubles=troubles,
            started_at=self._started_at,
            workers=[
                {
                    "process": worker.process,
                    "is_ready": worker.is_ready,
                    "connections": self._load(worker),
                    "silent_for": round(self._shared.board.silence(worker.number), 1),
                }
                for worker in self._workers.values()
            ],
            places=self._shared.places,
            notices=self._shared.notices,
        )

    def _take(self) -> None:
        """Take what connections there are, and hand each to a worker."""
        for _ in range(BURST):
            try:
                arrival = self._doorway.take()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _SHORTAGE:
                    self._pause(os.strerror(error.errno))
                return
            with arrival.client:
                is_taken = self._hand_over(arrival)
            if not is_taken:
                logger.error("connection %d is closed: no worker takes it", arrival.number)
                self._pause("no worker takes any")
                return

    def _hand_over(self, arrival: Arrival) -> bool:
        """To the worker that serves fewest; of several, to each in turn; to a stuck one only where
        all are. False: to none."""
        turn, count = next(self._turns), len(self._due)

        def rank(worker: _Worker) -> tuple[bool, int, int]:
            return self._is_stuck(worker), self._load(worker), (worker.number + turn) % count

        for worker in sorted(self._ready(), key=rank):
            try:
                hand_over(worker.channel, arrival)
            except OSError:  # it does not keep up, or has died this moment
                continue
            worker.handed += 1
            return True
        return False

    def _load(self, worker: _Worker) -> int:
        return worker.handed - self._shared.board.ended(worker.number)

    def _pause(self, shortage: str) -> None:
        logger.error("cannot take connections: %s; they wait", shortage)
        self._pause_until = time.monotonic() + PAUSE

    def _hear(self, worker: _Worker) -> None:
        """What a worker says, or that it is no more."""
        try:
            said = worker.channel.recv(64)
        except BlockingIOError:
            return
        except OSError:  # it died with connections on their way
            said = b""
        if said == READY:
            worker.is_ready = True
            logger.info("worker %d serves as process %d", worker.number, worker.process)
        elif said == RELOADED:
            self._awaited.discard(worker.number)
        elif not said:
            self._bury(worker)

    def _bury(self, worker: _Worker) -> None:
        """Take back what a dead worker held; it is replaced when it is due."""
        worker.channel.close()
        del self._workers[worker.number]
        self._awaited.discard(worker.number)
        _, status = os.waitpid(worker.process, 0)
        with self._shared.places.counting():
            places = self._shared.places.vacate(worker.number)
        if not self._is_stopping:
            logger.error(
                "worker %d (process %d) ended with %s, and with it %d associations: replaced",
                worker.number,
                worker.process,
                ending(status),
                places,
            )

    def _replace(self) -> float:
        """Fork the workers that are missing and due; returns when the next one will be."""
        missing = [] if self._is_stopping else sorted(self._due.keys() - self._workers.keys())
        for number in missing:
            if time.monotonic() < self._due[number]:
                continue
            self._due[number] = time.monotonic() + REPLACE_AFTER
            try:
                self._fork(number)
            except OSError as error:  # no process or descriptor to be had; the others serve on
                logger.error("worker %d cannot be forked: %s", number, error.strerror)  # noqa: TRY400
        return min((self._due[number] for number in missing), default=FOREVER)

    def _fork(self, number: int) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        theirs.setblocking(False)
        self._shared.board.clear(number)
        self._shared.notices.page(number).clear()
        with theirs, held_back():
            try:
                process = os.fork()
            except OSError:
                ours.close()
                raise
            if not process:
                ours.close()
                run(lambda: self._be_worker(number, theirs))
        self._workers[number] = _Worker(number, process, ours)

    def _be_worker(self, number: int, channel: socket.socket) -> int:
        """In the new process. What it must not keep open: another worker's channel, which would
        not be seen to hang up; the socket, which would go on listening."""
        self._doorway.close()
        if self._status_socket is not None:
            self._status_socket.leave()
        for other in self._workers.values():
            other.channel.close()
        is_first = not self._has_started and number == min(self._due)
        return work(
            self.configuration, self._security, self._shared, number, channel, is_first=is_first
        )
