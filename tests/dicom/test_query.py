"""Identifiers as queries: what narrows, what is answered, what is ignored, what is refused."""

import struct
import warnings
import zlib
from contextlib import suppress
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.filebase import DicomFileLike
from pydicom.filewriter import write_dataset

from pacsnode.dicom.encode import encode_dataset
from pacsnode.dicom.keys import identifier
from pacsnode.dicom.level import Level
from pacsnode.dicom.query import Key, Model, Query, parse_query, query_from_keys
from pacsnode.errors import InvalidQuery, UnreadableIdentifier
from tests.dicom.raw import DEFLATED, EXPLICIT, IMPLICIT, SYNTAXES, element, implicit
from tests.fuzz.grammar import nested


def query(
    *keys: str, level: Level = Level.STUDY, model: Model = Model.STUDY_ROOT, retrieve: bool = False
) -> Query:
    return query_from_keys(level, model, keys, retrieve=retrieve)


def names(keys: tuple[Key, ...]) -> list[str]:
    return [key.keyword for key in keys]


def raw(level: bytes, *more: bytes) -> bytes:
    return b"".join((element(0x00080052, "CS", level), *more))


@pytest.mark.parametrize("transfer_syntax", SYNTAXES)
def test_keys_are_read_in_every_transfer_syntax(transfer_syntax: str) -> None:
    dataset = identifier(Level.STUDY, ["PatientName=Müller*", "StudyDate=20200101-", "StudyID"])
    found = parse_query(encode_dataset(dataset, transfer_syntax), transfer_syntax, Model.STUDY_ROOT)
    assert found.level is Level.STUDY
    assert [(key.keyword, key.values) for key in found.matching] == [
        ("StudyDate", ("20200101-",)),
        ("PatientName", ("Müller*",)),
    ]
    assert names(found.returned) == ["StudyDate", "PatientName", "StudyID"]
    assert found.ignored == ()
    assert found.character_set == ("ISO_IR 192",)


def test_what_is_said_about_the_query_is_no_key() -> None:
    found = parse_query(
        element(0x00080000, "UL", b"\0\0\0\0")
        + element(0x00080005, "CS", b"ISO_IR 100")
        + raw(b"STUDY ", element(0x00080201, "SH", b"+0100 ")),
        EXPLICIT,
        Model.STUDY_ROOT,
    )
    assert found.returned == found.matching == found.ignored == ()
    assert found.character_set == ("ISO_IR 100",)


@pytest.mark.parametrize("value", ["", "*", "**"])
def test_universal_keys_are_answered_and_narrow_nothing(value: str) -> None:
    found = query(f"PatientID={value}", f"StudyDate={value}")
    assert found.matching == ()
    assert names(found.returned) == ["StudyDate", "PatientID"]


def test_a_list_is_several_values_but_in_long_texts() -> None:
    found = query("ModalitiesInStudy=CT\\MR", "PatientID=A\\\\B", "PatientComments=x\\y")
    assert [key.values for key in found.matching] == [("CT", "MR"), ("A", "B"), ("x\\y",)]


def test_thousands_of_uids_are_one_key() -> None:
    uids = tuple(f"1.2.{number}" for number in range(5000))
    data = implicit(0x00080052, b"IMAGE ") + implicit(0x00080018, "\\".join(uids).encode())
    key = parse_query(data, IMPLICIT, Model.PATIENT_ROOT).key("SOPInstanceUID")
    assert key is not None
    assert key.values == uids


def test_keys_of_lower_levels_are_ignored_those_of_upper_ones_are_not() -> None:
    found = query(
        "PatientID=7", "SeriesInstanceUID", "Modality=CT", "NumberOfSeriesRelatedInstances"
    )
    assert names(found.matching) == names(found.returned) == ["PatientID"]
    assert names(found.ignored) == [
        "Modality",
        "SeriesInstanceUID",
        "NumberOfSeriesRelatedInstances",
    ]


def test_an_image_attribute_without_column_needs_a_definite_uid() -> None:
    wanted = ("KVP=120", "ImageType")
    found = query(*wanted, level=Level.IMAGE)
    assert names(found.ignored) == ["KVP"]
    assert names(found.returned) == ["ImageType", "KVP"]
    for place in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        assert names(query(*wanted, f"{place}=1.2", level=Level.IMAGE).matching).count("KVP") == 1
        assert names(query(*wanted, f"{place}=1.*", level=Level.IMAGE).ignored) == ["KVP"]
    assert query("Rows=512", level=Level.IMAGE).ignored == ()


