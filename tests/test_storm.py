"""kill -9 at random moments of a storm of stores, queries, retrieves and deletions: twenty times
here, as often as wanted by `python -m tests.storm`."""

import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.storm.rounds import STARTING, SUPERVISOR, TREE, WORKER, Run


@pytest.mark.parametrize(
    "kinds",
    [[WORKER] * 7, [TREE] * 7, [STARTING, SUPERVISOR] * 3],
    ids=["workers", "trees", "trees that start and supervisors"],
)
def test_what_was_acknowledged_survives_kill_9_of_any_process(
    kinds: Sequence[str], tmp_path: Path
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    run = Run(tmp_path, random.Random(seed), longest=0.5)
    run.execute(kinds)
    assert not run.ledger.faults, run.tree.warnings()
    assert run.figures.total == len(kinds)
    assert run.ledger.acknowledgements > len(kinds)
    assert run.ledger.compared > len(kinds)
