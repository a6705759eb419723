"""Datasets byte by byte: also those that no library would write. And pydicom's bundled files."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pydicom.data

from pacsnode.dicom import part10
from pacsnode.errors import UnreadableDataset

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
SYNTAXES = (IMPLICIT, EXPLICIT, DEFLATED, BIG_ENDIAN)
CT = "1.2.840.10008.5.1.4.1.1.2"
UNDEFINED = 0xFFFFFFFF

_LONG = ("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV")


def element(tag: int, vr: str, value: bytes, length: int | None = None, order: str = "<") -> bytes:
    """An element in Explicit VR; `length` is what its header claims, its VR any two characters."""
    length = len(value) if length is None else length
    head = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF) + vr.encode("latin_1")
    if vr in _LONG:
        return head + struct.pack(order + "HL", 0, length) + value
    return head + struct.pack(order + "H", length) + value


def implicit(tag: int, value: bytes, length: int | None = None) -> bytes:
    length = len(value) if length is None else length
    return struct.pack("<HHL", tag >> 16, tag & 0xFFFF, length) + value


def delimiter(number: int, length: int = 0) -> bytes:
    """FFFE,E000 begins an item, E00D ends one, E0DD ends a sequence."""
    return struct.pack("<HHL", 0xFFFE, number, length)


def uids(
    study: bytes = b"1.2.3 ", series: bytes = b"1.2.3.4 ", sop: bytes = b"1.2.3.4.5 "
) -> dict[int, bytes]:
    return {
        0x00080016: element(0x00080016, "UI", CT.encode() + b"\0"),
        0x00080018: element(0x00080018, "UI", sop),
        0x0020000D: element(0x0020000D, "UI", study),
        0x0020000E: element(0x0020000E, "UI", series),
    }


def dataset(*more: tuple[int, str, bytes], **those: bytes) -> bytes:
    """The smallest instance, in Explicit VR Little Endian, with more elements, in order of tags."""
    elements = uids(**those) | {tag: element(tag, vr, value) for tag, vr, value in more}
    return b"".join(elements[tag] for tag in sorted(elements))


_FOLDER = Path(pydicom.data.__file__).parent
# In the package itself: asking pydicom for them by name would fetch those that are not.
BUNDLED = sorted(
    path
    for folder in ("test_files", "charset_files")
    for path in (_FOLDER / folder).rglob("*")
    if path.is_file()
)


def opened() -> Iterator[tuple[Path, BinaryIO, part10.FileMeta]]:
    """Every bundled DICOM file, at its dataset's first byte."""
    for path in BUNDLED:
        with path.open("rb") as file:
            try:
                meta = part10.read_file_meta(file)
            except UnreadableDataset:
                continue
            file.seek(meta.dataset_offset)
            yield path, file, meta
