"""The storage tree by itself: places, locks, order of steps."""

import errno
import os
import subprocess
import threading
from pathlib import Path

import pytest
from blake3 import blake3

from pacsnode.dicom.instance import InstanceUIDs
from pacsnode.errors import (
    InstanceDamaged,
    InstanceExists,
    InstanceMissing,
    InstanceTruncated,
    OutOfSpace,
    StorageError,
)
from pacsnode.storage import Arrival, Incoming, Standing, StoredFile, measure, paths
from pacsnode.storage.files import FileStorage
from pacsnode.storage.incoming import KEPT

UIDS = InstanceUIDs("1.2", "1.2.3", "1.2.3.4")
ARRIVAL = Arrival("1.9", "1.2.3.4", "1.2.840.10008.1.2.1", "SENDER", "NODE")
DATA = b"\x08\x00\x18\x00UI\x08\x001.2.3.4\x00"


def sealed(storage: FileStorage, data: bytes = DATA) -> Incoming:
    incoming = storage.begin(ARRIVAL)
    incoming.write(memoryview(data))
    incoming.seal()
    return incoming


def stored(storage: FileStorage, uids: InstanceUIDs = UIDS, data: bytes = DATA) -> None:
    incoming = sealed(storage, data)
    storage.put(incoming, uids)
    incoming.close()


def content(storage: FileStorage, uids: InstanceUIDs = UIDS) -> bytes:
    opened = storage.open(uids)
    with opened.file:
        return opened.file.read()


def test_what_was_put_is_opened_at_its_dataset(storage: FileStorage, root: Path) -> None:
    stored(storage)
    opened = storage.open(UIDS)
    with opened.file:
        assert opened.file.read() == DATA
    assert opened.stored.uids == UIDS
    assert opened.stored.digest == blake3(DATA).digest()
    assert opened.stored.length == len(DATA)
    assert opened.stored.transfer_syntax_uid == ARRIVAL.transfer_syntax_uid
    assert opened.stored.source_ae_title == "SENDER"
    assert os.listdir(root / ".incoming") == []


def test_a_place_is_never_overwritten(storage: FileStorage) -> None:
    stored(storage)
    second = sealed(storage, b"other")
    with pytest.raises(InstanceExists):
        storage.put(second, UIDS)
    second.close()
    assert content(storage) == DATA


def test_put_again_is_no_contradiction(storage: FileStorage) -> None:
    incoming = sealed(storage)
    storage.put(incoming, UIDS)
    storage.put(incoming, UIDS)
    incoming.close()
    assert content(storage) == DATA


def test_who_finds_a_place_taken_waits_for_its_writer(storage: FileStorage) -> None:
    first, second = sealed(storage), sealed(storage, b"other")
    storage.put(first, UIDS)
    refused = threading.Event()

    def rival() -> None:
        with pytest.raises(InstanceExists):
            storage.put(second, UIDS)
        refused.set()

    thread = threading.Thread(target=rival)
    thread.start()
    assert not refused.wait(0.05)
    first.close()
    assert refused.wait(10)
    thread.join()
    second.close()


def test_standing_tells_a_writer_from_a_leftover(storage: FileStorage) -> None:
    assert storage.stands(UIDS) is Standing.NOTHING
    incoming = sealed(storage)
    storage.put(incoming, UIDS)
    assert storage.stands(UIDS) is Standing.WRITING
    incoming.close()
    assert storage.stands(UIDS) is Standing.AT_REST


def test_a_withdrawn_instance_is_gone_with_its_folders(storage: FileStorage, root: Path) -> None:
    incoming = sealed(storage)
    assert not incoming.withdraw(UIDS)
    storage.put(incoming, UIDS)
    assert incoming.withdraw(UIDS)
    incoming.close()
    assert not (root / "1.2").exists()


def test_withdrawing_takes_nobody_elses_file(storage: FileStorage) -> None:
    stored(storage)
    other = sealed(storage, b"other")
    assert not other.withdraw(UIDS)
    other.close()
    assert content(storage) == DATA


def test_what_was_renamed_over_another_is_not_withdrawn(storage: FileStorage) -> None:
    stored(storage)
    other = sealed(storage, b"other")
    with storage.changing():
        storage.replace(other, UIDS)
        assert not other.withdraw(UIDS)
    other.close()
    assert content(storage) == b"other"


