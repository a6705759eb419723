"""KEY[=VALUE] as people write it."""

import pytest

from pacsnode.dicom.keys import identifier, tags_of
from pacsnode.dicom.level import Level
from pacsnode.dicom.values import plain_values
from pacsnode.errors import UsageError


@pytest.mark.parametrize(
    ("key", "keyword", "values"),
    [
        ("PatientID=7", "PatientID", ("7",)),
        ("0010,0020=7", "PatientID", ("7",)),
        ("(0010,0020)= 7 ", "PatientID", ("7",)),
        ("00100020", "PatientID", ()),
        ("PatientID=", "PatientID", ()),
        ("PatientID=a=b", "PatientID", ("a=b",)),
        ("ModalitiesInStudy=CT\\MR", "ModalitiesInStudy", ("CT", "MR")),
        ("PatientComments=a\\b", "PatientComments", ("a\\b",)),
        ("Rows=512", "Rows", (512,)),
        ("FrameIncrementPointer=0018,1063", "FrameIncrementPointer", ("00181063",)),
    ],
)
def test_keys_become_elements(key: str, keyword: str, values: tuple[object, ...]) -> None:
    dataset = identifier(Level.SERIES, [key])
    assert dataset.QueryRetrieveLevel == "SERIES"
    assert plain_values(dataset[keyword]) == values


def test_keys_inside_sequences_meet_in_one_item() -> None:
    dataset = identifier(
        Level.SERIES,
        [
            "RequestAttributesSequence",
            "RequestAttributesSequence.ScheduledProcedureStepID=S1",
            "(0040,0275)[0].0040,1001=P1",
        ],
    )
    (item,) = dataset.RequestAttributesSequence
    assert item.ScheduledProcedureStepID == "S1"
    assert item.RequestedProcedureID == "P1"


def test_a_key_given_again_adds_its_value() -> None:
    dataset = identifier(Level.STUDY, ["PatientID=1", "PatientID=2", "PatientID"])
    assert plain_values(dataset["PatientID"]) == ("1", "2")


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("PatienID=7", "PatientID"),
        ("=7", "neither"),
        ("", "neither"),
        ("0010,00G0", "neither"),
        ("0000,0002=x", "cannot be a key"),
        ("0010,0000", "cannot be a key"),
        ("Rows=many", "'many'"),
        ("Rows=-1", "'-1'"),
        ("RequestAttributesSequence=3", "sequence"),
        ("PatientID.StudyDate=3", "no sequence"),
        ("PatientID=\udcff", "not text"),
    ],
)
def test_what_is_no_key_is_named(key: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as raised:
        identifier(Level.STUDY, [key])
    assert repr(key) in str(raised.value)


def test_the_tags_that_keys_name_are_those_of_outermost_attributes() -> None:
    keys = ("PatientID=7", "(0010,0010)", "RequestAttributesSequence[0].0040,0009=x")
    assert tags_of(keys) == (0x00100020, 0x00100010, 0x00400275)
    with pytest.raises(UsageError):
        tags_of(("Nonsense",))
