"""The codecs that compress a frame, and what pixels each can hold (PS3.5 8.2)."""

import io
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from pacsnode.dicom.decompress import DEFLATED_FRAMES, ENCAPSULATED_UNCOMPRESSED, RLE
from pacsnode.dicom.picture import Picture, limits
from pacsnode.errors import TranscodingError

if TYPE_CHECKING:
    from pacsnode.dicom.picture import Array

JPEG_BASELINE, JPEG_EXTENDED = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"
JPEG_LOSSLESS, JPEG_LOSSLESS_SV1 = "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70"
JPEG_LS, JPEG_LS_NEAR = "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"
JPEG_2000_LOSSLESS, JPEG_2000 = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"
HTJ2K_LOSSLESS, HTJ2K_LOSSLESS_RPCL = "1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.202"

QUALITY = 90  # of JPEG, from 1 to 100
NEAR = 2  # the error that a sample may have in near-lossless JPEG-LS
RATIO = 10  # that JPEG 2000 compresses by


class Codec(NamedTuple):
    """One way to compress. `photometric` says what each colour space becomes that it takes;
    `stored` is the Bits Stored that it takes. `error` is the difference that a decoded sample may
    have, None where there is no such bound."""

    encode: "Callable[[Array, Picture], bytes]"
    photometric: Mapping[str, str]
    allocated: frozenset[int]
    stored: range
    takes_signed: bool = True
    error: int | None = 0
    parameters: str = ""
    method: str = ""  # Lossy Image Compression Method (PS3.3 C.7.6.1.1.5.1)


def unfit(codec: Codec, picture: Picture) -> str | None:
    """What it is about these pixels that a codec cannot hold."""
    if picture.photometric not in codec.photometric:
        return f"Photometric Interpretation {picture.photometric or 'missing'}"
    if (picture.samples == 3) != picture.photometric.startswith(("RGB", "YBR")):
        return f"{picture.samples} Samples per Pixel of {picture.photometric}"
    if picture.bits_allocated not in codec.allocated:
        return f"Bits Allocated {picture.bits_allocated}"
    if picture.bits_stored not in codec.stored:
        return f"Bits Stored {picture.bits_stored}"
    if picture.is_signed and not codec.takes_signed:
        return "signed samples"
    return None


def _precision(frame: "Array", picture: Picture) -> int:
    """Bits Stored; or all bits where the others hold something, an overlay or padding."""
    low, high = limits(picture)
    is_within = low <= frame.min() and frame.max() <= high
    return picture.bits_stored if is_within else picture.bits_allocated


def _bytes_for(bits: int) -> int:
    return 1 if bits <= 8 else 2 if bits <= 16 else 4


def _unsigned(frame: "Array", bits: int) -> "Array":
    """The lowest `bits` of each sample, in as few bytes as hold them."""
    samples = frame.view(f"<u{frame.dtype.itemsize}")
    return (samples & ((1 << bits) - 1)).astype(f"<u{_bytes_for(bits)}", order="C")


def _encode_jpeg_ls(frame: "Array", picture: Picture, error: int = 0) -> bytes:
    import imagecodecs
    import jpeg_ls

    bits = _precision(frame, picture)
    if not error:  # which would leave Bits Stored where there is room above them
        # Of fewer bits DCMTK and GDCM read wrong pixels or none; and no 8 where 16 are allocated.
        bits = max(bits, 8 if picture.bits_allocated == 8 else 9)
    if bits not in (8, 16):
        interleave = 0 if picture.samples == 1 else 2  # by sample
        sides = picture.rows, picture.columns, picture.samples
        data = _unsigned(frame, bits).tobytes()
        # It makes no room for frames that grow, which noise does, and what is tiny.
        with suppress(RuntimeError):
            return bytes(jpeg_ls.encode_buffer(data, *sides, bits, error, interleave))
    whole = _unsigned(frame, _bytes_for(bits) * 8)
    return bytes(imagecodecs.jpegls_encode(whole, level=error))


def _encode_jpeg_2000(frame: "Array", picture: Picture) -> bytes:
    import imagecodecs

    bits = _precision(frame, picture)
    samples = frame.astype(f"<{frame.dtype.kind}{_bytes_for(bits)}", copy=False)
    return bytes(
        imagecodecs.jpeg2k_encode(
            samples,
            codecformat="j2k",  # a codestream, no file
            reversible=True,
            bitspersample=bits,
            mct=picture.photometric == "RGB",
            numthreads=1,
        )
    )


def _encode_htj2k(frame: "Array", picture: Picture) -> bytes:
    """In the order of resolutions (RPCL), the lowest of at most 64 by 64 pixels, with the lengths
    of tile-parts (TLM): what the syntax of that name asks for (PS3.5 A.4.12) does for both."""
    import imagecodecs

    levels = max((max(picture.rows, picture.columns) - 1).bit_length() - 6, 0)
    is_rgb = picture.photometric == "RGB"
    return bytes(
        imagecodecs.htj2k_encode(frame, reversible=True, rgb=is_rgb, resolutions=levels, tlm=True)
    )


def _encode_jpeg_lossless(frame: "Array", picture: Picture) -> bytes:
    return _encode_jpeg(frame, picture, lossless=True, predictor=1)  # Selection Value 1


def _encode_jpeg(frame: "Array", picture: Picture, **options: Any) -> bytes:
    """Without a colour transformation, as the codestream says as well: decoders look there. What
    it calls YCbCr without loss, no decoder but its own reads rightly."""
    import imagecodecs

    bits = max(picture.bits_stored, 2)
    if _precision(frame, picture) > picture.bits_stored:
        # In JPEG-LS and JPEG 2000 readers go by the codestream, in JPEG some by the dataset.
        raise TranscodingError("bits above Bits Stored are in use, which JPEG has no place for")
    if picture.samples > 1:
        space = "RGB" if picture.photometric == "RGB" else "UNKNOWN"
        options |= {"colorspace": space, "outcolorspace": space, "subsampling": "444"}
    samples = _unsigned(frame, bits)
    return bytes(imagecodecs.jpeg8_encode(samples, bitspersample=bits, **options))


