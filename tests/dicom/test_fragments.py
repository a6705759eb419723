"""Frames are found where they are, whatever the offset tables say."""

import io
import struct
from collections.abc import Sequence

import pytest

from pacsnode.dicom.message import DatasetSource
from pacsnode.dicom.transcode import transcode
from tests.dicom import raw

UNCOMPRESSED, RLE = "1.2.840.10008.1.2.1.98", "1.2.840.10008.1.2.5"
FRAMES = [bytes(range(first, first + 16)) for first in (0, 100, 200)]
FRAGMENTS = {
    UNCOMPRESSED: FRAMES,
    RLE: [struct.pack("<16L", 1, 64, *[0] * 14) + b"\x0f" + frame + b"\0" for frame in FRAMES],
}
Table = Sequence[int]


def encapsulated(
    fragments: Sequence[bytes], table: Table, extended: tuple[Table, Table] | None
) -> bytes:
    """Three frames of 4 by 4 pixels."""
    items = b"".join(raw.delimiter(0xE000, len(data)) + data for data in fragments)
    basic = raw.delimiter(0xE000, 4 * len(table)) + struct.pack(f"<{len(table)}L", *table)
    tables = () if extended is None else zip((0x7FE00001, 0x7FE00002), extended, strict=True)
    return raw.dataset(
        (0x00280002, "US", b"\1\0"),
        (0x00280004, "CS", b"MONOCHROME2 "),
        (0x00280008, "IS", b"3 "),
        (0x00280010, "US", b"\4\0"),
        (0x00280011, "US", b"\4\0"),
        (0x00280100, "US", b"\x08\0"),
        (0x00280101, "US", b"\x08\0"),
        (0x00280102, "US", b"\x07\0"),
        (0x00280103, "US", b"\0\0"),
        *((tag, "OV", struct.pack(f"<{len(values)}Q", *values)) for tag, values in tables),
    ) + raw.element(0x7FE00010, "OB", basic + items + raw.delimiter(0xE0DD), raw.UNDEFINED)


def pixels(data: bytes, syntax: str) -> bytes:
    source = DatasetSource(io.BytesIO(data), len(data))
    result = transcode(source, syntax, raw.EXPLICIT, io.BytesIO())
    return result.file.read(result.length)[-48:]


@pytest.mark.parametrize("syntax", FRAGMENTS)
@pytest.mark.parametrize("extra", [0, 1], ids=["", "and an empty fragment"])
@pytest.mark.parametrize(
    "lie",
    ["none", "zeros", "one", "short", "reversed", "without headers", "beyond", "not at items"],
)
@pytest.mark.parametrize("is_extended", [False, True])
def test_frames_of_one_fragment_each_come_in_their_order(
    syntax: str, extra: int, lie: str, is_extended: bool
) -> None:
    fragments = FRAGMENTS[syntax]
    length = len(fragments[0])
    right = [(8 + length) * number for number in range(3)]
    table = {
        "none": [],
        "zeros": [0, 0, 0],
        "one": [0],
        "short": right[:2],
        "reversed": right[::-1],
        "without headers": [length * number for number in range(3)],
        "beyond": [0, 1 << 31, 5],
        "not at items": [place + 4 for place in right],
    }[lie]
    extended = (table, [length] * len(table)) if is_extended else None
    data = encapsulated([*[b""] * extra, *fragments], [] if is_extended else table, extended)
    assert pixels(data, syntax) == b"".join(FRAMES)


def test_frames_of_several_fragments_are_found_by_the_table() -> None:
    halves = [part for frame in FRAMES for part in (frame[:6], frame[6:])]
    data = encapsulated(halves, [0, 32, 64], None)
    assert pixels(data, UNCOMPRESSED) == b"".join(FRAMES)


@pytest.mark.parametrize("lengths", [[0, 0, 0], [1, 2, 3]])
def test_wrong_lengths_cut_off_nothing(lengths: Table) -> None:
    data = encapsulated(FRAMES, [], ([0, 24, 48], lengths))
    assert pixels(data, UNCOMPRESSED) == b"".join(FRAMES)
