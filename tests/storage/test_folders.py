"""What is synced when, seen at the system calls."""

import os
from pathlib import Path

import pytest

from pacsnode.dicom.instance import InstanceUIDs
from pacsnode.storage.files import FileStorage
from tests.storage.test_files import UIDS, sealed, stored

SECOND = UIDS._replace(sop_instance_uid="1.2.3.5")


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch, root: Path) -> list[str]:
    """Names of folders and files in the order of their syncs, relative to the tree."""
    names: list[str] = []
    real = os.fsync

    def record(descriptor: int) -> None:
        real(descriptor)
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        names.append(os.path.relpath(path, root))

    monkeypatch.setattr(os, "fsync", record)
    return names


def names(synced: list[str]) -> list[str]:
    found = ["file" if name.startswith(".incoming/") else name for name in synced]
    synced.clear()
    return found


def test_file_then_all_new_folders_up_to_the_root(storage: FileStorage, synced: list[str]) -> None:
    synced.clear()
    stored(storage)
    assert names(synced) == ["file", "1.2/1.2.3", "1.2", "."]
    stored(storage, SECOND)
    assert names(synced) == ["file", "1.2/1.2.3"]
    stored(storage, InstanceUIDs("1.2", "1.2.4", "1"))
    assert names(synced) == ["file", "1.2/1.2.4", "1.2", "."]


def test_a_folder_of_anothers_making_is_not_taken_for_durable(
    storage: FileStorage, synced: list[str], root: Path
) -> None:
    (root / "1.2/1.2.3").mkdir(parents=True)
    synced.clear()
    stored(storage)
    assert names(synced) == ["file", "1.2/1.2.3", "1.2", "."]


def test_a_folder_that_anybody_may_have_removed_is_not_taken_for_durable(
    storage: FileStorage, synced: list[str], root: Path, conflicts: Path
) -> None:
    stored(storage)
    beside = FileStorage(str(root), str(conflicts))
    with beside.changing():
        beside.delete(UIDS)
    stored(beside)
    names(synced)
    stored(storage, SECOND)
    assert names(synced) == ["file", "1.2/1.2.3", "1.2", "."]


def test_after_a_failed_sync_nothing_is_taken_for_durable(
    storage: FileStorage, synced: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from pacsnode.errors import StorageError

    incoming = sealed(storage)
    with monkeypatch.context() as patch:

        def fail(descriptor: int) -> None:
            raise OSError(5, "Input/output error")

        patch.setattr(os, "fsync", fail)
        with pytest.raises(StorageError):
            storage.put(incoming, UIDS)
    names(synced)
    storage.put(incoming, UIDS)
    assert names(synced) == ["1.2/1.2.3", "1.2", "."]
    incoming.close()


def test_deletion_syncs_what_stays(storage: FileStorage, synced: list[str]) -> None:
    stored(storage)
    stored(storage, SECOND)
    names(synced)
    with storage.changing():
        storage.delete(UIDS)
        assert names(synced) == ["1.2/1.2.3"]
        storage.delete(SECOND)
        assert names(synced) == ["."]


def test_without_fsync_nothing_is_synced(root: Path, conflicts: Path, synced: list[str]) -> None:
    storage = FileStorage(str(root), str(conflicts), fsync=False)
    synced.clear()
    stored(storage)
    incoming = sealed(storage, b"other")
    with storage.changing():
        storage.replace(incoming, UIDS)
        storage.delete(UIDS)
    incoming.close()
    assert synced == []
