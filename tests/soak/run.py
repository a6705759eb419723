"""Visitors, a deleter and a reloader at a node, and a look at it at rest from time to time."""

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks.processes import Held, held_by_tree
from tests.load.checks import Checks
from tests.load.ledger import Ledger
from tests.load.tree import Tree
from tests.soak.acts import BARRED, CALLER, KINDS, Visitor
from tests.soak.destination import AE_TITLE, destination
from tests.soak.gate import Gate

VISITORS = 6
KEPT = 3  # patients that stay; older ones are deleted: the archive's size stays what it is
PER_PATIENT = 1000  # instances
DELETE_EVERY = 0.5  # seconds
RELOAD_EVERY = 5.0
SETTLED = 2.0  # seconds: longer than a connection lingers
AT_REST_WITHIN = 10.0  # seconds until the threads of associations that have ended are gone


class Sample(NamedTuple):
    """The node at rest. `counts` are of all acts so far; `instances` is what it must have."""

    seconds: float
    held: Held
    counts: Counter[str]
    instances: int
    stored_bytes: int


class Soak:
    """A node in `folder`. Each patient has so many instances; then a new one begins, and an old
    one goes."""

    def __init__(self, folder: Path, chance: random.Random, per_patient: int = PER_PATIENT) -> None:
        self.ledger = Ledger()
        self.tree = Tree(folder)
        self.samples: list[Sample] = []
        self.deletions = 0
        self.reloads = 0
        self._checks = Checks(self.tree, self.ledger, KINDS, CALLER)
        self._per_patient = per_patient
        self._begun = time.monotonic()
        self._over = threading.Event()
        self._gate = Gate(VISITORS)
        self._visitors = [
            Visitor(self.tree.address, self.ledger, random.Random(chance.random()), self._patient)
            for _ in range(VISITORS)
        ]

    def run(
        self, seconds: float, every: float, on_sample: Callable[[Sample], None] = lambda _: None
    ) -> None:
        """For so many seconds, with a look every so many; at the end everything that was
        acknowledged is compared, and the node stopped."""
        with ExitStack() as stack:
            stack.callback(self.tree.close)
            port = stack.enter_context(destination(self.ledger))
            self._configure(port, "INFO")
            self.tree.start()
            self.tree.wait_until_ready()
            self._visit(seconds, every, on_sample, port)
            self._checks.everything()
            if (code := self.tree.stop()) != 0:
                self.ledger.fault(f"the node ended with {code}")
            for line in self.tree.warnings():
                if " ERROR " in line:
                    self.ledger.fault(line)

    def _visit(
        self, seconds: float, every: float, on_sample: Callable[[Sample], None], port: int
    ) -> None:
        self._begun = time.monotonic()
        jobs: list[Callable[[], None]] = [self._delete, partial(self._reload, port)]
        jobs += [partial(self._visiting, visitor) for visitor in self._visitors]
        threads = [threading.Thread(target=self._guarded, args=(job,)) for job in jobs]
        for thread in threads:
            thread.start()
        try:
            while (left := self._begun + seconds - time.monotonic()) > 0:
                if self.ledger.faults:
                    return
                self._over.wait(min(every, left))
                with self._gate.shut():
                    self.samples.append(self._look())
                on_sample(self.samples[-1])
        finally:
            self._over.set()
            self._gate.close()
            for thread in threads:
                thread.join()

    def _guarded(self, job: Callable[[], None]) -> None:
        try:
            job()
        except BaseException as error:
            self.ledger.fault(f"{type(error).__name__}: {error}")
            raise

    def _visiting(self, visitor: Visitor) -> None:
        try:
            while self._gate.passed():
                visitor.act()
        finally:
            self._gate.left()

    def _patient(self) -> str:
        """Whose instances come at the moment."""
        return f"PATIENT{self.ledger.acknowledgements // self._per_patient:05}"

    def _delete(self) -> None:
        """Those who have been here longest, by the command, while the node runs."""
        while not self._over.wait(DELETE_EVERY):
            for patient_id in self.ledger.patients()[:-KEPT]:
                self.ledger.leaving(patient_id)
                key = f"PatientID={patient_id}"
                done = self.tree.run("delete", "--yes", "-L", "patient", "-k", key)
                if done.returncode != 0:
                    self.ledger.fault(f"pacsnode delete: {done.stdout}")
                self.ledger.gone(patient_id)
                self.deletions += 1

    def _reload(self, port: int) -> None:
        """Take over a changed configuration, again and again."""
        levels = "WARNING", "INFO"
        while not self._over.wait(RELOAD_EVERY):
            self._configure(port, levels[self.reloads % 2])
            self.tree.reload()
            self.reloads += 1

    def _configure(self, port: int, level: str) -> None:
        self.tree.configure(
            storage={"min_free": 0},
            access={"unknown_callers": ["echo"], "check_called_ae_title": True},
            modalities={
                CALLER: {"host": "127.0.0.1"},
                BARRED: {"host": "127.0.0.1", "allow": []},
                AE_TITLE: {"host": "127.0.0.1", "port": port},
            },
            log={"level": level},
        )

    def _look(self) -> Sample:
        held = self._at_rest()
        counts: Counter[str] = Counter()
        for visitor in self._visitors:
            counts.update(visitor.counts)
        return Sample(
            seconds=time.monotonic() - self._begun,
            held=held,
            counts=counts,
            instances=sum(len(self.ledger.acknowledged(each)) for each in self.ledger.patients()),
            stored_bytes=sum(self._sizes()),
        )

    def _sizes(self) -> Iterator[int]:
        """Bytes of each file in the tree, less what is deleted at this moment."""
        for folder, _, names in os.walk(self.tree.data_dir / "instances"):
            for name in names:
                with suppress(FileNotFoundError):
                    yield os.stat(os.path.join(folder, name)).st_size

    def _at_rest(self) -> Held:
        """What the node holds once it has no more threads and sockets than at the first look; then,
        once their numbers stay the same for a while. A connection may outlive its thread, or the
        other way round, by the time that either lingers."""
        began = same_since = time.monotonic()
        held = held_by_tree(self.tree.pid)
        while time.monotonic() - began < AT_REST_WITHIN:
            if self.samples and _is_back_at(held, self.samples[0].held):
                break
            if not self.samples and time.monotonic() - same_since > SETTLED:
                break
            time.sleep(0.1)
            before, held = held, held_by_tree(self.tree.pid)
            if (held.threads, held.sockets) != (before.threads, before.sockets):
                same_since = time.monotonic()
        return held


def _is_back_at(held: Held, first: Held) -> bool:
    return held.threads <= first.threads and held.sockets <= first.sockets
