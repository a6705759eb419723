"""The tree alone is enough to rebuild the index."""

import os
import shutil
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from pacsnode.archive import Archive, Kind, behind, open_archive, receipt_order
from pacsnode.archive import reindex as reindex_module
from pacsnode.archive.reindex import Rebuilt, reindex
from pacsnode.dicom.level import Level
from pacsnode.dicom.query import Model, Query, query_from_keys
from pacsnode.errors import ArchiveMismatch, ConfigurationError, DataFolderLocked, StorageError
from pacsnode.index import Index, OldIndex
from pacsnode.storage import place
from pacsnode.storage.files import FileStorage
from tests.archive.instances import (
    EVERYTHING,
    Sample,
    answers_to,
    everything,
    faults,
    files,
    read,
    store,
)
from tests.archive.test_crash import in_a_child
from tests.archive.test_place import harm

SAMPLES = [
    Sample("1.2.3.1"),
    Sample("1.2.3.2"),
    Sample("not a UID", study="..", series="../.."),
    Sample("1.2.3.3", study="1.2.4"),
]


@pytest.fixture
def filled(open_again: Callable[..., Archive], data_dir: Path) -> dict[str, object]:
    """The index's rows before; the archive is closed."""
    archive = open_again()
    for sample in SAMPLES:
        store(archive, sample)
    rows = everything(archive)
    archive.close()
    return dict(rows)


def test_without_an_index_all_is_found_again_as_it_was(
    filled: dict[str, object], data_dir: Path
) -> None:
    for path in data_dir.glob("index.sqlite*"):
        path.unlink()
    told: list[tuple[int, int]] = []
    rebuilt = reindex(data_dir, progress=lambda done, total: told.append((done, total)))
    assert rebuilt == Rebuilt(4, 0, 0)
    assert told[-1] == (4, 4)
    with open_archive(data_dir) as archive:
        assert everything(archive) == filled
        assert not faults(archive)
        for sample in SAMPLES:
            assert read(archive, sample) == sample.dataset
    assert [path.name for path in data_dir.glob("*.new*")] == []


def test_more_names_than_memory_should_hold_are_sorted_in_files(
    filled: dict[str, object], data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receipt_order, "RUN", 3)
    added: list[str] = []
    original = reindex_module._Rebuilding._add
    monkeypatch.setattr(
        reindex_module._Rebuilding,
        "_add",
        lambda self, index, name: (added.append(name), original(self, index, name))[1],
    )
    reindex(data_dir)
    assert added == [place(sample.uids) for sample in SAMPLES]  # in the order of receipt
    with open_archive(data_dir) as archive:
        assert everything(archive) == filled


def test_what_the_tree_cannot_tell_is_kept(
    open_again: Callable[..., Archive], data_dir: Path, sample: Sample
) -> None:
    archive = open_again()
    store(archive, sample)
    store(archive, sample.but(extra="other"))
    archive._index.flag("odd", sample.uids, "look at this")
    conflicts, flags = list(archive.conflicts()), list(archive.flags())
    assert conflicts
    archive.close()
    reindex(data_dir)
    again = open_again()
    assert [conflict.name for conflict in again.conflicts()] == [conflicts[0].name]
    assert {flag.text for flag in flags} <= {flag.text for flag in again.flags()}


def test_what_was_to_be_removed_does_not_come_back(
    open_again: Callable[..., Archive], data_dir: Path, sample: Sample
) -> None:
    archive = open_again()
    store(archive, sample)
    archive._index.remove([sample.sop])
    archive.close()
    assert reindex(data_dir).instances == 0
    assert not list(files(data_dir / "instances"))
    assert not everything(open_again())


def test_an_interrupted_replacement_is_indexed_as_it_stands(
    open_again: Callable[..., Archive], data_dir: Path, sample: Sample
) -> None:
    archive = open_again("replace")
    stored = store(archive, sample).stored
    archive._index.begin_replace(stored._replace(digest=bytes(32)))
    archive.close()
    assert reindex(data_dir).instances == 1
    again = open_again()
    assert not faults(again)
    assert not again._index.pending()


def test_of_two_files_with_one_uid_the_first_received_stays(
    open_again: Callable[..., Archive], data_dir: Path, sample: Sample
) -> None:
    later = sample.but(study="1.1")  # earlier in the tree, later received
    archive = open_again()
    store(archive, sample)
    root = data_dir / "instances"
    content = (root / sample.place).read_bytes()
    archive.delete(EVERYTHING)
    store(archive, later)
    (root / sample.place).parent.mkdir(parents=True)
    (root / sample.place).write_bytes(content)
    archive.close()
    assert reindex(data_dir) == Rebuilt(1, 1, 0)
    again = open_again()
    assert read(again, sample) == sample.dataset
    (conflict,) = again.conflicts()
    assert conflict.uids == later.uids
    assert (data_dir / "conflicts" / conflict.name).read_bytes().endswith(later.dataset)
    assert not faults(again)


