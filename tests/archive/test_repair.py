"""What verify finds is put right, nothing is deleted, and what is left for a person is said."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pacsnode.archive import Archive, Fault, Finding, Kind
from pacsnode.archive.repair import LOST, repair
from pacsnode.errors import InstanceMissing, StorageError
from pacsnode.storage.files import FileStorage
from tests.archive.instances import (
    EVERYTHING,
    Sample,
    everything,
    faults,
    files,
    read,
    store,
    storing_and_deleting,
)
from tests.archive.test_place import harm


def repaired(archive: Archive) -> list[Finding]:
    return list(archive.verify(repairing=True))


def forget(archive: Archive, *samples: Sample) -> None:
    """Their rows go, without a note of it."""
    for note in archive._index.remove([sample.sop for sample in samples]):
        archive._index.settle(note)


def test_a_sound_archive_is_left_as_it_is(archive: Archive, data_dir: Path, sample: Sample) -> None:
    store(archive, sample)
    assert not repaired(archive)
    assert list(files(data_dir / "instances")) == [sample.place]
    assert not list(files(data_dir / "quarantine"))


@pytest.mark.parametrize("damage", ["truncated", "altered", "foreign"])
@pytest.mark.parametrize("sop", ["1.2.3.1", "not a UID"])
def test_a_damaged_file_goes_to_the_quarantine_and_comes_back_when_it_is_sent_again(
    archive: Archive, data_dir: Path, damage: str, sop: str
) -> None:
    sample = Sample(sop)
    store(archive, sample)
    store(archive, sample.but(sop="1.2.3.2"))
    path = data_dir / "instances" / sample.place
    harm(path, damage)
    content = path.read_bytes()
    (finding,) = repaired(archive)
    assert "marked as lost" in finding.done
    assert "send it again" in finding.left
    assert not path.exists()
    moved, note = sorted(files(data_dir / "quarantine"))
    assert (data_dir / "quarantine" / moved).read_bytes() == content
    assert moved in finding.done
    assert moved.startswith(sample.place.replace("/", "_"))
    assert finding.fault in moved
    told = json.loads((data_dir / "quarantine" / note).read_text())
    assert told["was"] == f"instances/{sample.place}"
    assert (told["fault"], told["bytes"]) == (finding.fault, len(content))
    row = everything(archive)[sop]
    assert row.is_lost
    with pytest.raises(InstanceMissing), archive.fetch(row):
        pass
    assert archive.statistics().quarantine == 1
    assert store(archive, sample).kind is Kind.RESTORED
    assert read(archive, sample) == sample.dataset
    assert not faults(archive)


def test_a_missing_file_marks_its_instance_as_lost(
    archive: Archive, data_dir: Path, sample: Sample
) -> None:
    store(archive, sample)
    (data_dir / "instances" / sample.place).unlink()
    for _ in range(2):
        (finding,) = repaired(archive)
        assert (finding.fault, finding.done) == (Fault.MISSING, "marked as lost")
        assert finding.left
    assert everything(archive)[sample.sop].is_lost
    assert archive.delete(EVERYTHING) == 1
    assert not repaired(archive)


def test_orphans_are_indexed_in_the_order_of_their_receipt(
    open_again: Callable[..., Archive], data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = open_again()
    samples = [Sample(f"1.2.3.{number}") for number in (3, 1, 2)]
    for sample in samples:
        store(archive, sample)
    rows = everything(archive)
    forget(archive, *samples)
    added: list[str] = []
    real = archive._index.add
    monkeypatch.setattr(
        archive._index,
        "add",
        lambda instance, stored: (
            added.append(stored.uids.sop_instance_uid),
            real(instance, stored),
        )[1],
    )
    found = repaired(archive)
    assert {(finding.fault, finding.done, finding.left) for finding in found} == {
        (Fault.ORPHANED, "indexed", "")
    }
    assert added == [sample.sop for sample in samples]
    assert everything(archive) == rows
    assert not faults(archive)


@pytest.mark.parametrize("damage", ["truncated", "altered", "foreign"])
def test_a_damaged_orphan_is_not_indexed(
    archive: Archive, data_dir: Path, sample: Sample, damage: str
) -> None:
    store(archive, sample)
    forget(archive, sample)
    harm(data_dir / "instances" / sample.place, damage)
    (finding,) = repaired(archive)
    assert "moved to quarantine/" in finding.done
    assert not finding.left
    assert not everything(archive)
    assert not list(files(data_dir / "instances"))
    assert not faults(archive)


def test_an_orphan_whose_instance_is_here_already_is_set_aside(
    archive: Archive, data_dir: Path, sample: Sample
) -> None:
    store(archive, sample)
    forget(archive, sample)
    store(archive, sample.but(study="1.9"))
    (finding,) = repaired(archive)
    (conflict,) = archive.conflicts()
    assert finding.done.startswith(f"moved to conflicts/{conflict.name}")
    assert conflict.uids == sample.uids
    assert (data_dir / "conflicts" / conflict.name).read_bytes().endswith(sample.dataset)
    assert not faults(archive)


@pytest.mark.parametrize("stray", ["1.2.3.0/1.2.3.0.1/7.dcm", "7", "1/2/3/4.dcm", "1.2.3.0/x"])
def test_a_file_in_a_wrong_place_is_moved_to_its_own(
    archive: Archive, data_dir: Path, sample: Sample, stray: str
) -> None:
    """Be its row there, and then lost until now, or not."""
    root = data_dir / "instances"
    for is_known in (True, False):
        store(archive, sample)
        (root / stray).parent.mkdir(parents=True, exist_ok=True)
        os.rename(root / sample.place, root / stray)
        if not is_known:
            forget(archive, sample)
        found = repaired(archive)
        assert found[-1].name == sample.place
        assert not found[-1].left
        assert f"from {stray}" in found[-1].done
        assert list(files(root)) == [sample.place]
        assert read(archive, sample) == sample.dataset
        assert not everything(archive)[sample.sop].is_lost
        assert not faults(archive)
        assert archive.delete(EVERYTHING) == 1


def test_a_spare_copy_goes_to_the_quarantine(
    archive: Archive, data_dir: Path, sample: Sample
) -> None:
    root = data_dir / "instances"
    store(archive, sample)
    (root / "copy.dcm").write_bytes((root / sample.place).read_bytes())
    (finding,) = repaired(archive)
    assert "moved to quarantine/copy.dcm.spare." in finding.done
    assert list(files(root)) == [sample.place]
    # Neither row nor place is free for this one.
    other = sample.but(extra="other")
    content = (root / sample.place).read_bytes()
    archive.delete(EVERYTHING)
    store(archive, other)
    (root / "copy.dcm").write_bytes(content)
    (finding,) = repaired(archive)
    assert ".spare." in finding.done
    assert read(archive, sample) == other.dataset
    assert not faults(archive)


def test_what_is_not_of_this_archive_is_left_to_its_owner(
    archive: Archive, data_dir: Path, sample: Sample
) -> None:
    store(archive, sample)
    root = data_dir / "instances"
    (root / "notes.txt").write_text("mine")
    (root / "1.2.3.0" / "line\nbreak").write_text("mine")
    os.mkfifo(root / "1.2.3.0" / "pipe")
    os.symlink("nowhere", root / "1.2.3.0" / "1.2.3.0.1" / "1.dcm")
    found = repaired(archive)
    assert len(found) == 4
    assert all(finding.left and not finding.done for finding in found)
    assert len(faults(archive)) == 4


def test_what_was_deleted_and_cannot_be_removed_is_not_indexed_again(
    archive: Archive, data_dir: Path, sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(archive, sample)

    def refuse(*_: object) -> None:
        raise StorageError("no right") from PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(FileStorage, "delete", refuse)
        with pytest.raises(StorageError, match="1 instances are deleted"):
            archive.delete(EVERYTHING)
        (finding,) = repaired(archive)
        assert "deleted" in finding.text
        assert finding.left
        assert not everything(archive)
    assert not repaired(archive)
    assert not list(files(data_dir / "instances"))


def test_what_cannot_be_put_right_keeps_nothing_else_from_it(
    archive: Archive, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = [Sample(f"1.2.3.{number}") for number in range(3)]
    for sample in samples:
        store(archive, sample)
        harm(data_dir / "instances" / sample.place, "altered")
    real = FileStorage.quarantine

    def quarantine(storage: FileStorage, name: str, why: str, text: str) -> str:
        if name == samples[1].place:
            raise StorageError("the disk fails")
        return real(storage, name, why, text)

    monkeypatch.setattr(FileStorage, "quarantine", quarantine)
    found = repaired(archive)
    assert [finding.left for finding in found][1] == "not repaired: the disk fails"
    assert len(list(files(data_dir / "quarantine"))) == 2 * 2
    assert all(row.is_lost for row in everything(archive).values())


def test_what_another_repair_took_meanwhile_is_no_failure(
    archive: Archive, data_dir: Path, sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look and the second one, in which nothing changes any more."""
    store(archive, sample)
    row, stranger = (data_dir / "instances" / name for name in (sample.place, "1/2/3.dcm"))
    harm(row, "altered")
    stranger.parent.mkdir(parents=True)
    stranger.write_bytes(b"")
    real = FileStorage.quarantine

    def quarantine(storage: FileStorage, name: str, why: str, text: str) -> str:
        real(storage, name, why, text)
        return real(storage, name, why, text)

    def settle_pending(*_: object) -> None:
        row.unlink(missing_ok=True)

    monkeypatch.setattr(FileStorage, "quarantine", quarantine)
    monkeypatch.setattr(sys.modules[repair.__module__], "settle_pending", settle_pending)
    first, second = repaired(archive)
    assert (first.done, first.left) == ("gone meanwhile, marked as lost", LOST)
    assert (second.done, second.left) == ("gone meanwhile", "")


