"""Instances go, with files and folders, in batches."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from pacsnode.archive import Archive
from pacsnode.archive import delete as delete_module
from pacsnode.archive.delete import delete_selected
from pacsnode.errors import StorageError
from tests.archive.instances import EVERYTHING, Sample, everything, faults, files, read, store


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delete_module, "BATCH", 3)


@pytest.mark.usefixtures("small_batches")
def test_everything_goes_and_progress_is_told(archive: Archive, data_dir: Path) -> None:
    for number in range(7):
        store(archive, Sample(f"1.2.3.{number}", series=f"1.2.3.0.{number % 2}"))
    told: list[int] = []
    assert archive.delete(EVERYTHING, told.append) == 7
    assert told == [3, 6, 7]
    assert not everything(archive)
    assert not [path for path in (data_dir / "instances").iterdir() if path.name[0] != "."]
    assert archive.statistics().known.pending == 0


def test_what_is_not_selected_stays(archive: Archive, data_dir: Path, sample: Sample) -> None:
    kept = sample.but(sop="1.2.3.2")
    store(archive, sample)
    store(archive, kept)
    (stored,) = [row for row in archive.select(EVERYTHING) if row.uids == sample.uids]
    assert delete_selected(archive._storage, archive._index, [stored], {}) == 1
    assert list(files(data_dir / "instances")) == [kept.place]
    assert read(archive, kept) == kept.dataset
    assert not faults(archive)


def test_an_instance_can_be_stored_again_after_its_deletion(
    archive: Archive, sample: Sample
) -> None:
    for _ in range(3):
        store(archive, sample)
        assert archive.delete(EVERYTHING) == 1
    store(archive, sample)
    assert read(archive, sample) == sample.dataset


def test_a_removal_noted_for_a_place_that_is_taken_again_removes_nothing(
    archive: Archive, sample: Sample
) -> None:
    """The file went, the note did not, and a newcomer stands there."""
    from pacsnode.archive.settle import settle_pending
    from pacsnode.index.records import REMOVE

    store(archive, sample)
    with archive._index._database.writing() as connection:
        connection.execute(
            "INSERT INTO pending (kind, study_instance_uid, series_instance_uid,"
            " sop_instance_uid, digest, noted_at) VALUES (?, ?, ?, ?, ?, 0)",
            (REMOVE, *sample.uids, b""),
        )
    with archive._storage.changing():
        settle_pending(archive._storage, archive._index, {})
    assert read(archive, sample) == sample.dataset
    assert archive.statistics().known.pending == 0


def test_a_file_whose_writer_is_not_done_is_left_for_later(
    archive: Archive, data_dir: Path, sample: Sample
) -> None:
    from pacsnode.archive.settle import finish_removals

    receipt = archive.begin(sample.arrival)
    receipt.write(memoryview(sample.dataset))
    incoming = receipt._incoming
    incoming.seal()
    archive._storage.put(incoming, sample.uids)
    with archive._storage.changing():
        removals = archive._index.remove([sample.sop])
        assert not removals
        store_note(archive, sample)
        finish_removals(archive._storage, archive._index, archive._index.pending())
    assert (data_dir / "instances" / sample.place).exists()
    assert len(archive._index.pending()) == 1
    receipt.discard()
    with archive._storage.changing():
        finish_removals(archive._storage, archive._index, archive._index.pending())
    assert not (data_dir / "instances" / sample.place).exists()
    assert not archive._index.pending()


def store_note(archive: Archive, sample: Sample) -> None:
    with archive._index._database.writing() as connection:
        connection.execute(
            "INSERT INTO pending (kind, study_instance_uid, series_instance_uid,"
            " sop_instance_uid, digest, noted_at) VALUES ('remove', ?, ?, ?, ?, 0)",
            (*sample.uids, b""),
        )


@pytest.mark.usefixtures("small_batches")
def test_each_instance_that_goes_is_told_of(archive: Archive) -> None:
    for number in range(4):
        store(archive, Sample(f"1.2.3.{number}", series="1.2.3.0"))
    told: list[str] = []
    archive.delete(EVERYTHING, on_deleted=lambda stored: told.append(stored.uids.sop_instance_uid))
    assert sorted(told) == [f"1.2.3.{number}" for number in range(4)]


def test_what_somebody_else_deleted_meanwhile_is_not_told_of(
    archive: Archive, sample: Sample
) -> None:
    store(archive, sample)
    rows = list(archive.select(EVERYTHING))
    archive.delete(EVERYTHING)
    told: list[object] = []
    assert delete_selected(archive._storage, archive._index, rows, {}, on_deleted=told.append) == 0
    assert not told


def test_a_study_is_known_by_its_uid_until_it_is_gone(archive: Archive, sample: Sample) -> None:
    outcome = store(archive, sample)
    uid = sample.uids.study_instance_uid
    study = archive.study(uid)
    assert study["PatientID"] == outcome.instance.first("PatientID") != ""
    assert study["StudyInstanceUID"] == uid
    assert not archive.study("1.2.3.4.5")
    archive.delete(EVERYTHING)
    assert not archive.study(uid)


def test_a_file_that_cannot_be_removed_stops_no_start_and_goes_when_it_can(
    open_again: Callable[..., Archive],
    data_dir: Path,
    sample: Sample,
    caplog: pytest.LogCaptureFixture,
) -> None:
    archive = open_again()
    other = sample.but(sop="1.2.3.2")
    store(archive, sample)
    store(archive, other)
    path = data_dir / "instances" / sample.place
    path.unlink()
    path.mkdir()  # which nobody may remove as a file, not even root
    with pytest.raises(StorageError, match=re.escape(str(path))):
        archive.delete(EVERYTHING)
    assert not (data_dir / "instances" / other.place).exists()
    assert not everything(archive)
    for _ in range(2):
        caplog.clear()
        archive = open_again()
        assert str(path) in caplog.text
        assert archive.statistics().known.pending == 1
        store(archive, other)
        assert read(archive, other) == other.dataset
    path.rmdir()
    path.write_bytes(b"what was deleted")
    archive = open_again()
    assert not path.exists()
    assert archive.statistics().known.pending == 0
    assert not faults(archive)
