"""The test object: a small Secondary Capture image of nobody, made anew for each test."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO

from pydicom import DataElement, Dataset
from pydicom.uid import generate_uid

from pacsnode.dicom.elements import EXPLICIT_VR_LITTLE_ENDIAN
from pacsnode.dicom.encode import encode_dataset
from pacsnode.dicom.message import DatasetSource
from pacsnode.scu.doctor.classes import SECONDARY_CAPTURE

PATIENT_NAME = "PACSNODE^CONNECTION TEST"
PATIENT_ID = "PACSNODE-TEST"
SIDE = 64  # pixels
_PIXEL_DATA = 0x7FE00010


@dataclass(frozen=True, slots=True)
class Sample:
    """A scu.sendable.Sendable; nothing else is in its study."""

    study_instance_uid: str
    sop_instance_uid: str
    data: bytes
    sop_class_uid: str = SECONDARY_CAPTURE
    transfer_syntax_uid: str = EXPLICIT_VR_LITTLE_ENDIAN

    @contextmanager
    def open(self) -> Iterator[DatasetSource]:
        yield DatasetSource(BytesIO(self.data), len(self.data))


def make(now: datetime) -> Sample:
    ds = Dataset()
    values = {
        "SOPClassUID": SECONDARY_CAPTURE,
        "SOPInstanceUID": generate_uid(prefix=None),
        "StudyDate": f"{now:%Y%m%d}",
        "StudyTime": f"{now:%H%M%S}",
        "AccessionNumber": "",
        "Modality": "OT",
        "ConversionType": "SYN",
        "Manufacturer": "pacsnode",
        "ReferringPhysicianName": "",
        "StudyDescription": "Connection test: may be deleted",
        "PatientName": PATIENT_NAME,
        "PatientID": PATIENT_ID,
        "PatientBirthDate": "",
        "PatientSex": "",
        "StudyInstanceUID": generate_uid(prefix=None),
        "SeriesInstanceUID": generate_uid(prefix=None),
        "StudyID": "TEST",
        "SeriesNumber": 1,
        "InstanceNumber": 1,
        "PatientOrientation": "",
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": SIDE,
        "Columns": SIDE,
        "BitsAllocated": 8,
        "BitsStored": 8,
        "HighBit": 7,
        "PixelRepresentation": 0,
    }
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    ds.add(DataElement(_PIXEL_DATA, "OB", _gradient()))
    data = encode_dataset(ds, EXPLICIT_VR_LITTLE_ENDIAN)
    return Sample(str(values["StudyInstanceUID"]), str(values["SOPInstanceUID"]), data)


def _gradient() -> bytes:
    return bytes((row + column) * 2 for row in range(SIDE) for column in range(SIDE))
