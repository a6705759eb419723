"""Opening a data folder: whose it is, who is in it, and what cannot be used."""

import os
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from subprocess import PIPE, Popen

import pytest

from pacsnode.archive import Archive, open_archive
from pacsnode.archive.folder import DataFolder
from pacsnode.dicom.level import Level
from pacsnode.dicom.query import Model, query_from_keys
from pacsnode.errors import ArchiveMismatch, ConfigurationError, DataFolderLocked
from pacsnode.node.forking import in_child
from tests.archive.instances import Sample, answers_to, everything, faults, read, store


def test_a_new_folder_is_made_with_one_id_in_index_and_tree(data_dir: Path) -> None:
    with open_archive(data_dir / "deeper") as archive:
        stamped = (data_dir / "deeper/instances/.archive-id").read_text().strip()
        assert stamped == archive.archive_id
        assert len(stamped) == 32


def test_an_archive_is_the_same_when_opened_again(
    open_again: Callable[..., Archive], sample: Sample
) -> None:
    first = open_again()
    store(first, sample)
    first_id = first.archive_id
    again = open_again()
    assert again.archive_id == first_id
    assert read(again, sample) == sample.dataset


def test_an_index_missing_beside_instances_stops_the_node_and_names_reindex(
    open_again: Callable[..., Archive], data_dir: Path, sample: Sample
) -> None:
    archive = open_again()
    store(archive, sample)
    archive.close()
    for path in data_dir.glob("index.sqlite*"):
        path.unlink()
    with pytest.raises(ArchiveMismatch, match="pacsnode --config FILE reindex"):
        open_archive(data_dir)
    assert not (data_dir / "index.sqlite").exists()


@pytest.mark.parametrize("emptied", ["truncated", "no tables"])
def test_an_emptied_index_does_not_pass_for_the_trees(
    open_again: Callable[..., Archive], data_dir: Path, sample: Sample, emptied: str
) -> None:
    archive = open_again()
    store(archive, sample)
    archive.close()
    (data_dir / "index.sqlite").unlink()
    if emptied == "truncated":
        (data_dir / "index.sqlite").touch()
    else:
        connection = sqlite3.connect(data_dir / "index.sqlite")
        connection.execute("PRAGMA user_version = 1")
        connection.close()
    with pytest.raises(ArchiveMismatch):
        open_archive(data_dir)


def test_the_index_of_another_archive_stops_the_node(
    open_again: Callable[..., Archive], data_dir: Path, tmp_path: Path, sample: Sample
) -> None:
    archive = open_again()
    store(archive, sample)
    archive.close()
    with open_archive(tmp_path / "other") as other:
        store(other, sample)
    shutil.copy(tmp_path / "other/index.sqlite", data_dir / "index.sqlite")
    with pytest.raises(ArchiveMismatch, match="another archive"):
        open_archive(data_dir)


def test_a_tree_that_vanished_beside_a_full_index_stops_the_node(
    open_again: Callable[..., Archive], data_dir: Path, sample: Sample
) -> None:
    archive = open_again()
    store(archive, sample)
    archive.close()
    shutil.rmtree(data_dir / "instances")
    with pytest.raises(ArchiveMismatch):
        open_archive(data_dir)


def test_a_first_start_that_was_cut_short_is_no_mismatch(data_dir: Path) -> None:
    open_archive(data_dir).close()
    (data_dir / "instances/.archive-id").unlink()
    open_archive(data_dir).close()
    (data_dir / "index.sqlite").unlink()
    open_archive(data_dir).close()


def test_only_one_node_serves_and_the_other_is_told_which(data_dir: Path) -> None:
    with open_archive(data_dir, serving=True):
        with pytest.raises(DataFolderLocked, match=rf"process {os.getpid()}\)"):
            open_archive(data_dir, serving=True)
        # Commands work beside it.
        with open_archive(data_dir) as beside, open_archive(data_dir):
            assert not everything(beside)
    open_archive(data_dir, serving=True).close()


