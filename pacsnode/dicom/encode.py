"""Datasets to bytes and back, for identifiers: whatever a value is, it neither raises nor warns.
Values are plain texts, numbers and bytes rather than pydicom's value classes, which check."""

import struct
import zlib
from collections.abc import Container, Iterable, Iterator, Sequence
from io import BytesIO
from typing import Any, BinaryIO

from pydicom import DataElement, Dataset
from pydicom.sequence import Sequence as ItemSequence

from pacsnode.dicom import dictionary
from pacsnode.dicom.character_set import (
    CharacterSet,
    best_character_set,
    character_set,
    character_set_of_text,
)
from pacsnode.dicom.elements import (
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    EXPLICIT_VR_BIG_ENDIAN,
    IMPLICIT_LITTLE,
    IMPLICIT_VR_LITTLE_ENDIAN,
    LONG_VRS,
    UNDEFINED,
    Element,
    Form,
    Walker,
    forms_of,
    is_deflated,
    items_of,
    open_window,
)
from pacsnode.dicom.values import (
    BINARY_VRS,
    NUMBER_FORMATS,
    SPECIFIC_CHARACTER_SET,
    Value,
    characters_of,
    plain_values,
    values_of,
    vr_in_use,
)
from pacsnode.errors import UnreadableDataset

_PIXEL_DATA = 0x7FE00000
_MAX_DEPTH = 16
LONGEST_SHORT = 0xFFFE  # bytes of a value whose length field has 16 bits


def element_of(tag: int, vr: str, values: Sequence[Any]) -> DataElement:
    """An element with these values, unchecked; of SQ the values are Datasets."""
    if vr == "SQ":
        return DataElement(tag, vr, ItemSequence(values))
    if vr in BINARY_VRS:
        element = DataElement(tag, vr, values[0] if values else b"", already_converted=True)
        element.VR = vr  # pydicom would take the dictionary's for UN, and leave the bytes
        return element
    if vr in NUMBER_FORMATS:
        values = numbers_of(values)
    value = list(values) if len(values) > 1 else values[0] if values else None
    if value is None and vr not in NUMBER_FORMATS:
        value = ""
    return DataElement(tag, vr, value, already_converted=True)


def numbers_of(values: Iterable[Any]) -> list[int | float]:
    """The values, those that are text too, as numbers; what is none is left out."""
    return [number for number in map(_number, values) if number is not None]


def _number(value: Any) -> int | float | None:
    for kind in (int, float):
        try:
            return kind(value)
        except (ValueError, OverflowError):
            continue
    return None


def decode_dataset(
    data: bytes, transfer_syntax_uid: str, default_character_set: str | None = None
) -> Dataset:
    """A dataset at hand, whole. Raises UnreadableDataset."""
    window = open_window(BytesIO(data), transfer_syntax_uid)
    faults: list[UnreadableDataset] = []
    for form in forms_of(transfer_syntax_uid, window.at(0, 8)):
        try:
            found = list(Walker(window, form).walk(longest=UNDEFINED))
        except UnreadableDataset as fault:
            faults.append(fault)
            continue
        return _dataset(found, character_set_of_text(default_character_set))
    raise faults[0]


def read_dataset(
    file: BinaryIO,
    transfer_syntax_uid: str,
    wanted: Container[int] | None = None,
    default_character_set: str | None = None,
    stop: int = _PIXEL_DATA,
    longest: int = 65536,
) -> Dataset:
    """What can be read of the wanted elements (None: all) of the dataset at the file's present
    position, up to the first tag from `stop` on and without values over `longest` bytes. Where it
    breaks off, that is the end."""
    window = open_window(file, transfer_syntax_uid)
    found: list[Element] = []
    for form in forms_of(transfer_syntax_uid, window.at(0, 8)):
        found.clear()
        try:
            for element in Walker(window, form).walk(_with_characters(wanted), stop, longest):
                found.append(element)
        except UnreadableDataset:
            if not found:
                continue
        break
    return _dataset(found, character_set_of_text(default_character_set))


def _with_characters(wanted: Container[int] | None) -> Container[int] | None:
    return None if wanted is None else _Either(wanted)


class _Either(Container[int]):
    """What is wanted, and the element without which text cannot be read."""

    def __init__(self, wanted: Container[int]) -> None:
        self._wanted = wanted

    def __contains__(self, tag: object) -> bool:
        return tag == SPECIFIC_CHARACTER_SET or tag in self._wanted


def _dataset(elements: Sequence[Element], otherwise: CharacterSet, depth: int = 0) -> Dataset:
    characters = characters_of(elements, otherwise)
    dataset = Dataset()
    for element in elements:
        vr = vr_in_use(element)
        if vr == "SQ":
            items = (
                [_dataset(item, characters, depth + 1) for item in items_of(element)]
                if depth < _MAX_DEPTH
                else []
            )
            dataset.add(element_of(element.tag, vr, items))
        elif element.tag & 0xFFFF:
            dataset.add(element_of(element.tag, vr, values_of(element, vr, characters)))
    return dataset


