"""Elements out of a dataset's bytes (PS3.5 7): explicit or implicit VR, either byte order, deflated
or not. Reads what is asked for, passes over the rest, and believes no length: the work is bounded
whatever the bytes are.
"""

import struct
import zlib
from collections.abc import Container, Iterator
from io import BytesIO
from typing import NamedTuple, Protocol

from pacsnode.errors import UnreadableDataset

IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2"
EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1.99"
EXPLICIT_VR_BIG_ENDIAN = "1.2.840.10008.1.2.2"
_DEFLATED = (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    "1.2.840.10008.1.2.4.95",  # JPIP Referenced Deflate
    "1.2.840.10008.1.2.4.205",  # JPIP HTJ2K Referenced Deflate
)

# VRs by the size of their length field (PS3.5 7.1.2).
SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())

_SHORT_NAMES = {vr: vr.decode() for vr in SHORT_VRS}
_UNPACK_LITTLE = struct.Struct("<HH2sH").unpack_from
_UNPACK_BIG = struct.Struct(">HH2sH").unpack_from

UNDEFINED = 0xFFFFFFFF
_ITEM = 0xFFFEE000
_ITEM_DELIMITATION = 0xFFFEE00D
_SEQUENCE_DELIMITATION = 0xFFFEE0DD
_DELIMITERS = 0xFFFE

_CHUNK = 16 * 1024
_MAX_INFLATED = 16 * 1024 * 1024
_MAX_HEADERS = 500_000
_MAX_HEADERS_INFLATED = 100_000  # each takes a few bits to send


class Form(NamedTuple):
    """How elements are written. Deflated is a wrapping, not a form."""

    is_explicit: bool
    is_little: bool = True


EXPLICIT_LITTLE = Form(True)
IMPLICIT_LITTLE = Form(False)
EXPLICIT_BIG = Form(True, False)


class Element(NamedTuple):
    """An element as found. `vr` is as declared, empty where the form has none or it is no VR.
    `raw` is the value field; that of a sequence of undefined length goes up to its end."""

    tag: int
    vr: str
    raw: bytes
    form: Form


# Tag, VR, length, and where the value field begins; a plain tuple, for there are many.
_Header = tuple[int, str, int, int]


class Source(Protocol):
    """What a dataset is read from: a file, or what stands in for one."""

    def tell(self) -> int:
        """The position of the next byte."""

    def seek(self, position: int, /) -> object:
        """Go to this one."""

    def read(self, size: int, /) -> bytes:
        """The next `size` bytes, fewer at the end."""


class Window:
    """Bytes of a file from its present position on, or of a deflated stream there, read in pieces
    as they are asked for. Positions count from there."""

    def __init__(self, file: Source, is_deflated: bool = False) -> None:
        self._file = file
        self._base = file.tell()
        self._start = 0
        self._data = b""
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS) if is_deflated else None
        self._inflated = bytearray()
        self.most_headers = _MAX_HEADERS_INFLATED if is_deflated else _MAX_HEADERS

    def around(self, position: int, length: int) -> tuple[bytes, int]:
        """A buffer with `length` bytes from `position` on, if there are as many, and where in it
        they begin."""
        offset = position - self._start
        if offset >= 0 and offset + length <= len(self._data):
            return self._data, offset
        self._data = self._read(position, max(length, _CHUNK))
        self._start = position
        return self._data, 0

    def at(self, position: int, length: int) -> bytes:
        """`length` bytes, fewer at the end."""
        data, offset = self.around(position, length)
        return data[offset : offset + length]

    def _read(self, position: int, length: int) -> bytes:
        if self._inflater is None:
            self._file.seek(self._base + position)
            return self._file.read(length)
        self._inflate(self._inflater, position + length)
        return bytes(memoryview(self._inflated)[position : position + length])

    def _inflate(self, inflater: "zlib._Decompress", wanted: int) -> None:
        """A header beyond the bound is no header: the rest is as if it were not there."""
        wanted = min(wanted, _MAX_INFLATED)
        while len(self._inflated) < wanted and not inflater.eof:
            compressed = inflater.unconsumed_tail or self._file.read(_CHUNK)
            if not compressed:
                return
            try:
                room = wanted - len(self._inflated)
                self._inflated += inflater.decompress(compressed, room)
            except zlib.error:
                self._file = BytesIO()
                return


