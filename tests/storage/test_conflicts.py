"""The conflicts folder by itself: what waits for a person, and what was settled."""

import os
from pathlib import Path

import pytest

from pacsnode.errors import InstanceMissing, InstanceTruncated
from pacsnode.storage.files import FileStorage
from tests.storage.test_files import DATA, UIDS, sealed, stored


def aside(storage: FileStorage, data: bytes = DATA) -> str:
    incoming = sealed(storage, data)
    name = storage.set_aside(incoming, UIDS)
    incoming.close()
    assert name is not None
    return name


def test_what_was_settled_stays_and_is_not_set_aside_again(
    storage: FileStorage, conflicts: Path
) -> None:
    name = aside(storage)
    for _ in range(2):
        storage.conflicts.settle(name)
    assert storage.conflicts.names() == set()
    assert (conflicts / "settled" / name).read_bytes().endswith(DATA)
    incoming = sealed(storage)
    assert storage.set_aside(incoming, UIDS) is None
    incoming.close()
    (conflicts / "settled" / name).write_bytes(b"damaged")
    assert aside(storage) == name
    storage.conflicts.settle(name)
    assert (conflicts / "settled" / name).read_bytes().endswith(DATA)


def test_what_is_dropped_is_gone(storage: FileStorage, conflicts: Path) -> None:
    name = aside(storage)
    for _ in range(2):
        storage.conflicts.drop(name)
    assert os.listdir(conflicts) == []
    with pytest.raises(InstanceMissing):
        storage.conflicts.open(name)


def test_what_has_a_name_that_is_no_text_is_none_of_ours(
    storage: FileStorage, conflicts: Path
) -> None:
    name = aside(storage)
    (conflicts / os.fsdecode(b"\xff.dcm")).write_bytes(b"x")
    assert storage.conflicts.names() == {name}
    assert not list(storage.conflicts.unknown({name}))


def test_a_conflict_is_opened_only_if_it_is_whole(storage: FileStorage, conflicts: Path) -> None:
    name = aside(storage)
    opened = storage.conflicts.open(name)
    with opened.file:
        assert opened.file.read() == DATA
    os.truncate(conflicts / name, (conflicts / name).stat().st_size - 1)
    with pytest.raises(InstanceTruncated):
        storage.conflicts.open(name)


def test_what_is_replaced_can_be_kept_beside(storage: FileStorage, conflicts: Path) -> None:
    with storage.changing():
        storage.keep_beside(UIDS)  # nothing stands there
    assert not (conflicts / "settled").exists() or not os.listdir(conflicts / "settled")
    stored(storage)
    other = sealed(storage, DATA + b"other")
    with storage.changing():
        storage.keep_beside(UIDS)
        storage.replace(other, UIDS)
    other.close()
    (kept,) = os.listdir(conflicts / "settled")
    assert (conflicts / "settled" / kept).read_bytes().endswith(DATA)
    assert storage.conflicts.names() == set()