def test_computed_keys_with_a_value_are_answered_and_narrow_nothing() -> None:
    found = query(
        "NumberOfStudyRelatedInstances=3",
        "RetrieveAETitle=ELSEWHERE",
        "InstanceAvailability=ONLINE",
        "ModalitiesInStudy=CT",
    )
    assert names(found.matching) == ["ModalitiesInStudy"]
    assert found.ignored == ()
    assert set(names(found.returned)) == {
        "NumberOfStudyRelatedInstances",
        "RetrieveAETitle",
        "InstanceAvailability",
        "ModalitiesInStudy",
    }


def test_private_and_unknown_attributes_are_of_the_image() -> None:
    private = element(0x00290010, "LO", b"ACME") + element(0x00291001, "LO", b"x ")
    found = parse_query(raw(b"STUDY ", private), EXPLICIT, Model.STUDY_ROOT)
    assert [key.tag for key in found.ignored] == [0x00291001]
    found = parse_query(raw(b"IMAGE ", private), EXPLICIT, Model.STUDY_ROOT)
    assert [key.tag for key in found.returned] == [0x00290010, 0x00291001]


def test_sequences_hold_keys_of_their_own() -> None:
    found = query("RequestAttributesSequence.ScheduledProcedureStepID=S1", level=Level.SERIES)
    (key,) = found.matching
    assert [(item.keyword, item.values) for item in key.items] == [
        ("ScheduledProcedureStepID", ("S1",))
    ]
    assert query("RequestAttributesSequence", level=Level.SERIES).matching == ()
    found = query("RequestAttributesSequence.ScheduledProcedureStepID", level=Level.SERIES)
    assert found.matching == ()
    assert found.returned[0].items[0].keyword == "ScheduledProcedureStepID"


@pytest.mark.parametrize("word", [b"STUDY", b"STUDY ", b"STUDY\0", b"STUDY   "])
def test_padding_of_the_level_does_not_count(word: bytes) -> None:
    assert parse_query(raw(word), EXPLICIT, Model.STUDY_ROOT).level is Level.STUDY


@pytest.mark.parametrize(
    ("level", "model"),
    [
        (b"", Model.STUDY_ROOT),
        (b"BOGUS ", Model.STUDY_ROOT),
        (b"STUDY\\SERIES", Model.STUDY_ROOT),
        (b"PATIENT ", Model.STUDY_ROOT),
        (b"SERIES", Model.PATIENT_STUDY_ONLY),
        (b"IMAGE ", Model.PATIENT_STUDY_ONLY),
    ],
)
def test_levels_that_are_not_of_the_model_are_invalid(level: bytes, model: Model) -> None:
    with pytest.raises(InvalidQuery):
        parse_query(raw(level), EXPLICIT, model)


def test_an_identifier_without_a_level_is_invalid() -> None:
    for data in (b"", element(0x00100020, "LO", b"7 ")):
        with pytest.raises(InvalidQuery):
            parse_query(data, EXPLICIT, Model.PATIENT_ROOT)


@pytest.mark.parametrize(
    "data",
    [
        b"\x08\0",
        raw(b"STUDY ", element(0x00100020, "LO", b"7", length=500)),
        raw(b"STUDY ", element(0x00400275, "SQ", b"", length=0xFFFFFFFF)),
        raw(b"STUDY ", b"\x10\0\x20\0LO"),
        raw(b"STUDY ", element(0x00081032, "SQ", b"no items in here")),
    ],
)
def test_identifiers_that_make_no_sense_cannot_be_read(data: bytes) -> None:
    with pytest.raises(UnreadableIdentifier):
        parse_query(data, EXPLICIT, Model.STUDY_ROOT)


def test_a_sequence_may_be_empty() -> None:
    for empty in (
        element(0x00081032, "SQ", b""),
        element(0x00081032, "SQ", struct.pack("<HHL", 0xFFFE, 0xE0DD, 0), length=0xFFFFFFFF),
        element(0x00081032, "SQ", struct.pack("<HHL", 0xFFFE, 0xE000, 0)),
    ):
        found = parse_query(raw(b"STUDY ", empty), EXPLICIT, Model.STUDY_ROOT)
        assert found.matching == ()
        assert names(found.returned) == ["ProcedureCodeSequence"]


def test_sequences_without_end_cannot_be_read() -> None:
    value = b""
    for _ in range(20):
        item = struct.pack("<HHL", 0xFFFE, 0xE000, len(value)) + value
        value = element(0x00081140, "SQ", item)
    with pytest.raises(UnreadableIdentifier):
        parse_query(raw(b"STUDY ", value), EXPLICIT, Model.STUDY_ROOT)


