"""Instances that stand in for recorded ones, of which only UIDs and length are known."""

from typing import NamedTuple

from pydicom import Dataset

from pacsnode.dicom.elements import is_deflated
from pacsnode.dicom.encode import element_of, encode_dataset, text_element

LARGEST = 64 << 20  # bytes
_TRAILING_PADDING = 0xFFFCFFFC
_HEADER = {True: 8, False: 12}  # bytes before the padding, by whether the form is Implicit VR
_IMPLICIT = "1.2.840.10008.1.2"


class Place(NamedTuple):
    """The study and series of stand-ins."""

    study_instance_uid: str
    series_instance_uid: str


def stand_in(
    sop_class_uid: str, sop_instance_uid: str, length: int, transfer_syntax_uid: str, place: Place
) -> bytes | None:
    """A dataset without pixels, of `length` bytes where those suffice (LARGEST at most); None in a
    deflated transfer syntax, whose lengths cannot be had at will."""
    if is_deflated(transfer_syntax_uid):
        return None
    dataset = Dataset()
    for keyword, value in (
        ("SOPClassUID", sop_class_uid),
        ("SOPInstanceUID", sop_instance_uid),
        ("StudyInstanceUID", place.study_instance_uid),
        ("SeriesInstanceUID", place.series_instance_uid),
        ("PatientID", "REPLAY"),
        ("PatientName", "REPLAY"),
        ("Modality", "OT"),
    ):
        dataset.add(text_element(keyword, [value]))
    short = encode_dataset(dataset, transfer_syntax_uid)
    padding = min(length, LARGEST) - len(short) - _HEADER[transfer_syntax_uid == _IMPLICIT]
    if padding <= 0:
        return short
    dataset.add(element_of(_TRAILING_PADDING, "OB", [bytes(padding)]))
    return encode_dataset(dataset, transfer_syntax_uid)
