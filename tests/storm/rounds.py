"""One kill after the other, and after each of them the question what is there."""

import random
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tests.load.checks import Checks
from tests.load.ledger import Ledger
from tests.load.tree import Tree
from tests.storm.senders import KINDS, SENDERS, Storm, deleting

WORKER, SUPERVISOR, TREE, STARTING = "worker", "supervisor", "tree", "tree while it starts"
WEIGHTS: Mapping[str, int] = {WORKER: 8, SUPERVISOR: 1, TREE: 9, STARTING: 2}
LONGEST = 1.2  # seconds of storm before a kill
START = 0.8  # seconds that a start takes at most before it is killed
KEPT = 3  # patients, of a kill each, that stay; older ones are deleted
OFTEN, SELDOM = 5, 20  # kills between two comparisons by SQL and of all that is there


@dataclass
class Figures:
    """What a run has seen."""

    kills: dict[str, int] = field(default_factory=lambda: dict.fromkeys(WEIGHTS, 0))
    restarts: list[float] = field(default_factory=list)  # seconds to the ready line
    replacements: list[float] = field(default_factory=list)  # seconds to a worker that serves
    unacknowledged: int = 0  # that are there all the same, whole
    deleted: int = 0

    @property
    def total(self) -> int:
        return sum(self.kills.values())


class Run:
    """Kills of a node in `folder`, each after `longest` seconds of storm at most; `chance` decides
    on everything but the node's own pace. What was not as it should be is in `ledger.faults`."""

    def __init__(self, folder: Path, chance: random.Random, longest: float = LONGEST) -> None:
        self.tree = Tree(
            folder,
            storage={"on_duplicate": "replace", "min_free": 0},
            access={"unknown_callers": "all"},
        )
        self.ledger = Ledger()
        self._checks = Checks(self.tree, self.ledger, KINDS)
        self.figures = Figures()
        self._chance = chance
        self._longest = longest

    def execute(
        self, kinds: Iterable[str], on_kill: Callable[[Figures], None] = lambda _: None
    ) -> None:
        """A kill of each of these kinds, one after the other."""
        with ExitStack() as stack:
            stack.callback(self.tree.close)
            self._start()
            for kind in kinds:
                self._round(kind)
                on_kill(self.figures)
                if self.ledger.faults:
                    return
            self._checks.everything()

    def _round(self, kind: str) -> None:
        patient_id = f"PATIENT{self.figures.total:05}"
        storm = Storm(self.tree, self.ledger, self._checks, self._chance, patient_id)
        older = self.ledger.patients()
        deleted = older[0] if len(older) > KEPT else None
        is_worker = kind == WORKER
        with (
            deleting(self.tree, self.ledger, deleted, is_killed=not is_worker),
            storm.raging(),
        ):
            storm.wait_for_acknowledgements(1)
            storm.over.wait(self._chance.uniform(0, self._longest))
            if is_worker:
                self._kill_worker(storm)
            else:
                self.tree.kill(self._chance, supervisor_alone=kind == SUPERVISOR)
        self.figures.kills[kind] += 1
        self.figures.deleted += deleted is not None and deleted not in self.ledger.patients()
        if kind == STARTING:
            self.tree.start()
            storm.over.clear()
            storm.over.wait(self._chance.uniform(0, START))
            self.tree.kill(self._chance)
        if not is_worker:
            self._start()
        self._check(patient_id, deleted)

    def _kill_worker(self, storm: Storm) -> None:
        """The others serve on; its successor is waited for under load."""
        begun = time.monotonic()
        starts = self.tree.starts_of_workers()
        self.tree.kill_worker(self._chance)
        self.tree.wait_for_workers(starts + 1)
        self.figures.replacements.append(time.monotonic() - begun)
        storm.wait_for_acknowledgements(SENDERS)

    def _start(self) -> None:
        begun = time.monotonic()
        self.tree.start()
        self.tree.wait_until_ready()
        self.figures.restarts.append(time.monotonic() - begun)

    def _check(self, patient_id: str, deleted: str | None) -> None:
        self.figures.unacknowledged += self._checks.patient(patient_id)
        if deleted is not None:
            self._checks.deleted(deleted)
        self._checks.leftovers()
        if self.figures.total % OFTEN == 0:
            self._checks.index()
        if self.figures.total % SELDOM == 0:
            self._checks.everything()