@pytest.mark.parametrize(
    "keys",
    [
        (),
        ("StudyInstanceUID",),
        ("StudyInstanceUID=*",),
        ("StudyInstanceUID=1.2.*",),
        ("PatientID=A*",),
        ("StudyDate=20200101", "PatientName=DOE"),
        ("StudyInstanceUID=1.2", "SeriesInstanceUID=1.3"),
        ("StudyInstanceUID=1.2", "NumberOfStudyRelatedInstances=3"),
        ("StudyInstanceUID=1.2", "SOPClassesInStudy=1.2.3"),
        ("StudyInstanceUID=1.2", "KVP=120"),
    ],
)
def test_retrieves_that_ask_for_too_much_or_cannot_be_narrowed_are_invalid(
    keys: tuple[str, ...],
) -> None:
    with pytest.raises(InvalidQuery):
        query(*keys, retrieve=True)


@pytest.mark.parametrize(
    "keys",
    [
        ("StudyInstanceUID=1.2",),
        ("StudyInstanceUID=1.2\\1.3",),
        ("PatientID=7",),
        ("StudyInstanceUID=1.2", "SeriesInstanceUID", "StudyDate=20200101-"),
        ("StudyInstanceUID=1.2", "RetrieveAETitle=PACS", "InstanceAvailability=ONLINE"),
    ],
)
def test_retrieves_with_something_definite_are_fine(keys: tuple[str, ...]) -> None:
    assert query(*keys, retrieve=True).ignored == ()


def test_a_value_longer_than_any_to_be_found_is_invalid() -> None:
    with pytest.raises(InvalidQuery):
        parse_query(
            implicit(0x00080052, b"STUDY ") + implicit(0x00100020, b"*a" * 4000),
            IMPLICIT,
            Model.STUDY_ROOT,
        )


def test_sequences_a_hundred_thousand_deep_cannot_be_read() -> None:
    for is_undefined in (True, False):
        deep = nested(100_000, is_undefined=is_undefined)
        with pytest.raises(UnreadableIdentifier, match="without end"):
            parse_query(raw(b"STUDY ", deep), EXPLICIT, Model.STUDY_ROOT)


def test_what_a_deflated_identifier_holds_is_paid_for() -> None:
    bomb = zlib.compress(raw(b"STUDY ") + bytes(8 << 20), 9, wbits=-zlib.MAX_WBITS)
    with pytest.raises(UnreadableIdentifier, match="more elements"):
        parse_query(bomb, DEFLATED, Model.STUDY_ROOT)


def test_of_a_hundred_thousand_keys_that_are_one_the_first_counts() -> None:
    many = element(0x00100020, "LO", b"A ") + element(0x00100020, "LO", b"B ") * 100_000
    found = parse_query(raw(b"STUDY ", many), EXPLICIT, Model.STUDY_ROOT)
    assert [key.values for key in found.matching] == [("A",)]


@pytest.mark.parametrize(
    ("tag", "value"), [(0x00100010, b"A"), (0x00100020, b"*a*b"), (0x00080020, b"20200101-")]
)
def test_values_that_take_comparing_are_a_thousand_at_most(tag: int, value: bytes) -> None:
    for count in (1000, 1001):
        key = element(tag, "UN", b"\\".join([value] * count))
        if count > 1000:
            with pytest.raises(InvalidQuery, match="over 1000 values to compare"):
                parse_query(raw(b"STUDY ", key), EXPLICIT, Model.STUDY_ROOT)
        else:
            found = parse_query(raw(b"STUDY ", key), EXPLICIT, Model.STUDY_ROOT)
            assert len(found.matching[0].values) == count


def test_the_character_set_of_a_modality_stands_in() -> None:
    data = raw(b"STUDY ", element(0x00100010, "PN", "Ж*".encode("iso8859_5")))
    found = parse_query(data, EXPLICIT, Model.STUDY_ROOT, default_character_set="ISO_IR 144")
    assert found.matching[0].values == ("Ж*",)
    assert found.character_set == ("ISO_IR 144",)


@given(st.binary(max_size=120), st.sampled_from(SYNTAXES))
def test_any_bytes_are_read_or_refused(data: bytes, transfer_syntax: str) -> None:
    for start in (b"", raw(b"STUDY "), implicit(0x00080052, b"STUDY ")):
        for retrieve in (False, True):
            with suppress(InvalidQuery, UnreadableIdentifier):
                parse_query(start + data, transfer_syntax, Model.STUDY_ROOT, retrieve=retrieve)


def test_pydicom_writes_identifiers_that_are_read() -> None:
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.QueryRetrieveLevel = "SERIES"
    dataset.PatientName = "Bücher*"
    dataset.Modality = ""
    item = Dataset()
    item.RequestedProcedureID = "P1"
    dataset.RequestAttributesSequence = [item]
    buffer = BytesIO()
    file = DicomFileLike(buffer)
    file.is_little_endian, file.is_implicit_VR = True, False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write_dataset(file, dataset)
    found = parse_query(buffer.getvalue(), EXPLICIT, Model.PATIENT_ROOT)
    assert [key.values or key.items[0].values for key in found.matching] == [("Bücher*",), ("P1",)]
    assert found.character_set == ("ISO_IR 100",)
