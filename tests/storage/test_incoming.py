"""Instances on their way in: however their bytes come, the file is the same; small ones are written
in one go, and nothing is read back that is still in memory."""

import os
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pacsnode.dicom import part10
from pacsnode.errors import StorageError
from pacsnode.storage import Incoming
from pacsnode.storage.files import FileStorage
from pacsnode.storage.incoming import KEPT
from tests.storage.test_files import ARRIVAL, UIDS, content

PATTERN = bytes(range(251)) * 1100  # 276,100 bytes; no two blocks of a power of two are equal


def incoming_files(root: Path) -> list[Path]:
    return list((root / ".incoming").iterdir())


def written(storage: FileStorage, data: bytes, *cuts: int) -> Incoming:
    incoming = storage.begin(ARRIVAL)
    for begin, end in zip((0, *cuts), (*cuts, len(data)), strict=True):
        incoming.write(memoryview(data)[begin:end])
    return incoming


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    length=st.one_of(st.integers(0, len(PATTERN)), st.integers(KEPT - 2, KEPT + 2)),
    cuts=st.lists(st.one_of(st.integers(0, len(PATTERN)), st.integers(KEPT - 2, KEPT + 2))),
    reads=st.lists(st.tuples(st.integers(0, len(PATTERN)), st.integers(0, 1 << 17))),
)
def test_the_dataset_is_the_same_however_it_was_cut(
    storage: FileStorage, length: int, cuts: list[int], reads: list[tuple[int, int]]
) -> None:
    data = PATTERN[:length]
    incoming = written(storage, data, *sorted(min(cut, length) for cut in cuts))
    reader = incoming.reader()
    for position, size in reads:
        reader.seek(position)
        assert reader.read(size) == data[position : position + size]
        assert reader.tell() == min(position + size, max(length, position))
    incoming.seal()
    storage.put(incoming, UIDS)
    incoming.close()
    opened = storage.open(UIDS)
    with opened.file:
        assert opened.file.read() == data
    assert opened.stored.digest == blake3(data).digest()
    assert opened.stored.length == length
    with storage.changing():
        storage.delete(UIDS)


def test_until_there_is_more_than_is_kept_nothing_is_on_the_disk(
    storage: FileStorage, root: Path
) -> None:
    incoming = written(storage, PATTERN[:KEPT], 100)
    assert not incoming_files(root)
    incoming.write(memoryview(b"x"))
    (path,) = incoming_files(root)
    assert path.read_bytes().endswith(PATTERN[:KEPT] + b"x")
    incoming.close()
    assert not incoming_files(root)


def test_a_small_instance_is_written_in_one_go_with_its_seal(
    storage: FileStorage, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    incoming = written(storage, PATTERN[:KEPT], 100, 1000)
    calls: list[str] = []
    for name in ("write", "writev", "pwrite", "fsync"):
        real = getattr(os, name)
        monkeypatch.setattr(
            os, name, lambda *a, name=name, real=real: (calls.append(name), real(*a))[1]
        )
    seal = incoming.seal()
    assert calls == ["writev", "fsync"]
    (path,) = incoming_files(root)
    with path.open("rb") as file:
        meta = part10.read_meta(file)
    assert (meta.digest, meta.length, meta.received_at) == seal
    assert path.stat().st_size == meta.dataset_offset + KEPT
    incoming.close()


def test_an_instance_that_is_discarded_unwritten_leaves_nothing(
    storage: FileStorage, root: Path
) -> None:
    for end in (Incoming.close, Incoming.leave):
        incoming = written(storage, PATTERN[:100])
        end(incoming)
        end(incoming)
        assert not incoming_files(root)


def test_what_is_in_memory_is_not_read_back(
    storage: FileStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    incoming = written(storage, PATTERN)
    asked: list[tuple[int, int]] = []
    real = os.pread

    def pread(descriptor: int, size: int, offset: int) -> bytes:
        asked.append((size, offset))
        return real(descriptor, size, offset)

    monkeypatch.setattr(os, "pread", pread)
    reader = incoming.reader()
    assert reader.read(KEPT) == PATTERN[:KEPT]
    assert not asked
    reader.seek(KEPT - 10)
    assert reader.read(30) == PATTERN[KEPT - 10 : KEPT + 20]
    assert [size for size, _ in asked] == [20]
    incoming.close()


def test_a_disk_that_cannot_be_read_back_is_a_storage_error(
    storage: FileStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> bytes:
        raise OSError(5, "Input/output error")

    incoming = written(storage, PATTERN)
    monkeypatch.setattr(os, "pread", fail)
    reader = incoming.reader()
    reader.seek(KEPT)
    with pytest.raises(StorageError, match="reading an instance back"):
        reader.read(1)
    incoming.close()


@pytest.mark.parametrize("size", [KEPT, len(PATTERN)])
@pytest.mark.parametrize("at_once", [1, 3, 1000])
def test_writing_in_part_goes_on(
    storage: FileStorage, monkeypatch: pytest.MonkeyPatch, size: int, at_once: int
) -> None:
    """A disk, or a signal, may cut a write anywhere: between its parts, or within one."""
    real = os.write
    cuts = [at_once] * 20

    def writev(descriptor: int, parts: list[memoryview]) -> int:
        return real(descriptor, b"".join(parts)[: cuts.pop() if cuts else None])

    monkeypatch.setattr(os, "writev", writev)
    incoming = written(storage, PATTERN[:size], 100)
    incoming.seal()
    storage.put(incoming, UIDS)
    incoming.close()
    assert not cuts
    assert content(storage) == PATTERN[:size]
