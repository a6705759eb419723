"""Frames out of encapsulated pixel data, one by one: with pydicom's decoders, and with others for
what these do not know."""

import io
import logging
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import IO, TYPE_CHECKING, Any, TypeVar, cast

from pacsnode.dicom.fragments import extended_offsets, frames_of
from pacsnode.dicom.message import Tick
from pacsnode.dicom.picture import (
    NativeWriter,
    Picture,
    arranged,
    native_frames,
    picture_of,
    shape_of,
    signed,
)
from pacsnode.dicom.stream import (
    PHOTOMETRIC_INTERPRETATION,
    PIXEL_DATA,
    PLANAR_CONFIGURATION,
    SAMPLES_PER_PIXEL,
    Reader,
    Scope,
    Words,
    Writer,
    skip_fragments,
)
from pacsnode.errors import TranscodingError

if TYPE_CHECKING:
    from pacsnode.dicom.picture import Array

Frame = TypeVar("Frame")

RLE = "1.2.840.10008.1.2.5"
JPEG_EXTENDED = "1.2.840.10008.1.2.4.51"
ENCAPSULATED_UNCOMPRESSED = "1.2.840.10008.1.2.1.98"
DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"
JPEG_LOSSLESS = frozenset(f"1.2.840.10008.1.2.4.{number}" for number in (57, 70))
HTJ2K = frozenset(f"1.2.840.10008.1.2.4.{number}" for number in (201, 202, 203))
WAVELETS = HTJ2K | {"1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"}
JPEG_XL = frozenset(f"1.2.840.10008.1.2.4.{number}" for number in (110, 111, 112))

# Those whose samples come out as they went in: the colour space stays. The codecs of the others
# (JPEG, JPEG 2000, HTJ2K, JPEG XL) undo their colour transformation, or leave one that is better
# undone.
KEEPS_COLOUR_SPACE = frozenset(
    {
        *JPEG_LOSSLESS,
        "1.2.840.10008.1.2.4.80",
        "1.2.840.10008.1.2.4.81",
        RLE,
        ENCAPSULATED_UNCOMPRESSED,
        DEFLATED_FRAMES,
    }
)

COMPRESSED = (
    KEEPS_COLOUR_SPACE
    | WAVELETS
    | JPEG_XL
    | {
        "1.2.840.10008.1.2.4.50",
        JPEG_EXTENDED,
    }
)

# Tried before the others, which pydicom would take first: GDCM is older, and what it gives cannot
# be put right in place; of RLE its own is slow.
PREFERRED_CODECS = {
    "1.2.840.10008.1.2.4.80": "pyjpegls",
    "1.2.840.10008.1.2.4.81": "pyjpegls",
    "1.2.840.10008.1.2.4.90": "pylibjpeg",
    "1.2.840.10008.1.2.4.91": "pylibjpeg",
    RLE: "pylibjpeg",
}

LONGEST_VALUE = 0xFFFF_FFFE  # bytes (PS3.5 7.1.1)
ITEM_HEADER = 8  # bytes
END_OF_IMAGE = b"\xff\xd9"  # (ISO 10918-1 B.1.1.3)
LONGEST_TRAILER = 64  # bytes behind it that are taken for padding


