"""Compression: what becomes of frames, tables, descriptions and icons, and what is refused."""

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.pixels.processing import convert_color_space

from pacsnode.dicom import codecs, compress
from pacsnode.dicom.codecs import (
    HTJ2K_LOSSLESS,
    HTJ2K_LOSSLESS_RPCL,
    JPEG_2000,
    JPEG_2000_LOSSLESS,
    JPEG_BASELINE,
    JPEG_EXTENDED,
    JPEG_LOSSLESS,
    JPEG_LOSSLESS_SV1,
    JPEG_LS,
    JPEG_LS_NEAR,
    LOSSLESS,
    LOSSY,
)
from pacsnode.dicom.decompress import DEFLATED_FRAMES, ENCAPSULATED_UNCOMPRESSED, RLE
from pacsnode.dicom.message import DatasetSource
from pacsnode.dicom.transcode import transcode
from pacsnode.errors import TranscodingError
from tests.conftest import Dcmtk
from tests.transcoding.pairs import parsed

IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
BIG, DEFLATED = "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"
SOP_INSTANCE_UID = "1.2.826.0.1.3680043.8.498.1"

Array = np.ndarray[Any, Any]


def picture(
    pixels: Array,
    stored: int | None = None,
    photometric: str | None = None,
    planar: int = 0,
    frames: int | None = None,
) -> Dataset:
    """A dataset of frames, rows, columns, samples."""
    ds = Dataset()
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.SOPClassUID, ds.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", SOP_INSTANCE_UID
    count, ds.Rows, ds.Columns, ds.SamplesPerPixel = pixels.shape
    bits = pixels.dtype.itemsize * 8
    ds.PhotometricInterpretation = photometric or ("RGB" if pixels.shape[3] > 1 else "MONOCHROME2")
    if pixels.shape[3] > 1:
        ds.PlanarConfiguration = planar
    if (frames or count) > 1:
        ds.NumberOfFrames = str(frames or count)
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = bits, stored or bits, (stored or bits) - 1
    ds.PixelRepresentation = int(pixels.dtype.kind == "i")
    data = (pixels.transpose(0, 3, 1, 2) if planar else pixels).tobytes()
    ds.add_new(0x7FE00010, "OB" if bits == 8 else "OW", data + b"\0" * (len(data) % 2))
    return ds


def encoded(ds: Dataset) -> bytes:
    stream = DicomBytesIO()
    stream.is_little_endian, stream.is_implicit_VR = True, False
    write_dataset(stream, ds)
    return stream.getvalue()


def bring(
    data: bytes, target: str, source: str = EXPLICIT, may_lose: bool = False
) -> tuple[bytes, str | None]:
    spool = io.BytesIO()
    found = transcode(
        DatasetSource(io.BytesIO(data), len(data)), source, target, spool, may_lose=may_lose
    )
    return found.file.read(found.length), found.sop_instance_uid


def there(ds: Dataset, target: str) -> Dataset:
    return parsed(bring(encoded(ds), target)[0], target)


def and_back(ds: Dataset, target: str, via: str = EXPLICIT) -> Dataset:
    return parsed(bring(bring(encoded(ds), target)[0], via, target)[0], via)


def noise(shape: tuple[int, ...], dtype: str, bits: int | None = None) -> Array:
    kind = np.dtype(dtype)
    bits = bits or kind.itemsize * 8
    low, high = (-(1 << bits - 1), 1 << bits - 1) if kind.kind == "i" else (0, 1 << bits)
    return np.random.default_rng(7).integers(low, high, shape).astype(dtype)


def samples(ds: Dataset) -> Array:
    kind = "i" if ds.PixelRepresentation else "u"
    shape = int(ds.get("NumberOfFrames", 1)), ds.Rows, ds.Columns, ds.SamplesPerPixel
    length = int(np.prod(shape)) * ds.BitsAllocated // 8
    return np.frombuffer(ds.PixelData[:length], f"<{kind}{ds.BitsAllocated // 8}").reshape(shape)


