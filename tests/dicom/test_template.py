"""What a template encodes is what its Dataset would be."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import DataElement, Dataset

from pacsnode.dicom.character_set import best_character_set
from pacsnode.dicom.dictionary import tag_of, vr_of
from pacsnode.dicom.encode import (
    decode_dataset,
    element_of,
    encode_dataset,
    text_element,
    texts_in,
)
from pacsnode.dicom.template import Given, Slot, Template
from tests.dicom.raw import BIG_ENDIAN, EXPLICIT, IMPLICIT, SYNTAXES, element, implicit

# A tag on either side of Specific Character Set, both sizes of the length field, numbers.
KEYWORDS = (
    "LengthToEnd",  # UL (0008,0001)
    "SOPInstanceUID",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ModalitiesInStudy",
    "StudyDescription",
    "PatientName",
    "PatientID",
    "AdditionalPatientHistory",  # LT
    "StudyInstanceUID",
    "InstanceNumber",
    "FrameIncrementPointer",  # AT
    "Rows",  # US
    "SmallestImagePixelValue",  # US or SS
    "RedPaletteColorLookupTableData",  # OW
    "SelectorDSValue",
    "SelectorFDValue",
    "SelectorSLValue",
    "LongCodeValue",  # UC
    "URNCodeValue",  # UR
    "TextValue",  # UT
    "ProcedureCodeSequence",  # SQ
)
CHARACTER_SETS = (
    (),
    ("ISO_IR 100",),
    ("ISO_IR 144",),
    ("ISO_IR 192",),
    ("GB18030",),
    ("ISO 2022 IR 6", "ISO 2022 IR 87"),
    ("ISO_IR 13", "ISO 2022 IR 87"),
    ("nonsense",),
)
ASCII = ("", "1", "A1", "DOE^JOHN", "20200101", "1.2.840.10008", "512", "-1", "1e3", "x" * 64)
BEYOND = ("Ä", "Müller^Åsa", "Люкс", "Yamada^Tarou=山田^太郎=やまだ^たろう", "ﾔﾏﾀﾞ", "Ж山")
VALUES = st.sampled_from((*ASCII, *BEYOND))
TEXTS = st.lists(VALUES, max_size=3).map("\\".join)
TAGS = st.sampled_from(("", "00280010", "00181063\\00181065"))


def of_dictionary(keyword: str) -> tuple[int, str]:
    tag = tag_of(keyword)
    return tag, vr_of(tag)


@st.composite
def elements(draw: st.DrawFn, tag: int, vr: str) -> DataElement:
    """As read from a file or from JSON; of a VR that may be another than the dictionary's."""
    if vr == "SQ":
        items = [Dataset() for _ in range(draw(st.integers(0, 2)))]
        for item in items:
            item.add(text_element("CodeMeaning", draw(TEXTS).split("\\")))
        return element_of(tag, vr, items)
    if draw(st.booleans()):
        return element_of(tag, "OB", [draw(st.binary(max_size=9))])
    texts = draw(TAGS if vr == "AT" else TEXTS)
    return element_of(tag, draw(st.sampled_from((vr, "LO"))), texts.split("\\"))


Filled = list[tuple[Slot, Given]]


@st.composite
def filled(draw: st.DrawFn) -> Filled:
    """Slots in the order of tags, with their values."""
    chosen = sorted(
        of_dictionary(keyword) for keyword in draw(st.sets(st.sampled_from(KEYWORDS), max_size=8))
    )
    made: Filled = []
    for tag, vr in chosen:
        text = "" if vr in ("SQ", "OW") else draw(TAGS if vr == "AT" else TEXTS)
        kind = draw(st.sampled_from(("text", "text", "constant", "element")))
        if kind == "element" or (vr == "SQ" and kind == "text"):
            made.append((Slot(tag, vr), draw(elements(tag, vr))))
        elif kind == "constant":
            constant = text if text.isascii() else ""
            made.append((Slot(tag, vr, constant), constant))
        else:
            made.append((Slot(tag, vr), text))
    return made


