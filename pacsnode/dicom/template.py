"""Datasets of one shape, encoded without being Datasets: what they have in common is written once,
and the values of each are put in between. Answers to a C-FIND are made so."""

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

from pydicom import DataElement

from pacsnode.dicom.character_set import ASCII, CharacterSet, best_character_set, character_set
from pacsnode.dicom.elements import LONG_VRS, UNDEFINED, Form, is_deflated
from pacsnode.dicom.encode import (
    LONGEST_SHORT,
    deflated,
    encode_elements,
    encode_value,
    form_of,
    header,
    numbers_of,
    padding_of,
    texts_in,
)
from pacsnode.dicom.values import NUMBER_FORMATS, SPECIFIC_CHARACTER_SET, Value

Given = str | DataElement

_NUMBERS = frozenset({*NUMBER_FORMATS, "AT"})


class Slot(NamedTuple):
    """An element that each dataset has. `text` is its value in all of them; None: each has its own,
    given as text (several values with backslashes between them), or as an element: a sequence, or
    what may have another VR."""

    tag: int
    vr: str
    text: str | None = None


class Template:
    """`slots` in the order of their tags. `character_set`: the terms of the one preferred for text
    beyond ASCII; Unicode's is taken where it cannot hold that."""

    def __init__(
        self, slots: Sequence[Slot], transfer_syntax_uid: str, character_set: Sequence[str] = ()
    ) -> None:
        self._slots = slots
        self._given = [slot for slot in slots if slot.text is None]
        self._form = form_of(transfer_syntax_uid)
        self._is_deflated = is_deflated(transfer_syntax_uid)
        self._character_set = character_set
        self._plain = _Shape(slots, self._form, ASCII)
        self._labelled: dict[tuple[str, ...], _Shape] = {}

    def encode(self, values: Sequence[Given]) -> bytes:
        """The dataset with these values, one for each slot without a text. It has a Specific
        Character Set where one of them is beyond ASCII."""
        try:
            encoded = self._plain.encode(values)
        except UnicodeEncodeError:
            encoded = self._shape_for(values).encode(values)
        return deflated(encoded) if self._is_deflated else encoded

    def _shape_for(self, values: Sequence[Given]) -> "_Shape":
        terms = best_character_set(self._texts(values), self._character_set)
        shape = self._labelled.get(terms)
        if shape is None:
            label = Slot(SPECIFIC_CHARACTER_SET, "CS", "\\".join(terms))
            slots = sorted((*self._slots, label), key=lambda slot: slot.tag)
            shape = _Shape(slots, self._form, character_set(terms))
            self._labelled[terms] = shape
        return shape

    def _texts(self, values: Sequence[Given]) -> Iterator[str]:
        for slot, value in zip(self._given, values, strict=True):
            if not isinstance(value, str):
                yield from texts_in((value,))
            elif slot.vr not in _NUMBERS:
                yield value


class _Shape:
    """A template in one form and character set."""

    def __init__(self, slots: Sequence[Slot], form: Form, characters: CharacterSet) -> None:
        self._form = form
        self._characters = characters
        self._gaps: list[tuple[bytes, Callable[[str], bytes]]] = []
        before = b""
        for slot in slots:
            write = _writer(slot, before, form, characters)
            if slot.text is None:
                self._gaps.append((before, write))
                before = b""
            else:
                before = write(slot.text)
        self._end = before

    def encode(self, values: Sequence[Given]) -> bytes:
        """Raises UnicodeEncodeError for a text that the character set cannot hold."""
        parts = [
            write(value)
            if isinstance(value, str)
            else before + encode_elements((value,), self._form, self._characters)
            for (before, write), value in zip(self._gaps, values, strict=True)
        ]
        return b"".join(parts) + self._end


def _writer(
    slot: Slot, before: bytes, form: Form, characters: CharacterSet
) -> Callable[[str], bytes]:
    """Makes the element of a slot from its text, behind what stands before it."""
    tag, vr, _ = slot
    empty = before + header(tag, vr, 0, form)
    size = 2 if form.is_explicit and vr.encode() not in LONG_VRS else 4  # bytes of the length field
    head = empty[:-size]
    longest = LONGEST_SHORT if size == 2 else UNDEFINED
    order: Literal["little", "big"] = "little" if form.is_little else "big"
    padding = padding_of(vr)

    def write(text: str) -> bytes:
        value = characters.encode(text, vr)
        length = len(value)
        if length % 2:
            value += padding
            length += 1
        if length > longest:
            return before + header(tag, vr, length, form) + value
        return head + length.to_bytes(size, order) + value

    def write_numbers(text: str) -> bytes:
        values: Sequence[Value] = text.split("\\") if text else ()
        if vr in NUMBER_FORMATS:
            values = numbers_of(values)
        value = encode_value(vr, values, form, characters)
        return before + header(tag, vr, len(value), form) + value

    return write_numbers if vr in _NUMBERS else write