def test_every_moment_of_a_replacement_shows_the_old_or_the_new(storage: FileStorage) -> None:
    stored(storage)
    stop = threading.Event()
    seen: set[bytes] = set()

    def watch() -> None:
        while not stop.is_set():
            seen.add(content(storage))

    thread = threading.Thread(target=watch)
    thread.start()
    for number in range(50):
        other = sealed(storage, b"new %d" % number)
        with storage.changing():
            storage.replace(other, UIDS)
        other.close()
    stop.set()
    thread.join()
    assert seen <= {DATA, *(b"new %d" % number for number in range(50))}
    assert content(storage) == b"new 49"


def test_changing_is_for_one_at_a_time(storage: FileStorage, root: Path, conflicts: Path) -> None:
    beside = FileStorage(str(root), str(conflicts))
    entered = threading.Event()

    def rival() -> None:
        with beside.changing():
            entered.set()

    with storage.changing():
        thread = threading.Thread(target=rival)
        thread.start()
        assert not entered.wait(0.05)
    assert entered.wait(10)
    thread.join()


def test_the_same_bytes_are_set_aside_once(storage: FileStorage, conflicts: Path) -> None:
    names: set[str | None] = set()
    for _ in range(2):
        incoming = sealed(storage)
        names.add(storage.set_aside(incoming, UIDS))
        incoming.close()
    (name,) = names
    assert name is not None
    assert os.listdir(conflicts) == [name]
    (conflicts / name).write_bytes(b"damaged")
    incoming = sealed(storage)
    assert storage.set_aside(incoming, UIDS) == name
    incoming.close()
    assert (conflicts / name).read_bytes().endswith(DATA)
    assert os.listdir(conflicts) == [name]


def test_what_stands_in_a_place_can_be_set_aside(
    storage: FileStorage, root: Path, conflicts: Path
) -> None:
    stored(storage)
    with storage.changing():
        name = storage.set_aside(None, UIDS)
    assert not (root / "1.2").exists()
    assert (conflicts / name).read_bytes().endswith(DATA)
    assert name is not None
    ((found, opened),) = storage.conflicts.unknown({"something else"})
    assert found == name
    assert isinstance(opened, StoredFile)
    opened.file.close()
    assert list(storage.conflicts.unknown({name})) == []
    assert storage.conflicts.names() == {name}


def test_deleting_what_is_not_there_is_no_error(storage: FileStorage, root: Path) -> None:
    stored(storage)
    other = UIDS._replace(sop_instance_uid="1.2.3.5")
    stored(storage, other)
    with storage.changing():
        storage.delete(UIDS)
        storage.delete(UIDS, InstanceUIDs("7", "8", "9"))
    assert content(storage, other) == DATA
    with storage.changing():
        storage.delete(other)
    assert not (root / "1.2").exists()


@pytest.mark.parametrize(
    ("damage", "error"),
    [
        (lambda whole: b"", InstanceDamaged),
        (lambda whole: whole[:100], InstanceDamaged),
        (lambda whole: whole[:-1], InstanceTruncated),
        (lambda whole: whole + b"x", InstanceDamaged),
        (lambda whole: bytes(len(whole)), InstanceDamaged),
    ],
)
def test_a_damaged_file_is_not_opened(
    storage: FileStorage, root: Path, damage: object, error: type[Exception]
) -> None:
    stored(storage)
    path = root / "1.2/1.2.3/1.2.3.4.dcm"
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    with pytest.raises(error):
        storage.open(UIDS)


def test_what_is_not_there_is_missing(storage: FileStorage, root: Path) -> None:
    with pytest.raises(InstanceMissing):
        storage.open(UIDS)
    (root / "1.2").touch()
    with pytest.raises(InstanceMissing):
        storage.open(UIDS)
    assert storage.stands(UIDS) is Standing.NOTHING


def test_a_file_that_was_never_completed_is_not_believed(storage: FileStorage, root: Path) -> None:
    incoming = storage.begin(ARRIVAL)
    incoming.write(memoryview(bytes(KEPT + 1)))
    storage.put(incoming, UIDS)
    incoming.close()
    with pytest.raises(InstanceDamaged, match="never completed"):
        storage.open(UIDS)


def test_walking_names_all_and_opens_what_is_ours(storage: FileStorage, root: Path) -> None:
    stored(storage)
    stored(storage, InstanceUIDs("..", "1", "2"))
    (root / "stray").write_bytes(b"x")
    found = {}
    for name, opened in storage.walk():
        found[name] = opened.stored.uids if isinstance(opened, StoredFile) else None
        if isinstance(opened, StoredFile):
            opened.file.close()
        else:
            assert isinstance(opened, InstanceDamaged)
    assert set(found.values()) == {None, UIDS, InstanceUIDs("", "", ARRIVAL.sop_instance_uid)}
    assert found["stray"] is None
    assert len(found) == 3


