"""Instances made in code: small objects, CT slices, studies to be found, one huge object."""

import functools
import io
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID, ExplicitVRLittleEndian

CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
MULTI_FRAME_GRAYSCALE_WORD = "1.2.840.10008.5.1.4.1.1.7.3"
SERIES_LENGTH = 100  # instances of one series


@dataclass(frozen=True)
class Instance:
    """A dataset, Explicit VR Little Endian: `header`, then `pixels`, `repeated` times."""

    sop_class_uid: str
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    header: bytes
    pixels: bytes = b""
    repeated: int = 1

    @property
    def length(self) -> int:
        return len(self.header) + len(self.pixels) * self.repeated

    def blocks(self) -> Iterator[bytes]:
        yield self.header
        for _ in range(self.repeated):
            yield self.pixels

    def write(self, path: Path) -> None:
        """A Part 10 file."""
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = UID(self.sop_class_uid)
        meta.MediaStorageSOPInstanceUID = UID(self.sop_instance_uid)
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        head = DicomBytesIO()
        write_file_meta_info(head, meta)
        with open(path, "wb") as file:
            file.write(bytes(128) + b"DICM" + head.getvalue())
            file.writelines(self.blocks())


def write_all(instances: list[Instance], folder: Path) -> Path:
    """`instances` as files in `folder`, in their order."""
    folder.mkdir(parents=True)
    for number, instance in enumerate(instances):
        instance.write(folder / f"{number:06}")
    return folder


def small(count: int) -> list[Instance]:
    """Objects of 3 KB, one study."""
    return _study(count, 32)


def ct(count: int) -> list[Instance]:
    """CT slices of 526 KB, one study."""
    return _study(count, 512)


def studies(count: int, prefix_matches: int = 100) -> list[Instance]:
    """Studies of one small object each, one for each patient: patient_id(number); the names of
    the first `prefix_matches` begin with FOUND."""
    made = []
    for number in range(count):
        family = "FOUND" if number < prefix_matches else f"OTHER{number % 97}"
        made.append(
            _instance(
                new_uid(),
                1,
                1,
                32,
                PatientID=patient_id(number),
                PatientName=f"{family}^NUMBER{number}",
                AccessionNumber=f"A{number:07}",
                StudyID=str(number),
            )
        )
    return made


def new_uid() -> str:
    """Short enough to have numbers added (PS3.5 B.2)."""
    return f"2.25.{uuid.uuid4().int}"


def patient_id(number: int) -> str:
    return f"P{number:07}"


def huge(frames: int) -> Instance:
    """One multi-frame object, 50 MB a frame."""
    frame = bytes(5000 * 5000 * 2)
    uid = new_uid()
    ds = _dataset(uid, 1, 1, 5000, SOPClassUID=MULTI_FRAME_GRAYSCALE_WORD, NumberOfFrames=frames)
    header = encoded(ds) + _pixel_data(len(frame) * frames)
    return Instance(MULTI_FRAME_GRAYSCALE_WORD, *_uids(ds), header, frame, frames)


def encoded(ds: Dataset) -> bytes:
    """Explicit VR Little Endian."""
    buffer = io.BytesIO()
    dcmwrite(buffer, ds, implicit_vr=False, little_endian=True)
    return buffer.getvalue()


def _study(count: int, side: int) -> list[Instance]:
    uid = new_uid()
    return [
        _instance(uid, number // SERIES_LENGTH + 1, number % SERIES_LENGTH + 1, side)
        for number in range(count)
    ]


def _instance(study: str, series: int, number: int, side: int, **elements: object) -> Instance:
    ds = _dataset(study, series, number, side, **elements)
    pixels = _pixels(side)
    return Instance(CT_IMAGE_STORAGE, *_uids(ds), encoded(ds) + _pixel_data(len(pixels)), pixels)


@functools.cache
def _pixels(side: int) -> bytes:
    return os.urandom(side * side * 2)


def _pixel_data(length: int) -> bytes:
    """The head of a Pixel Data element."""
    return b"\xe0\x7f\x10\x00OW\x00\x00" + length.to_bytes(4, "little")


def _uids(ds: Dataset) -> tuple[str, str, str]:
    return str(ds.StudyInstanceUID), str(ds.SeriesInstanceUID), str(ds.SOPInstanceUID)


def _dataset(study: str, series: int, number: int, side: int, **elements: object) -> Dataset:
    """What a scanner says of a slice, up to its pixels."""
    ds = Dataset()
    values = {
        "SpecificCharacterSet": "ISO_IR 100",
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "SOPClassUID": CT_IMAGE_STORAGE,
        "SOPInstanceUID": f"{study}.{series}.{number}",
        "StudyDate": "20240131",
        "SeriesDate": "20240131",
        "ContentDate": "20240131",
        "StudyTime": "101530",
        "SeriesTime": "101600",
        "ContentTime": f"1017{number % 60:02}",
        "AccessionNumber": "A0000001",
        "Modality": "CT",
        "Manufacturer": "PACSNODE BENCHMARK",
        "InstitutionName": "GENERAL HOSPITAL",
        "ReferringPhysicianName": "ROE^RICHARD^^DR",
        "StationName": "CT01",
        "StudyDescription": "CT ABDOMEN WITH CONTRAST",
        "SeriesDescription": f"AXIAL {series}",
        "PatientName": "DOE^JOHN",
        "PatientID": "P0000001",
        "PatientBirthDate": "19700101",
        "PatientSex": "M",
        "SliceThickness": "1.25",
        "KVP": "120",
        "StudyInstanceUID": study,
        "SeriesInstanceUID": f"{study}.{series}",
        "StudyID": "1",
        "SeriesNumber": series,
        "InstanceNumber": number,
        "ImagePositionPatient": ["-250", "-250", f"{number * 1.25:.2f}"],
        "ImageOrientationPatient": ["1", "0", "0", "0", "1", "0"],
        "FrameOfReferenceUID": f"{study}.0",
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": side,
        "Columns": side,
        "PixelSpacing": ["0.977", "0.977"],
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 0,
        **elements,
    }
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return ds
