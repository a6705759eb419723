"""Datasets to bytes and back, whatever their values are."""

import math
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset

from pacsnode.dicom.encode import (
    decode_dataset,
    element_of,
    encode_dataset,
    read_dataset,
    text_element,
)
from pacsnode.dicom.json import dataset_to_json
from pacsnode.dicom.values import plain_values
from pacsnode.errors import UnreadableDataset
from tests.dicom.raw import EXPLICIT, SYNTAXES, dataset, element, opened

CARRIED = (EXPLICIT, *SYNTAXES[2:])  # with their VRs


def made_of(**values: tuple[str, ...]) -> Dataset:
    made = Dataset()
    for keyword, texts in values.items():
        made.add(text_element(keyword, texts))
    return made


def test_every_bundled_header_survives_every_transfer_syntax() -> None:
    compared = 0
    for path, file, meta in opened():
        read = read_dataset(file, meta.transfer_syntax_uid)
        expected = dataset_to_json(read)
        for transfer_syntax in CARRIED:
            again = decode_dataset(encode_dataset(read, transfer_syntax), transfer_syntax)
            assert dataset_to_json(again) == expected, (path, transfer_syntax)
        compared += 1
    assert compared > 140


@pytest.mark.parametrize("transfer_syntax", SYNTAXES)
def test_values_that_their_representation_forbids_are_written_as_they_are(
    transfer_syntax: str,
) -> None:
    wrong = {
        "InstanceNumber": ("1.5",),
        "PatientBirthDate": ("unknown",),
        "PatientWeight": ("heavy", "72"),
        "StudyInstanceUID": ("../1.02",),
        "PatientSex": ("männlich",),
        "Modality": ("c" * 40,),
    }
    data = encode_dataset(made_of(**wrong), transfer_syntax)
    assert len(data) % 2 == 0
    read = decode_dataset(data, transfer_syntax)
    assert {word: plain_values(read[word]) for word in wrong} == wrong


def test_numbers_may_come_as_text_and_what_is_none_is_left_out() -> None:
    read = decode_dataset(
        encode_dataset(made_of(Rows=("512",), Columns=("wide",), BitsStored=("-1",)), EXPLICIT),
        EXPLICIT,
    )
    assert read.Rows == 512
    assert plain_values(read["Columns"]) == plain_values(read["BitsStored"]) == ()


def test_the_character_set_is_kept_where_it_holds_the_text() -> None:
    for declared, name, kept in (
        ("ISO_IR 100", "Müller", "ISO_IR 100"),
        ("ISO_IR 100", "山田", "ISO_IR 192"),
        ("", "Müller", "ISO_IR 192"),
        ("ISO_IR 144", "plain", "ISO_IR 144"),
    ):
        made = made_of(PatientName=(name,))
        if declared:
            made.add(text_element("SpecificCharacterSet", (declared,)))
        read = decode_dataset(encode_dataset(made, EXPLICIT), EXPLICIT)
        assert read.SpecificCharacterSet == kept
        assert read.PatientName == name
    assert "SpecificCharacterSet" not in decode_dataset(
        encode_dataset(made_of(PatientName=("plain",)), EXPLICIT), EXPLICIT
    )


def test_text_inside_sequences_counts_for_the_character_set() -> None:
    made = Dataset()
    made.add(element_of(0x00400275, "SQ", [made_of(RequestedProcedureDescription=("Schädel",))]))
    read = decode_dataset(encode_dataset(made, EXPLICIT), EXPLICIT)
    assert read.SpecificCharacterSet == "ISO_IR 192"
    item = read.RequestAttributesSequence[0]
    assert item.RequestedProcedureDescription == "Schädel"


def test_a_value_too_long_for_its_length_field_is_written_as_unknown() -> None:
    uids = [f"1.2.840.{number}" for number in range(9000)]
    made = made_of(FailedSOPInstanceUIDList=tuple(uids))
    read = decode_dataset(encode_dataset(made, EXPLICIT), EXPLICIT)
    assert list(read.FailedSOPInstanceUIDList) == uids


def test_reading_takes_what_is_wanted_and_no_pixel_data() -> None:
    data = dataset((0x00100010, "PN", b"Doe "), (0x7FE00010, "OW", b"\0\0"))
    read = read_dataset(BytesIO(data), EXPLICIT, {0x00100010})
    assert read.keys() == {0x00100010}
    assert 0x7FE00010 not in read_dataset(BytesIO(data), EXPLICIT)
    assert 0x7FE00010 in decode_dataset(data, EXPLICIT)


def test_what_breaks_off_cannot_be_decoded() -> None:
    with pytest.raises(UnreadableDataset):
        decode_dataset(dataset() + element(0x00321060, "LO", b"x", length=900), EXPLICIT)


def test_numbers_of_all_kinds_are_carried() -> None:
    made = Dataset()
    for tag, vr, values in (
        (0x00280106, "SS", [-5, 7]),
        (0x00289001, "UL", [1 << 31]),
        (0x00189073, "FD", [0.1, math.inf]),
        (0x00280009, "AT", ["00181063", "00181065"]),
        (0x00200013, "IS", ["7"]),
        (0x00420011, "OB", [b"%PDF"]),
    ):
        made.add(element_of(tag, vr, values))
    for transfer_syntax in CARRIED:
        read = decode_dataset(encode_dataset(made, transfer_syntax), transfer_syntax)
        for expected in made:
            assert plain_values(read[expected.tag]) == plain_values(expected), expected


@given(st.binary(max_size=300), st.sampled_from(SYNTAXES))
def test_any_bytes_are_decoded_or_refused(data: bytes, transfer_syntax: str) -> None:
    try:
        read = decode_dataset(data, transfer_syntax)
    except UnreadableDataset:
        return
    encode_dataset(read, EXPLICIT)
    dataset_to_json(read)


def test_a_file_that_breaks_off_gives_what_could_be_read() -> None:
    data = dataset((0x00100010, "PN", b"Doe ")) + element(0x00321060, "LO", b"x", length=900)
    assert read_dataset(BytesIO(data), EXPLICIT).PatientName == "Doe"
