"""Out of the tree: moved, with a note, never deleted."""

import json
import os
from pathlib import Path

import pytest

from pacsnode.dicom.instance import InstanceUIDs
from pacsnode.errors import InstanceExists, StorageError
from pacsnode.storage.files import FileStorage
from tests.storage.test_files import UIDS, content, stored

NAME = "1.2/1.2.3/1.2.3.4.dcm"


def test_a_file_is_moved_with_a_note_of_where_it_was_and_why(
    storage: FileStorage, root: Path
) -> None:
    stored(storage)
    whole = (root / NAME).read_bytes()
    with storage.changing():
        here = storage.quarantine(NAME, "altered", "it is not what was received")
    assert not (root / "1.2").exists()
    quarantine = root.parent / "quarantine"
    assert sorted(os.listdir(quarantine)) == [here, f"{here}.json"]
    assert (quarantine / here).read_bytes() == whole
    assert here.startswith("1.2_1.2.3_1.2.3.4.dcm.altered.")
    note = json.loads((quarantine / f"{here}.json").read_text())
    assert (note["was"], note["fault"]) == (f"instances/{NAME}", "altered")
    assert note["text"] == "it is not what was received"
    assert note["bytes"] == len(whole)


def test_names_of_any_length_fit(storage: FileStorage, root: Path) -> None:
    uids = InstanceUIDs(*("\u00e9" * 60 + str(number) for number in range(3)))
    stored(storage, uids)
    ((name, found),) = storage.walk()
    assert not isinstance(found, StorageError)
    found.file.close()
    with storage.changing():
        here = storage.quarantine(name, "truncated", "")
    assert len(here) + len(".json") <= 255
    assert not list(storage.walk())


def test_names_of_many_bytes_for_each_character_fit(storage: FileStorage, root: Path) -> None:
    name = f"{chr(0x4E2D) * 80}/{chr(0x4E2D) * 80}/1.dcm"
    (root / name).parent.mkdir(parents=True)
    (root / name).write_bytes(b"x")
    with storage.changing():
        here = storage.quarantine(name, "foreign", "")
    assert (root.parent / "quarantine" / here).read_bytes() == b"x"
    assert not (root / name).exists()


@pytest.mark.parametrize("kind", ["pipe", "link", "nothing"])
def test_what_is_no_file_is_not_waited_for(storage: FileStorage, root: Path, kind: str) -> None:
    if kind == "pipe":
        os.mkfifo(root / "x")
    elif kind == "link":
        os.symlink("nowhere", root / "x")
    with storage.changing(), pytest.raises(StorageError):
        storage.quarantine("x", "foreign", "")


def test_a_file_is_moved_to_its_place_over_nothing(storage: FileStorage, root: Path) -> None:
    stored(storage)
    whole = (root / NAME).read_bytes()
    os.rename(root / NAME, root / "moved")
    with storage.changing():
        storage.move("moved", UIDS)
    assert content(storage)
    assert not (root / "moved").exists()
    # Interrupted between the two names.
    os.link(root / NAME, root / "moved")
    with storage.changing():
        storage.move("moved", UIDS)
    assert not (root / "moved").exists()
    (root / "moved").write_bytes(whole)
    with storage.changing(), pytest.raises(InstanceExists):
        storage.move("moved", UIDS)
    assert (root / "moved").exists()
