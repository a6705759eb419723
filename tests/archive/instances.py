"""Tiny instances, and the ways they go in and out of an archive in tests."""

import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from io import BytesIO
from pathlib import Path

from pydicom import Dataset

from pacsnode.archive import Archive, Arrival, Finding, Outcome
from pacsnode.dicom.encode import decode_dataset
from pacsnode.dicom.instance import InstanceUIDs, StoredInstance
from pacsnode.dicom.level import Level
from pacsnode.dicom.query import Model, Query
from pacsnode.storage import place

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
EVERYTHING = Query(level=Level.IMAGE, model=Model.PATIENT_ROOT, matching=())


def element(group: int, number: int, vr: bytes, text: str) -> bytes:
    """Explicit VR Little Endian, padded to an even length."""
    value = text.encode("latin-1")
    value += (b"\0" if vr == b"UI" else b" ") * (len(value) % 2)
    return struct.pack("<HH2sH", group, number, vr, len(value)) + value


@dataclass(frozen=True)
class Sample:
    """One instance. `extra` makes other bytes of it."""

    sop: str
    series: str = "1.2.3.0.1"
    study: str = "1.2.3.0"
    extra: str = ""
    pixels: int = 64

    @property
    def uids(self) -> InstanceUIDs:
        return InstanceUIDs(self.study, self.series, self.sop)

    @property
    def place(self) -> str:
        return place(self.uids)

    @cached_property
    def dataset(self) -> bytes:
        """Written by hand: UIDs may be any text."""
        return b"".join(
            (
                element(0x0008, 0x0016, b"UI", CT),
                element(0x0008, 0x0018, b"UI", self.sop),
                element(0x0008, 0x0020, b"DA", "20260102"),
                element(0x0008, 0x0060, b"CS", "CT"),
                element(0x0008, 0x1030, b"LO", self.extra),
                element(0x0010, 0x0010, b"PN", "DOE^JANE"),
                element(0x0010, 0x0020, b"LO", "4711"),
                element(0x0020, 0x000D, b"UI", self.study),
                element(0x0020, 0x000E, b"UI", self.series),
                struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OW", 0, self.pixels) + bytes(self.pixels),
            )
        )

    @property
    def arrival(self) -> Arrival:
        return Arrival(CT, self.sop, EXPLICIT, "SENDER", "NODE")

    def but(self, **changes: str) -> "Sample":
        return replace(self, **changes)


def store(archive: Archive, sample: Sample, fragment: int = 100) -> Outcome:
    """As it comes over the wire, in fragments."""
    receipt = archive.begin(sample.arrival)
    source = BytesIO(sample.dataset)
    try:
        while block := source.read(fragment):
            receipt.write(memoryview(block))
    except BaseException:
        receipt.discard()
        raise
    return receipt.finish()


def everything(archive: Archive) -> dict[str, StoredInstance]:
    return {stored.uids.sop_instance_uid: stored for stored in archive.select(EVERYTHING)}


def read(archive: Archive, sample: Sample) -> bytes:
    """The dataset that is served for this SOP Instance UID."""
    with archive.fetch(everything(archive)[sample.sop]) as opened:
        return opened.file.read()


def faults(archive: Archive) -> list[Finding]:
    return list(archive.verify())


def files(folder: Path) -> Iterator[str]:
    """Every file below, the program's own at the top left out."""
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_file() and name not in (".changes", ".archive-id"):
            yield name


def answers_to(archive: Archive, query: Query) -> list[Dataset]:
    pages = archive.find(query, EXPLICIT)
    return [decode_dataset(answer, EXPLICIT) for page in pages for answer in page]


@contextmanager
def storing_and_deleting(archive: Archive) -> Iterator[Callable[[], bool]]:
    """Another thread stores and deletes meanwhile, without failing; what is yielded says whether it
    has more to do."""
    stop, enough = threading.Event(), threading.Event()
    failures: list[BaseException] = []

    def busy() -> None:
        number = 0
        try:
            while not stop.is_set():
                number += 1
                store(archive, Sample(f"1.2.3.{number}", study=f"1.2.{number % 3}"))
                if number == 200:
                    enough.set()
                if number % 5 == 0:
                    archive.delete(EVERYTHING)
        except BaseException as error:
            failures.append(error)
            raise

    thread = threading.Thread(target=busy)
    thread.start()
    try:
        yield lambda: not enough.is_set() and thread.is_alive()
    finally:
        stop.set()
        thread.join()
    assert not failures