def test_what_cannot_be_read_is_named_and_left(filled: dict[str, object], data_dir: Path) -> None:
    root = data_dir / "instances"
    good = (root / SAMPLES[0].place).read_bytes()
    (root / "notes.txt").write_bytes(b"hello")
    (root / SAMPLES[1].place).write_bytes(good[:-5])
    (root / SAMPLES[3].place).write_bytes(good)
    named: dict[str, str] = {}
    rebuilt = reindex(data_dir, complain=lambda name, why: named.setdefault(name, why))  # type: ignore[arg-type,return-value]
    assert rebuilt == Rebuilt(2, 0, 3)
    assert set(named) == {"notes.txt", SAMPLES[1].place, SAMPLES[3].place}
    assert (root / "notes.txt").exists()
    assert (root / SAMPLES[1].place).read_bytes() == good[:-5]


def test_a_damaged_index_is_rebuilt(filled: dict[str, object], data_dir: Path) -> None:
    (data_dir / "index.sqlite").write_bytes(b"no database" * 1000)
    assert reindex(data_dir).instances == 4
    with open_archive(data_dir) as archive:
        assert everything(archive) == filled


def test_a_write_ahead_log_of_the_old_index_is_not_taken_for_the_new_ones(
    filled: dict[str, object], data_dir: Path
) -> None:
    (data_dir / "index.sqlite").write_bytes(b"no database" * 1000)
    (data_dir / "index.sqlite-wal").write_bytes(b"rubbish")
    reindex(data_dir)
    assert not (data_dir / "index.sqlite-wal").exists()
    with open_archive(data_dir) as archive:
        assert everything(archive) == filled


def test_the_index_of_another_archive_is_kept_beside(
    filled: dict[str, object], data_dir: Path, tmp_path: Path
) -> None:
    with open_archive(tmp_path / "other") as other:
        store(other, Sample("1.9"))
        other._index.flag("odd", Sample("1.9").uids, "of the other")
    os.replace(tmp_path / "other/index.sqlite", data_dir / "index.sqlite")
    assert reindex(data_dir).instances == 4
    with open_archive(data_dir) as archive:
        assert everything(archive) == filled
        assert not list(archive.flags())
    (kept,) = data_dir.glob("index.sqlite.*")
    with sqlite3.connect(kept) as connection:
        assert connection.execute("SELECT count(*) FROM instance").fetchone() == (1,)
    connection.close()


def interrupt_at(number: int) -> Callable[[int, int], None]:
    """A progress that interrupts."""

    def interrupt(done: int, total: int) -> None:
        if total and done == number:
            raise KeyboardInterrupt

    return interrupt


