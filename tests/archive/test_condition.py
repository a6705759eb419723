"""What is wrong with an archive at the moment, in words."""

import shutil
import sqlite3
from pathlib import Path

import pytest

from pacsnode.archive import Archive
from pacsnode.dicom.commitment import CommitmentRequest, Reference
from pacsnode.errors import OutOfSpace, StorageError, UnreadableDataset
from pacsnode.index import Index
from tests.archive.conftest import OpenArchive
from tests.archive.instances import CT, Sample, store


def only(archive: Archive) -> str:
    (trouble,) = archive.troubles()
    return trouble


def test_an_archive_that_is_well_has_none(archive: Archive, sample: Sample) -> None:
    assert archive.troubles() == []
    store(archive, sample)
    assert archive.troubles() == []


def test_space_is_told_before_it_runs_out(open_again: OpenArchive, data_dir: Path) -> None:
    free = shutil.disk_usage(data_dir.parent).free
    near = only(open_again(min_free=free * 2 // 3))
    assert near.startswith("nearly full: ")
    archive = open_again(min_free=free * 2)
    assert only(archive).startswith("full: ")
    assert "C-STORE is refused (A700)" in only(archive)


def test_what_was_refused_for_its_content_is_no_trouble(archive: Archive, sample: Sample) -> None:
    with pytest.raises(UnreadableDataset):
        archive.begin(sample.arrival).finish()
    assert archive.troubles() == []


def test_a_disk_that_fails_is_told_until_it_takes_an_instance(
    archive: Archive, sample: Sample, data_dir: Path
) -> None:
    incoming = data_dir / "instances" / ".incoming"
    aside = incoming.rename(data_dir / "aside")
    with pytest.raises(StorageError):
        store(archive, sample)
    assert only(archive).startswith("the last instance could not be stored: ")
    aside.rename(incoming)
    store(archive, sample)
    assert archive.troubles() == []


def test_space_that_was_too_little_is_no_trouble_once_there_is_enough(
    open_again: OpenArchive, data_dir: Path, sample: Sample
) -> None:
    archive = open_again(min_free=shutil.disk_usage(data_dir.parent).free * 2)
    with pytest.raises(OutOfSpace):
        archive.begin(sample.arrival)
    assert len(archive.troubles()) == 1  # that it is full, and no more


def test_an_index_that_cannot_be_read_is_told(archive: Archive, data_dir: Path) -> None:
    with sqlite3.connect(data_dir / "index.sqlite") as connection:
        connection.execute("DROP TABLE instance")
    assert only(archive).startswith("the index cannot be read: ")


def test_reports_that_are_never_taken_are_told(archive: Archive) -> None:
    request = CommitmentRequest("1.2.3.4", (Reference(CT, "1.2.3.5"),))
    archive.commitments.open(request, "CT1", "10.0.0.1")
    archive.commitments.give_back_all()
    for _ in range(4):
        assert archive.troubles() == []
        claimed = archive.commitments.claim()
        assert claimed is not None
        archive.commitments.postpone(claimed, -1)
    assert only(archive).startswith("storage commitment: 1 reports could not be delivered")


def test_a_checkpoint_that_failed_is_told_for_good(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody can tell whether what it left in the database is on the disk."""
    monkeypatch.setattr(Index, "fault", "a checkpoint of the index failed: disk I/O error")
    (trouble,) = archive.troubles()
    assert "pacsnode reindex" in trouble
