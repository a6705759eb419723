"""Who is at the node while it is killed: eight senders, one who queries and retrieves, one who
deletes."""

import random
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from blake3 import blake3

from tests.benchmarks.peers import environment
from tests.interface.peer import (
    CT,
    EXPLICIT,
    IMPLICIT,
    STUDY_FIND,
    STUDY_GET,
    Association,
    Ended,
    Response,
    keys,
)
from tests.load.instances import Instance, Place, Template, choose, new_place, new_uid, sliced
from tests.load.ledger import Ledger
from tests.storm.tree import AE_TITLE, PATIENCE, Tree

SENDERS = 8
TEMPLATES = (
    (sliced(32, EXPLICIT), 5),
    (sliced(32, IMPLICIT), 2),
    (sliced(512, EXPLICIT), 3),
)
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
            with reader(self.tree) as peer:
                for uid, digest in retrieve(
                    peer, self.ledger, "SERIES", SeriesInstanceUID=place.series_instance_uid
                ).items():
                    if not self.ledger.was_sent(self.patient_id, uid, digest):
                        self.ledger.fault(f"{uid} was served, but never sent like this")


@contextmanager
def reader(tree: Tree) -> Iterator[Association]:
    """An association for C-FIND and C-GET."""
    with Association(
        tree.address,
        (STUDY_FIND, [EXPLICIT]),
        (STUDY_GET, [EXPLICIT]),
        (CT, [EXPLICIT]),
        (CT, [IMPLICIT]),
        as_scp=[CT],
        called=AE_TITLE,
    ) as peer:
        yield peer
        peer.release()


def retrieve(peer: Association, ledger: Ledger, level: str, **values: str) -> Mapping[str, bytes]:
    """C-GET; digests by SOP Instance UID. What does not come as it should is a fault."""
    peer.stored.clear()
    final: Response = peer.get(STUDY_GET, keys(level, **values))[-1]
    _, completed, failed, warning = final.counters
    if (final.status, completed, failed, warning) != (0, len(peer.stored), 0, 0):
        ledger.fault(f"C-GET: {final.status:04X} {final.comment} {final.counters}")
    received = {uid: blake3(data).digest() for uid, _, data in peer.stored}
    if len(received) != len(peer.stored):
        ledger.fault("C-GET: an instance came twice")
    return received


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
