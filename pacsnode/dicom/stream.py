"""Elements of a dataset as they come and go in the encodings of PS3.5 7.1: what reads them, what
writes them, and what is remembered of them on the way."""

import struct
from collections.abc import Callable
from typing import IO, NamedTuple

from pacsnode.errors import TranscodingError


class Encoding(NamedTuple):
    is_implicit: bool
    is_little: bool


IMPLICIT_LITTLE = Encoding(True, True)
EXPLICIT_LITTLE = Encoding(False, True)

FLOAT_PIXEL_DATA, PIXEL_DATA = 0x7FE0_0008, 0x7FE0_0010
EXTENDED_OFFSETS, EXTENDED_LENGTHS, TOTAL_LENGTH = 0x7FE0_0001, 0x7FE0_0002, 0x7FE0_0003
TABLES = frozenset({EXTENDED_OFFSETS, EXTENDED_LENGTHS, TOTAL_LENGTH})  # of what is encapsulated
SAMPLES_PER_PIXEL, PHOTOMETRIC_INTERPRETATION = 0x0028_0002, 0x0028_0004
PLANAR_CONFIGURATION, NUMBER_OF_FRAMES = 0x0028_0006, 0x0028_0008
ROWS, COLUMNS = 0x0028_0010, 0x0028_0011
BITS_ALLOCATED, BITS_STORED, PIXEL_REPRESENTATION = 0x0028_0100, 0x0028_0101, 0x0028_0103
IMAGE_TYPE, SOP_CLASS_UID, SOP_INSTANCE_UID = 0x0008_0008, 0x0008_0016, 0x0008_0018
DERIVATION_DESCRIPTION, SOURCE_IMAGES, DERIVATION_CODE = 0x0008_2111, 0x0008_2112, 0x0008_9215
IS_LOSSY, LOSSY_RATIO, LOSSY_METHOD = 0x0028_2110, 0x0028_2112, 0x0028_2114

# What is kept of a dataset, with the longest value in bytes: the rest says nothing of pixels, and
# would be kept for nothing.
KEPT = {
    **dict.fromkeys(
        (
            SAMPLES_PER_PIXEL, PHOTOMETRIC_INTERPRETATION, PLANAR_CONFIGURATION, NUMBER_OF_FRAMES,
            ROWS, COLUMNS, BITS_ALLOCATED, BITS_STORED, PIXEL_REPRESENTATION,
            SOP_CLASS_UID, SOP_INSTANCE_UID, IS_LOSSY,
        ),
        64,
    ),
    **dict.fromkeys((IMAGE_TYPE, DERIVATION_DESCRIPTION, LOSSY_RATIO, LOSSY_METHOD), 1024),
}  # fmt: skip
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
        self.values: dict[int, bytes] = {}  # those of KEPT, and offset tables, little endian
        self.is_changed = False

    def keep(self, tag: int, value: bytes) -> None:
        if tag in TABLES or len(value) <= KEPT.get(tag, -1):
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


def swap(value: bytes, word: int) -> bytes:
    """`value` with the bytes of each word reversed; what is left over stays."""
    if word == 1:
        return value
    whole = len(value) // word * word
    swapped = bytearray(value)
    for offset in range(word):
        swapped[offset:whole:word] = value[word - 1 - offset : whole : word]
    return bytes(swapped)


def skip_fragments(reader: Reader) -> None:
    """To behind the sequence delimiter of encapsulated pixel data."""
    while True:
        start = reader.read(8)
        tag = int.from_bytes(start[:2], "little") << 16 | int.from_bytes(start[2:4], "little")
        if tag == SEQUENCE_END:
            return
        if tag != ITEM:
            raise TranscodingError(f"({tag >> 16:04X},{tag & 0xFFFF:04X}) among the fragments")
        reader.skip(int.from_bytes(start[4:], "little"))


class Words:
    """The little endian bytes of native pixel data, of which the bytes of each `word` are to be
    reversed: frames may end within one."""

    def __init__(self, reader: Reader, length: int, word: int) -> None:
        self._reader = reader
        self._left = length
        self._word = word
        self._ahead = b""

    def read(self, count: int) -> bytes:
        missing = max(count - len(self._ahead), 0)
        whole = min(-(-missing // self._word) * self._word, self._left)
        self._left -= whole
        data = self._ahead + swap(self._reader.read(whole), self._word)
        self._ahead = data[count:]
        return data[:count]

    def skip(self) -> None:
        """To the end."""
        self._reader.skip(self._left)