class _Bytes(Window):
    """Bytes that are at hand already."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._start = 0
        self.most_headers = _MAX_HEADERS

    def around(self, position: int, length: int) -> tuple[bytes, int]:
        return self._data, position


def is_deflated(transfer_syntax_uid: str) -> bool:
    return transfer_syntax_uid in _DEFLATED


def open_window(file: Source, transfer_syntax_uid: str) -> Window:
    """The dataset that begins at the file's present position, inflated where that is needed."""
    return Window(file, is_deflated(transfer_syntax_uid))


def forms_of(transfer_syntax_uid: str, head: bytes) -> tuple[Form, ...]:
    """The forms to try, the likeliest first. Every transfer syntax but two is Explicit VR Little
    Endian; but what writers declare and what they write differ: `head`, the first 8 bytes, tell."""
    if transfer_syntax_uid == EXPLICIT_VR_BIG_ENDIAN:
        return (EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE)
    if head[4:6] not in SHORT_VRS and head[4:6] not in LONG_VRS:
        return (IMPLICIT_LITTLE, EXPLICIT_LITTLE)
    if head[0] == 0 and head[1] != 0:
        return (EXPLICIT_BIG, EXPLICIT_LITTLE)
    return (EXPLICIT_LITTLE, IMPLICIT_LITTLE)


