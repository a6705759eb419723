"""Where the frames lie in encapsulated pixel data (PS3.5 A.4). Tables say so, some wrongly."""

from array import array
from collections.abc import Iterator
from typing import IO, Any, cast

from pacsnode.dicom.stream import EXTENDED_LENGTHS, EXTENDED_OFFSETS, ITEM, SEQUENCE_END, Scope

HEADER = 8  # bytes of an item's tag and length


def frames_of(scope: Scope, file: IO[bytes], frames: int) -> Iterator[bytes]:
    """The frames as they are compressed; `file` stands behind the header of Pixel Data."""
    from pydicom.encaps import generate_frames

    offsets = extended_offsets(scope, file, frames)
    return generate_frames(cast(Any, file), number_of_frames=frames, extended_offsets=offsets)


def extended_offsets(scope: Scope, file: IO[bytes], frames: int) -> tuple[bytes, bytes] | None:
    """The offsets and lengths of an Extended Offset Table (PS3.3 C.7.6.3.1.8). Where there is one
    fragment for each frame they are what is there, and no table that says otherwise counts; else
    they are as the dataset has them, None where it has none. `file` stays where it is."""
    start = file.tell()
    offsets, lengths = _fragments(file)
    file.seek(start)
    if len(offsets) == frames:
        return offsets.tobytes(), lengths.tobytes()
    if EXTENDED_OFFSETS in scope.values and EXTENDED_LENGTHS in scope.values:
        return scope.values[EXTENDED_OFFSETS], scope.values[EXTENDED_LENGTHS]
    return None


def _fragments(file: IO[bytes]) -> "tuple[array[int], array[int]]":
    """Offsets and lengths of those that hold something."""
    offsets, lengths = array("Q"), array("Q")
    _, length = _header(file)
    start = file.seek(length, 1)
    while True:
        tag, length = _header(file)
        if tag != ITEM:
            break
        if length:
            offsets.append(file.tell() - HEADER - start)
            lengths.append(length)
        file.seek(length, 1)
    return offsets, lengths


def _header(file: IO[bytes]) -> tuple[int, int]:
    """Tag and length of an item; a delimiter's at the end of the file."""
    data = file.read(HEADER)
    if len(data) < HEADER:
        return SEQUENCE_END, 0
    group, element = int.from_bytes(data[:2], "little"), int.from_bytes(data[2:4], "little")
    return group << 16 | element, int.from_bytes(data[4:], "little")