def test_folders_may_be_as_deep_as_they_like(storage: FileStorage, root: Path) -> None:
    stored(storage)
    folder = os.open(root, os.O_RDONLY)
    for _ in range(3000):  # deeper than Python calls, and than a path may be long
        os.mkdir("1", dir_fd=folder)
        below = os.open("1", os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = below
    os.close(folder)
    try:
        found = dict(storage.walk())
    finally:
        subprocess.run(["/bin/rm", "-r", root / "1"], check=True)  # pytest cannot
    instance = found.pop(paths.place(UIDS))
    assert isinstance(instance, StoredFile)
    instance.file.close()
    ((name, fault),) = found.items()
    assert set(name) == {"1", "/"}
    assert isinstance(fault, StorageError)


def test_a_file_in_a_folders_place_has_no_writer(storage: FileStorage, root: Path) -> None:
    (root / UIDS.study_instance_uid).write_bytes(b"")
    with storage.changing(UIDS):
        assert storage.stands(UIDS) is Standing.NOTHING


def test_a_living_writers_file_is_not_swept(storage: FileStorage, root: Path) -> None:
    living, dead, complete = sealed(storage), sealed(storage), sealed(storage)
    storage.put(complete, UIDS)
    dead.leave()
    complete.leave()
    leftovers = list(FileStorage(str(root), str(root.parent / "conflicts")).leftovers())
    (leftover,) = leftovers
    assert leftover.stored.digest == blake3(DATA).digest()
    assert leftover.incoming.reader().read(100) == DATA
    leftover.incoming.close()
    living.write(memoryview(b"goes on"))
    assert len(os.listdir(root / ".incoming")) == 1
    living.close()
    assert os.listdir(root / ".incoming") == []
    assert content(storage) == DATA


def test_a_file_swept_between_its_making_and_its_lock_is_made_anew(
    storage: FileStorage, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    real = fcntl.flock
    swept: list[str] = []

    def sweep_first(descriptor: int, kind: int) -> None:
        if not swept:
            (name,) = os.listdir(root / ".incoming")
            os.unlink(root / ".incoming" / name)
            swept.append(name)
        real(descriptor, kind)

    monkeypatch.setattr(fcntl, "flock", sweep_first)
    incoming = sealed(storage)
    assert os.listdir(root / ".incoming") != swept
    incoming.close()
    assert swept


def test_names_taken_by_others_are_passed_over(storage: FileStorage, root: Path) -> None:
    for number in range(1, 4):
        (root / ".incoming" / f"{os.getpid()}-{number}").touch()
    incoming = sealed(storage)
    assert len(os.listdir(root / ".incoming")) == 4
    incoming.close()


def test_a_tree_whose_file_system_went_away_is_not_rebuilt(
    storage: FileStorage, root: Path
) -> None:
    incoming = sealed(storage)
    os.rename(root, root.with_name("unmounted"))
    with pytest.raises(StorageError, match="ENOENT"):
        sealed(storage)
    with pytest.raises(StorageError):
        storage.put(incoming, UIDS)
    incoming.close()
    assert not root.exists()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_out_of_space(
    storage: FileStorage, root: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def fail(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    large = storage.begin(ARRIVAL)
    with monkeypatch.context() as patch:
        patch.setattr(os, "writev", fail)
        with pytest.raises(OutOfSpace, match=errno.errorcode[code]):
            large.write(memoryview(bytes(KEPT + 1)))
        small = storage.begin(ARRIVAL)
        small.write(memoryview(DATA))
        with pytest.raises(OutOfSpace, match=errno.errorcode[code]):
            small.seal()
    large.close()
    small.close()
    assert os.listdir(root / ".incoming") == []


def test_the_archive_id_is_kept(storage: FileStorage, root: Path, conflicts: Path) -> None:
    assert storage.archive_id is None
    storage.claim("abc")
    storage.claim("def")
    assert FileStorage(str(root), str(conflicts)).archive_id == "def"
    assert storage.is_empty
    stored(storage)
    assert not storage.is_empty


def test_free_space_is_that_of_the_file_system(storage: FileStorage, root: Path) -> None:
    state = os.statvfs(root)
    assert abs(storage.free() - state.f_bavail * state.f_frsize) < 1 << 30


def test_measuring_is_from_here_to_the_end(tmp_path: Path) -> None:
    data = os.urandom((2 << 20) + 17)
    (tmp_path / "file").write_bytes(data)
    with (tmp_path / "file").open("rb") as file:
        file.seek(5)
        assert measure(file) == (blake3(data[5:]).digest(), len(data) - 5)
