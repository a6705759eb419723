"""Repairing, interrupted at any step by a kill or a power cut and begun again, ends as if it had
never been interrupted."""

import os
import signal
from pathlib import Path

import pytest

from pacsnode.archive import Archive, behind
from pacsnode.storage.quarantine import NOTE
from tests.archive.instances import Sample, everything, faults, files, read, store
from tests.archive.test_crash import (
    cut_power,
    in_a_child,
    interrupted,
    log_of,
    open_it,
    syncs_remembered,
)
from tests.archive.test_place import harm

WHOLE = Sample("1.2.3.1")
ALTERED = Sample("1.2.3.2")
MISSING = Sample("1.2.3.3")
ORPHAN = Sample("1.2.3.4")
MOVED = Sample("1.2.3.5", series="1.2.3.0.5")
SECOND_OF_ITS_UID = Sample("1.2.3.1", study="1.9", extra="other")
BROKEN_ORPHAN = Sample("1.2.3.6")

State = tuple[list[str], list[str], list[str], dict[str, bool], list[str]]


@pytest.fixture(autouse=True)
def nothing_is_synced_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """While steps are counted; closing an archive syncs all the same."""
    monkeypatch.setattr(behind, "GATHERING", 600.0)


def set_up(data_dir: Path) -> None:
    """One fault of each kind."""
    root = data_dir / "instances"
    with open_it(data_dir, "keep") as archive:
        store(archive, SECOND_OF_ITS_UID)
        forget(archive, SECOND_OF_ITS_UID)
        for sample in (WHOLE, ALTERED, MISSING, ORPHAN, MOVED, BROKEN_ORPHAN):
            store(archive, sample)
        forget(archive, ORPHAN)
        forget(archive, BROKEN_ORPHAN)
    harm(root / ALTERED.place, "altered")
    harm(root / BROKEN_ORPHAN.place, "altered")
    (root / MISSING.place).unlink()
    (root / MOVED.place).rename(root / "1.2.3.0" / "moved.dcm")
    (root / "copy.dcm").write_bytes((root / WHOLE.place).read_bytes())


def forget(archive: Archive, sample: Sample) -> None:
    for note in archive._index.remove([sample.sop]):
        archive._index.settle(note)


def repair(data_dir: Path) -> None:
    list(open_it(data_dir, "keep").verify(repairing=True))


def state(data_dir: Path) -> State:
    """Files by place, rows and their marks; checked as far as bytes go."""
    with open_it(data_dir, "keep") as archive:
        rows = everything(archive)
        for sample in (WHOLE, ORPHAN, MOVED):
            assert read(archive, sample) == sample.dataset
        assert {finding.uids for finding in faults(archive)} == {ALTERED.uids, MISSING.uids}
        recorded = sorted(conflict.name for conflict in archive.conflicts())
        assert archive.statistics().known.pending == 0
    quarantine = list(files(data_dir / "quarantine"))
    moved = [name for name in quarantine if not name.endswith(NOTE)]
    assert sorted(quarantine) == sorted([*moved, *(name + NOTE for name in moved)])
    return (
        list(files(data_dir / "instances")),
        [name.rpartition(".")[0] for name in moved],  # less what tells the bytes
        list(files(data_dir / "conflicts")),
        {sop: row.is_lost for sop, row in rows.items()},
        recorded,
    )


def test_interrupted_at_any_step_and_begun_again_it_ends_as_if_never_interrupted(
    tmp_path: Path,
) -> None:
    counted = tmp_path / "counted"
    set_up(counted)
    with interrupted(0, lambda name: None) as steps:
        repair(counted)
    expected = state(counted)
    assert len(expected[1]) == 3
    assert len(expected[2]) == 1
    assert steps[0] > 40
    for power_cut in (False, True):
        for at in range(1, steps[0] + 1):
            data_dir = tmp_path / f"{at}-{power_cut}"
            set_up(data_dir)

            def work(data_dir: Path = data_dir, at: int = at) -> None:
                with (
                    syncs_remembered(data_dir),
                    interrupted(at, lambda name: os.kill(os.getpid(), signal.SIGKILL)),
                ):
                    repair(data_dir)

            assert os.WIFSIGNALED(in_a_child(work)), f"step {at}"
            if power_cut and log_of(data_dir).with_suffix(".synced").exists():
                cut_power(data_dir)
            repair(data_dir)
            assert state(data_dir) == expected, f"step {at} of {steps[0]}"
