"""Value fields as Python values, by VR, with the tolerance that real datasets need."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pacsnode.dicom import dictionary
from pacsnode.dicom.character_set import CharacterSet, character_set
from pacsnode.dicom.elements import Element
from pacsnode.dicom.text import decode_values

if TYPE_CHECKING:
    from pydicom import DataElement

SPECIFIC_CHARACTER_SET = 0x00080005

NUMBER_FORMATS: Mapping[str, str] = {
    "US": "H", "SS": "h", "UL": "I", "SL": "i", "UV": "Q", "SV": "q", "FL": "f", "FD": "d",
}  # fmt: skip
BINARY_VRS = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})

Value = str | int | float | bytes


def vr_in_use(element: Element, known: str = "") -> str:
    """The VR to read an element by: as declared, but where the dictionary (`known`) knows what the
    declaration hides (UN), withholds (implicit VR) or can only have wrong (OB for a text, SQ)."""
    declared = element.vr
    known = known or dictionary.vr_of(element.tag)
    if known == "SQ" or not declared:
        return known
    if known != "UN" and (declared == "SQ" or declared in BINARY_VRS):
        return known
    return declared


def values_of(element: Element, vr: str, characters: CharacterSet) -> tuple[Value, ...]:
    """The values of an element that is no sequence: numbers, one run of bytes, or texts (of AT the
    tags in hexadecimal); none where there is nothing but padding."""
    raw = element.raw
    if vr in NUMBER_FORMATS:
        return _numbers(raw, NUMBER_FORMATS[vr], element.form.is_little)
    if vr == "AT":
        parts = _numbers(raw, "H", element.form.is_little)
        return tuple(f"{a:04X}{b:04X}" for a, b in zip(parts[::2], parts[1::2], strict=False))
    if vr in BINARY_VRS:
        return (raw,) if raw else ()
    return decode_values(raw, vr, characters)


def texts_of(element: Element, vr: str, characters: CharacterSet) -> tuple[str, ...]:
    """The values as texts, numbers in decimal; bytes have none."""
    values = values_of(element, vr, characters)
    return tuple(str(value) for value in values if not isinstance(value, bytes))


def _numbers(raw: bytes, format_: str, is_little: bool) -> tuple[int | float, ...]:
    """As many whole numbers as there are: odd bytes at the end are left out."""
    count = len(raw) // struct.calcsize(format_)
    return struct.unpack_from(f"{'<' if is_little else '>'}{count}{format_}", raw)


def characters_of(elements: Iterable[Element], otherwise: CharacterSet) -> CharacterSet:
    """What Specific Character Set among these elements says, `otherwise` where it says nothing
    beyond ASCII. That of an item holds for the item (PS3.5 6.1.2.3)."""
    for element in elements:
        if element.tag == SPECIFIC_CHARACTER_SET:
            terms = element.raw.decode("latin_1").split("\\")
            return character_set(terms, otherwise)
    return otherwise


def plain_values(element: DataElement) -> tuple[Value, ...]:
    """The values of a Dataset's element (no sequence) as plain numbers, bytes or texts."""
    value = element.value
    if value is None or value == "":
        return ()
    if isinstance(value, bytes | bytearray):
        return (bytes(value),)
    many = value if isinstance(value, Sequence) and not isinstance(value, str) else (value,)
    plain = (_plain(element.VR, one) for one in many)
    return tuple(plain)


def _plain(vr: str, value: Any) -> Value:
    if vr == "AT":
        return value if isinstance(value, str) else f"{int(value):08X}"
    if isinstance(value, str | bytes) or vr in ("IS", "DS", "PN", "DA", "TM", "DT"):
        return str(value) if not isinstance(value, bytes) else value
    if isinstance(value, int):
        return int(value)
    return float(value) if isinstance(value, float) else str(value)
