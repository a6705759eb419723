"""Value fields by representation."""

import struct

import pytest

from pacsnode.dicom.character_set import ASCII, character_set
from pacsnode.dicom.elements import EXPLICIT_BIG, EXPLICIT_LITTLE, Element
from pacsnode.dicom.values import characters_of, texts_of, values_of, vr_in_use


def found(tag: int, vr: str, raw: bytes = b"") -> Element:
    return Element(tag, vr, raw, EXPLICIT_LITTLE)


@pytest.mark.parametrize(
    ("tag", "declared", "used"),
    [
        (0x00100010, "PN", "PN"),
        (0x00100010, "LO", "LO"),
        (0x00100010, "", "PN"),
        (0x00100010, "UN", "PN"),
        (0x00100010, "OB", "PN"),
        (0x00100010, "SQ", "PN"),
        (0x00400275, "OB", "SQ"),
        (0x00400275, "", "SQ"),
        (0x00280010, "IS", "IS"),
        (0x00291001, "SQ", "SQ"),
        (0x00291001, "OB", "OB"),
        (0x00291001, "", "UN"),
        (0x00290010, "", "LO"),
    ],
)
def test_the_representation_in_use(tag: int, declared: str, used: str) -> None:
    assert vr_in_use(found(tag, declared)) == used


def test_numbers_in_either_order_without_odd_bytes() -> None:
    assert values_of(found(0, "US", b"\1\2\3"), "US", ASCII) == (0x0201,)
    big = Element(0, "SS", b"\xff\xfe\0\1", EXPLICIT_BIG)
    assert values_of(big, "SS", ASCII) == (-2, 1)
    assert values_of(found(0, "FD", struct.pack("<d", 0.5)), "FD", ASCII) == (0.5,)
    assert values_of(found(0, "AT", b"\x18\0\x63\x10"), "AT", ASCII) == ("00181063",)


def test_bytes_are_no_text() -> None:
    assert values_of(found(0, "OB", b"ab"), "OB", ASCII) == (b"ab",)
    assert texts_of(found(0, "OB", b"ab"), "OB", ASCII) == ()
    assert texts_of(found(0, "US", b"\1\0"), "US", ASCII) == ("1",)


def test_a_character_set_of_ascii_leaves_the_one_assumed() -> None:
    assumed = character_set(["ISO_IR 144"])
    for terms in (b"", b"ISO_IR 6", b"unheard of"):
        assert characters_of([found(0x00080005, "CS", terms)], assumed) == assumed
    declared = characters_of([found(0x00080005, "CS", b"ISO_IR 100 ")], assumed)
    assert declared.terms == ("ISO_IR 100",)
