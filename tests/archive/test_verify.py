"""What is wrong is found, and named as what it is; what is on its way is not wrong."""

import shutil
from pathlib import Path

import pytest

from pacsnode.archive import Archive, Fault
from tests.archive.instances import Sample, everything, faults, store, storing_and_deleting
from tests.archive.test_place import harm, orphan


def test_a_sound_archive_has_no_findings_and_progress_is_told(archive: Archive) -> None:
    for number in range(5):
        store(archive, Sample(f"1.2.3.{number}"))
    told: list[int] = []
    assert not list(archive.verify(told.append))
    assert told == list(range(1, 11))  # rows, then files


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        ("missing", Fault.MISSING),
        ("truncated", Fault.TRUNCATED),
        ("altered", Fault.ALTERED),
        ("foreign", Fault.ALTERED),
    ],
)
@pytest.mark.parametrize("sop", ["1.2.3.1", "not a UID"])
def test_each_damage_is_named_once_and_marked(
    archive: Archive, data_dir: Path, damage: str, fault: Fault, sop: str
) -> None:
    sample = Sample(sop)
    store(archive, sample)
    store(archive, sample.but(sop="1.2.3.2"))
    path = data_dir / "instances" / sample.place
    content = path.read_bytes()
    harm(path, damage)
    (finding,) = faults(archive)
    assert (finding.fault, finding.name, finding.uids) == (fault, sample.place, sample.uids)
    assert everything(archive)[sop].is_lost
    path.write_bytes(content)
    assert not faults(archive)
    assert not everything(archive)[sop].is_lost


def test_another_instances_file_in_the_place_is_found(
    archive: Archive, data_dir: Path, sample: Sample
) -> None:
    other = sample.but(sop="1.2.3.2")
    store(archive, sample)
    store(archive, other)
    root = data_dir / "instances"
    (root / other.place).write_bytes((root / sample.place).read_bytes())
    (finding,) = faults(archive)
    assert (finding.fault, finding.uids) == (Fault.ALTERED, other.uids)


def test_orphans_of_every_kind_are_found(archive: Archive, data_dir: Path, sample: Sample) -> None:
    orphan(archive, data_dir, sample)
    root = data_dir / "instances"
    content = (root / sample.place).read_bytes()
    strays = ["1.2.3.0/1.2.3.0.1/7.dcm", "notes.txt", "1.2.3.0/stray.dcm", "1/2/3/4.dcm"]
    for stray in strays:
        (root / stray).parent.mkdir(parents=True, exist_ok=True)
        (root / stray).write_bytes(content)
    (root / "9/9").mkdir(parents=True)
    (root / "9/9/9.dcm").write_bytes(b"")
    found = faults(archive)
    assert {finding.fault for finding in found} == {Fault.ORPHANED}
    assert sorted(finding.name for finding in found) == sorted([sample.place, *strays, "9/9/9.dcm"])
    (known,) = [finding for finding in found if finding.name == sample.place]
    assert known.uids == sample.uids


def test_an_instance_between_file_and_row_is_no_orphan(
    archive: Archive, data_dir: Path, sample: Sample
) -> None:
    receipt = archive.begin(sample.arrival)
    receipt.write(memoryview(sample.dataset))
    receipt._incoming.seal()
    archive._storage.put(receipt._incoming, sample.uids)
    assert (data_dir / "instances" / sample.place).exists()
    assert not faults(archive)
    receipt.discard()
    (finding,) = faults(archive)
    assert finding.fault is Fault.ORPHANED


def test_verify_beside_storing_and_deleting_raises_no_false_alarm(archive: Archive) -> None:
    with storing_and_deleting(archive) as goes_on:
        while goes_on():
            assert not faults(archive)


def test_what_cannot_be_opened_keeps_nothing_else_from_being_checked(
    archive: Archive, data_dir: Path
) -> None:
    in_a_file, in_a_circle, gone = (
        Sample(f"1.2.3.{number}", study=f"1.2.{number}") for number in range(3)
    )
    root = data_dir / "instances"
    for one in (in_a_file, in_a_circle, gone):
        store(archive, one)
    shutil.rmtree(root / in_a_file.study)
    (root / in_a_file.study).write_bytes(b"")
    (root / in_a_circle.place).unlink()
    (root / in_a_circle.place).symlink_to(root / in_a_circle.place)
    (root / gone.place).unlink()
    found = {finding.name: finding.fault for finding in faults(archive)}
    assert found == {
        in_a_file.place: Fault.MISSING,
        in_a_file.study: Fault.ORPHANED,
        in_a_circle.place: Fault.UNREADABLE,
        gone.place: Fault.MISSING,
    }
    assert [flag.uids for flag in archive.lost()] == [in_a_file.uids, gone.uids]
