"""The elements of a dataset from one encoding to another (PS3.5 7.1, 7.5, annex A), as they come:
values stay the bytes that they are, but for their byte order. Nothing is decoded to be encoded
again, so private elements, wrong values and character sets pass unharmed.

Sequences and items leave with undefined length; group lengths, which would be wrong, do not leave.
"""

import struct
from collections.abc import Callable
from functools import lru_cache
from typing import IO, NamedTuple, Protocol

from pacsnode.dicom.message import Tick
from pacsnode.errors import TranscodingError


class Encoding(NamedTuple):
    is_implicit: bool
    is_little: bool


IMPLICIT_LITTLE = Encoding(True, True)
EXPLICIT_LITTLE = Encoding(False, True)

PIXEL_DATA = 0x7FE0_0010
EXTENDED_OFFSETS, EXTENDED_LENGTHS = 0x7FE0_0001, 0x7FE0_0002
TABLES = frozenset({EXTENDED_OFFSETS, EXTENDED_LENGTHS})
SAMPLES_PER_PIXEL, PHOTOMETRIC_INTERPRETATION = 0x0028_0002, 0x0028_0004
PLANAR_CONFIGURATION, NUMBER_OF_FRAMES = 0x0028_0006, 0x0028_0008
ROWS, COLUMNS = 0x0028_0010, 0x0028_0011
BITS_ALLOCATED, BITS_STORED, PIXEL_REPRESENTATION = 0x0028_0100, 0x0028_0101, 0x0028_0103
DESCRIBING_PIXELS = frozenset(
    {
        SAMPLES_PER_PIXEL, PHOTOMETRIC_INTERPRETATION, PLANAR_CONFIGURATION, NUMBER_OF_FRAMES,
        ROWS, COLUMNS, BITS_ALLOCATED, BITS_STORED, PIXEL_REPRESENTATION,
    }
)  # fmt: skip
LONGEST_DESCRIPTION = 64  # bytes: the rest says nothing of pixels, and would be kept for nothing
ITEM, ITEM_END, SEQUENCE_END = 0xFFFE_E000, 0xFFFE_E00D, 0xFFFE_E0DD
UNDEFINED = 0xFFFF_FFFF

LONG_VRS = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})
SHORT_VRS = frozenset(
    {
        "AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO", "LT", "PN",
        "SH", "SL", "SS", "ST", "TM", "UI", "UL", "US",
    }
)  # fmt: skip

# Bytes of what is swapped as one.
WORDS = {
    "AT": 2, "OW": 2, "SS": 2, "US": 2,
    "FL": 4, "OF": 4, "OL": 4, "SL": 4, "UL": 4,
    "FD": 8, "OD": 8, "OV": 8, "SV": 8, "UV": 8,
}  # fmt: skip

CHUNK = 1 << 20
SMALL = 1 << 16  # bytes of a value that is looked at as a whole
LARGEST_TABLE = 64 << 20  # bytes: eight million frames
DEEPEST = 64  # sequences within sequences


class Header(NamedTuple):
    tag: int
    vr: str
    length: int

    def __str__(self) -> str:
        return f"({self.tag >> 16:04X},{self.tag & 0xFFFF:04X})"


class Scope:
    """What must be known of the dataset, or item, around an element."""

    def __init__(self, parent: "Scope | None" = None) -> None:
        self._parent = parent
        self.depth: int = parent.depth + 1 if parent else 0
        self.values: dict[int, bytes] = {}  # of pixels, and offset tables, little endian
        self.is_changed = False

    def keep(self, tag: int, value: bytes) -> None:
        if tag in TABLES or (tag in DESCRIBING_PIXELS and len(value) <= LONGEST_DESCRIPTION):
            self.values[tag] = value

    def number(self, tag: int) -> int | None:
        """The value of a US element."""
        value = self.values.get(tag, b"")
        return int.from_bytes(value[:2], "little") if len(value) >= 2 else None

    def text(self, tag: int) -> str:
        return self.values.get(tag, b"").decode("ascii", "replace").strip(" \0")

    def inherited(self, tag: int) -> int | None:
        number = self.number(tag)
        if number is None and self._parent is not None:
            return self._parent.inherited(tag)
        return number