class Walker:
    """Goes through a dataset's elements once; over `most` of them, also inside sequences, are none
    that anybody sends."""

    def __init__(self, window: Window, form: Form, most: int | None = None) -> None:
        self._window = window
        self._form = form
        self._headers = 0
        self._most = window.most_headers if most is None else most
        self.position = 0  # the end of the last element passed
        self.deepest = 0  # sequences of undefined length in one another, among those passed

    def walk(
        self, wanted: Container[int] | None = None, stop: int = UNDEFINED, longest: int = 65536
    ) -> Iterator[Element]:
        """The elements in `wanted` (None: all), up to the first tag from `stop` on. Values over
        `longest` bytes are passed over. Raises UnreadableDataset where the bytes make no sense."""
        while True:
            if self._form.is_explicit:
                yield from self._plain(wanted, stop, longest)
            header = self._header(self.position, self._form)
            if header is None:
                break
            tag, vr, length, value = header
            if stop <= tag and tag >> 16 != _DELIMITERS:
                return
            if tag >> 16 == _DELIMITERS:  # astray, and without a value
                self.position = value
                continue
            end = self.position = value + length if length != UNDEFINED else self.end_of(value, vr)
            if (wanted is None or tag in wanted) and end - value <= longest:
                raw = self._window.at(value, end - value)
                if len(raw) < end - value:
                    raise UnreadableDataset(f"({tag:08X}) is longer than what is left")
                yield Element(tag, vr, raw, self._form)
        if self._window.at(self.position, 1):
            raise UnreadableDataset(f"half an element at byte {self.position}")

    def _plain(self, wanted: Container[int] | None, stop: int, longest: int) -> Iterator[Element]:
        """The same, in a tight loop, of those elements with a short length that are at hand whole:
        nearly all of a header. Ends before the first that takes a closer look."""
        form = self._form
        unpack = _UNPACK_LITTLE if form.is_little else _UNPACK_BIG
        data, offset = self._window.around(self.position, 12)
        shift, size = self.position - offset, len(data)
        left = begun = max(self._most - self._headers, 0)
        while left and offset + 8 <= size:
            group, number, vr, length = unpack(data, offset)
            value = offset + 8
            end = value + length
            tag = group << 16 | number
            name = _SHORT_NAMES.get(vr)
            if name is None or tag >= stop or group == _DELIMITERS or end > size:
                break
            left -= 1
            offset = end
            self.position = shift + end
            if (wanted is None or tag in wanted) and length <= longest:
                yield Element(tag, name, data[value:end], form)
        self._headers += begun - left

    def _header(self, position: int, form: Form) -> _Header | None:
        self._headers += 1
        if self._headers > self._most:
            raise UnreadableDataset("more elements than a header can have")
        data, offset = self._window.around(position, 12)
        if len(data) - offset < 8:
            return None
        if not form.is_explicit:
            group, number, length = struct.unpack_from("<HHL", data, offset)
            return (group << 16 | number, "", length, position + 8)
        order = "<" if form.is_little else ">"
        unpack = _UNPACK_LITTLE if form.is_little else _UNPACK_BIG
        group, number, vr, length = unpack(data, offset)
        tag = group << 16 | number
        if short_vr := _SHORT_NAMES.get(vr):
            return tag, short_vr, length, position + 8
        if vr in LONG_VRS:
            return self._long(tag, vr.decode(), position, order)
        if group == _DELIMITERS:
            (length,) = struct.unpack_from(order + "L", data, offset + 4)
            return (tag, "", length, position + 8)
        return self._without_vr(tag, vr, position, order)

    def _long(self, tag: int, vr: str, position: int, order: str) -> _Header | None:
        data, offset = self._window.around(position, 12)
        if len(data) - offset < 12:
            return None
        (length,) = struct.unpack_from(order + "L", data, offset + 8)
        return (tag, vr, length, position + 12)

    def _without_vr(self, tag: int, vr: bytes, position: int, order: str) -> _Header | None:
        """Where two letters should stand that are a VR. A VR of times to come has the long form
        (PS3.5 6.2); else the element is implicit, or has a short length behind what is no VR."""
        data, offset = self._window.around(position, 12)
        (short,) = struct.unpack_from(order + "H", data, offset + 6)
        if vr.isalpha() and vr.isupper():
            if short == 0:
                return self._long(tag, "", position, order)
            return (tag, "", short, position + 8)
        (length,) = struct.unpack_from(order + "L", data, offset + 4)
        if short == 0 or length == UNDEFINED:
            return (tag, "", length, position + 8)
        return (tag, "", short, position + 8)

    def end_of(self, position: int, vr: str = "", is_item: bool = False) -> int:
        """Where the sequence, or the item, of undefined length ends that began before `position`,
        its delimiter included. No recursion: depth is the sender's choice. UN of undefined length
        holds implicit VR (PS3.5 6.2.2)."""
        form = IMPLICIT_LITTLE if vr == "UN" else self._form
        # True where items are expected, False inside an item, with the form there.
        inside: list[tuple[bool, Form]] = [(not is_item, form)]
        while inside:
            expects_items, form = inside[-1]
            header = self._header(position, form)
            if header is None:
                raise UnreadableDataset("a sequence without an end")
            tag, vr, length, value = header
            position = value
            if tag == _SEQUENCE_DELIMITATION:
                while inside and not inside[-1][0]:  # items whose own delimiter is missing
                    inside.pop()
                if inside:
                    inside.pop()
            elif tag == _ITEM_DELIMITATION:
                if not expects_items:
                    inside.pop()
            elif tag == _ITEM and expects_items:
                if length == UNDEFINED:
                    inside.append((False, form))
                    self.deepest = max(self.deepest, len(inside) // 2)
                else:
                    position += length
            elif expects_items or tag == _ITEM:
                raise UnreadableDataset(f"({tag:08X}) where an item should begin")
            elif length == UNDEFINED:
                inside.append((True, IMPLICIT_LITTLE if vr == "UN" else form))
            else:
                position += length
        return position


def parse(data: bytes, form: Form, longest: int = UNDEFINED) -> Iterator[Element]:
    """All elements of a dataset at hand. Raises UnreadableDataset."""
    return Walker(_Bytes(data), form).walk(longest=longest)


def items_of(element: Element) -> Iterator[tuple[Element, ...]]:
    """The items of a sequence; what cannot be read of it is left out."""
    raw, form = element.raw, _form_inside(element)
    walker = Walker(_Bytes(raw), form)
    order = "<" if form.is_little else ">"
    position = 0
    while position + 8 <= len(raw):
        group, number, length = struct.unpack_from(order + "HHL", raw, position)
        position += 8
        if group << 16 | number != _ITEM:
            return
        end = position + length
        if length == UNDEFINED:
            try:
                end = walker.end_of(position, is_item=True)
            except UnreadableDataset:
                end = len(raw)
        yield tuple(_readable_elements(raw[position:end], form))
        position = end


def _form_inside(element: Element) -> Form:
    """UN holds implicit VR, unless its writer put UN where SQ should be (PS3.5 6.2.2)."""
    if element.vr != "UN":
        return element.form
    vr = element.raw[12:14]
    return element.form if vr in SHORT_VRS or vr in LONG_VRS else IMPLICIT_LITTLE


def _readable_elements(raw: bytes, form: Form) -> Iterator[Element]:
    try:
        yield from parse(raw, form)
    except UnreadableDataset:
        return