def test_repairing_beside_a_node_that_stores_and_deletes_touches_nothing_of_its(
    archive: Archive, data_dir: Path
) -> None:
    with storing_and_deleting(archive) as goes_on:
        while goes_on():
            assert not repaired(archive)
    assert not list(files(data_dir / "quarantine"))


def test_somebodys_file_three_folders_deep_is_left(archive: Archive, data_dir: Path) -> None:
    """It stands in no place that the archive could give to an instance."""
    path = data_dir / "instances/export/january/1.dcm"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"somebody's")
    (finding,) = repaired(archive)
    assert (finding.done, bool(finding.left)) == ("", True)
    assert path.exists()


def test_a_damaged_instance_is_marked_again_that_was_found_whole_meanwhile(
    archive: Archive, sample: Sample, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(archive, sample)
    path = data_dir / "instances" / sample.place
    path.write_bytes(path.read_bytes()[:-1] + b"X")
    module = sys.modules[repair.__module__]  # the package has the function under its name
    check_rows = module.check_rows

    def unmarked(*arguments: Any) -> Iterator[Any]:
        for finding in check_rows(*arguments):
            archive._index.set_lost(sample.sop, False)
            yield finding

    monkeypatch.setattr(module, "check_rows", unmarked)
    assert len(repaired(archive)) == 1
    (row,) = archive.select(EVERYTHING)
    assert row.is_lost
