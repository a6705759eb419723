"""Stand-ins have the length and the UIDs of what they stand for."""

import pytest

from pacsnode.dicom.encode import decode_dataset
from pacsnode.scu.synthetic import Place, stand_in
from tests.conftest import CT_IMAGE_STORAGE

IMPLICIT, EXPLICIT, BIG_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
JPEG_LOSSLESS, DEFLATED = "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.1.99"
PLACE = Place("1.2.3", "1.2.4")


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG_ENDIAN, JPEG_LOSSLESS])
@pytest.mark.parametrize("length", [1000, 526_348])
def test_a_stand_in_has_length_and_uids(syntax: str, length: int) -> None:
    data = stand_in(CT_IMAGE_STORAGE, "1.2.5", length, syntax, PLACE)
    assert data is not None
    assert len(data) == length
    found = decode_dataset(data, syntax)
    assert found.SOPClassUID == CT_IMAGE_STORAGE
    assert found.SOPInstanceUID == "1.2.5"
    assert found.StudyInstanceUID == "1.2.3"
    assert found.SeriesInstanceUID == "1.2.4"
    assert "PixelData" not in found


def test_what_was_shorter_than_the_uids_take_is_as_short_as_they_let() -> None:
    data = stand_in(CT_IMAGE_STORAGE, "1.2.5", 10, EXPLICIT, PLACE)
    assert data is not None
    assert "DataSetTrailingPadding" not in decode_dataset(data, EXPLICIT)


def test_nothing_stands_in_for_deflated_ones() -> None:
    assert stand_in(CT_IMAGE_STORAGE, "1.2.5", 1000, DEFLATED, PLACE) is None
