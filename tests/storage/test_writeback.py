"""Written bytes go to the disk early, and a slow disk is waited for before the end."""

import ctypes
import errno
import os
from pathlib import Path

import pytest

from pacsnode.errors import OutOfSpace, StorageError
from pacsnode.storage import measure, writeback
from pacsnode.storage.files import FileStorage
from tests.storage.test_files import ARRIVAL, UIDS, content, sealed

MEBIBYTE = 1 << 20


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """First byte and length of what the disk was asked to begin with."""
    found: list[tuple[int, int]] = []

    def begin(descriptor: int, offset: int, length: int, flags: int) -> int:
        assert flags == 2
        assert os.fstat(descriptor).st_size >= offset + length
        found.append((offset, length))
        return 0

    monkeypatch.setattr(writeback, "_sync_file_range", begin)
    return found


@pytest.fixture
def waited(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    found: list[int] = []
    monkeypatch.setattr(os, "fdatasync", found.append)
    return found


@pytest.mark.parametrize("fragment", [16_378, 131_066, MEBIBYTE])
def test_the_disk_begins_while_bytes_arrive(
    storage: FileStorage, asked: list[tuple[int, int]], waited: list[int], fragment: int
) -> None:
    incoming = storage.begin(ARRIVAL)
    for _ in range(40 * MEBIBYTE // fragment):
        incoming.write(memoryview(bytes(fragment)))
    incoming.close()
    position = 4096  # the first block is written once, with the seal
    for offset, length in asked:  # without a gap, and whole blocks
        assert offset == position
        assert length % 4096 == 0
        position += length
    assert position > 34 * MEBIBYTE  # at the end there is little left
    assert len(asked) < 60
    assert not waited


def test_a_disk_that_is_slow_is_waited_for_on_the_way(
    storage: FileStorage, asked: list[tuple[int, int]], waited: list[int]
) -> None:
    """Else it would be found out at the end: one long silence."""
    incoming = storage.begin(ARRIVAL)
    for _ in range(150):
        incoming.write(memoryview(bytes(MEBIBYTE)))
    incoming.close()
    assert len(waited) == 2


def test_a_small_instance_is_left_to_the_sync_at_the_end(
    storage: FileStorage, asked: list[tuple[int, int]], waited: list[int]
) -> None:
    sealed(storage, bytes(190_000)).close()
    assert not asked
    assert not waited


def test_without_fsync_the_disk_is_left_alone(
    root: Path, conflicts: Path, asked: list[tuple[int, int]], waited: list[int]
) -> None:
    incoming = FileStorage(str(root), str(conflicts), fsync=False).begin(ARRIVAL)
    for _ in range(70):
        incoming.write(memoryview(bytes(MEBIBYTE)))
    incoming.close()
    assert not asked
    assert not waited


def refusing(code: int) -> object:
    def refuse(*_: int) -> int:
        ctypes.set_errno(code)
        return -1

    return refuse


@pytest.mark.parametrize("code", [None, errno.ENOSYS, errno.EINVAL, errno.EPERM])
def test_a_system_that_does_not_begin_early_stores_all_the_same(
    storage: FileStorage, monkeypatch: pytest.MonkeyPatch, code: int | None
) -> None:
    monkeypatch.setattr(writeback, "_sync_file_range", refusing(code) if code else None)
    incoming = sealed(storage, bytes(10 * MEBIBYTE))
    storage.put(incoming, UIDS)
    incoming.close()
    assert content(storage) == bytes(10 * MEBIBYTE)


def test_a_disk_that_fails_early_has_failed(
    storage: FileStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writeback, "_sync_file_range", refusing(errno.ENOSPC))
    incoming = storage.begin(ARRIVAL)
    with pytest.raises(OutOfSpace, match="writing an instance"):
        incoming.write(memoryview(bytes(10 * MEBIBYTE)))
    incoming.close()


def test_where_the_system_has_the_call_it_is_found(tmp_path: Path) -> None:
    if not hasattr(ctypes.CDLL(None), "sync_file_range"):
        pytest.skip("no sync_file_range here")
    with (tmp_path / "file").open("wb") as file:
        file.write(bytes(10 * MEBIBYTE))
        file.flush()
        assert writeback._sync_file_range is not None
        assert writeback._sync_file_range(file.fileno(), 0, 10 * MEBIBYTE, 2) == 0
        assert writeback._sync_file_range(-1, 0, 1, 2) == -1
        assert ctypes.get_errno() == errno.EBADF


def test_whoever_syncs_all_hears_of_what_failed_since_the_tree_was_opened(
    storage: FileStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Linux tells a failure to descriptors that were open by then, and to at most one opened
    later: that may be another worker's."""
    inodes = []

    def sync(descriptor: int) -> int:
        inodes.append(os.fstat(descriptor).st_ino)
        return 0

    monkeypatch.setattr(writeback, "_syncfs", sync)
    monkeypatch.setattr(storage._file_system, "can_sync", True)
    root = os.stat(storage._root).st_ino
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", lambda *_: pytest.fail("opened anew"))
        storage.sync()
        storage.sync()
    assert inodes == [root, root]


def test_a_storage_that_is_no_more_keeps_nothing_open(root: Path, conflicts: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    storage = FileStorage(str(root), str(conflicts))
    del storage
    assert len(os.listdir("/proc/self/fd")) == before


def test_unreadable_bytes_are_a_failure_of_the_storage() -> None:
    class Failing:
        name = "file"

        def readinto(self, _: memoryview) -> int:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    with pytest.raises(StorageError, match="EIO"):
        measure(Failing())  # type: ignore[arg-type]
