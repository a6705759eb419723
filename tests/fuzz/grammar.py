"""Datasets and identifiers as a grammar has them: well formed around values that are not, with now
and then a length that lies. Mutation alone loses its way at the first length field."""

import struct
import zlib
from collections.abc import Sequence
from random import Random

from pacsnode.dicom import dictionary
from pacsnode.dicom.elements import LONG_VRS, SHORT_VRS
from pacsnode.dicom.level import COLUMNS, COMPUTED, OTHERS, Level
from tests.dicom import raw

SYNTAXES = (*raw.SYNTAXES, "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.80", "1.2.3", "")
SEQUENCES = (0x00400275, 0x00081110, 0x00081115, 0x52009229, 0x00091001)

_TAGS = tuple(
    dictionary.tag_of(keyword)
    for level in Level
    for keyword in (*COLUMNS[level], *OTHERS[level], *COMPUTED[level])
)
_ODD_TAGS = (
    0x00080000, 0x00080005, 0x00080052, 0x00080054, 0x00090010, 0x00091001, 0x00280010, 0x00280011,
    0x00280008, 0x00020010, 0x00000000, 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD, 0x7FE00010, 0xFFFCFFFC,
    0x00100010, 0x0020000D, 0x0020000E, 0x00080018,
)  # fmt: skip
_VRS = (*(vr.decode() for vr in sorted(SHORT_VRS | LONG_VRS)), "ZZ", "\0\0", "  ", "Q1")

_SETS = (
    b"ISO_IR 100", b"ISO_IR 192", b"ISO 2022 IR 6\\ISO 2022 IR 87", b"\\ISO 2022 IR 149", b"GBK",
    b"ISO_IR 13\\ISO 2022 IR 87\\ISO 2022 IR 159", b"\\ISO 2022 IR 58", b"GB18030", b"ISO_IR 166",
    b"utf8", b"\\" * 60, b"ISO_IR 999", b"",
)  # fmt: skip
_TEXTS = (
    b"", b" ", b"DOE^JOHN", b"1.2.3", b"../../../etc/passwd", b"/etc/passwd", b"..", b".",
    b"a/b\0c",
    b"*", b"?", b"D*E^?", b"*a*a*a*a*a*b", b"^^^^", b"=" * 40, b"\\" * 9, b"\x1b]0;x\x07",
    b"\x9b2J",
    b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B", b"\x1b)I\xd4\xcf\xc0\xde",
    b"\x1b$)C\xb1\xe8",
    b"\xc3\x84neas^R\xc3\xbcdiger", b"\xc4neas", b"\xe2\x80\xae\xe2\x80\x8f", b"\xed\xa0\x80",
    b"\xff",
    b"20240131", b"2024.01.31", b"20249999", b"-", b"20200101-", b"-20200101", b"99999999-00000000",
    b"101530.123456", b"24", b"1015-1016", b"20240131101530.5+1400", b"00010101000000-1200-",
    b"0", b"-0", b"+7", b"1e999", b"-1e-999", b"nan", b"inf", b"1_0", b"9" * 400, b"0" * 400 + b"1",
    b"\xd9\xa1", b"0x10", b"PATIENT", b"STUDY", b"SERIES", b"IMAGE", b"IMAGE\\STUDY",
    b"1.2.840.10008.5.1.4.1.1.2", b"1" * 128, b"1" * 129, b"1.2.3\0\0", b"1.2.3\n", b"ASCII\0ASCII",
)  # fmt: skip