@pytest.mark.parametrize("target", LOSSLESS)
@settings(max_examples=15, deadline=None)
@given(
    rows=st.integers(1, 40),
    columns=st.integers(1, 40),
    colours=st.sampled_from([1, 3]),
    frames=st.integers(1, 3),
    kind=st.sampled_from(["u1", "u2", "i1", "i2"]),
    stored=st.integers(2, 16),
    planar=st.integers(0, 1),
)
def test_any_pixels_come_back_as_they_were(
    target: str,
    rows: int,
    columns: int,
    colours: int,
    frames: int,
    kind: str,
    stored: int,
    planar: int,
) -> None:
    bits = min(stored, 8 * int(kind[1]))
    pixels = noise((frames, rows, columns, colours), kind, bits)
    ds = picture(pixels, bits, planar=planar)
    back = and_back(ds, target)
    assert np.array_equal(samples(back), pixels)
    assert back.PhotometricInterpretation == ds.PhotometricInterpretation
    assert back.get("PlanarConfiguration", 0) == 0
    assert back.get("NumberOfFrames") == ds.get("NumberOfFrames")
    assert (back.BitsAllocated, back.BitsStored) == (ds.BitsAllocated, ds.BitsStored)


@pytest.mark.parametrize(
    ("kind", "stored"), [("u1", 2), ("u1", 5), ("u1", 7), ("u2", 7), ("u2", 8), ("u2", 9)]
)
def test_dcmtk_reads_few_bits_in_jpeg_ls(
    kind: str, stored: int, dcmtk: Dcmtk, tmp_path: Path
) -> None:
    pixels = noise((2, 16, 13, 1), kind, stored)
    ds = there(picture(pixels, stored=stored), JPEG_LS)
    ds.save_as(tmp_path / "compressed", enforce_file_format=True)
    dcmtk("dcmdjpls", tmp_path / "compressed", tmp_path / "native")
    assert np.array_equal(samples(pydicom.dcmread(tmp_path / "native")), pixels)


@pytest.mark.parametrize(("kind", "stored"), [("u1", 7), ("u2", 8), ("u2", 12)])
def test_losses_stay_within_the_bits_stored(kind: str, stored: int) -> None:
    ds = picture(noise((1, 64, 64, 1), kind, stored) | (1 << stored - 1), stored=stored)
    lossy, _ = bring(encoded(ds), JPEG_LS_NEAR, may_lose=True)
    back = samples(parsed(bring(lossy, EXPLICIT, JPEG_LS_NEAR)[0], EXPLICIT))
    assert not np.array_equal(back, samples(ds))
    assert back.max() < 1 << stored


@pytest.mark.parametrize("target", [RLE, HTJ2K_LOSSLESS, HTJ2K_LOSSLESS_RPCL, DEFLATED_FRAMES])
@pytest.mark.parametrize("kind", ["u4", "i4"])
def test_32_bits_come_back_as_they_were(target: str, kind: str) -> None:
    pixels = noise((2, 9, 7, 1), kind)
    assert np.array_equal(samples(and_back(picture(pixels), target)), pixels)


@pytest.mark.parametrize("target", [DEFLATED_FRAMES, ENCAPSULATED_UNCOMPRESSED])
@pytest.mark.parametrize("shape", [(3, 5, 7), (1, 8, 8), (4, 3, 3), (2, 1, 1)])
def test_single_bits_run_on_natively_and_begin_anew_in_fragments(
    target: str, shape: tuple[int, int, int]
) -> None:
    bits = np.random.default_rng(3).integers(0, 2, shape).astype("u1")
    ds = picture(np.zeros((shape[0], *shape[1:], 1), "u1"))
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 1, 1, 0
    packed = np.packbits(bits.reshape(-1), bitorder="little").tobytes()
    ds.PixelData = packed + b"\0" * (len(packed) % 2)
    assert and_back(ds, target).PixelData == ds.PixelData
    fragments = list(pydicom.encaps.generate_frames(there(ds, ENCAPSULATED_UNCOMPRESSED).PixelData))
    assert len(fragments) == shape[0]
    for fragment, frame in zip(fragments, bits, strict=True):
        own = np.packbits(frame.reshape(-1), bitorder="little").tobytes()
        assert fragment[: len(own)] == own


