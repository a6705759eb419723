"""kill -9 of a node that is storing: what was acknowledged is there, whole, and nothing else is
served. A crash at each single step of an operation is tested in tests/archive/test_crash.py."""

import os
import random
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from pydicom import Dataset
from pydicom.uid import generate_uid

from pacsnode.errors import NetworkError
from tests.conftest import PATIENCE, RunningNode, StartNode, new_dataset
from tests.interface.associations import Instance, association, find, get, instance_of, store

KEEP = "access: {unknown_callers: all}\nstorage: {min_free: 0}\n"
REPLACE = "access: {unknown_callers: all}\nstorage: {min_free: 0, on_duplicate: replace}\n"
SENDERS = 4
ROUNDS = 3
SIZES = (0, 1_000, 50_000, 400_000)  # bytes of pixel data


@dataclass
class Sender:
    """Stores what `instances` gives, one after the other, until the node is gone."""

    instances: Iterator[Instance]
    begun: list[Instance] = field(default_factory=list)
    acknowledged: list[Instance] = field(default_factory=list)
    refused: list[object] = field(default_factory=list)

    def run(self, node: RunningNode, progress: threading.Semaphore) -> None:
        try:
            with association(node) as channel:
                for instance in self.instances:
                    self.begun.append(instance)
                    response = store(channel, *instance)
                    if response.status != 0:
                        self.refused.append(response)
                        return
                    self.acknowledged.append(instance)
                    progress.release()
        except NetworkError:
            return


def store_until_killed(node: RunningNode, senders: list[Sender], chance: random.Random) -> None:
    """Kill the node at a random moment after some acknowledgements."""
    progress = threading.Semaphore(0)
    threads = [threading.Thread(target=sender.run, args=(node, progress)) for sender in senders]
    for thread in threads:
        thread.start()
    try:
        for _ in range(chance.randrange(SENDERS, 80)):
            assert progress.acquire(timeout=PATIENCE), node.log
        # Anywhere between two acknowledgements.
        threading.Event().wait(chance.random() * 0.02)
    finally:
        os.kill(node.process.pid, signal.SIGKILL)
        for thread in threads:
            thread.join()
    assert node.stop() == -signal.SIGKILL
    assert not any(sender.refused for sender in senders)


def require_order(node: RunningNode) -> None:
    """No trace of what was under way, and index and tree agree."""
    assert not list((node.data_dir / "instances" / ".incoming").iterdir())
    verified = node.command("verify")
    assert verified.returncode == 0, verified.stdout


def padded(ds: Dataset, chance: random.Random) -> Instance:
    ds.add_new("PixelData", "OB", chance.randbytes(chance.choice(SIZES)))
    return instance_of(ds)


def new_instances(chance: random.Random) -> Iterator[Instance]:
    """Instances of a few common series, and some of a study of their own."""
    common = [new_dataset(PatientID="KILLED") for _ in range(3)]
    while True:
        ds = new_dataset(PatientID="KILLED")
        if chance.random() < 0.7:
            series = chance.choice(common)
            ds.StudyInstanceUID = series.StudyInstanceUID
            ds.SeriesInstanceUID = series.SeriesInstanceUID
        yield padded(ds, chance)


def versions(ds: Dataset, chance: random.Random) -> Iterator[Instance]:
    """The same SOP Instance UID with other bytes each time, now and then in another series."""
    while True:
        if chance.random() < 0.3:
            ds.SeriesInstanceUID = generate_uid()
        ds.SeriesDescription = f"{chance.random()}"
        yield padded(ds, chance)


@pytest.fixture
def chance() -> random.Random:
    """Randomness; its seed is printed when the test fails."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    return random.Random(seed)


def test_what_was_acknowledged_survives_kill_9_byte_for_byte(
    start_node: StartNode, chance: random.Random
) -> None:
    node = start_node(KEEP)
    begun: dict[str, bytes] = {}
    acknowledged: set[str] = set()
    for _ in range(ROUNDS):
        # Each thread has its own randomness: what it sends depends on no other's pace.
        senders = [Sender(new_instances(random.Random(chance.random()))) for _ in range(SENDERS)]
        store_until_killed(node, senders, chance)
        for sender in senders:
            begun |= dict(sender.begun)
            acknowledged |= {instance.uid for instance in sender.acknowledged}
        node = start_node(KEEP)
        require_order(node)
        with association(node) as channel:
            answers = find(channel, "IMAGE", PatientID="KILLED", SOPInstanceUID="")
            found = {answer.SOPInstanceUID for answer in answers}
        assert acknowledged <= found <= begun.keys()
        assert get(node, "IMAGE", PatientID="KILLED") == {uid: begun[uid] for uid in found}


def test_a_replacement_that_kill_9_interrupts_leaves_the_old_or_the_new(
    start_node: StartNode, chance: random.Random
) -> None:
    node = start_node(REPLACE)
    datasets = [new_dataset(PatientID="KILLED") for _ in range(SENDERS)]
    here: dict[str, bytes] = {}
    for _ in range(ROUNDS):
        senders = [Sender(versions(ds, random.Random(chance.random()))) for ds in datasets]
        store_until_killed(node, senders, chance)
        node = start_node(REPLACE)
        require_order(node)
        received = get(node, "IMAGE", PatientID="KILLED")
        for ds, sender in zip(datasets, senders, strict=True):
            before = here.get(ds.SOPInstanceUID)
            old = sender.acknowledged[-1].data if sender.acknowledged else before
            assert received.get(ds.SOPInstanceUID) in (
                old,
                *(last.data for last in sender.begun[-1:]),
            )
        here = received
