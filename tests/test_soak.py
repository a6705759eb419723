"""The soak's own arithmetic, and some seconds of it, so that it does not rot."""

import random
from collections import Counter
from pathlib import Path

import pytest

from tests.benchmarks.processes import Held
from tests.soak import verdict
from tests.soak.acts import ACTS
from tests.soak.run import Sample, Soak


def samples(
    pss: list[float], threads: int = 0, descriptors: int = 0, sockets: int = 0
) -> list[Sample]:
    """A look each minute; what grows besides memory (MB) does so with each."""
    return [
        Sample(
            seconds=60.0 * number,
            held=Held(
                processes=3,
                pss=int(each * 1e6),
                threads=7 + threads * number,
                descriptors=70 + descriptors * number,
                sockets=20 + sockets * number,
            ),
            counts=Counter(),
            instances=0,
            stored_bytes=0,
        )
        for number, each in enumerate(pss, 1)
    ]


LEVEL = [110.0, 140.0, 150.0, 152.0, 149.0, 151.0, 150.0, 152.0, 149.0]
GROWING = [each + 5 * number for number, each in enumerate(LEVEL)]


@pytest.mark.parametrize(
    ("seen", "growing"),
    [
        (samples(LEVEL), []),
        (samples(GROWING), ["memory"]),
        (samples(LEVEL, threads=1), ["threads"]),
        (samples(LEVEL, descriptors=10), ["descriptors"]),
        (samples(LEVEL, sockets=1), ["sockets"]),
    ],
    ids=["level", "memory", "threads", "descriptors", "sockets"],
)
def test_what_grows_is_named(seen: list[Sample], growing: list[str]) -> None:
    claims = verdict.claims(seen)
    assert [claim.split(",")[0] for claim, holds in claims if not holds] == growing
    assert len(claims) == 4


def test_some_seconds_of_everything_lose_nothing_and_leave_no_thread(tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    soak = Soak(tmp_path, random.Random(seed), per_patient=50)
    soak.run(seconds=6, every=3)
    assert not soak.ledger.faults, soak.tree.warnings()
    first, last = soak.samples[0], soak.samples[-1]
    assert last.held.threads <= first.held.threads
    assert last.held.sockets <= first.held.sockets
    assert {act.__name__ for act in ACTS} & last.counts.keys()
    assert soak.reloads
    assert soak.ledger.compared