def encode_dataset(dataset: Dataset, transfer_syntax_uid: str) -> bytes:
    """The dataset in a transfer syntax without compressed pixel data. Its own Specific Character
    Set is kept where that holds its text; otherwise it is Unicode's."""
    declared = declared_terms(dataset)
    terms = best_character_set(texts_in(dataset), declared) or declared
    labelled = [element for element in dataset if element.tag != SPECIFIC_CHARACTER_SET]
    if terms:
        labelled.append(element_of(SPECIFIC_CHARACTER_SET, "CS", terms))
    encoded = encode_elements(labelled, form_of(transfer_syntax_uid), character_set(terms))
    return deflated(encoded) if is_deflated(transfer_syntax_uid) else encoded


def form_of(transfer_syntax_uid: str) -> Form:
    """How elements are written in it. Compressed ones are Explicit VR Little Endian."""
    if transfer_syntax_uid == IMPLICIT_VR_LITTLE_ENDIAN:
        return IMPLICIT_LITTLE
    return EXPLICIT_BIG if transfer_syntax_uid == EXPLICIT_VR_BIG_ENDIAN else EXPLICIT_LITTLE


def deflated(encoded: bytes) -> bytes:
    """A dataset as a deflated transfer syntax wraps it (PS3.5 A.5)."""
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    data = deflater.compress(encoded) + deflater.flush()
    return data + b"\0" * (len(data) % 2)


def declared_terms(dataset: Dataset) -> tuple[str, ...]:
    """The values of Specific Character Set, none where it is absent or empty."""
    element = dataset.get(SPECIFIC_CHARACTER_SET)
    return tuple(str(term) for term in plain_values(element)) if element is not None else ()


def texts_in(elements: Iterable[DataElement]) -> Iterator[str]:
    """All values that are text, also those in sequences."""
    for element in elements:
        if element.VR == "SQ":
            for item in element.value or ():
                yield from texts_in(item)
        else:
            yield from (value for value in plain_values(element) if isinstance(value, str))


def encode_elements(elements: Iterable[DataElement], form: Form, characters: CharacterSet) -> bytes:
    """Elements in the order of their tags, without those that say how others are written. Raises
    UnicodeEncodeError for a text that the character set cannot hold."""
    encoded: list[bytes] = []
    for element in sorted(elements, key=lambda element: int(element.tag)):
        if element.tag & 0xFFFF == 0:  # group lengths are retired (PS3.5 7.2)
            continue
        vr = element.VR[:2]
        if vr == "SQ":
            value = b"".join(_item(item, form, characters) for item in element.value or ())
        else:
            value = encode_value(vr, plain_values(element), form, characters)
        encoded += (header(int(element.tag), vr, len(value), form), value)
    return b"".join(encoded)


def _item(item: Dataset, form: Form, characters: CharacterSet) -> bytes:
    inner = (element for element in item if element.tag != SPECIFIC_CHARACTER_SET)
    content = encode_elements(inner, form, characters)
    order = "<" if form.is_little else ">"
    return struct.pack(order + "HHL", 0xFFFE, 0xE000, len(content)) + content


def header(tag: int, vr: str, length: int, form: Form) -> bytes:
    """What stands before an element's value: tag, VR where the form has it, length."""
    order = "<" if form.is_little else ">"
    group, number = tag >> 16, tag & 0xFFFF
    if not form.is_explicit:
        return struct.pack(order + "HHL", group, number, length)
    code = vr.encode()
    if code not in LONG_VRS and length > LONGEST_SHORT:
        code = b"UN"  # PS3.5 6.2.2: the way to write a value that its VR's length field cannot say
    if code in LONG_VRS:
        return struct.pack(order + "HH2sHL", group, number, code, 0, length)
    return struct.pack(order + "HH2sH", group, number, code, length)


def encode_value(vr: str, values: Sequence[Value], form: Form, characters: CharacterSet) -> bytes:
    """The value field of an element that is no sequence, padded. Raises UnicodeEncodeError."""
    order = "<" if form.is_little else ">"
    if vr in NUMBER_FORMATS:
        return b"".join(_packed(order + NUMBER_FORMATS[vr], value) for value in values)
    if vr == "AT":
        tags = (_number_of_tag(value) for value in values)
        return b"".join(struct.pack(order + "HH", tag >> 16, tag & 0xFFFF) for tag in tags)
    parts = [
        value if isinstance(value, bytes) else characters.encode(str(value), vr) for value in values
    ]
    joined = b"\\".join(parts)
    return joined + padding_of(vr) * (len(joined) % 2)


def padding_of(vr: str) -> bytes:
    """What makes a value field of a text VR, or one of bytes, even (PS3.5 6.2)."""
    return b"\0" if vr == "UI" or vr in BINARY_VRS else b" "


def _packed(format_: str, value: Value) -> bytes:
    number = _number(value)
    try:
        return struct.pack(format_, number)
    except (struct.error, OverflowError):
        return b""


def _number_of_tag(value: Value) -> int:
    try:
        return int(str(value), 16) & 0xFFFFFFFF
    except ValueError:
        return 0


def text_element(keyword: str, values: Sequence[str]) -> DataElement:
    """An element by its keyword, unchecked."""
    tag = dictionary.tag_of(keyword)
    return element_of(tag, dictionary.vr_of(tag), values)
