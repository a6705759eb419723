"""Frames into encapsulated pixel data: each in a fragment of its own, with a table of where they
begin (PS3.5 A.4), and none without having been decoded again and compared."""

import sys
from array import array
from collections.abc import Iterator
from dataclasses import replace
from typing import IO, TYPE_CHECKING

from pacsnode.dicom.codecs import Codec
from pacsnode.dicom.decompress import Decompressor, FrameDecoder, guarded
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
    Writer,
    swap,
)
from pacsnode.errors import TranscodingError

if TYPE_CHECKING:
    from pacsnode.dicom.picture import Array

UIDs = tuple[str, str]  # of the transfer syntaxes: source, target

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
        return self._nested.replace(scope, tag, value) if scope.depth else value

    def write_encapsulated(self, scope: Scope, reader: Reader, writer: Writer, tick: Tick) -> None:
        if scope.depth:
            self._nested.write_encapsulated(scope, reader, writer, tick)
            return
        self._write(self._decoder.frames(scope, self._stored, reader), writer, tick)

    def write_native(
        self, scope: Scope, length: int, word: int, reader: Reader, writer: Writer, tick: Tick
    ) -> bool:
        if scope.depth:
            return False
        words = _Words(reader, length, word)
        self._write(native_frames(self._stored, length, words.read), writer, tick)
        words.skip()
        return True

    def _write(self, frames: "Iterator[Array]", writer: Writer, tick: Tick) -> None:
        picture, spool = self._picture, self._spool
        offsets, lengths = array("Q"), array("Q")
        is_extended = picture.length + picture.length // 8 + 64 * picture.frames > LARGEST_OFFSET
        if is_extended:
            table_length = 8 * picture.frames
            for tag in (EXTENDED_OFFSETS, EXTENDED_LENGTHS):
                writer.header(tag, "OV", table_length)
                table_at = spool.tell()
                _fill(spool, table_length)
        writer.header(PIXEL_DATA, "OB", UNDEFINED)
        writer.delimiter(ITEM, 0 if is_extended else 4 * picture.frames)
        if not is_extended:
            table_at = spool.tell()
            _fill(spool, 4 * picture.frames)
        start = spool.tell()
        for frame in frames:
            data = self._compressed(frame, len(offsets) + 1)
            offsets.append(spool.tell() - start)
            lengths.append(len(data))
            writer.delimiter(ITEM, len(data))
            writer.write(data)
            self.compressed += len(data)
            tick()
        writer.delimiter(SEQUENCE_END, 0)
        end = spool.tell()
        if is_extended:
            spool.seek(table_at - 12 - table_length)
            spool.write(_little(offsets))
            spool.seek(table_at)
            spool.write(_little(lengths))
        else:
            spool.seek(table_at)
            spool.write(_little(array("I", offsets)))
        spool.seek(end)

    def _compressed(self, frame: "Array", number: int) -> bytes:
        """A frame's fragment. Raises TranscodingError, also where the frame would come out of it
        as another one: no codec is trusted with the only copy that somebody will see."""
        frame = _with_sign(frame, self._picture)
        data = guarded(self._codec.encode, frame, self._picture)
        data += b"\0" * (len(data) % 2)
        decoded = self._proof.frame(data, self._encoded)
        if self._encoded.photometric == "YBR_FULL_422":  # decoded to RGB
            frame = _as_rgb(frame, self._picture)
        if not _is_alike(frame, decoded, self._codec.error):
            raise TranscodingError(f"frame {number} comes out of the codec as another one")
        return data


def _as_rgb(frame: "Array", picture: Picture) -> "Array":
    from pydicom.pixels.processing import convert_color_space

    return convert_color_space(frame, picture.photometric, "RGB")


def _fill(spool: IO[bytes], length: int) -> None:
    spool.write(bytes(length))


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


class _Words:
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
