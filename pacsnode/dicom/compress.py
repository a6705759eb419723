"""Frames into encapsulated pixel data: each in a fragment of its own, with a table of where they
begin (PS3.5 A.4), and none without having been decoded again and compared."""

import sys
from array import array
from collections.abc import Iterator
from dataclasses import replace
from typing import IO, TYPE_CHECKING

from pacsnode.dicom.codecs import Codec
from pacsnode.dicom.decompress import (
    COMPRESSED,
    Decompressor,
    FrameDecoder,
    as_rgb,
    guarded,
)
from pacsnode.dicom.message import Tick
from pacsnode.dicom.picture import Picture, limits, native_frames, signed
from pacsnode.dicom.stream import (
    EXTENDED_LENGTHS,
    EXTENDED_OFFSETS,
    ITEM,
    PIXEL_DATA,
    SEQUENCE_END,
    UNDEFINED,
    Reader,
    Scope,
    Words,
    Writer,
)
from pacsnode.errors import TranscodingError

if TYPE_CHECKING:
    from pacsnode.dicom.picture import Array

UIDs = tuple[str, str]  # of the transfer syntaxes: source, target

MOST_FRAMES = 1 << 22  # whole slides have tens of thousands; tiny ones without number fill disks
LARGEST_OFFSET = 0xFFFF_FFFF  # of the Basic Offset Table
LEAST_LIKENESS = 0.1  # of the range of a frame's values, that lossy ones may differ by in the mean


class Compressor:
    """recode.Pixels that compresses the pixel data of the top level; that within sequences, of
    icons, becomes or stays native, which it may (PS3.5 A.4)."""

    def __init__(
        self, codec: Codec, stored: Picture, picture: Picture, uids: UIDs, spool: IO[bytes]
    ) -> None:
        """`stored` describes the frames as they are stored, `picture` as they are compressed."""
        source_uid, target_uid = uids
        self._source_uid = source_uid
        self._codec = codec
        self._stored = stored
        self._picture = picture
        self._encoded = replace(picture, photometric=codec.photometric[picture.photometric])
        self._proof = FrameDecoder(target_uid)
        self._decoder = FrameDecoder(source_uid)
        self._nested = Decompressor(source_uid)
        self._spool = spool
        self.compressed = 0  # bytes

    def replace(self, scope: Scope, tag: int, value: bytes) -> bytes:
        """Edits change the top level; below it, what is native stays as it is described."""
        is_ours = scope.depth == 0 or self._source_uid not in COMPRESSED
        return value if is_ours else self._nested.replace(scope, tag, value)

    def write_encapsulated(self, scope: Scope, reader: Reader, writer: Writer, tick: Tick) -> None:
        if scope.depth:
            self._nested.write_encapsulated(scope, reader, writer, tick)
            return
        self._write(self._decoder.frames(scope, self._stored, reader), writer, tick)

    def write_native(
        self, scope: Scope, length: int, word: int, reader: Reader, writer: Writer, tick: Tick
    ) -> bool:
        if scope.depth:
            return self._nested.write_native(scope, length, word, reader, writer, tick)
        words = Words(reader, length, word)
        self._write(native_frames(self._stored, length, words.read), writer, tick)
        words.skip()
        return True

    def _write(self, frames: "Iterator[Array]", writer: Writer, tick: Tick) -> None:
        if self._picture.frames > MOST_FRAMES:
            raise TranscodingError(f"over {MOST_FRAMES} frames")
        table = _Table(self._picture, self._spool)
        table.begin(writer)
        for number, frame in enumerate(frames, 1):
            data = self._compressed(frame, number)
            table.note(len(data))
            writer.delimiter(ITEM, len(data))
            writer.write(data)
            self.compressed += len(data)
            tick()
        writer.delimiter(SEQUENCE_END, 0)
        table.fill()

    def _compressed(self, frame: "Array", number: int) -> bytes:
        """A frame's fragment. Raises TranscodingError, also where the frame would come out of it
        as another one: no codec is trusted with the only copy that somebody will see."""
        frame = _with_sign(frame, self._picture)
        data = guarded(self._codec.encode, frame, self._picture)
        data += b"\0" * (len(data) % 2)
        decoded = self._proof.frame(data, self._encoded)
        if self._encoded.photometric == "YBR_FULL_422":  # decoded to RGB
            frame = as_rgb(frame, self._picture)
        if not _is_alike(frame, decoded, self._codec.error):
            raise TranscodingError(f"frame {number} comes out of the codec as another one")
        return data


class _Table:
    """Where the frames begin: in the Basic Offset Table, or where its 32 bits might not do in an
    Extended Offset Table, which stands before Pixel Data (PS3.3 C.7.6.3.1.8). Known when all have
    been written; until then there are zeros."""

    def __init__(self, picture: Picture, spool: IO[bytes]) -> None:
        self._spool = spool
        self._frames = picture.frames
        most = picture.length + picture.length // 8 + 64 * picture.frames
        self._is_extended = most > LARGEST_OFFSET
        self._places: list[int] = []
        self._start = 0
        self._offsets, self._lengths = array("Q"), array("Q")

    def begin(self, writer: Writer) -> None:
        """Up to where the first fragment goes."""
        for tag in (EXTENDED_OFFSETS, EXTENDED_LENGTHS) if self._is_extended else ():
            writer.header(tag, "OV", 8 * self._frames)
            self._leave_room(8 * self._frames)
        writer.header(PIXEL_DATA, "OB", UNDEFINED)
        length = 0 if self._is_extended else 4 * self._frames
        writer.delimiter(ITEM, length)
        self._leave_room(length)
        self._start = self._spool.tell()

    def _leave_room(self, length: int) -> None:
        self._places.append(self._spool.tell())
        self._spool.write(bytes(length))

    def note(self, length: int) -> None:
        """A fragment of so many bytes begins here."""
        self._offsets.append(self._spool.tell() - self._start)
        self._lengths.append(length)

    def fill(self) -> None:
        basic = array("I", () if self._is_extended else self._offsets)
        tables = (self._offsets, self._lengths, basic) if self._is_extended else (basic,)
        end = self._spool.tell()
        for place, table in zip(self._places, tables, strict=True):
            self._spool.seek(place)
            self._spool.write(_little(table))
        self._spool.seek(end)


def _little(values: "array[int]") -> bytes:
    if sys.byteorder == "big":
        values.byteswap()
    return values.tobytes()


def _with_sign(frame: "Array", picture: Picture) -> "Array":
    """Some devices leave the bits above the sign empty."""
    if not picture.is_signed or picture.bits_stored == picture.bits_allocated:
        return frame
    _, high = limits(picture)
    is_cut = frame.min() >= 0 and high < frame.max() < 1 << picture.bits_stored
    return signed(frame, picture.bits_stored) if is_cut else frame


def _is_alike(frame: "Array", decoded: "Array", error: int | None) -> bool:
    import numpy

    if frame.shape != decoded.shape:
        return False
    if error == 0:
        return bool(numpy.array_equal(frame, decoded))
    difference = numpy.abs(frame.astype("i8") - decoded.astype("i8"))
    if error is not None:
        return bool(difference.max() <= error)
    return bool(difference.mean() <= max(int(numpy.ptp(frame)) * LEAST_LIKENESS, 1))