@pytest.mark.parametrize("target", LOSSLESS)
def test_each_frame_has_a_fragment_and_a_place_in_the_table(target: str) -> None:
    ds = there(picture(noise((5, 11, 13, 1), "u1")), target)
    offsets = pydicom.encaps.parse_basic_offsets(ds.PixelData)
    fragments = list(pydicom.encaps.generate_fragments(ds.PixelData[8 + 4 * 5 :]))
    assert len(fragments) == len(offsets) == 5
    assert all(len(fragment) % 2 == 0 for fragment in fragments)
    lengths = [len(fragment) + 8 for fragment in fragments]
    assert offsets == [sum(lengths[:number]) for number in range(5)]
    assert ds["PixelData"].VR == "OB"


def test_beyond_four_gigabytes_the_table_is_an_extended_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pixels = noise((3, 11, 13, 1), "u2")
    monkeypatch.setattr(compress, "LARGEST_OFFSET", 500)
    data, _ = bring(encoded(picture(pixels)), JPEG_LS)
    ds = parsed(data, JPEG_LS)
    assert pydicom.encaps.parse_basic_offsets(ds.PixelData) == []
    assert ds["ExtendedOffsetTable"].VR == "OV"
    offsets = struct.unpack("<3Q", ds.ExtendedOffsetTable)
    lengths = struct.unpack("<3Q", ds.ExtendedOffsetTableLengths)
    fragments = list(pydicom.encaps.generate_fragments(ds.PixelData[8:]))
    assert [len(fragment) for fragment in fragments] == list(lengths)
    assert offsets == (0, lengths[0] + 8, lengths[0] + lengths[1] + 16)
    assert np.array_equal(pydicom.pixels.pixel_array(ds), pixels[..., 0])
    # And as a source: its tables do not outlive what they are of.
    again = parsed(bring(data, RLE, JPEG_LS)[0], RLE)
    assert np.array_equal(pydicom.pixels.pixel_array(again), pixels[..., 0])
    assert np.array_equal(samples(parsed(bring(data, EXPLICIT, JPEG_LS)[0], EXPLICIT)), pixels)


@pytest.mark.parametrize("target", LOSSLESS)
def test_bits_above_those_stored_are_kept_or_refused(target: str) -> None:
    """Overlays of old, and padding of today."""
    pixels = noise((1, 9, 9, 1), "u2", 12)
    pixels[0, 0, 0, 0] = 0xF830
    ds = picture(pixels, 12)
    if target in (JPEG_LOSSLESS, JPEG_LOSSLESS_SV1):
        with pytest.raises(TranscodingError, match="bits above"):
            bring(encoded(ds), target)
        return
    assert np.array_equal(samples(and_back(ds, target)), pixels)


@pytest.mark.parametrize("target", LOSSLESS)
def test_a_sign_without_the_bits_above_it_is_understood(target: str) -> None:
    pixels = noise((1, 9, 9, 1), "i2", 12)
    ds = picture(pixels, 12)
    ds.PixelData = (pixels.view("u2") & 0xFFF).tobytes()
    assert np.array_equal(samples(and_back(ds, target)), pixels)


@pytest.mark.parametrize(
    ("photometric", "target", "expected"),
    [
        ("RGB", JPEG_2000_LOSSLESS, "YBR_RCT"),
        ("RGB", HTJ2K_LOSSLESS, "YBR_RCT"),
        ("RGB", JPEG_LS, "RGB"),
        ("RGB", RLE, "RGB"),
        ("YBR_FULL", JPEG_2000_LOSSLESS, "YBR_FULL"),
        ("YBR_FULL", JPEG_LOSSLESS_SV1, "YBR_FULL"),
        ("PALETTE COLOR", JPEG_LS, "PALETTE COLOR"),
        ("MONOCHROME1", RLE, "MONOCHROME1"),
    ],
)
def test_the_colour_space_is_that_of_the_codestream(
    photometric: str, target: str, expected: str
) -> None:
    count = 3 if photometric in ("RGB", "YBR_FULL") else 1
    pixels = noise((1, 12, 10, count), "u1")
    ds = picture(pixels, photometric=photometric, planar=int(count == 3))
    made = there(ds, target)
    assert made.PhotometricInterpretation == expected
    assert made.get("PlanarConfiguration", 0) == 0
    back = and_back(ds, target)
    assert back.PhotometricInterpretation == photometric
    assert np.array_equal(samples(back), pixels)