def _encode_rle(frame: "Array", picture: Picture) -> bytes:
    from rle import utils as rle

    return bytes(
        rle.encode_pixel_data(
            frame.tobytes(),
            rows=picture.rows,
            columns=picture.columns,
            samples_per_pixel=picture.samples,
            bits_allocated=picture.bits_allocated,
            byteorder="<",
        )
    )


def _encode_uncompressed(frame: "Array", picture: Picture) -> bytes:
    import numpy

    if picture.bits_allocated == 1:
        return numpy.packbits(frame.reshape(-1), bitorder="little").tobytes()
    return frame.tobytes()


def _encode_deflated(frame: "Array", picture: Picture) -> bytes:
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflate.compress(_encode_uncompressed(frame, picture)) + deflate.flush()


def _encode_jpeg_baseline(frame: "Array", picture: Picture) -> bytes:
    from PIL import Image

    mode = "YCbCr" if picture.photometric == "YBR_FULL" else None
    image = (
        Image.fromarray(frame)
        if mode is None
        else Image.merge(mode, [Image.fromarray(frame[:, :, sample]) for sample in range(3)])
    )
    data = io.BytesIO()
    image.save(data, "JPEG", quality=QUALITY, subsampling="4:2:2")
    return data.getvalue()


def _encode_jpeg_extended(frame: "Array", picture: Picture) -> bytes:
    return _encode_jpeg(frame, picture, level=QUALITY)


def _encode_jpeg_ls_near(frame: "Array", picture: Picture) -> bytes:
    return _encode_jpeg_ls(frame, picture, NEAR)


def _encode_jpeg_2000_lossy(frame: "Array", picture: Picture) -> bytes:
    from openjpeg import utils as openjpeg

    bits = _precision(frame, picture)
    is_rgb = picture.photometric == "RGB"
    return openjpeg.encode_buffer(
        frame.astype(f"<{frame.dtype.kind}{_bytes_for(bits)}", copy=False).tobytes(),
        picture.columns,
        picture.rows,
        picture.samples,
        bits,
        picture.is_signed,
        photometric_interpretation=int(is_rgb),
        use_mct=is_rgb,
        compression_ratios=[RATIO],
    )


def _same(*names: str) -> dict[str, str]:
    return {name: name for name in names}


GREY = _same("MONOCHROME1", "MONOCHROME2")
PALETTE = _same("PALETTE COLOR")
COLOUR = _same("RGB", "YBR_FULL")
ANY = GREY | PALETTE | COLOUR
BY_SAMPLE = frozenset({8, 16})
UP_TO_32 = frozenset({8, 16, 32})
ANY_BITS = frozenset({1, 8, 16, 32})

LOSSLESS = {
    JPEG_LS: Codec(_encode_jpeg_ls, ANY, BY_SAMPLE, range(2, 17)),
    JPEG_2000_LOSSLESS: Codec(_encode_jpeg_2000, ANY | {"RGB": "YBR_RCT"}, UP_TO_32, range(1, 25)),
    **dict.fromkeys(
        (HTJ2K_LOSSLESS, HTJ2K_LOSSLESS_RPCL),
        Codec(_encode_htj2k, ANY | {"RGB": "YBR_RCT"}, UP_TO_32, range(1, 33)),
    ),
    **dict.fromkeys(
        (JPEG_LOSSLESS, JPEG_LOSSLESS_SV1),
        Codec(_encode_jpeg_lossless, ANY, BY_SAMPLE, range(1, 17)),
    ),
    # Of 32 bits, as of dose: four segments of the fifteen (PS3.5 annex G), though its table of what
    # is usual ends at 16.
    RLE: Codec(_encode_rle, ANY, UP_TO_32, range(1, 33)),
    DEFLATED_FRAMES: Codec(_encode_deflated, ANY, ANY_BITS, range(1, 33)),
    ENCAPSULATED_UNCOMPRESSED: Codec(_encode_uncompressed, ANY, ANY_BITS, range(1, 33)),
}

LOSSY = {
    JPEG_BASELINE: Codec(
        _encode_jpeg_baseline,
        GREY | dict.fromkeys(COLOUR, "YBR_FULL_422"),
        frozenset({8}),
        range(8, 9),
        takes_signed=False,
        error=None,
        parameters=f"JPEG Baseline, quality {QUALITY}",
        method="ISO_10918_1",
    ),
    JPEG_EXTENDED: Codec(
        _encode_jpeg_extended,
        GREY,
        frozenset({16}),
        range(12, 13),
        takes_signed=False,
        error=None,
        parameters=f"JPEG Extended, quality {QUALITY}",
        method="ISO_10918_1",
    ),
    JPEG_LS_NEAR: Codec(
        _encode_jpeg_ls_near,
        GREY | COLOUR,
        BY_SAMPLE,
        range(2, 17),
        error=NEAR,
        parameters=f"near-lossless JPEG-LS, error {NEAR}",
        method="ISO_14495_1",
    ),
    JPEG_2000: Codec(
        _encode_jpeg_2000_lossy,
        GREY | COLOUR | {"RGB": "YBR_ICT"},
        BY_SAMPLE,
        range(1, 17),
        error=None,
        parameters=f"JPEG 2000, {RATIO}:1",
        method="ISO_15444_1",
    ),
}
