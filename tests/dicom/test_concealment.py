"""Identifiers lose what tells who a patient is, and nothing else."""

import pytest
from pydicom import Dataset

from pacsnode.dicom.concealment import Pseudonyms, conceal
from pacsnode.dicom.encode import decode_dataset, element_of, encode_dataset, text_element
from tests.conftest import new_dataset

IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
DEFLATED, BIG_ENDIAN = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"


@pytest.fixture
def pseudonyms() -> Pseudonyms:
    return Pseudonyms(b"a key for this test")


def concealed(dataset: Dataset, pseudonyms: Pseudonyms, syntax: str = EXPLICIT) -> Dataset:
    data = conceal(encode_dataset(dataset, syntax), syntax, pseudonyms)
    assert data is not None
    return decode_dataset(data, syntax)


def of(pseudonyms: Pseudonyms, **elements: object) -> Dataset:
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return concealed(dataset, pseudonyms)


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, DEFLATED, BIG_ENDIAN])
def test_who_the_patient_is_goes_and_the_rest_stays(syntax: str, pseudonyms: Pseudonyms) -> None:
    dataset = new_dataset(PatientBirthDate="19510317", QueryRetrieveLevel="STUDY")
    found = concealed(dataset, pseudonyms, syntax)
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "AccessionNumber"):
        assert found[keyword].value not in ("", dataset[keyword].value)
    for keyword in ("StudyInstanceUID", "StudyDate", "StudyTime", "Modality", "SeriesNumber"):
        assert found[keyword].value == dataset[keyword].value
    assert found.QueryRetrieveLevel == "STUDY"
    assert [element.tag for element in found] == [element.tag for element in dataset]


def test_equal_stays_equal_in_whatever_character_set(pseudonyms: Pseudonyms) -> None:
    latin = of(pseudonyms, SpecificCharacterSet="ISO_IR 100", PatientName="MÜLLER^JÖRG")
    unicode = of(pseudonyms, SpecificCharacterSet="ISO_IR 192", PatientName="Müller^Jörg ")
    other = of(pseudonyms, PatientName="MUELLER^JOERG")
    assert latin.PatientName == unicode.PatientName != other.PatientName


def test_the_form_of_a_name_stays(pseudonyms: Pseudonyms) -> None:
    whole = pseudonyms.of("YAMADA^TARO=山田^太郎", "PN")
    family, _, rest = whole.partition("^")
    assert [part.count("^") for part in whole.split("=")] == [1, 1]
    assert pseudonyms.of("yamada", "PN") == family
    assert pseudonyms.of("YAMADA*", "PN") == f"{family}*"
    assert rest.isascii()


@pytest.mark.parametrize("text", ["*", "?", "", "**", "A*B?C", "*DOE"])
def test_wildcards_stay(text: str, pseudonyms: Pseudonyms) -> None:
    found = pseudonyms.of(text)
    assert [c for c in found if c in "*?"] == [c for c in text if c in "*?"]
    assert not {"A", "DOE"} & set(found.replace("?", "*").split("*"))


def test_another_key_makes_other_pseudonyms(pseudonyms: Pseudonyms) -> None:
    assert pseudonyms.of("DOE") != Pseudonyms(b"another").of("DOE")


def test_a_name_in_the_place_of_something_else_goes(pseudonyms: Pseudonyms) -> None:
    dataset = Dataset()
    for keyword in ("StudyDate", "StudyInstanceUID", "SeriesNumber", "PatientSex"):
        dataset.add(text_element(keyword, ["Doe^John"]))
    found = concealed(dataset, pseudonyms)
    assert len(found) == 4
    assert not [element for element in found if "doe" in str(element.value).casefold()]


def test_a_name_under_another_vr_goes(pseudonyms: Pseudonyms) -> None:
    dataset = Dataset()
    dataset.add(element_of(0x00100010, "CS", ["DOE"]))
    dataset.add(element_of(0x00100020, "UI", ["1234"]))
    found = concealed(dataset, pseudonyms)
    assert "DOE" not in str(found)
    assert "1234" not in str(found)


def test_private_unknown_and_binary_values_go(pseudonyms: Pseudonyms) -> None:
    dataset = Dataset()
    dataset.add(element_of(0x00091001, "LO", ["DOE"]))
    dataset.add(element_of(0x00091002, "CS", ["DOE"]))
    dataset.add(element_of(0x00189999, "UN", [b"DOE "]))
    dataset.add(element_of(0x7FE00010, "OB", [b"PIXELS"]))
    data = conceal(encode_dataset(dataset, EXPLICIT), EXPLICIT, pseudonyms)
    assert data is not None
    assert b"DOE" not in data
    assert b"PIXELS" not in data


def test_sequences_are_looked_into(pseudonyms: Pseudonyms) -> None:
    item = Dataset()
    item.RequestedProcedureID = "RP-DOE"
    item.ReferencedSOPInstanceUID = "1.2.3"
    inner = of(pseudonyms, RequestAttributesSequence=[item]).RequestAttributesSequence[0]
    assert inner.RequestedProcedureID not in ("", "RP-DOE")
    assert inner.ReferencedSOPInstanceUID == "1.2.3"


def test_ranges_of_birth_dates_stay_ranges_of_dates(pseudonyms: Pseudonyms) -> None:
    found = pseudonyms.birth_date("19510317-19520101")
    assert [len(date) for date in found.split("-")] == [8, 8]
    assert pseudonyms.birth_date("19510317") == found.split("-")[0] != "19510317"
    assert "DOE" not in pseudonyms.birth_date("DOE")


def test_comments_lose_what_was_replaced(pseudonyms: Pseudonyms) -> None:
    name = pseudonyms.of("DOE", "PN")
    assert pseudonyms.comment("no patient Doe here") == f"no patient {name} here"


def test_comments_lose_birth_dates(pseudonyms: Pseudonyms) -> None:
    date = pseudonyms.birth_date("19510317")
    assert pseudonyms.comment("born 19510317?") == f"born {date}?"


def test_the_last_values_are_known_and_none_that_no_comment_can_hold(
    pseudonyms: Pseudonyms,
) -> None:
    for number in range(10_050):
        pseudonyms.of(f"LAST{number}")
    pseudonyms.of("X" * 65)
    assert pseudonyms.comment("LAST0 and LAST10049").startswith("LAST0 and ")
    assert "LAST10049" not in pseudonyms.comment("LAST10049")
    assert pseudonyms.comment("X" * 65) == "X" * 65


def test_what_cannot_be_read_is_not_kept(pseudonyms: Pseudonyms) -> None:
    assert conceal(b"\x10\0\x10\0PN\xff\xffDOE", EXPLICIT, pseudonyms) is None