def test_colours_shared_by_two_pixels_are_given_to_both() -> None:
    ds = picture(np.zeros((1, 2, 2, 3), "u1"), photometric="YBR_FULL_422")
    ds.PixelData = bytes([1, 2, 10, 20, 3, 4, 30, 40])
    back = and_back(ds, RLE)
    assert back.PhotometricInterpretation == "YBR_FULL"
    assert back.PixelData == bytes([1, 10, 20, 2, 10, 20, 3, 30, 40, 4, 30, 40])


@pytest.mark.parametrize("source", [IMPLICIT, BIG, DEFLATED])
def test_from_every_encoding(source: str) -> None:
    pixels = noise((3, 3, 3, 3), "u1")  # frames of 27 bytes
    data, _ = bring(encoded(picture(pixels)), source)
    back, _ = bring(bring(data, RLE, source)[0], EXPLICIT, RLE)
    assert np.array_equal(samples(parsed(back, EXPLICIT)), pixels)


def test_frames_that_end_within_a_word_of_a_big_endian_dataset() -> None:
    pixels = noise((3, 3, 3, 1), "u1")
    little = pixels.tobytes() + b"\0"
    words = bytearray(28)
    words[::2], words[1::2] = little[1::2], little[::2]
    ds = picture(pixels)
    data, _ = bring(encoded(ds), BIG)
    at = data.index(b"\x7f\xe0\x00\x10OB")
    data = data[:at] + b"\x7f\xe0\x00\x10OW" + data[at + 6 : at + 12] + bytes(words)
    assert samples(
        parsed(bring(bring(data, RLE, BIG)[0], EXPLICIT, RLE)[0], EXPLICIT)
    ).tobytes() == (pixels.tobytes())


def icon(pixels: Array) -> Dataset:
    ds = Dataset()
    inner = picture(pixels)
    del inner.SOPClassUID, inner.SOPInstanceUID, inner.ImageType
    ds.IconImageSequence = [inner]
    return ds


@pytest.mark.parametrize("target", [JPEG_LS, RLE])
def test_an_icon_stays_native_within_a_compressed_dataset(target: str) -> None:
    """PS3.5 A.4: only the top level has to be encapsulated."""
    ds = picture(noise((1, 20, 20, 1), "u2"))
    ds.update(icon(noise((1, 4, 4, 1), "u1")))
    made = there(ds, target)
    assert made.IconImageSequence[0].PixelData == ds.IconImageSequence[0].PixelData
    assert made["PixelData"].is_undefined_length


@pytest.mark.parametrize("source", [RLE, JPEG_2000_LOSSLESS])
@pytest.mark.parametrize("target", [EXPLICIT, BIG, JPEG_LS])
def test_a_native_icon_beside_compressed_pixels_keeps_its_colours(source: str, target: str) -> None:
    pixels = noise((1, 4, 6, 3), "u1")
    planes, halves = picture(pixels, planar=1), picture(pixels, photometric="YBR_FULL_422")
    halves.PixelData = noise((1, 4, 6, 2), "u1").tobytes()
    ds = picture(noise((1, 20, 20, 1), "u2"))
    ds.IconImageSequence = [planes, halves]
    data, _ = bring(bring(encoded(ds), source)[0], target, source)
    one, other = parsed(data, target).IconImageSequence
    assert one.PlanarConfiguration == 0
    assert np.array_equal(samples(one), pixels)
    quads = np.frombuffer(halves.PixelData, "u1").reshape(-1, 4)
    whole = quads[:, [0, 2, 3, 1, 2, 3]].reshape(1, 4, 6, 3)
    if source == JPEG_2000_LOSSLESS:  # of which such colours are taken to have been made by it
        whole = convert_color_space(whole, "YBR_FULL", "RGB")
    assert other.PhotometricInterpretation == ("YBR_FULL" if source == RLE else "RGB")
    assert np.array_equal(samples(other), whole)


