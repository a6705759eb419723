"""The tables of the levels."""

from pacsnode.dicom.dictionary import tag_of, vr_of
from pacsnode.dicom.level import COLUMNS, COMPUTED, OF_THE_ANSWER, OTHERS, Level, level_of


def test_every_attribute_is_in_the_dictionary_and_in_one_table() -> None:
    keywords = [
        word for table in (COLUMNS, COMPUTED, OTHERS) for level in Level for word in table[level]
    ]
    assert len(keywords) == len(set(keywords))
    for keyword in (*keywords, *OF_THE_ANSWER):
        assert tag_of(keyword), keyword
        assert vr_of(tag_of(keyword)) != "UN", keyword


def test_what_no_table_names_is_of_the_image() -> None:
    assert level_of("PatientWeight") is Level.STUDY
    assert level_of("OperatorsName") is Level.SERIES
    assert level_of("NumberOfPatientRelatedStudies") is Level.PATIENT
    assert level_of("KVP") is level_of("") is Level.IMAGE