def _uncompressed(data: bytes, picture: Picture) -> "Array":
    return arranged(data[: (picture.frame_bits + 7) // 8], picture)


def _inflated(data: bytes, picture: Picture) -> "Array":
    """Raw deflate, a byte behind it where the fragment would be odd (PS3.5 A.4.13)."""
    length = (picture.frame_bits + 7) // 8
    try:
        frame = zlib.decompressobj(wbits=-zlib.MAX_WBITS).decompress(data, length)
    except zlib.error as error:
        raise TranscodingError(f"the frame cannot be inflated: {error}") from error
    return arranged(frame, picture)


def _jpeg(data: bytes, picture: Picture) -> "Array":
    """Without a colour transformation. Of what is cut off libjpeg would make a picture that is grey
    from there on, and say nothing."""
    import imagecodecs

    if END_OF_IMAGE not in data[-LONGEST_TRAILER:]:
        raise TranscodingError("the JPEG frame is cut off: it has no end")
    return imagecodecs.jpeg8_decode(data, colorspace="UNKNOWN", outcolorspace="UNKNOWN")


def _htj2k(data: bytes, picture: Picture) -> "Array":
    import imagecodecs

    return imagecodecs.htj2k_decode(data)


def _jpeg_xl(data: bytes, picture: Picture) -> "Array":
    import imagecodecs

    return imagecodecs.jpegxl_decode(data, numthreads=1)


# What pydicom has no decoder for: of JPEG Extended it has none for 12 bits, of HTJ2K none for 32.
# For JPEG lossless it has GDCM, which ends the process where fewer bits are stored than allocated.
OWN_DECODERS: dict[str, Callable[[bytes, Picture], "Array"]] = {
    ENCAPSULATED_UNCOMPRESSED: _uncompressed,
    DEFLATED_FRAMES: _inflated,
    JPEG_EXTENDED: _jpeg,
    **dict.fromkeys(JPEG_LOSSLESS, _jpeg),
    **dict.fromkeys(HTJ2K, _htj2k),
    **dict.fromkeys(JPEG_XL, _jpeg_xl),
}


@cache
def can_decompress(uid: str) -> bool:
    """Whether there is a codec for a transfer syntax."""
    from pydicom.pixels.decoders.base import get_decoder

    return uid in OWN_DECODERS or (uid in COMPRESSED and bool(get_decoder(uid).is_available))


class FrameDecoder:
    """What is encapsulated in one transfer syntax, as the frames of picture.py."""

    def __init__(self, uid: str) -> None:
        self._uid = uid

    def frame(self, data: bytes, picture: Picture) -> "Array":
        """The one frame in a fragment. Raises TranscodingError."""
        scope = Scope()
        scope.keep(PHOTOMETRIC_INTERPRETATION, picture.photometric.encode())
        scope.keep(SAMPLES_PER_PIXEL, picture.samples.to_bytes(2, "little"))
        items = struct.pack("<HHLHHL", 0xFFFE, 0xE000, 0, 0xFFFE, 0xE000, len(data)), data
        pixels = b"".join((*items, struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)))
        reader = Reader(io.BytesIO(pixels), len(pixels))
        (frame,) = self.frames(scope, replace(picture, frames=1), reader)
        return frame

    def photometric(self, scope: Scope) -> str:
        """Photometric Interpretation of the decoded pixels."""
        said = scope.text(PHOTOMETRIC_INTERPRETATION)
        if not said:
            return "MONOCHROME2" if (scope.number(SAMPLES_PER_PIXEL) or 1) == 1 else "RGB"
        if scope.number(SAMPLES_PER_PIXEL) != 3 or not said.startswith(("YBR", "XYB")):
            return said
        if self._uid in WAVELETS and said == "YBR_FULL":
            return said  # not of their making
        return "YBR_FULL" if self._uid in KEEPS_COLOUR_SPACE else "RGB"

    def frames(self, scope: Scope, picture: Picture, reader: Reader) -> "Iterator[Array]":
        """As many as are described; the reader stands behind the header of Pixel Data, and goes on
        behind its sequence delimiter. Raises TranscodingError, at once where there is no room for
        so many."""
        room = (reader.length or 0) - reader.position
        if picture.frames > max(room // ITEM_HEADER, 1):
            raise TranscodingError(f"{picture.frames} frames in {room} bytes")
        return self._frames(scope, picture, reader)

    def _frames(self, scope: Scope, picture: Picture, reader: Reader) -> "Iterator[Array]":
        start = reader.file.tell()
        decoded = 0
        for frame in self._decoded(scope, picture, reader.file):
            yield _fitted(frame, picture, decoded + 1)
            decoded += 1
            if decoded == picture.frames:
                break
        if decoded < picture.frames:
            raise TranscodingError(f"{decoded} frames instead of {picture.frames}")
        reader.file.seek(start)
        skip_fragments(reader)

    def _decoded(self, scope: Scope, picture: Picture, file: IO[bytes]) -> "Iterator[Array]":
        own = OWN_DECODERS.get(self._uid)
        if self._uid == JPEG_EXTENDED and picture.samples > 1:
            own = None
        if self._uid in HTJ2K and picture.bits_allocated < 32:
            own = None
        if own is None:
            return self._by_pydicom(scope, picture, file)
        compressed = frames_of(scope, file, picture.frames)
        return _guarded(own(data, picture) for data in compressed)

    def _by_pydicom(self, scope: Scope, picture: Picture, file: IO[bytes]) -> "Iterator[Array]":
        start = file.tell()
        expected = self.photometric(scope)
        first = PREFERRED_CODECS.get(self._uid, "")
        frames = _guarded(self._arrays(scope, picture, file, first))
        try:
            frame = next(frames, None)
        except TranscodingError:
            file.seek(start)
            frames = _guarded(self._arrays(scope, picture, file, ""))
            frame = next(frames, None)
        while frame is not None:
            array, properties = frame
            actual = properties["photometric_interpretation"]
            if self._uid not in KEEPS_COLOUR_SPACE and actual != expected:
                raise TranscodingError(f"colour space {actual} where {expected} was expected")
            yield array
            frame = next(frames, None)

    def _arrays(
        self, scope: Scope, picture: Picture, file: IO[bytes], codec: str
    ) -> "Iterator[tuple[Array, dict[str, str | int]]]":
        """Decoded frames, and what is true of them, as pydicom says it."""
        from pydicom.pixels.decoders.base import get_decoder

        options: dict[str, Any] = {
            "rows": picture.rows,
            "columns": picture.columns,
            "samples_per_pixel": picture.samples,
            "photometric_interpretation": picture.photometric or self.photometric(scope),
            "planar_configuration": 0,  # whatever the dataset says: the codestream decides
            "bits_allocated": picture.bits_allocated,
            "bits_stored": picture.bits_stored,
            "pixel_representation": int(picture.is_signed),
            "number_of_frames": picture.frames,
            "pixel_keyword": "PixelData",
            "allow_excess_frames": False,
            # Unused bits may hold an overlay; in signed data they have to carry the sign.
            "correct_unused_bits": picture.is_signed and self._uid != RLE,
        }
        extended = extended_offsets(scope, file, picture.frames)
        if extended is not None:
            options["extended_offsets"] = extended
        # A traceback for each codec that refuses, though the next one may not.
        logging.getLogger("pydicom").setLevel(logging.CRITICAL)
        raw = self._uid in KEEPS_COLOUR_SPACE or self.photometric(scope) == "YBR_FULL"
        return get_decoder(self._uid).iter_array(
            cast(Any, file), raw=raw, decoding_plugin=codec, **options
        )


def _guarded(frames: Iterator[Frame]) -> Iterator[Frame]:
    """The same frames; whatever a codec raises is a TranscodingError."""
    while True:
        # The codecs warn about much that is common. Filters hold for all threads, so shortly.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            frame = guarded(next, frames, None)
        if frame is None:
            return
        yield frame


def guarded(call: Callable[..., Frame], *arguments: Any) -> Frame:
    """What a codec gives. Raises TranscodingError for whatever it raises."""
    try:
        return call(*arguments)
    except TranscodingError:
        raise
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


def as_rgb(frame: "Array", picture: Picture) -> "Array":
    from pydicom.pixels.processing import convert_color_space

    is_other = picture.photometric.startswith("YBR_FULL")
    return convert_color_space(frame, "YBR_FULL", "RGB") if is_other else frame


def _fitted(frame: "Array", picture: Picture, number: int) -> "Array":
    """In as many bytes as Bits Allocated says: codecs choose the size by the precision."""
    if frame.shape != shape_of(picture) and frame.shape != (*shape_of(picture), 1):
        raise TranscodingError(f"frame {number} is {frame.shape}, not {shape_of(picture)}")
    size = max(picture.bits_allocated // 8, 1)
    if frame.dtype.itemsize > size:
        raise TranscodingError(f"decoded samples have {frame.dtype.itemsize * 8} bits")
    fitted = frame.reshape(shape_of(picture)).astype(f"<{frame.dtype.kind}{size}", copy=False)
    if picture.is_signed and fitted.dtype.kind == "u" and picture.bits_allocated > 1:
        return signed(fitted.view(picture.sample_type), picture.bits_stored)
    return fitted


class Decompressor:
    """recode.Pixels that makes encapsulated pixel data native."""

    def __init__(self, uid: str) -> None:
        self._decoder = FrameDecoder(uid)

    def replace(self, scope: Scope, tag: int, value: bytes) -> bytes:
        """Decoded pixels are colour by pixel, in the colour space that the decoder says."""
        samples = scope.number(SAMPLES_PER_PIXEL) or 1
        if samples == 1 or not value:
            return value
        replacement = value
        if tag == PLANAR_CONFIGURATION:
            replacement = bytes(len(value))
        if tag == PHOTOMETRIC_INTERPRETATION:
            text = self._decoder.photometric(scope).encode("ascii", "replace")
            if text != value.strip(b" \0"):
                replacement = text + b" " * (len(text) % 2)
        scope.is_changed |= replacement != value
        return replacement

    def write_encapsulated(self, scope: Scope, reader: Reader, writer: Writer, tick: Tick) -> None:
        picture = picture_of(scope)
        native = self._native_writer(picture, writer)
        for frame in self._decoder.frames(scope, picture, reader):
            native.write(frame, picture)
            tick()
        self._finish(native, picture, writer)

    def write_native(
        self, scope: Scope, length: int, word: int, reader: Reader, writer: Writer, tick: Tick
    ) -> bool:
        """Of a dataset that is described as if its pixels had been encapsulated, as those around it
        are: they are made what it says."""
        if not scope.is_changed:
            return False
        picture = picture_of(scope)
        words = Words(reader, length, word)
        native = self._native_writer(picture, writer)
        becomes_rgb = picture.photometric != "RGB" and self._decoder.photometric(scope) == "RGB"
        for frame in native_frames(picture, length, words.read):
            native.write(as_rgb(frame, picture) if becomes_rgb else frame, picture)
            tick()
        self._finish(native, picture, writer)
        words.skip()
        return True

    def _native_writer(self, picture: Picture, writer: Writer) -> NativeWriter:
        length = picture.length
        if length > LONGEST_VALUE:
            raise TranscodingError(f"pixel data would be {length} bytes long")
        bits = picture.bits_allocated
        writer.header(PIXEL_DATA, "OW" if bits > 8 else "OB", length + length % 2)
        return NativeWriter(writer.write, 1 if writer.encoding.is_little else bits // 8)

    def _finish(self, native: NativeWriter, picture: Picture, writer: Writer) -> None:
        native.finish()
        writer.write(b"\0" * (picture.length % 2))