def test_an_icon_in_the_old_syntax_does_not_stay_in_it() -> None:
    pixels = noise((1, 4, 4, 1), "u1")
    ds = picture(noise((1, 20, 20, 1), "u2"))
    data, _ = bring(encoded(ds), RLE)
    inner, _ = bring(encoded(icon(pixels).IconImageSequence[0]), RLE)
    item = struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF) + inner
    item += struct.pack("<HHL", 0xFFFE, 0xE00D, 0)
    sequence = struct.pack("<HH2sHL", 0x0088, 0x0200, b"SQ", 0, 0xFFFFFFFF) + item
    sequence += struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    at = data.index(b"\xe0\x7f\x10\x00OB")
    made = parsed(bring(data[:at] + sequence + data[at:], JPEG_LS, RLE)[0], JPEG_LS)
    assert made.IconImageSequence[0].PixelData == pixels.tobytes()
    assert np.array_equal(pydicom.pixels.pixel_array(made), samples(ds)[0, :, :, 0])


@pytest.mark.parametrize("target", [*LOSSLESS, *LOSSY])
def test_what_has_no_pixels_is_only_encoded_anew(target: str) -> None:
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.88.11", "1.2.3"
    ds.ContentSequence = [Dataset()]
    implicit, _ = bring(encoded(ds), IMPLICIT)
    data, uid = bring(implicit, target, IMPLICIT, may_lose=True)
    assert uid is None
    assert parsed(data, target) == parsed(bring(implicit, EXPLICIT, IMPLICIT)[0], EXPLICIT)


def test_floating_point_pixels_are_refused() -> None:
    ds = picture(noise((1, 2, 2, 1), "u4"))
    del ds.PixelData
    ds.FloatPixelData = bytes(16)
    with pytest.raises(TranscodingError, match="floating point"):
        bring(encoded(ds), RLE)


@pytest.mark.parametrize(
    ("target", "changes", "reason"),
    [
        (JPEG_LS, {"BitsAllocated": 1}, "Bits Allocated 1"),
        (RLE, {"BitsAllocated": 1}, "Bits Allocated 1"),
        (JPEG_LS, {"BitsStored": 1}, "Bits Stored 1"),
        (RLE, {"BitsAllocated": 12}, "Bits Allocated 12"),
        (RLE, {"PhotometricInterpretation": "HSV"}, "HSV"),
        (RLE, {"PhotometricInterpretation": "RGB"}, "1 Samples per Pixel"),
        (RLE, {"PhotometricInterpretation": ""}, "missing"),
        (RLE, {"Rows": 9}, "where 36 are described"),
        (RLE, {"Rows": 0}, "no Rows"),
        (RLE, {"NumberOfFrames": "2"}, "described"),
        (RLE, {"NumberOfFrames": "1000000000"}, "described"),
        (RLE, {"Rows": 1}, "described"),
    ],
)
def test_what_cannot_be_is_refused_by_name(
    target: str, changes: dict[str, Any], reason: str
) -> None:
    ds = picture(noise((1, 4, 4, 1), "u1"))
    ds.update(changes)
    with pytest.raises(TranscodingError, match=reason):
        bring(encoded(ds), target)


