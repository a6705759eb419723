"""Small instances are answered with a copy of their file in the index; the file is synced later."""

import errno
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from pacsnode.archive import Archive, behind, open_archive, settle
from pacsnode.archive.reindex import reindex
from pacsnode.errors import IndexFull, StorageError
from pacsnode.index import Index
from pacsnode.storage import writeback
from pacsnode.storage.writeback import FileSystem
from tests.archive.conftest import OpenArchive
from tests.archive.instances import EVERYTHING, Sample, everything, faults, files, read, store

ONE, TWO = Sample("1.2.3.1"), Sample("1.2.3.2", extra="two")
LARGE = Sample("1.2.3.3", pixels=100_000)
STRANGE = Sample("1.2.3.4", series="../../etc/passwd", study="not a UID")


@pytest.fixture(autouse=True)
def not_before_it_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(behind, "GATHERING", 600.0)


@pytest.fixture(autouse=True)
def on_a_file_system_that_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever these tests run on."""
    descriptor = os.open(tmp_path, os.O_RDONLY)
    monkeypatch.setattr(writeback, "_TRUSTED", frozenset({writeback._type(descriptor)}))
    monkeypatch.setattr(writeback, "_tells_errors", lambda: True)
    os.close(descriptor)


def waiting(archive: Archive) -> set[str]:
    return {key.sop_instance_uid for key in archive._index.copy_keys()}


def test_small_files_have_a_copy_until_they_are_synced(open_again: OpenArchive) -> None:
    archive = open_again()
    for sample in (ONE, TWO, LARGE):
        store(archive, sample)
    assert waiting(archive) == {ONE.sop, TWO.sop}
    again = open_again()
    assert waiting(again) == set()
    assert read(again, TWO) == TWO.dataset


def test_the_thread_behind_syncs_without_being_asked(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(behind, "GATHERING", 0.01)
    dropped = threading.Event()
    real = archive._index.drop_copies

    def drop(keys: list[object]) -> None:
        real(keys)  # type: ignore[arg-type]
        dropped.set()

    monkeypatch.setattr(archive._index, "drop_copies", drop)
    for sample in (ONE, TWO):
        store(archive, sample)
        assert dropped.wait(30)
        dropped.clear()
        assert waiting(archive) == set()


def test_where_no_thread_is_to_be_had_instances_are_taken_all_the_same(
    open_again: OpenArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = open_again()
    with monkeypatch.context() as short_of_threads:

        def start(_thread: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        short_of_threads.setattr(threading.Thread, "start", start)
        store(archive, ONE)
        assert waiting(archive) == {ONE.sop}
    again = open_again()  # which closes the first
    assert waiting(again) == set()
    assert read(again, ONE) == ONE.dataset


def test_without_fsync_there_are_no_copies(open_again: OpenArchive) -> None:
    archive = open_again(fsync=False)
    store(archive, ONE)
    assert waiting(archive) == set()


@pytest.fixture
def synced_files(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Inodes of what is synced one by one."""
    synced: list[int] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        real(descriptor)
        synced.append(os.fstat(descriptor).st_ino)

    monkeypatch.setattr(os, "fsync", fsync)
    return synced


def inode(data_dir: Path, sample: Sample) -> int:
    return (data_dir / "instances" / sample.place).stat().st_ino


@pytest.mark.parametrize(
    ("where", "name", "value"),
    [
        (behind, "MOST", 0),
        (writeback, "_TRUSTED", frozenset()),
        (writeback, "_fstatfs", None),
        (writeback, "_syncfs", None),
        (writeback, "_tells_errors", lambda: False),
    ],
)
def test_where_it_cannot_be_synced_later_it_is_synced_at_once(
    open_again: OpenArchive,
    data_dir: Path,
    synced_files: list[int],
    monkeypatch: pytest.MonkeyPatch,
    where: object,
    name: str,
    value: object,
) -> None:
    monkeypatch.setattr(where, name, value)
    archive = open_again()
    store(archive, ONE)
    assert waiting(archive) == set()
    assert inode(data_dir, ONE) in synced_files


def truncate(path: Path) -> None:
    os.truncate(path, 700)


def change(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"DOE^JANE", bytes(8)))


def remove_study(path: Path) -> None:
    shutil.rmtree(path.parent.parent)


HARM: dict[str, Callable[[Path], object]] = {
    "missing": Path.unlink,
    "empty": lambda path: os.truncate(path, 0),
    "cut off": truncate,
    "other bytes": change,
    "no folder": remove_study,
    "none": lambda path: None,
}


@pytest.fixture
def after_power_cut(archive: Archive, data_dir: Path, tmp_path: Path) -> Callable[[], Path]:
    """A copy of the data folder as it is now, its files about to be harmed."""

    def cut() -> Path:
        return Path(shutil.copytree(data_dir, tmp_path / "cut"))

    return cut


@pytest.mark.parametrize("harm", HARM.values(), ids=HARM)
def test_what_a_power_cut_took_is_written_anew(
    archive: Archive, after_power_cut: Callable[[], Path], harm: Callable[[Path], object]
) -> None:
    for sample in (ONE, STRANGE):
        store(archive, sample)
    cut = after_power_cut()
    for sample in (ONE, STRANGE):
        harm(cut / "instances" / sample.place)
    with open_archive(cut) as again:
        assert waiting(again) == set()
        assert not faults(again)
        for sample in (ONE, STRANGE):
            assert read(again, sample) == sample.dataset
    assert list(files(cut / "instances" / ".incoming")) == []


