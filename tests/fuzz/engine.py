"""Feeds a target by generation and blind mutation, the same for the same seed: what the suite does.
guided.py, where atheris is installed, does so led by the code that is reached."""

import hashlib
import resource
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from random import Random

from tests.fuzz.mutation import mutated
from tests.fuzz.targets import TARGETS, Target

# CPU time and memory that an input may take: a base, and so much for each of its bytes.
SECONDS, SECONDS_A_BYTE = 2.0, 100e-6
MEGABYTES = 256


@dataclass(frozen=True, slots=True)
class Find:
    """An input that a target does not stand, and how that shows."""

    target: str
    data: bytes
    text: str

    @property
    def name(self) -> str:
        return f"{self.target}-{hashlib.sha256(self.data).hexdigest()[:12]}"

    @property
    def kind(self) -> str:
        """The same for finds that are likely to be the same: where it was raised."""
        places = [line for line in self.text.splitlines() if line.startswith("  File ")]
        return places[-1] if places else self.target


def feed(name: str, data: bytes) -> Find | None:
    """One input to one target."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = time.process_time()
    try:
        TARGETS[name].run(data)
    except Exception:  # noqa: BLE001
        return Find(name, data, traceback.format_exc())
    seconds = time.process_time() - begun
    if seconds > SECONDS + SECONDS_A_BYTE * len(data):
        return Find(name, data, f"{seconds:.1f} s of CPU for {len(data)} bytes")
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10
    if grown > MEGABYTES:
        return Find(name, data, f"{grown} MB of memory for {len(data)} bytes")
    return None


def inputs(target: Target, seed: int) -> Iterator[bytes]:
    """The seeds as they are, then what is made of them and of the grammar, without end."""
    seeds = list(target.seeds())
    yield from seeds
    random = Random(seed)
    recent: list[bytes] = []
    while True:
        data = random.choice(seeds) if seeds and random.random() < 0.3 else target.generate(random)
        recent = [*recent[-20:], data]
        if random.random() < 0.7:
            data = mutated(random, data, recent)
        yield data


def run(name: str, seed: int, seconds: float, most: int) -> tuple[int, list[Find]]:
    """Feed a target for so long, or with so many inputs; how many there were, and the first find
    of each kind."""
    finds: dict[str, Find] = {}
    end = time.monotonic() + seconds
    count = 0
    for data in islice(inputs(TARGETS[name], seed), most):
        count += 1
        find = feed(name, data)
        if find is not None:
            finds.setdefault(find.kind, find)
        if time.monotonic() > end:
            break
    return count, list(finds.values())
