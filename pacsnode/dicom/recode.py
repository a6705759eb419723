"""The elements of a dataset from one encoding to another (PS3.5 7.1, 7.5, annex A), as they come:
values stay the bytes that they are, but for their byte order. Nothing is decoded to be encoded
again, so private elements, wrong values and character sets pass unharmed.

Sequences and items leave with undefined length; group lengths, which would be wrong, do not leave.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import NamedTuple, Protocol

from pacsnode.dicom.message import Tick
from pacsnode.dicom.stream import (
    BITS_ALLOCATED,
    CHUNK,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    ITEM,
    ITEM_END,
    LONG_VRS,
    PIXEL_DATA,
    PIXEL_REPRESENTATION,
    SEQUENCE_END,
    SHORT_VRS,
    TABLES,
    UNDEFINED,
    WORDS,
    Encoding,
    Header,
    Reader,
    Scope,
    Writer,
    swap,
)
from pacsnode.errors import TranscodingError

SMALL = 1 << 16  # bytes of a value that is looked at as a whole
LARGEST_TABLE = 64 << 20  # bytes: eight million frames
DEEPEST = 64  # sequences within sequences


class Pixels(Protocol):
    """What is done about pixel data."""

    def replace(self, scope: Scope, tag: int, value: bytes) -> bytes:
        """The value that an element has once its dataset's encapsulated pixel data is native."""

    def write_encapsulated(self, scope: Scope, reader: Reader, writer: Writer, tick: Tick) -> None:
        """Pixel Data as a whole element; the reader stands behind its header, and goes on behind
        its sequence delimiter."""

    def write_native(
        self, scope: Scope, length: int, word: int, reader: Reader, writer: Writer, tick: Tick
    ) -> bool:
        """Pixel Data as a whole element, of `length` bytes in the source, where the bytes of each
        `word` of them are to be reversed to be little endian. False leaves it as it is."""


class Edit(NamedTuple):
    """The value that an element is given. `before` is called right before it is written."""

    vr: str
    value: bytes
    before: Callable[[], object] = lambda: None


class Edits(NamedTuple):
    """What else changes at the top level: values, set or (None) left out, and encoded items that
    come first in their sequence."""

    values: Mapping[int, Edit | None]
    items: Mapping[int, bytes]


NO_EDITS = Edits({}, {})