@pytest.mark.parametrize("harm", HARM.values(), ids=HARM)
def test_reindex_writes_it_anew_too(
    archive: Archive, after_power_cut: Callable[[], Path], harm: Callable[[Path], object]
) -> None:
    store(archive, ONE)
    cut = after_power_cut()
    harm(cut / "instances" / ONE.place)
    assert reindex(cut).instances == 1
    with open_archive(cut) as again:
        assert not faults(again)
        assert read(again, ONE) == ONE.dataset


def test_what_was_deleted_before_its_sync_does_not_come_back(
    archive: Archive, after_power_cut: Callable[[], Path]
) -> None:
    store(archive, ONE)
    assert archive.delete(EVERYTHING) == 1
    assert waiting(archive) == {ONE.sop}
    with open_archive(after_power_cut()) as again:
        assert everything(again) == {}
        assert waiting(again) == set()
        assert not faults(again)


def test_what_was_replaced_before_its_sync_stays_replaced(
    open_again: OpenArchive, data_dir: Path, tmp_path: Path
) -> None:
    archive = open_again("replace")
    store(archive, ONE)
    store(archive, ONE.but(extra="newer"))
    cut = Path(shutil.copytree(data_dir, tmp_path / "cut"))
    with open_archive(cut) as again:
        assert read(again, ONE) == ONE.but(extra="newer").dataset
        assert waiting(again) == set()


def fail(*_: object) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_after_a_sync_that_failed_files_are_written_anew_and_synced_one_by_one(
    open_again: OpenArchive,
    data_dir: Path,
    synced_files: list[int],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    archive = open_again()
    store(archive, ONE)
    before = inode(data_dir, ONE)
    monkeypatch.setattr(FileSystem, "sync", fail)
    archive.close()
    assert "Input/output error" in caplog.text
    after = inode(data_dir, ONE)
    assert after != before
    assert after in synced_files
    monkeypatch.undo()
    archive = open_again()
    assert waiting(archive) == set()
    assert not faults(archive)


def test_what_cannot_be_synced_at_all_keeps_its_copy_for_the_next_start(
    open_again: OpenArchive, monkeypatch: pytest.MonkeyPatch, data_dir: Path, tmp_path: Path
) -> None:
    archive = open_again()
    store(archive, ONE)
    store(archive, TWO)
    with monkeypatch.context() as patch:
        patch.setattr(FileSystem, "sync", fail)
        patch.setattr(os, "fsync", fail)
        assert not archive._behind._sync()
        assert waiting(archive) == {ONE.sop, TWO.sop}
        cut = Path(shutil.copytree(data_dir, tmp_path / "cut"))
    (cut / "instances" / ONE.place).unlink()
    with open_archive(cut) as again:
        assert waiting(again) == set()
        assert read(again, ONE) == ONE.dataset
    assert archive._behind._sync()
    assert waiting(archive) == set()


def test_a_start_whose_sync_fails_writes_anew_what_it_cannot_tell_of(
    archive: Archive,
    after_power_cut: Callable[[], Path],
    synced_files: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The next one would not be told, and would see in memory what the disk never took."""
    store(archive, ONE)
    cut = after_power_cut()
    monkeypatch.setattr(FileSystem, "sync", fail)
    with open_archive(cut) as again:
        assert inode(cut, ONE) in synced_files
        assert waiting(again) == set()
        assert read(again, ONE) == ONE.dataset


def test_a_start_believes_the_disk_not_the_memory(
    archive: Archive, after_power_cut: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that was killed may have been told that the file could not be written."""
    store(archive, ONE)
    cut = after_power_cut()
    place = cut / "instances" / ONE.place
    forgotten = []

    def forget(descriptor: int, offset: int, length: int, advice: int) -> None:
        forgotten.append((offset, length, advice))
        assert os.fstat(descriptor).st_ino == inode(cut, ONE)
        os.truncate(place, 700)

    monkeypatch.setattr(os, "posix_fadvise", forget)
    with open_archive(cut) as again:
        assert forgotten == [(0, 0, os.POSIX_FADV_DONTNEED)]
        assert read(again, ONE) == ONE.dataset


def test_a_file_that_cannot_be_read_any_more_is_written_anew(
    archive: Archive, after_power_cut: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    store(archive, ONE)
    cut = after_power_cut()
    before = inode(cut, ONE)

    def unreadable(*_: object) -> None:
        raise StorageError("reading: Input/output error [EIO]")

    monkeypatch.setattr(settle, "measure", unreadable)
    with open_archive(cut) as again:
        assert inode(cut, ONE) != before
        assert read(again, ONE) == ONE.dataset


def test_a_full_disk_does_not_keep_the_archive_from_opening(
    archive: Archive, after_power_cut: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is there can be had."""
    store(archive, ONE)
    cut = after_power_cut()

    def is_full(*_: object) -> None:
        raise IndexFull("no space left on the device")

    with monkeypatch.context() as patch:
        patch.setattr(Index, "drop_copies", is_full)
        with open_archive(cut) as again:
            assert read(again, ONE) == ONE.dataset
            assert waiting(again) == {ONE.sop}
    with open_archive(cut) as again:
        assert waiting(again) == set()
