"""Instances by the thousand: a dataset is encoded once, then each instance is its bytes with other
UIDs of the same length."""

import random
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from blake3 import blake3
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from tests.interface.peer import BIG_ENDIAN, CT, DEFLATED, IMPLICIT, encoded

NAME = "LOAD^TEST"
PATIENT = "PATIENT00000"
STUDY, SERIES, INSTANCE = (f"2.25.{number}{'0' * 26}" for number in (1, 2, 3))
REMARK = "REMARK0000000000"
DIGITS = 27  # of the UIDs, after their root


class Instance(NamedTuple):
    """What is sent. `digest` is of the dataset's bytes."""

    patient_id: str
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax: str
    data: bytes
    digest: bytes


class Place(NamedTuple):
    """The series that an instance belongs to."""

    patient_id: str
    study_instance_uid: str
    series_instance_uid: str


@dataclass(frozen=True)
class Template:
    """A dataset with PATIENT, STUDY, SERIES, INSTANCE and REMARK where instances differ, then its
    pixels, which begin somewhere else in each of them."""

    sop_class_uid: str
    transfer_syntax: str
    header: bytes
    pixels: bytes = b""

    def instance(self, place: Place, uid: str, chance: random.Random) -> Instance:
        """An instance of this UID; another call makes other bytes."""
        header = self.header
        remark = f"{chance.randrange(10 ** len(REMARK)):0{len(REMARK)}}"
        written = (*place, uid, remark)
        for before, after in zip((PATIENT, STUDY, SERIES, INSTANCE, REMARK), written, strict=True):
            header = header.replace(before.encode(), after.encode())
        start = chance.randrange(len(self.pixels)) if self.pixels else 0
        data = b"".join((header, self.pixels[start:], self.pixels[:start]))
        if self.transfer_syntax == DEFLATED:
            deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
            data = deflater.compress(data) + deflater.flush()
            data += bytes(len(data) % 2)
        digest = blake3(data).digest()
        return Instance(
            place.patient_id, self.sop_class_uid, uid, self.transfer_syntax, data, digest
        )


def new_uid(chance: random.Random) -> str:
    return f"2.25.{chance.randrange(10 ** (DIGITS - 1), 10**DIGITS)}"


def new_place(patient_id: str, chance: random.Random) -> Place:
    assert len(patient_id) == len(PATIENT)
    return Place(patient_id, new_uid(chance), new_uid(chance))


@cache
def sliced(side: int, transfer_syntax: str) -> Template:
    """A slice of `side` times `side` pixels, in a transfer syntax that does not compress."""
    pixels = random.Random(side).randbytes(side * side * 2)
    ds = identified(Dataset())
    ds.Rows = ds.Columns = side
    ds.BitsAllocated = ds.BitsStored = 16
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.add_new("PixelData", "OW", pixels)
    header = encoded(ds, transfer_syntax).removesuffix(pixels)
    assert len(header) < 2000, "the pixels are where they should be"
    return Template(CT, transfer_syntax, header, pixels)


def bundled(name: str) -> Template:
    """One of pydicom's own files, in its transfer syntax."""
    path = get_testdata_file(name, download=False)
    assert path is not None, name
    ds = identified(dcmread(str(path)))
    transfer_syntax = ds.file_meta.TransferSyntaxUID
    buffer = DicomBytesIO()
    buffer.is_implicit_VR = transfer_syntax == IMPLICIT
    buffer.is_little_endian = transfer_syntax != BIG_ENDIAN
    write_dataset(buffer, ds)
    return Template(str(ds.SOPClassUID), str(transfer_syntax), buffer.getvalue())


def identified(ds: Dataset) -> Dataset:
    """Put what a Template replaces into `ds`."""
    values = {
        "SOPClassUID": ds.get("SOPClassUID", CT),
        "SOPInstanceUID": INSTANCE,
        "StudyInstanceUID": STUDY,
        "SeriesInstanceUID": SERIES,
        "PatientID": PATIENT,
        "PatientName": NAME,
        "StudyDate": "20240131",
        "StudyTime": "101530",
        "Modality": "CT",
        "SeriesDescription": "LOAD",
        "ImageComments": REMARK,
    }
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return ds


def choose(templates: Sequence[tuple[Template, int]], chance: random.Random) -> Template:
    """One of them, by weight."""
    (chosen,) = chance.choices([each for each, _ in templates], [weight for _, weight in templates])
    return chosen