class Reader:
    """The source, with a position, and nothing beyond `length` bytes (None: to its end)."""

    def __init__(self, file: IO[bytes], length: int | None) -> None:
        self.file = file
        self.position = 0
        self.length = length
        self._ahead = b""

    def peek(self, count: int) -> bytes:
        if len(self._ahead) < count:
            self._ahead += self._take(count - len(self._ahead), self.position + len(self._ahead))
        return self._ahead[:count]

    def read(self, count: int) -> bytes:
        data, self._ahead = self._ahead[:count], self._ahead[count:]
        if len(data) < count:
            data += self._take(count - len(data), self.position + len(data))
        self.position += len(data)
        if len(data) < count:
            raise TranscodingError(f"the dataset ends at byte {self.position}, inside an element")
        return data

    def skip(self, count: int) -> None:
        while count:
            count -= len(self.read(min(count, CHUNK)))

    def _take(self, count: int, position: int) -> bytes:
        if self.length is not None:
            count = min(count, self.length - position)
        return self.file.read(count) if count > 0 else b""


class Writer:
    """The target."""

    def __init__(self, write: Callable[[bytes], object], encoding: Encoding) -> None:
        self.write = write
        self.encoding = encoding
        order = "<" if encoding.is_little else ">"
        self._item = struct.Struct(f"{order}HHL")
        self._short = struct.Struct(f"{order}HH2sH")
        self._long = struct.Struct(f"{order}HH2sHL")

    def header(self, tag: int, vr: str, length: int) -> None:
        group, element = tag >> 16, tag & 0xFFFF
        if self.encoding.is_implicit:
            self.write(self._item.pack(group, element, length))
            return
        if vr in SHORT_VRS and length <= 0xFFFF:
            self.write(self._short.pack(group, element, vr.encode("ascii"), length))
            return
        # A value that is too long for its VR goes as UN (PS3.5 6.2.2, note 5).
        named = "UN" if vr in SHORT_VRS else vr
        self.write(self._long.pack(group, element, named.encode("ascii"), 0, length))

    def delimiter(self, tag: int, length: int) -> None:
        self.write(self._item.pack(tag >> 16, tag & 0xFFFF, length))


class Pixels(Protocol):
    """What is done about encapsulated pixel data."""

    def replace(self, scope: Scope, tag: int, value: bytes) -> bytes:
        """The value that an element has once its dataset's pixel data is native."""

    def write(self, scope: Scope, reader: Reader, writer: Writer, tick: Tick) -> None:
        """Pixel Data as a whole element; the reader stands behind its header, and goes on behind
        its sequence delimiter."""


class Recoder:
    """Carries one dataset across. `pixels` is None where none of it may be encapsulated."""

    def __init__(self, reader: Reader, writer: Writer, tick: Tick, pixels: Pixels | None) -> None:
        self._reader = reader
        self._writer = writer
        self._tick = tick
        self._pixels = pixels

    def run(self, encoding: Encoding) -> None:
        self._dataset(Scope(), encoding, None)

    def _dataset(self, scope: Scope, encoding: Encoding, end: int | None) -> None:
        encoding = self._actual(encoding, end)
        while end is None or self._reader.position < end:
            if scope.depth == 0 and not self._reader.peek(1):
                return
            header = self._header(scope, encoding)
            if header.tag == ITEM_END and scope.depth:
                return
            self._element(scope, header, encoding)
        if self._reader.position != end:
            raise TranscodingError(f"an item overruns its length at byte {self._reader.position}")

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
            self._writer.header(tag, "SQ", UNDEFINED)
            self._sequence(scope, encoding, self._reader.position + length)
        else:
            self._value(scope, header, encoding)

    def _undefined(self, scope: Scope, header: Header, encoding: Encoding) -> None:
        if header.tag == PIXEL_DATA:
            if self._pixels is None:
                raise TranscodingError("encapsulated pixel data in an uncompressed dataset")
            self._pixels.write(scope, self._reader, self._writer, self._tick)
            return
        if header.vr not in ("SQ", "UN"):
            raise TranscodingError(f"{header} {header.vr} has no length")
        # A sequence whose VR was lost on the way is in Implicit VR (PS3.5 6.2.2, note 4).
        inside = IMPLICIT_LITTLE if header.vr == "UN" else encoding
        self._writer.header(header.tag, "SQ", UNDEFINED)
        self._sequence(scope, inside, None)

    def _sequence(self, scope: Scope, encoding: Encoding, end: int | None) -> None:
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
        if tag == PIXEL_DATA and scope.is_changed and length:
            raise TranscodingError("native pixel data beside the description of encapsulated ones")
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


def swap(value: bytes, word: int) -> bytes:
    """`value` with the bytes of each word reversed; what is left over stays."""
    if word == 1:
        return value
    whole = len(value) // word * word
    swapped = bytearray(value)
    for offset in range(word):
        swapped[offset:whole:word] = value[word - 1 - offset : whole : word]
    return bytes(swapped)


def vr_of(tag: int, scope: Scope) -> str:
    """The VR that an element in Implicit VR has. Private ones are UN: what a private dictionary
    says might be another vendor's."""
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
