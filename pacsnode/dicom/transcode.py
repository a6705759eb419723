"""Dataset bytes from one transfer syntax to another: other encodings of what is uncompressed, and
decompression. Memory holds one frame at a time."""

import logging
import struct
import warnings
import zlib
from collections.abc import Iterator
from functools import cache
from typing import IO, TYPE_CHECKING, Any, cast

from pacsnode.dicom.inflate import Inflater
from pacsnode.dicom.message import DatasetSource, Tick, no_tick
from pacsnode.dicom.recode import (
    BITS_ALLOCATED,
    BITS_STORED,
    COLUMNS,
    EXPLICIT_LITTLE,
    EXTENDED_LENGTHS,
    EXTENDED_OFFSETS,
    IMPLICIT_LITTLE,
    ITEM,
    NUMBER_OF_FRAMES,
    PHOTOMETRIC_INTERPRETATION,
    PIXEL_DATA,
    PIXEL_REPRESENTATION,
    PLANAR_CONFIGURATION,
    ROWS,
    SAMPLES_PER_PIXEL,
    SEQUENCE_END,
    Encoding,
    Reader,
    Recoder,
    Scope,
    Writer,
    swap,
)
from pacsnode.errors import TranscodingError

if TYPE_CHECKING:
    import numpy

# A decoded frame and what is true of it, as pydicom says it.
Frame = tuple["numpy.ndarray[Any, Any]", dict[str, str | int]]

DEFLATED = "1.2.840.10008.1.2.1.99"
RLE = "1.2.840.10008.1.2.5"

# Uncompressed, or deflated as a whole.
ENCODINGS = {
    "1.2.840.10008.1.2": IMPLICIT_LITTLE,
    "1.2.840.10008.1.2.1": EXPLICIT_LITTLE,
    "1.2.840.10008.1.2.2": Encoding(False, False),
    DEFLATED: EXPLICIT_LITTLE,
}

# Those whose samples come out as they went in: the colour space stays. The codecs of the others
# (JPEG, JPEG 2000, HTJ2K) undo their colour transformation, or leave one that is better undone.
KEEPS_COLOUR_SPACE = frozenset(
    {
        "1.2.840.10008.1.2.4.57",
        "1.2.840.10008.1.2.4.70",
        "1.2.840.10008.1.2.4.80",
        "1.2.840.10008.1.2.4.81",
        RLE,
    }
)

COMPRESSED = KEEPS_COLOUR_SPACE | {
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.51",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.91",
    "1.2.840.10008.1.2.4.201",
    "1.2.840.10008.1.2.4.202",
    "1.2.840.10008.1.2.4.203",
}

# Tried before the others, which pydicom would take first: GDCM is older, and what it gives cannot
# be put right in place.
PREFERRED_CODECS = {
    "1.2.840.10008.1.2.4.80": "pyjpegls",
    "1.2.840.10008.1.2.4.81": "pyjpegls",
    "1.2.840.10008.1.2.4.90": "pylibjpeg",
    "1.2.840.10008.1.2.4.91": "pylibjpeg",
}

LONGEST_VALUE = 0xFFFF_FFFE  # bytes (PS3.5 7.1.1)


def can_transcode(source_uid: str, target_uid: str, *, may_lose: bool = False) -> bool:
    """Whether there is a way, which single datasets may turn out not to be fit for; one that loses
    something only where that `may_lose`."""
    if source_uid == target_uid:
        return True
    if target_uid not in ENCODINGS:
        return False
    return source_uid in ENCODINGS or (source_uid in COMPRESSED and _has_codec(source_uid))


@cache
def _has_codec(uid: str) -> bool:
    from pydicom.pixels.decoders.base import get_decoder

    return bool(get_decoder(uid).is_available)


