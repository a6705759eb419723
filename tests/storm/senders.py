"""Who is at the node while it is killed: eight senders, one who queries and retrieves, one who
deletes."""

import random
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from tests.benchmarks.peers import environment
from tests.interface.peer import CT, EXPLICIT, IMPLICIT, Association, Ended
from tests.load.checks import Checks
from tests.load.instances import Instance, Place, Template, choose, new_place, new_uid, sliced
from tests.load.ledger import Ledger
from tests.load.tree import AE_TITLE, PATIENCE, Tree

SENDERS = 8
TEMPLATES = (
    (sliced(32, EXPLICIT), 5),
    (sliced(32, IMPLICIT), 2),
    (sliced(512, EXPLICIT), 3),
)
KINDS = [(each.sop_class_uid, each.transfer_syntax) for each, _ in TEMPLATES]
LOST = (Ended, OSError)  # what a killed peer looks like


class Sent(NamedTuple):
    """What an instance is made of anew."""

    template: Template
    place: Place
    uid: str


@dataclass
class Storm:
    """Everybody, from `raging` on; all of one patient."""

    tree: Tree
    ledger: Ledger
    checks: Checks
    chance: random.Random
    patient_id: str

    def __post_init__(self) -> None:
        self.over = threading.Event()
        self.progress = threading.Semaphore(0)
        self._common = [new_place(self.patient_id, self.chance) for _ in range(3)]

    @contextmanager
    def raging(self) -> Iterator[None]:
        """While the `with` lasts."""
        # Each sender has its own randomness: what it sends depends on no other's pace.
        chances = [random.Random(self.chance.random()) for _ in range(SENDERS)]
        jobs: list[Callable[[], None]] = [partial(self._send, chance) for chance in chances]
        jobs.append(partial(self._while_it_lasts, self._read))
        threads = [threading.Thread(target=self._guarded, args=(job,)) for job in jobs]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.over.set()
            for thread in threads:
                thread.join()

    def wait_for_acknowledgements(self, count: int) -> None:
        for _ in range(count):
            assert self.progress.acquire(timeout=PATIENCE), self.tree.log_tail()

    def _guarded(self, job: Callable[[], None]) -> None:
        try:
            job()
        except BaseException as error:
            self.ledger.fault(f"{type(error).__name__}: {error}")
            raise

    def _while_it_lasts(self, work: Callable[[], None]) -> None:
        """Again and again, on another association where one is lost."""
        while not self.over.is_set():
            try:
                work()
            except LOST:
                self.over.wait(0.05)

    def _send(self, chance: random.Random) -> None:
        sent: list[Sent] = []
        self._while_it_lasts(lambda: self._send_over_one(sent, chance))

    def _send_over_one(self, sent: list[Sent], chance: random.Random) -> None:
        with Association(
            self.tree.address, (CT, [EXPLICIT]), (CT, [IMPLICIT]), called=AE_TITLE
        ) as peer:
            while not self.over.is_set():
                if not sent or chance.random() < 0.9:
                    where = self._new_place(chance)
                    sent.append(Sent(choose(TEMPLATES, chance), where, new_uid(chance)))
                    which = sent[-1]
                else:  # with other bytes, which take their place
                    which = chance.choice(sent)
                self._store(peer, which.template.instance(which.place, which.uid, chance))
            peer.release()

    def _new_place(self, chance: random.Random) -> Place:
        if chance.random() < 0.7:
            return chance.choice(self._common)
        return new_place(self.patient_id, chance)

    def _store(self, peer: Association, instance: Instance) -> None:
        self.ledger.begin(instance)
        response = peer.store(
            instance.sop_class_uid,
            instance.sop_instance_uid,
            instance.data,
            instance.transfer_syntax,
        )
        if response.status != 0:
            self.ledger.fault(f"C-STORE: {response.status:04X} {response.comment}")
            return
        self.ledger.acknowledge(instance)
        self.progress.release()

    def _read(self) -> None:
        """Find what is there and retrieve one series of it: nothing half-written is served."""
        for place in self._common:
            if self.over.is_set():
                return
            with self.checks.reader() as peer:
                wanted = {"SeriesInstanceUID": place.series_instance_uid}
                for uid, digest in self.checks.retrieve(peer, "SERIES", **wanted).items():
                    if not self.ledger.was_sent(uid, digest):
                        self.ledger.fault(f"{uid} was served, but never sent like this")


@contextmanager
def deleting(
    tree: Tree, ledger: Ledger, patient_id: str | None, *, is_killed: bool
) -> Iterator[None]:
    """`pacsnode delete` of a patient while the `with` lasts; at its end it is killed where it is
    at that, or waited for."""
    if patient_id is None:
        yield
        return
    ledger.leaving(patient_id)
    process = subprocess.Popen(
        tree.command("delete", "--yes", "-L", "patient", "-k", f"PatientID={patient_id}"),
        env=environment("nodelay"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    try:
        yield
    except BaseException:
        process.kill()
        raise
    finally:
        if is_killed:
            process.kill()
        _, said = process.communicate()
    if process.returncode == 0:
        ledger.gone(patient_id)
    elif process.returncode > 0:
        ledger.fault(f"pacsnode delete: {said}")
