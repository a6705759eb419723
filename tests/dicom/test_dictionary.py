"""The data dictionary."""

from pacsnode.dicom.dictionary import is_private, is_private_creator, keyword_of, tag_of, vr_of


def test_tags_keywords_and_representations() -> None:
    assert tag_of("PatientID") == 0x00100020
    assert tag_of("") == tag_of("Nonsense") == 0
    assert keyword_of(0x00100020) == "PatientID"
    assert keyword_of(0x00291001) == ""
    assert vr_of(0x00100020) == "LO"
    assert vr_of(0x00080000) == "UL"
    assert vr_of(0x00280106) == "US"
    assert vr_of(0x00291001) == vr_of(0x00100099) == "UN"


def test_private_blocks() -> None:
    assert is_private(0x00291001)
    assert not is_private(0x00280010)
    assert is_private_creator(0x00290010)
    assert not is_private_creator(0x00291001)