def transcode(
    source: DatasetSource,
    source_uid: str,
    target_uid: str,
    spool: IO[bytes],
    tick: Tick = no_tick,
    *,
    may_lose: bool = False,
) -> DatasetSource:
    """The dataset in `target_uid`, written to `spool`, an empty file of the caller's; `tick` is
    called between frames and chunks. A compressed source must be seekable. Raises TranscodingError;
    OSError passes."""
    if source_uid == target_uid:
        return source
    if not can_transcode(source_uid, target_uid, may_lose=may_lose):
        raise TranscodingError(f"no way from transfer syntax {source_uid} to {target_uid}")
    reader = Reader(source.file, source.length)
    pixels = None
    if source_uid == DEFLATED:
        reader = Reader(cast(IO[bytes], Inflater(source.file, source.length)), None)
    elif source_uid not in ENCODINGS:
        pixels = PixelDecoder(source_uid)
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS) if target_uid == DEFLATED else None

    def write(data: bytes) -> None:
        spool.write(deflate.compress(data) if deflate else data)

    recoder = Recoder(reader, Writer(write, ENCODINGS[target_uid]), tick, pixels)
    recoder.run(ENCODINGS.get(source_uid, EXPLICIT_LITTLE))
    if deflate:
        spool.write(deflate.flush())
        spool.write(b"\0" * (spool.tell() % 2))
    length = spool.tell()
    spool.seek(0)
    return DatasetSource(cast(Any, spool), length)


