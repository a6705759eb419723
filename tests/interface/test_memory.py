"""The node's memory stays flat however much passes through it: a 1 GB object in and out, and the
answers to a query that matches thousands."""

import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from blake3 import blake3
from pydicom import Dataset

from pacsnode import index as index_room
from pacsnode.dicom import status
from pacsnode.dicom.message import Answer
from tests.conftest import RunningNode, StartNode, new_dataset
from tests.index.instances import make
from tests.interface.associations import association, find, get_into, instance_of, store_file

OPEN = "access: {unknown_callers: all}\nstorage: {min_free: 0}\n"
GROWTH = 100_000_000  # bytes: the goal for an object of SIZE
SIZE = 1 << 30
BLOCK = 1 << 20


class Endless(io.RawIOBase):
    """A file of `length` bytes that are made while it is read: a head, then blocks that differ."""

    def __init__(self, head: bytes, length: int) -> None:
        self.length = length
        self.digest = blake3()
        self._head = head
        self._position = 0
        self._block = bytearray(os.urandom(BLOCK))

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        view = memoryview(buffer)
        count = min(len(view), self.length - self._position)
        done = 0
        while done < count:
            piece = self._next(count - done)
            view[done : done + len(piece)] = piece
            done += len(piece)
            self._position += len(piece)
        self.digest.update(view[:count])
        return count

    def _next(self, wanted: int) -> memoryview:
        if self._position < len(self._head):
            return memoryview(self._head)[self._position :][:wanted]
        number, offset = divmod(self._position - len(self._head), BLOCK)
        self._block[:8] = number.to_bytes(8, "little")
        return memoryview(self._block)[offset : offset + wanted]


class Counted:
    """A Sink that keeps a digest and a length."""

    def __init__(self) -> None:
        self.digest = blake3()
        self.length = 0

    def write(self, fragment: memoryview) -> None:
        self.digest.update(fragment)
        self.length += len(fragment)

    def finish(self) -> Answer:
        return Answer(status.SUCCESS)

    def discard(self) -> None:
        return


def large(ds: Dataset, size: int) -> Endless:
    """The dataset with `size` bytes of pixel data, which are not in memory."""
    head = instance_of(ds).data
    element = b"\xe0\x7f\x10\x00OW\x00\x00" + size.to_bytes(4, "little")
    return Endless(head + element, len(head) + len(element) + size)


def peak(node: RunningNode) -> int:
    """The most bytes of memory that the node ever held."""
    for line in Path(f"/proc/{node.process.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    pytest.skip("this system does not tell a process's peak")


def warm_up(node: RunningNode) -> None:
    """Have everything loaded that storing and retrieving needs."""
    ds = new_dataset(PatientID="WARM")
    source = large(ds, 1 << 20)
    with association(node) as channel:
        assert store_file(channel, ds.SOPInstanceUID, source, source.length).status == 0
        assert list(find(channel, "IMAGE", PatientID="WARM", SOPInstanceUID=""))
    get_into(node, lambda request: Counted(), "IMAGE", PatientID="WARM")


@pytest.fixture
def folder_that_goes(tmp_path: Path) -> Iterator[Path]:
    """A node's folder: pytest keeps those of several runs, and a gigabyte is too much for that."""
    yield tmp_path / "node"
    shutil.rmtree(tmp_path / "node", ignore_errors=True)


@pytest.mark.timeout(300)  # 5 s on a quiet machine; a slow disk takes its time for a gigabyte
def test_a_gigabyte_passes_through_in_less_than_a_tenth_of_its_memory(
    folder_that_goes: Path, start_node: StartNode
) -> None:
    node = start_node(OPEN, folder=folder_that_goes)
    warm_up(node)
    before = peak(node)
    ds = new_dataset(PatientID="LARGE")
    source = large(ds, SIZE)
    with association(node) as channel:
        response = store_file(channel, ds.SOPInstanceUID, source, source.length)
        assert response.status == status.SUCCESS, response
    assert peak(node) - before < GROWTH
    received = Counted()
    final = get_into(node, lambda request: received, "IMAGE", PatientID="LARGE")[-1]
    assert final.status == status.SUCCESS, final
    assert received.length == source.length
    assert received.digest.digest() == source.digest.digest()
    assert peak(node) - before < GROWTH


MANY = 10_000
PAGES = 20_000_000  # bytes: far less than MANY answers take, far more than a page of them


def add_instances(data_dir: Path, count: int) -> None:
    """Rows of one series, without files."""
    index = index_room.open(data_dir / "index.sqlite", fsync=False)
    for number in range(count):
        index.add(*make(uid=f"1.2.1.1.{number}", PatientID="MANY", PatientName="DOE^JOHN"))
    index.close()


def test_a_query_for_thousands_of_instances_holds_a_page_of_them(start_node: StartNode) -> None:
    node = start_node(OPEN)
    assert node.stop() == 0
    add_instances(node.data_dir, MANY)
    node = start_node(OPEN)
    asked = {"SOPInstanceUID": "", "PatientName": "", "InstanceNumber": "", "StudyInstanceUID": ""}
    warm_up(node)
    before = peak(node)
    with association(node) as channel:
        found = {
            answer.SOPInstanceUID for answer in find(channel, "IMAGE", PatientID="MANY", **asked)
        }
    assert len(found) == MANY
    assert peak(node) - before < PAGES