def test_interrupted_the_old_index_is_untouched(filled: dict[str, object], data_dir: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        reindex(data_dir, progress=interrupt_at(2))
    with open_archive(data_dir) as archive:
        assert everything(archive) == filled


@pytest.mark.parametrize("is_killed", [False, True])
def test_a_rebuilding_that_was_interrupted_is_gone_on_with(
    filled: dict[str, object], data_dir: Path, monkeypatch: pytest.MonkeyPatch, is_killed: bool
) -> None:
    if is_killed:

        def work() -> None:
            kill = lambda done, total: os.kill(os.getpid(), signal.SIGKILL) if done == 3 else None  # noqa: E731
            reindex(data_dir, progress=kill)

        assert os.WIFSIGNALED(in_a_child(work))
    else:
        with pytest.raises(KeyboardInterrupt):
            reindex(data_dir, progress=interrupt_at(3))
    read_again: list[str] = []
    original = reindex_module._Rebuilding._add
    monkeypatch.setattr(
        reindex_module._Rebuilding,
        "_add",
        lambda self, index, name: (read_again.append(name), original(self, index, name))[1],
    )
    said: list[str] = []
    told: list[tuple[int, int]] = []
    rebuilt = reindex(
        data_dir,
        progress=lambda done, total: told.append((done, total)),
        complain=lambda name, why: said.append(why),
    )
    assert rebuilt == Rebuilt(4, 0, 0, resumed=3)
    assert read_again == [place(SAMPLES[3].uids)]
    assert any("interrupted after 3" in line for line in said)
    assert told[-1] == (4, 4)
    assert not list(data_dir.glob("*.new*"))
    with open_archive(data_dir) as archive:
        assert everything(archive) == filled
        assert not faults(archive)


def test_what_happened_between_two_runs_is_seen(
    open_again: Callable[..., Archive], data_dir: Path
) -> None:
    """The node ran on with the old index: stored, deleted, replaced, settled, flagged."""
    archive = open_again("replace")
    kept, deleted, replaced, moved, lost = (
        Sample(f"1.2.3.{number}", study=f"1.2.{number}") for number in range(5)
    )
    for sample in (kept, deleted, replaced, moved, lost):
        store(archive, sample)
    archive._index.flag("odd", deleted.uids, "goes")
    archive.close()
    with pytest.raises(KeyboardInterrupt):
        reindex(data_dir, progress=interrupt_at(5))
    archive = open_again("replace")
    archive.delete(query_of(archive, deleted))
    store(archive, replaced.but(extra="other"))
    store(archive, moved.but(study="1.2.9"))
    store(archive, Sample("1.2.3.9", study="1.2.9"))
    (data_dir / "instances" / lost.place).unlink()
    assert len(faults(archive)) == 1
    archive._index.flag("odd", kept.uids, "comes")
    rows, flags = everything(archive), [flag.text for flag in archive.flags()]
    assert rows[lost.sop].is_lost
    archive.close()
    assert reindex(data_dir).resumed == 1
    again = open_again("replace")
    assert everything(again) == rows
    assert [flag.text for flag in again.flags()] == flags == ["comes"]
    assert [finding.uids for finding in faults(again)] == [lost.uids]


def query_of(archive: Archive, sample: Sample) -> Query:
    """All of a sample's study."""
    return query_from_keys(
        Level.STUDY, Model.PATIENT_ROOT, [f"StudyInstanceUID={sample.study}"], retrieve=True
    )


def test_an_older_file_that_turns_up_between_two_runs_is_the_first(
    open_again: Callable[..., Archive], data_dir: Path, sample: Sample
) -> None:
    later = sample.but(study="1.1")
    archive = open_again()
    root = data_dir / "instances"
    store(archive, sample)
    content = (root / sample.place).read_bytes()
    archive.delete(EVERYTHING)
    store(archive, later)
    store(archive, Sample("1.2.3.9"))
    archive.close()
    with pytest.raises(KeyboardInterrupt):
        reindex(data_dir, progress=interrupt_at(2))
    (root / sample.place).parent.mkdir(parents=True, exist_ok=True)
    (root / sample.place).write_bytes(content)
    assert reindex(data_dir).set_aside == 1
    again = open_again()
    assert read(again, sample) == sample.dataset
    assert [conflict.uids for conflict in again.conflicts()] == [later.uids]
    assert not faults(again)


def test_rows_that_another_configuration_made_are_not_gone_on_with(
    filled: dict[str, object], data_dir: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        reindex(data_dir, progress=interrupt_at(3))
    assert reindex(data_dir, {"SENDER": "ISO_IR 100"}) == Rebuilt(4, 0, 0)
    with pytest.raises(KeyboardInterrupt):
        reindex(data_dir, progress=interrupt_at(3))
    (data_dir / "index.sqlite.new").write_bytes(b"no database" * 1000)
    assert reindex(data_dir) == Rebuilt(4, 0, 0)


def test_what_was_lost_stays_known_as_lost(
    open_again: Callable[..., Archive], data_dir: Path
) -> None:
    """The tree says nothing of it: the old index does."""
    archive = open_again()
    whole, missing, altered, again = (
        Sample(f"1.2.3.{number}", study=f"1.2.{number}", extra=f"{number}") for number in range(4)
    )
    for sample in (whole, missing, altered, again):
        store(archive, sample)
    root = data_dir / "instances"
    content = (root / again.place).read_bytes()
    (root / missing.place).unlink()
    (root / again.place).unlink()
    harm(root / altered.place, "altered")
    assert len(faults(archive)) == 3
    (root / again.place).parent.mkdir(parents=True, exist_ok=True)
    (root / again.place).write_bytes(content)
    answers = studies_of(archive)
    archive.close()
    assert reindex(data_dir) == Rebuilt(3, 0, 0, lost=2)
    archive = open_again()
    lost = {sop: row.is_lost for sop, row in everything(archive).items()}
    assert lost == {whole.sop: False, missing.sop: True, altered.sop: True, again.sop: False}
    assert studies_of(archive) == answers
    assert store(archive, missing).kind is Kind.RESTORED


def studies_of(archive: Archive) -> list[str]:
    keys = ["StudyDescription", "PatientName", "StudyDate", "NumberOfStudyRelatedInstances"]
    query = query_from_keys(Level.STUDY, Model.PATIENT_ROOT, keys)
    return sorted(str(answer) for answer in answers_to(archive, query))


@pytest.mark.parametrize("is_readable", [True, False])
def test_the_only_copies_of_small_files_are_taken_from_an_index_that_is_damaged(
    data_dir: Path, is_readable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut took the files, and half of the index besides."""
    monkeypatch.setattr(behind, "GATHERING", 600.0)
    samples = [Sample(f"1.2.3.{number}") for number in range(5)]

    def work() -> None:
        archive = open_archive(data_dir)
        for sample in samples:
            store(archive, sample)
        os.kill(os.getpid(), signal.SIGKILL)

    assert os.WIFSIGNALED(in_a_child(work))
    root = data_dir / "instances"
    if not (copies := copies_in(data_dir)):
        pytest.skip("files are synced before the answer here")
    assert copies == len(samples)
    os.truncate(root / samples[0].place, 0)
    (root / samples[1].place).unlink()
    if not is_readable:
        with closing(sqlite3.connect(data_dir / "index.sqlite")) as connection:
            connection.execute("DROP TABLE series")
            connection.execute("DROP TABLE instance")
            connection.commit()
    assert reindex(data_dir).instances == len(samples)
    with open_archive(data_dir) as archive:
        for sample in samples:
            assert read(archive, sample) == sample.dataset
        assert not faults(archive)


def copies_in(data_dir: Path) -> int:
    with closing(OldIndex(data_dir / "index.sqlite")) as old:
        return len(list(old.copies()))


def test_a_deleted_file_that_cannot_be_removed_is_not_indexed_again(
    open_again: Callable[..., Archive],
    data_dir: Path,
    sample: Sample,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    archive = open_again()
    store(archive, sample)

    def refuse(*_: object) -> None:
        raise StorageError("no right") from PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(FileStorage, "delete", refuse)
        with pytest.raises(StorageError):
            archive.delete(EVERYTHING)
        archive.close()
        assert reindex(data_dir) == Rebuilt(0, 0, 1)
        assert not everything(open_again())
    assert not everything(open_again())
    assert not list(files(data_dir / "instances"))


def test_a_tree_that_is_gone_does_not_cost_the_index(
    filled: dict[str, object], data_dir: Path
) -> None:
    """As where a disk is not mounted."""
    (data_dir / "instances").rename(data_dir / "elsewhere")
    with pytest.raises(ArchiveMismatch, match="mounted"):
        reindex(data_dir)
    shutil.rmtree(data_dir / "instances")
    (data_dir / "elsewhere").rename(data_dir / "instances")
    with open_archive(data_dir) as archive:
        assert everything(archive) == filled


def test_nobody_may_be_at_work_meanwhile(filled: dict[str, object], data_dir: Path) -> None:
    with (
        open_archive(data_dir, serving=True),
        pytest.raises(DataFolderLocked, match=f"process {os.getpid()}"),
    ):
        reindex(data_dir)
    with open_archive(data_dir), pytest.raises(DataFolderLocked):
        reindex(data_dir)


def test_a_tree_that_lost_its_id_gets_one_again(filled: dict[str, object], data_dir: Path) -> None:
    (data_dir / "instances/.archive-id").unlink()
    reindex(data_dir)
    with open_archive(data_dir) as archive:
        assert everything(archive) == filled


def test_an_index_that_may_not_be_read_is_not_thrown_away(
    filled: dict[str, object], data_dir: Path
) -> None:
    index = data_dir / "index.sqlite"
    index.unlink()
    index.mkdir()  # no more to be opened than a file without rights, also by root
    with pytest.raises(ConfigurationError, match=r"index\.sqlite"):
        reindex(data_dir)
    assert index.is_dir()


def test_a_new_index_that_is_not_whole_does_not_take_the_olds_place(
    filled: dict[str, object], data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[sqlite3.Connection] = []

    def close(index: Index) -> None:
        """As where the disk is full: SQLite keeps what it could not bring into the file."""
        if index._database.database.endswith(".new"):
            held.append(sqlite3.connect(index._database.database))
            held[0].execute("SELECT count(*) FROM instance").fetchone()
        real(index)

    real = Index.close
    monkeypatch.setattr(Index, "close", close)
    with pytest.raises(StorageError, match="new index"):
        reindex(data_dir)
    held[0].close()
    assert [path.name for path in data_dir.glob("*.new*")] == []
    with open_archive(data_dir) as archive:
        assert everything(archive) == filled