def text(random: Random) -> bytes:
    """One value, or several, or one again and again."""
    value = random.choice(_TEXTS)
    if random.random() < 0.2:
        value = b"\\".join(random.choices(_TEXTS, k=random.randint(1, 6)))
    if value and random.random() < 0.04:
        value *= random.choice((10, 100, min(3000, 60_000 // len(value))))
    return value


def _value(random: Random, tag: int) -> bytes:
    if tag == 0x00080005:
        return random.choice(_SETS)
    if random.random() < 0.15:
        return random.randbytes(random.choice((0, 1, 2, 3, 4, 7, 8, 9, 100)))
    return text(random)


def dataset(random: Random, syntax: str, required: Sequence[tuple[int, bytes]] = ()) -> bytes:
    """In a transfer syntax, mostly in the order of tags; with the `required` elements."""
    order = ">" if syntax == raw.BIG_ENDIAN else "<"
    is_explicit = syntax != raw.IMPLICIT
    elements = dict(required) if random.random() < 0.95 else {}
    tags = random.choices(_TAGS, k=random.randint(0, 12)) + random.choices(
        _ODD_TAGS, k=int(random.expovariate(0.8))
    )
    parts = [
        (tag, _element(random, tag, None, order, is_explicit, 0))
        for tag in tags
        if tag not in elements
    ]
    parts += [
        (tag, _element(random, tag, value, order, is_explicit, 0))
        for tag, value in elements.items()
    ]
    if random.random() < 0.95:
        parts.sort(key=lambda each: each[0])
    encoded = b"".join(part for _, part in parts)
    if syntax == raw.DEFLATED and random.random() < 0.95:
        deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        return deflate.compress(encoded) + deflate.flush()
    return encoded


def _element(
    random: Random, tag: int, value: bytes | None, order: str, is_explicit: bool, depth: int
) -> bytes:
    vr = dictionary.vr_of(tag)
    if random.random() < 0.05:
        vr = random.choice(_VRS)
    is_sequence = value is None and (vr == "SQ" or random.random() < 0.05) and depth < 40
    length = None
    if is_sequence:
        value, length = _sequence(random, order, is_explicit, depth)
        vr = random.choice(("SQ", "SQ", "SQ", "UN"))
    elif value is None:
        value = _value(random, tag)
    value = value or b""
    if len(value) % 2 and random.random() < 0.9:
        value += b" "
    if random.random() < 0.01:
        length = random.choice((0, 1, len(value) + 1, 0xFFFE, 0xFFFF, 0xFFFFFFFE, 0xFFFFFFFF))
    if length is None:
        length = len(value)
    if is_explicit:
        is_short = not vr.isalpha() or vr not in raw._LONG
        return raw.element(tag, vr[:2], value, min(length, 0xFFFF) if is_short else length, order)
    return struct.pack(order + "HHL", tag >> 16, tag & 0xFFFF, length) + value


def _sequence(
    random: Random, order: str, is_explicit: bool, depth: int
) -> tuple[bytes, int | None]:
    items = []
    for _ in range(random.choice((0, 1, 1, 1, 2, 5))):
        deeper = random.random() < 0.3
        inner = b"".join(
            _element(
                random,
                random.choice(SEQUENCES if deeper else _TAGS),
                None,
                order,
                is_explicit,
                depth + 1,
            )
            for _ in range(random.randint(0, 2))
        )
        if random.random() < 0.5:
            items.append(struct.pack(order + "HHL", 0xFFFE, 0xE000, len(inner)) + inner)
        else:
            items.append(struct.pack(order + "HHL", 0xFFFE, 0xE000, raw.UNDEFINED) + inner)
            if random.random() < 0.9:
                items.append(struct.pack(order + "HHL", 0xFFFE, 0xE00D, 0))
    content = b"".join(items)
    if random.random() < 0.5:
        return content, None
    end = struct.pack(order + "HHL", 0xFFFE, 0xE0DD, 0)
    return content + (end if random.random() < 0.95 else b""), raw.UNDEFINED


def instance(random: Random, syntax: str, uid: bytes = b"1.2.3.4") -> bytes:
    """A dataset to store."""
    required = [
        (0x00080016, raw.CT.encode()),
        (0x00080018, uid),
        (0x0020000D, b"1.2.3"),
        (0x0020000E, b"1.2.3.1"),
    ]
    return dataset(random, syntax, required)


def identifier(random: Random, syntax: str) -> bytes:
    level = random.choice((b"PATIENT", b"STUDY", b"SERIES", b"IMAGE"))
    required = [(0x00080052, level)]
    if random.random() < 0.5:
        required.append((0x0020000D, random.choice((b"1.2.3", b"", b"1.2.3\\1.2.4"))))
    return dataset(random, syntax, required)


def nested(depth: int, *, is_undefined: bool = True, tag: int = 0x00400275) -> bytes:
    """Sequences in sequences, in Explicit VR Little Endian."""
    if is_undefined:
        begin = raw.element(tag, "SQ", b"", raw.UNDEFINED) + raw.delimiter(0xE000, raw.UNDEFINED)
        return begin * depth + (raw.delimiter(0xE00D) + raw.delimiter(0xE0DD)) * depth
    parts: list[bytes] = []
    length = 0
    for _ in range(depth):
        item = raw.delimiter(0xE000, length)
        parts += [item, raw.element(tag, "SQ", b"", length + len(item))]
        length += len(item) + 12
    return b"".join(reversed(parts))