class PixelDecoder:
    """recode.Pixels for one compressed transfer syntax."""

    def __init__(self, uid: str) -> None:
        self._uid = uid

    def replace(self, scope: Scope, tag: int, value: bytes) -> bytes:
        """Decoded pixels are colour by pixel, in the colour space that _photometric says."""
        samples = scope.number(SAMPLES_PER_PIXEL) or 1
        if samples == 1 or not value:
            return value
        replacement = value
        if tag == PLANAR_CONFIGURATION:
            replacement = bytes(len(value))
        if tag == PHOTOMETRIC_INTERPRETATION:
            text = self._photometric(scope).encode("ascii", "replace")
            if text != value.strip(b" \0"):
                replacement = text + b" " * (len(text) % 2)
        scope.is_changed |= replacement != value
        return replacement

    def _photometric(self, scope: Scope) -> str:
        """Photometric Interpretation of the decoded pixels."""
        said = scope.text(PHOTOMETRIC_INTERPRETATION)
        if not said:
            return "MONOCHROME2" if (scope.number(SAMPLES_PER_PIXEL) or 1) == 1 else "RGB"
        if scope.number(SAMPLES_PER_PIXEL) != 3 or not said.startswith("YBR"):
            return said
        return "YBR_FULL" if self._uid in KEEPS_COLOUR_SPACE else "RGB"

    def write(self, scope: Scope, reader: Reader, writer: Writer, tick: Tick) -> None:
        rows, columns = scope.number(ROWS) or 0, scope.number(COLUMNS) or 0
        bits = scope.number(BITS_ALLOCATED) or 0
        if bits not in (8, 16, 32):
            raise TranscodingError(f"compressed pixel data with Bits Allocated {bits}")
        frames = _number_of_frames(scope)
        frame_length = rows * columns * (scope.number(SAMPLES_PER_PIXEL) or 1) * bits // 8
        length = frame_length * frames
        if not 0 < length <= LONGEST_VALUE:
            raise TranscodingError(f"pixel data would be {length} bytes long")
        writer.header(PIXEL_DATA, "OW" if bits > 8 else "OB", length + length % 2)
        start = reader.file.tell()
        decoded = 0
        for frame in self._frames(scope, reader.file, frames):
            if len(frame) != frame_length:
                raise TranscodingError(f"frame {decoded + 1} has {len(frame)} bytes")
            writer.write(frame if writer.encoding.is_little else swap(frame, bits // 8))
            decoded += 1
            tick()
            if decoded == frames:
                break
        if decoded < frames:
            raise TranscodingError(f"{decoded} frames instead of {frames}")
        writer.write(b"\0" * (length % 2))
        reader.file.seek(start)
        _skip_fragments(reader)

    def _frames(self, scope: Scope, file: IO[bytes], frames: int) -> Iterator[bytes]:
        """The frames one by one, little endian, samples side by side."""
        start = file.tell()
        expected = self._photometric(scope)
        arrays = self._arrays(scope, file, frames, PREFERRED_CODECS.get(self._uid, ""))
        try:
            frame = _next(arrays)
        except TranscodingError:
            file.seek(start)
            arrays = self._arrays(scope, file, frames, "")
            frame = _next(arrays)
        while frame is not None:
            array, properties = frame
            actual = properties["photometric_interpretation"]
            if self._uid not in KEEPS_COLOUR_SPACE and actual != expected:
                raise TranscodingError(f"colour space {actual} where {expected} was expected")
            yield _as_bytes(array, scope)
            frame = _next(arrays)

    def _arrays(self, scope: Scope, file: IO[bytes], frames: int, codec: str) -> Iterator[Frame]:
        from pydicom.pixels.decoders.base import get_decoder

        is_signed = scope.number(PIXEL_REPRESENTATION) == 1
        bits = scope.number(BITS_ALLOCATED) or 8
        options: dict[str, Any] = {
            "rows": scope.number(ROWS),
            "columns": scope.number(COLUMNS),
            "samples_per_pixel": scope.number(SAMPLES_PER_PIXEL) or 1,
            "photometric_interpretation": scope.text(PHOTOMETRIC_INTERPRETATION)
            or self._photometric(scope),
            "planar_configuration": 0,  # whatever the dataset says: the codestream decides
            "bits_allocated": bits,
            "bits_stored": scope.number(BITS_STORED) or bits,
            "pixel_representation": int(is_signed),
            "number_of_frames": frames,
            "pixel_keyword": "PixelData",
            "allow_excess_frames": False,
            # Unused bits may hold an overlay; in signed data they have to carry the sign.
            "correct_unused_bits": is_signed and self._uid != RLE,
        }
        if EXTENDED_OFFSETS in scope.values and EXTENDED_LENGTHS in scope.values:
            options["extended_offsets"] = (
                scope.values[EXTENDED_OFFSETS],
                scope.values[EXTENDED_LENGTHS],
            )
        # A traceback for each codec that refuses, though the next one may not.
        logging.getLogger("pydicom").setLevel(logging.CRITICAL)
        raw = self._uid in KEEPS_COLOUR_SPACE
        return get_decoder(self._uid).iter_array(
            cast(Any, file), raw=raw, decoding_plugin=codec, **options
        )


def _next(frames: Iterator[Frame]) -> Frame | None:
    """The next decoded frame; None after the last."""
    # The codecs warn about much that is common. Filters hold for all threads, so shortly.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return next(frames, None)
        except (
            ArithmeticError, AttributeError, LookupError, MemoryError, NotImplementedError,
            RuntimeError, TypeError, ValueError, struct.error,
        ) as error:  # fmt: skip
            raise _refused(error) from error
        except BaseException as error:
            # Codecs written in Rust panic at damaged data, with an error that is no Exception.
            if type(error).__name__ != "PanicException":
                raise
            raise _refused(error) from None


def _refused(error: BaseException) -> TranscodingError:
    text = " ".join(str(error).split())
    return TranscodingError(f"the codec refuses the pixel data: {text}")


def _number_of_frames(scope: Scope) -> int:
    text = scope.text(NUMBER_OF_FRAMES)
    if not text:
        return 1
    try:
        return max(int(float(text)), 1)
    except (ValueError, OverflowError) as error:
        raise TranscodingError(f"Number of Frames is {text!r}") from error


def _as_bytes(array: "numpy.ndarray[Any, Any]", scope: Scope) -> bytes:
    """In as many bytes as Bits Allocated says: codecs choose the size by the precision."""
    size = (scope.number(BITS_ALLOCATED) or 8) // 8
    if array.dtype.itemsize > size:
        raise TranscodingError(f"decoded samples have {array.dtype.itemsize * 8} bits")
    return array.astype(f"<{array.dtype.kind}{size}", copy=False).tobytes()


def _skip_fragments(reader: Reader) -> None:
    while True:
        start = reader.read(8)
        tag = int.from_bytes(start[:2], "little") << 16 | int.from_bytes(start[2:4], "little")
        if tag == SEQUENCE_END:
            return
        if tag != ITEM:
            raise TranscodingError(f"({tag >> 16:04X},{tag & 0xFFFF:04X}) among the fragments")
        reader.skip(int.from_bytes(start[4:], "little"))
