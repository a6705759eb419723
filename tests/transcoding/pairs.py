"""From one transfer syntax to another, and back to pixels."""

import io
import shutil
import struct
import tempfile
import warnings
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pydicom
from pydicom.dataset import Dataset

from pacsnode.dicom import part10, transcode
from pacsnode.dicom.decompress import JPEG_XL
from pacsnode.dicom.message import DatasetSource
from pacsnode.errors import TranscodingError
from tests.transcoding.referees import (
    EXPLICIT,
    JPEG_EXTENDED,
    REFEREES,
    Array,
    NotForReferee,
    Referee,
    as_rgb,
    by_dcmtk,
    samples,
)

FOLDER = Path(pydicom.__file__).parent / "data" / "test_files"
SOURCES = (*transcode.ENCODINGS, *sorted(transcode.COMPRESSED))
TARGETS = (*transcode.ENCODINGS, *transcode.LOSSLESS)

JPEG_2000, HTJ2K = "1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.203"
NEAR_LOSSLESS, UNCOMPRESSED_FRAMES = "1.2.840.10008.1.2.4.81", "1.2.840.10008.1.2.1.98"

# No pixels, or not those that are described, or with a delimiter within a frame.
LEFT_OUT = {
    "badVR.dcm", "nested_priv_SQ.dcm", "MR_truncated.dcm",
    "JPEG2000-embedded-sequence-delimiter.dcm", "meta_missing_tsyntax.dcm", "no_meta.dcm",
    "ExplVR_BigEndNoMeta.dcm", "ExplVR_LitEndNoMeta.dcm",
}  # fmt: skip


class Stored(NamedTuple):
    """A dataset in its transfer syntax, and its pixels as its own codec has them."""

    name: str
    uid: str
    data: bytes
    expected: Array


# One of each kind of pixels: signed, 12 bits in 16, palette, colours by pixel and by half as many,
# three pixels wide, of 16 bits in two frames, 15 frames of 32 bits, single bits.
KINDS = (
    "CT_small.dcm", "examples_overlay.dcm", "examples_palette.dcm", "examples_rgb_color.dcm",
    "SC_ybr_full_422_uncompressed.dcm", "SC_rgb_small_odd.dcm", "SC_rgb_rle_16bit_2frame.dcm",
    "rtdose.dcm", "liver_1frame.dcm",
)  # fmt: skip


class Found(NamedTuple):
    """What became of one dataset in one transfer syntax: who found its pixels equal and who found
    others; or why it cannot be had."""

    equal: tuple[str, ...] = ()
    other: tuple[str, ...] = ()
    refused: str = ""


@cache
def bundled() -> tuple[Path, ...]:
    """The files with pixel data that come with pydicom."""
    found = []
    for path in sorted(FOLDER.glob("*.dcm")):
        if path.name in LEFT_OUT:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ds = pydicom.dcmread(path, force=True)
        if "PixelData" in ds and "TransferSyntaxUID" in ds.file_meta:
            found.append(path)
    return tuple(found)


def stored(path: Path) -> Stored:
    with path.open("rb") as file:
        meta = part10.read_file_meta(file)
        file.seek(meta.dataset_offset)
        data = file.read()
    uid = meta.transfer_syntax_uid
    native = parsed(data if uid == EXPLICIT else transcoded(data, uid, EXPLICIT), EXPLICIT)
    assert same(_original(path, uid), native), path
    return Stored(path.name, uid, data, samples(native))


def _original(path: Path, uid: str) -> Dataset:
    """As another program has it: DCMTK where pydicom has no decoder, for JPEG of 12 bits."""
    if uid != JPEG_EXTENDED:
        return pydicom.dcmread(path)
    with tempfile.TemporaryDirectory() as folder:
        return by_dcmtk(Path(shutil.copy(path, folder)), uid)