class Recoder:
    """Carries one dataset across. `pixels` is None where none of it may be encapsulated."""

    def __init__(
        self,
        reader: Reader,
        writer: Writer,
        tick: Tick,
        pixels: Pixels | None,
        edits: Edits = NO_EDITS,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._tick = tick
        self._pixels = pixels
        self._edits = edits
        self._due = sorted({*edits.values, *edits.items}, reverse=True)

    def run(self, encoding: Encoding, until: int | None = None) -> tuple[Scope, Header | None]:
        """The whole dataset; or to behind the header of the first element from tag `until` on,
        which is returned."""
        scope = Scope()
        header = self._dataset(scope, encoding, None, until)
        self._insert(None)
        return scope, header

    def _dataset(
        self, scope: Scope, encoding: Encoding, end: int | None, until: int | None = None
    ) -> Header | None:
        encoding = self._actual(encoding, end)
        while end is None or self._reader.position < end:
            if scope.depth == 0 and not self._reader.peek(1):
                return None
            header = self._header(scope, encoding)
            if until is not None and header.tag >= until:
                return header
            if header.tag == ITEM_END and scope.depth:
                return None
            if scope.depth or not self._is_edited(header):
                self._element(scope, header, encoding)
        if self._reader.position != end:
            raise TranscodingError(f"an item overruns its length at byte {self._reader.position}")
        return None

    def _is_edited(self, header: Header) -> bool:
        """Write the edits that come before an element of the top level, or in its place."""
        tag, vr, length = header
        self._insert(tag)
        is_sequence = vr == "SQ" or (vr == "UN" and length == UNDEFINED)
        if tag in self._edits.items and is_sequence and length:
            return False  # _sequence adds the item
        if tag not in self._edits.values and tag not in self._edits.items:
            return False
        if length == UNDEFINED:
            raise TranscodingError(f"{header} {vr} has no length")
        self._insert(tag + 1)
        self._reader.skip(length)
        return True

    def _insert(self, end: int | None) -> None:
        while self._due and (end is None or self._due[-1] < end):
            tag = self._due.pop()
            edit = self._edits.values.get(tag)
            if edit is not None:
                edit.before()
                self._writer.header(tag, edit.vr, len(edit.value))
                self._writer.write(edit.value)
            elif tag in self._edits.items:
                self._writer.header(tag, "SQ", UNDEFINED)
                self._writer.write(self._edits.items[tag])
                self._writer.delimiter(SEQUENCE_END, 0)

    def _actual(self, encoding: Encoding, end: int | None) -> Encoding:
        """The encoding that a dataset has in spite of what was said of it: some devices write items
        of the one VR encoding into datasets of the other."""
        start = self._reader.peek(8)
        if len(start) < 8 or not encoding.is_little or start[:2] == b"\xfe\xff":
            return encoding
        vr = start[4:6].decode("latin-1")
        if not encoding.is_implicit:
            return encoding if vr.isascii() and vr.isalpha() and vr.isupper() else IMPLICIT_LITTLE
        limit = end if end is not None else self._reader.length
        length = int.from_bytes(start[4:8], "little")
        is_known = vr in SHORT_VRS or vr in LONG_VRS
        if is_known and limit is not None and length > limit - self._reader.position:
            return EXPLICIT_LITTLE
        return encoding

    def _header(self, scope: Scope, encoding: Encoding) -> Header:
        order = "little" if encoding.is_little else "big"
        start = self._reader.read(8)
        group = int.from_bytes(start[:2], order)  # type: ignore[arg-type]
        tag = group << 16 | int.from_bytes(start[2:4], order)  # type: ignore[arg-type]
        if group == 0xFFFE:
            return Header(tag, "", int.from_bytes(start[4:], order))  # type: ignore[arg-type]
        if encoding.is_implicit:
            return Header(tag, vr_of(tag, scope), int.from_bytes(start[4:], "little"))
        vr = start[4:6].decode("latin-1")
        if vr in SHORT_VRS:
            return Header(tag, vr, int.from_bytes(start[6:], order))  # type: ignore[arg-type]
        if not (vr.isascii() and vr.isalpha() and vr.isupper()):
            raise TranscodingError(f"{vr!r} at byte {self._reader.position - 4} is no VR")
        length = int.from_bytes(self._reader.read(4), order)  # type: ignore[arg-type]
        return Header(tag, vr, length)

    def _element(self, scope: Scope, header: Header, encoding: Encoding) -> None:
        tag, vr, length = header
        if tag >> 16 == 0xFFFE:
            if tag != SEQUENCE_END or length:
                raise TranscodingError(f"{header} stands at byte {self._reader.position}")
            return
        if length == UNDEFINED:
            self._undefined(scope, header, encoding)
        elif tag & 0xFFFF == 0:
            self._reader.skip(length)
        elif vr == "SQ" and length:
            if tag == PIXEL_DATA:
                raise TranscodingError("pixel data as a sequence")
            self._sequence(scope, tag, encoding, self._reader.position + length)
        else:
            self._value(scope, header, encoding)

    def _undefined(self, scope: Scope, header: Header, encoding: Encoding) -> None:
        if header.tag == PIXEL_DATA:
            if self._pixels is None:
                raise TranscodingError("encapsulated pixel data in an uncompressed dataset")
            self._pixels.write_encapsulated(scope, self._reader, self._writer, self._tick)
            return
        if header.vr not in ("SQ", "UN"):
            raise TranscodingError(f"{header} {header.vr} has no length")
        # A sequence whose VR was lost on the way is in Implicit VR (PS3.5 6.2.2, note 4).
        inside = IMPLICIT_LITTLE if header.vr == "UN" else encoding
        self._sequence(scope, header.tag, inside, None)

    def _sequence(self, scope: Scope, tag: int, encoding: Encoding, end: int | None) -> None:
        self._writer.header(tag, "SQ", UNDEFINED)
        if scope.depth == 0 and self._due and self._due[-1] == tag:
            self._due.pop()
            self._writer.write(self._edits.items[tag])
        if scope.depth >= DEEPEST:
            raise TranscodingError(f"over {DEEPEST} sequences, one within the other")
        while end is None or self._reader.position < end:
            item = self._header(scope, encoding)
            if item.tag == SEQUENCE_END:
                break
            if item.tag != ITEM:
                raise TranscodingError(f"{item} stands in place of an item")
            item_end = None if item.length == UNDEFINED else self._reader.position + item.length
            self._writer.delimiter(ITEM, UNDEFINED)
            self._dataset(Scope(scope), encoding, item_end)
            self._writer.delimiter(ITEM_END, 0)
        self._writer.delimiter(SEQUENCE_END, 0)

    def _value(self, scope: Scope, header: Header, encoding: Encoding) -> None:
        tag, vr, length = header
        if tag == PIXEL_DATA and length and self._pixels is not None:
            word = 1 if encoding.is_little else _word(scope, header)
            streams = self._reader, self._writer, self._tick
            if self._pixels.write_native(scope, length, word, *streams):
                return
        swapped = encoding.is_little != self._writer.encoding.is_little
        word = _word(scope, header) if swapped else 1
        is_table = tag in TABLES
        if is_table and length > LARGEST_TABLE:
            raise TranscodingError(f"{header} is {length} bytes long")
        if length > SMALL and not is_table:
            self._writer.header(tag, vr, length)
            self._copy(length, word)
            return
        value = self._reader.read(length)
        scope.keep(tag, value if encoding.is_little else swap(value, word))
        value = swap(value, word)
        if self._pixels is not None:
            if is_table:
                return
            value = self._pixels.replace(scope, tag, value)
        self._writer.header(tag, vr, len(value))
        self._writer.write(value)

    def _copy(self, length: int, word: int) -> None:
        while length:
            chunk = self._reader.read(min(length, CHUNK))
            length -= len(chunk)
            self._writer.write(swap(chunk, word))
            self._tick()


def _word(scope: Scope, header: Header) -> int:
    """Bytes that change places together. In Pixel Data these are the pixel cells, if larger than
    OW's words: so GDCM and pydicom write them, though not DCMTK."""
    word = WORDS.get(header.vr, 1)
    if header.tag == PIXEL_DATA and header.vr == "OW":
        return max(word, (scope.number(BITS_ALLOCATED) or 0) // 8)
    return word


def vr_of(tag: int, scope: Scope) -> str:
    """The VR that an element in Implicit VR has. Private ones are UN: what a private dictionary
    says might be another vendor's."""
    if tag == PIXEL_DATA and 0 < (scope.number(BITS_ALLOCATED) or 0) <= 8:
        return "OB"  # or OW, in which some swap the bytes of a big endian dataset and some do not
    if tag >> 16 & 1:
        return "LO" if 0x10 <= tag & 0xFFFF <= 0xFF else "UN"
    vr = _dictionary_vr(tag)
    if vr == "US or SS":
        return "SS" if scope.inherited(PIXEL_REPRESENTATION) == 1 else "US"
    return "OW" if " or " in vr else vr


@lru_cache(1024)  # datasets may have any tag
def _dictionary_vr(tag: int) -> str:
    from pydicom.datadict import dictionary_VR

    try:
        return dictionary_VR(tag)
    except KeyError:
        return "UN"