def as_dataset(made: Filled, character_set: tuple[str, ...]) -> Dataset:
    dataset = Dataset()
    for slot, value in made:
        if isinstance(value, str):
            value = element_of(slot.tag, slot.vr, value.split("\\") if value else ())
        dataset.add(value)
    terms = best_character_set(texts_in(dataset), character_set)
    if terms:
        dataset.add(text_element("SpecificCharacterSet", terms))
    return dataset


def encoded(made: Filled, transfer_syntax: str, character_set: tuple[str, ...] = ()) -> bytes:
    template = Template([slot for slot, _ in made], transfer_syntax, character_set)
    given = [value for slot, value in made if slot.text is None]
    first = template.encode(given)
    assert template.encode(given) == first
    return first


@given(filled(), st.sampled_from(SYNTAXES), st.sampled_from(CHARACTER_SETS))
def test_what_is_encoded_is_what_the_dataset_would_be(
    made: Filled, transfer_syntax: str, character_set: tuple[str, ...]
) -> None:
    expected = encode_dataset(as_dataset(made, character_set), transfer_syntax)
    assert encoded(made, transfer_syntax, character_set) == expected


def slots(*keywords: str) -> list[Slot]:
    return [Slot(*of_dictionary(keyword)) for keyword in keywords]


def test_values_are_padded_as_their_representation_wants() -> None:
    template = Template(slots("StudyDescription", "PatientID", "StudyInstanceUID"), EXPLICIT)
    assert template.encode(["", "A", "1.2"]) == b"".join(
        (
            element(0x00081030, "LO", b""),
            element(0x00100020, "LO", b"A "),
            element(0x0020000D, "UI", b"1.2\0"),
        )
    )


@pytest.mark.parametrize(
    ("transfer_syntax", "expected"),
    [
        (IMPLICIT, implicit(0x00081030, b"CT") + implicit(0x00280010, b"\0\2")),
        (EXPLICIT, element(0x00081030, "LO", b"CT") + element(0x00280010, "US", b"\0\2")),
        (
            BIG_ENDIAN,
            element(0x00081030, "LO", b"CT", order=">")
            + element(0x00280010, "US", b"\2\0", order=">"),
        ),
    ],
)
def test_each_transfer_syntax_has_its_headers(transfer_syntax: str, expected: bytes) -> None:
    template = Template(slots("StudyDescription", "Rows"), transfer_syntax)
    assert template.encode(["CT", "512"]) == expected


def test_a_character_set_is_named_where_it_is_needed() -> None:
    constant = Slot(*of_dictionary("QueryRetrieveLevel"), text="STUDY")
    template = Template([constant, *slots("PatientName")], EXPLICIT, ("ISO_IR 100",))
    level = element(0x00080052, "CS", b"STUDY ")
    label = (0x00080005, "CS")
    assert template.encode(["DOE"]) == level + element(0x00100010, "PN", b"DOE ")
    assert template.encode(["Ä"]) == (
        element(*label, b"ISO_IR 100") + level + element(0x00100010, "PN", b"\xc4 ")
    )
    assert template.encode(["Ж"]) == (
        element(*label, b"ISO_IR 192") + level + element(0x00100010, "PN", "Ж".encode())
    )
    assert template.encode(["DOE"]) == level + element(0x00100010, "PN", b"DOE ")


@pytest.mark.parametrize("length", [0xFFFD, 0xFFFE, 0xFFFF, 0x10000])
def test_a_value_that_its_length_field_cannot_say_is_written_as_unknown(length: int) -> None:
    data = Template(slots("PatientID"), EXPLICIT).encode(["x" * length])
    even = length + length % 2
    if even <= 0xFFFE:
        assert data[4:8] == b"LO" + struct.pack("<H", even)
    else:
        assert data[4:12] == b"UN\0\0" + struct.pack("<L", even)
    assert decode_dataset(data, EXPLICIT).PatientID == "x" * length
    assert (
        Template(slots("PatientID"), IMPLICIT).encode(["x" * length])[8:].rstrip()
        == data[-even:].rstrip()
    )


def test_there_are_as_many_values_as_slots_without_a_text() -> None:
    template = Template([Slot(0x00080052, "CS", "STUDY"), *slots("PatientID")], EXPLICIT)
    for values in ([], ["A", "B"]):
        with pytest.raises(ValueError, match="argument"):
            template.encode(values)
