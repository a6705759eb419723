"""Mutated associations against a real node: what `python -m tests.fuzz --streams N` does, short."""

from pathlib import Path

from tests.fuzz import live


def test_mutated_associations_leave_a_node_as_it_was(tmp_path: Path) -> None:
    figures = live.run(tmp_path, 1_000, seed=1, fsync=False, tell=lambda _: None)
    assert figures.tally.streams == 1_000
    assert not figures.faults
    assert figures.instances > 50, "streams that are left valid are stored"
    said = figures.tally.answers
    for name in ("A-ASSOCIATE-AC", "A-ABORT", "C-STORE 0000", "C-STORE 0124", "C-FIND FF00"):
        assert said[name] > 5, (name, said)