@pytest.mark.parametrize("target", LOSSLESS)
def test_no_codec_is_believed(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that changes a single sample by one is found out before anything is sent."""
    codec = LOSSLESS[target]

    def wrong(frame: Array, of: Any) -> bytes:
        changed = frame.copy()
        changed.flat[5] ^= 1
        return codec.encode(changed, of)

    monkeypatch.setitem(codecs.LOSSLESS, target, codec._replace(encode=wrong))
    with pytest.raises(TranscodingError, match="frame 1 comes out of the codec as another one"):
        bring(encoded(picture(noise((2, 9, 9, 1), "u1"))), target)


@pytest.mark.parametrize("target", [*LOSSLESS, JPEG_BASELINE, JPEG_EXTENDED, JPEG_2000])
def test_of_half_a_frame_no_picture_is_made(target: str) -> None:
    bits = {JPEG_BASELINE: 8, JPEG_EXTENDED: 12}.get(target, 16)
    pixels = smooth("u1" if bits == 8 else "u2", (1 << bits) - 1)
    data, _ = bring(encoded(picture(pixels, bits)), target, may_lose=True)
    at = data.index(struct.pack("<HH2sHL", 0x7FE0, 0x10, b"OB", 0, 0xFFFFFFFF)) + 12
    frame = next(pydicom.encaps.generate_frames(data[at:], number_of_frames=1))
    half = frame[: len(frame) // 4 * 2]
    items = struct.pack("<HHLHHL", 0xFFFE, 0xE000, 0, 0xFFFE, 0xE000, len(half)) + half
    cut = data[:at] + items + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    with pytest.raises(TranscodingError):
        bring(cut, EXPLICIT, target)


def smooth(dtype: str, top: int, colours: int = 1) -> Array:
    rows, columns = np.mgrid[0:64, 0:48]
    frame = ((rows + columns) * top // 112).astype(dtype)
    return np.repeat(frame[None, :, :, None], colours, axis=3)


LOSSES = [
    (JPEG_BASELINE, smooth("u1", 255), None, "ISO_10918_1", "MONOCHROME2"),
    (JPEG_BASELINE, smooth("u1", 255, 3), None, "ISO_10918_1", "YBR_FULL_422"),
    (JPEG_EXTENDED, smooth("u2", 4095), 12, "ISO_10918_1", "MONOCHROME2"),
    (JPEG_LS_NEAR, smooth("u2", 4095), 12, "ISO_14495_1", "MONOCHROME2"),
    (JPEG_2000, smooth("u2", 65535), None, "ISO_15444_1", "MONOCHROME2"),
    (JPEG_2000, smooth("u1", 255, 3), None, "ISO_15444_1", "YBR_ICT"),
]


@pytest.mark.parametrize(("target", "pixels", "stored", "method", "photometric"), LOSSES)
def test_a_copy_with_losses_says_so_and_is_another_instance(
    target: str, pixels: Array, stored: int | None, method: str, photometric: str
) -> None:
    original = picture(pixels, stored)
    original.SmallestImagePixelValue = 0
    data, uid = bring(encoded(original), target, may_lose=True)
    ds = parsed(data, target)
    assert ds.SOPInstanceUID == uid != SOP_INSTANCE_UID
    assert uid is not None
    assert uid.startswith("2.25.")
    assert len(uid) <= 64
    assert list(ds.ImageType) == ["DERIVED", "PRIMARY", "AXIAL"]
    assert ds.LossyImageCompression == "01"
    assert ds.LossyImageCompressionMethod == method
    assert ds.PhotometricInterpretation == photometric
    assert "SmallestImagePixelValue" not in ds
    compressed = len(next(pydicom.encaps.generate_frames(ds.PixelData, number_of_frames=1)))
    ratio = pixels.nbytes / compressed
    assert float(ds.LossyImageCompressionRatio) == pytest.approx(ratio, abs=0.01)
    assert LOSSY[target].parameters in ds.DerivationDescription
    assert ds.DerivationCodeSequence[0].CodeValue == "113040"
    source = ds.SourceImageSequence[0]
    assert source.ReferencedSOPInstanceUID == SOP_INSTANCE_UID
    assert source.PurposeOfReferenceCodeSequence[0].CodeValue == "121320"
    back = samples(parsed(bring(data, EXPLICIT, target)[0], EXPLICIT)).astype(int)
    top = (1 << (stored or pixels.dtype.itemsize * 8)) - 1
    assert np.abs(back - pixels.astype(int)).max() <= top * 0.03


@pytest.mark.parametrize(("target", "pixels", "stored"), [loss[:3] for loss in LOSSES])
def test_the_same_copy_has_the_same_uid_and_another_copy_another(
    target: str, pixels: Array, stored: int | None
) -> None:
    data = encoded(picture(pixels, stored))
    first, uid = bring(data, target, may_lose=True)
    assert bring(data, target, may_lose=True) == (first, uid)
    others = {bring(data, other, may_lose=True)[1] for other in (JPEG_LS_NEAR, JPEG_2000)}
    assert len(others | {uid}) == (2 if target in (JPEG_LS_NEAR, JPEG_2000) else 3)


def test_what_was_lost_before_is_still_said() -> None:
    original = picture(smooth("u2", 4095), 12)
    original.LossyImageCompression, original.LossyImageCompressionRatio = "01", "19"
    original.LossyImageCompressionMethod = "ISO_10918_1"
    original.DerivationDescription = "x" * 1020
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = "1.2", "1.2.3"
    original.SourceImageSequence = [reference]
    ds = parsed(bring(encoded(original), JPEG_2000, may_lose=True)[0], JPEG_2000)
    assert ds.LossyImageCompressionRatio[0] == 19
    assert len(ds.LossyImageCompressionRatio) == 2
    assert list(ds.LossyImageCompressionMethod) == ["ISO_10918_1", "ISO_15444_1"]
    assert len(ds.DerivationDescription) <= 1024
    assert "JPEG 2000" in ds.DerivationDescription
    assert [item.ReferencedSOPInstanceUID for item in ds.SourceImageSequence] == [
        SOP_INSTANCE_UID,
        "1.2.3",
    ]
    without = parsed(bring(encoded(original), JPEG_LS)[0], JPEG_LS)
    assert without.LossyImageCompressionRatio == 19
    assert without.SOPInstanceUID == SOP_INSTANCE_UID


@pytest.mark.parametrize(
    ("target", "pixels", "stored"),
    [
        (JPEG_BASELINE, smooth("u2", 4095), 12),
        (JPEG_BASELINE, smooth("u2", 255).view("i2"), None),
        (JPEG_EXTENDED, smooth("u2", 65535), None),
        (JPEG_2000, smooth("u4", 65535), None),
    ],
)
def test_losses_that_a_codec_is_not_for_are_refused(
    target: str, pixels: Array, stored: int | None
) -> None:
    with pytest.raises(TranscodingError, match="is not for"):
        bring(encoded(picture(pixels, stored)), target, may_lose=True)


def test_nothing_is_derived_from_what_has_no_uid() -> None:
    ds = picture(smooth("u1", 255))
    del ds.SOPInstanceUID
    with pytest.raises(TranscodingError, match="SOP Instance UID"):
        bring(encoded(ds), JPEG_BASELINE, may_lose=True)


def test_a_lossy_codec_that_gives_another_picture_is_found_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for target, pixels, stored, *_ in LOSSES:
        codec = LOSSY[target]

        def wrong(frame: Array, of: Any, encode: Any = codec.encode) -> bytes:
            return bytes(encode(np.ascontiguousarray(frame[::-1, ::-1]), of))

        with monkeypatch.context() as patch:
            patch.setitem(codecs.LOSSY, target, codec._replace(encode=wrong))
            with pytest.raises(TranscodingError, match="as another one"):
                bring(encoded(picture(pixels, stored)), target, may_lose=True)


def test_frames_are_compressed_one_by_one_with_a_tick_each() -> None:
    data = encoded(picture(noise((6, 9, 9, 1), "u2")))
    spool = io.BytesIO()
    ticks: list[int] = []
    source = DatasetSource(io.BytesIO(data), len(data))
    transcode(source, EXPLICIT, JPEG_LS, spool, lambda: ticks.append(spool.tell()))
    assert len(set(ticks)) == len(ticks) == 6