@pytest.mark.parametrize("serving", [True, False])
def test_nobody_is_alone_beside_others(data_dir: Path, serving: bool) -> None:
    who = rf"process {os.getpid()}\)" if serving else "another pacsnode command"
    with open_archive(data_dir, serving=serving), pytest.raises(DataFolderLocked, match=who):
        DataFolder(data_dir).use(alone=True)
    alone = DataFolder(data_dir)
    alone.use(alone=True)
    with pytest.raises(DataFolderLocked):
        open_archive(data_dir)
    alone.release()
    open_archive(data_dir).close()


def test_an_old_index_is_not_brought_up_to_date_under_a_node_that_may_be_as_old(
    data_dir: Path,
) -> None:
    open_archive(data_dir).close()
    with closing(sqlite3.connect(data_dir / "index.sqlite")) as connection, connection:
        connection.execute("UPDATE archive SET schema_version = 4")
    with other_node(data_dir), pytest.raises(ConfigurationError, match=r"older.*restart it"):
        open_archive(data_dir)
    open_archive(data_dir).close()
    with other_node(data_dir):  # it is as it should be now
        open_archive(data_dir).close()


def test_a_node_s_child_brings_it_up_to_date(data_dir: Path) -> None:
    open_archive(data_dir).close()
    with closing(sqlite3.connect(data_dir / "index.sqlite")) as connection, connection:
        connection.execute("UPDATE archive SET schema_version = 4")
    folder = DataFolder(data_dir)
    folder.use(serving=True)
    try:
        in_child(lambda: open_archive(data_dir).close())
    finally:
        folder.release()


@contextmanager
def other_node(data_dir: Path) -> Iterator[None]:
    """One that is neither this process nor its parent."""
    program = (
        "import sys\nfrom pathlib import Path\nfrom pacsnode.archive.folder import DataFolder\n"
        "DataFolder(Path(sys.argv[1])).use(serving=True)\nprint('ready', flush=True)\n"
        "sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, str(data_dir)]
    with Popen(command, stdin=PIPE, stdout=PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield


def test_a_folder_that_is_a_file_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    with pytest.raises(ConfigurationError, match=r"data_dir: .*cannot be used"):
        open_archive(tmp_path / "data")
    with pytest.raises(ConfigurationError, match=r"data_dir: .*cannot be used"):
        open_archive(tmp_path / "data" / "below")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(0o500)
    with pytest.raises(ConfigurationError, match="Permission denied"):
        open_archive(tmp_path / "data")


def test_a_read_only_file_system_is_a_configuration_error(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_archive(data_dir).close()
    real = os.open

    def read_only(path: str, flags: int, *rest: int) -> int:
        if flags & os.O_RDWR:
            raise OSError(30, "Read-only file system", path)
        return real(path, flags, *rest)

    monkeypatch.setattr(os, "open", read_only)
    with pytest.raises(ConfigurationError, match="Read-only file system"):
        open_archive(data_dir)


def test_after_a_failed_start_the_folder_is_free_again(
    open_again: Callable[..., Archive], data_dir: Path, sample: Sample
) -> None:
    archive = open_again()
    store(archive, sample)
    archive.close()
    (data_dir / "index.sqlite").rename(data_dir / "elsewhere")
    with pytest.raises(ArchiveMismatch):
        open_archive(data_dir, serving=True)
    (data_dir / "elsewhere").rename(data_dir / "index.sqlite")
    with open_archive(data_dir, serving=True) as again:
        assert not faults(again)


def test_files_and_folders_are_not_for_everybody(
    archive: Archive, data_dir: Path, sample: Sample
) -> None:
    store(archive, sample)
    archive.statistics()
    for path in data_dir.rglob("*"):
        assert path.stat().st_mode & 0o007 == 0


def test_other_character_sets_are_assumed_from_now_on(
    open_again: Callable[..., Archive], tmp_path: Path
) -> None:
    archive = open_again(character_sets={"": "ISO_IR 144"})
    for number, name in ((1, "ISO_IR 144"), (2, "ISO_IR 100")):
        sample = Sample(f"1.2.{number}", study=f"1.{number}", extra="\xc4")
        path = tmp_path / name
        path.write_bytes(sample.dataset)
        archive.assume({"": name})
        archive.import_file(path)
    query = query_from_keys(Level.STUDY, Model.STUDY_ROOT, ["StudyDescription"])
    assert [str(answer.StudyDescription) for answer in answers_to(archive, query)] == ["Ф", "Ä"]