@cache
def sources(uid: str) -> tuple[Stored, ...]:
    """Datasets in one transfer syntax: the bundled ones, and one of each kind that can be brought
    into it without loss."""
    found = [one for one in map(stored, bundled()) if one.uid == uid]
    for name in KINDS:
        one = stored(FOLDER / name)
        if one.uid == uid:
            continue
        with suppress(TranscodingError):
            found.append(Stored(name, uid, _brought(one, uid), one.expected))
    return tuple(found)


def _brought(one: Stored, uid: str) -> bytes:
    if uid in TARGETS:
        return transcoded(one.data, one.uid, uid)
    if uid == HTJ2K:  # which may be lossless
        return transcoded(one.data, one.uid, "1.2.840.10008.1.2.4.201")
    if uid == JPEG_2000:
        return transcoded(one.data, one.uid, "1.2.840.10008.1.2.4.90")
    if uid == NEAR_LOSSLESS:
        return transcoded(one.data, one.uid, "1.2.840.10008.1.2.4.80")
    if uid in JPEG_XL:
        return _jpeg_xl(one)
    raise TranscodingError(f"no encoder without loss for {uid}")


def _jpeg_xl(one: Stored) -> bytes:
    import imagecodecs

    if one.expected.dtype.str[1:] not in ("u1", "u2") or len(one.expected) > 1:
        raise TranscodingError("not for these tests")
    frame = one.expected[0] if one.expected.shape[3] > 1 else one.expected[0, :, :, 0]
    data = bytes(imagecodecs.jpegxl_encode(frame, lossless=True, numthreads=1))
    plain = transcoded(one.data, one.uid, UNCOMPRESSED_FRAMES)
    start = plain.index(struct.pack("<HH2sHL", 0x7FE0, 0x10, b"OB", 0, 0xFFFFFFFF))
    items = struct.pack("<HHLHHL", 0xFFFE, 0xE000, 0, 0xFFFE, 0xE000, len(data) + len(data) % 2)
    end = b"\0" * (len(data) % 2) + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    return plain[: start + 12] + items + data + end


def transcoded(data: bytes, source: str, target: str) -> bytes:
    found = transcode.transcode(
        DatasetSource(io.BytesIO(data), len(data)), source, target, io.BytesIO()
    )
    return found.file.read(found.length)


def as_file(data: bytes, uid: str) -> bytes:
    return part10.encode_meta("1.2.840.10008.5.1.4.1.1.7", "1.2.3.4", uid, "PEER", "NODE") + data


def parsed(data: bytes, uid: str) -> Dataset:
    ds = pydicom.dcmread(io.BytesIO(as_file(data, uid)))
    assert isinstance(ds, Dataset)
    return ds


def judged(
    one: Stored, data: bytes, uid: str, folder: Path, referees: Sequence[Referee] = REFEREES
) -> Found:
    """What the referees say of `data`, which was made of `one`."""
    path = folder / f"{one.name}.{uid}"
    path.write_bytes(as_file(data, uid))
    back = parsed(transcoded(data, uid, EXPLICIT) if uid != EXPLICIT else data, EXPLICIT)
    verdicts = {"pacsnode": bool((samples(back) == one.expected).all())}
    for referee in referees:
        if uid not in referee.syntaxes:
            continue
        try:
            ds = referee.decode(path, uid)
        except NotForReferee:
            continue
        verdicts[referee.name] = same(ds, back)
    return Found(
        tuple(name for name, is_equal in verdicts.items() if is_equal),
        tuple(name for name, is_equal in verdicts.items() if not is_equal),
    )


def same(ds: Dataset, back: Dataset) -> bool:
    if ds.PhotometricInterpretation == back.PhotometricInterpretation:
        return bool((samples(ds) == samples(back)).all())
    return bool((as_rgb(ds) == as_rgb(back)).all())


def judge(one: Stored, target: str, folder: Path, referees: Sequence[Referee] = REFEREES) -> Found:
    try:
        data = transcoded(one.data, one.uid, target) if target != one.uid else one.data
    except TranscodingError as error:
        return Found(refused=str(error))
    return judged(one, data, target, folder, referees)
