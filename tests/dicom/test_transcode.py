"""Real files through every way there is; what pydicom makes of both sides must agree."""

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from pacsnode.dicom.message import DatasetSource
from pacsnode.dicom.stream import ROWS, Scope, swap
from pacsnode.dicom.transcode import COMPRESSED, LOSSLESS, LOSSY, can_transcode, transcode
from pacsnode.errors import TranscodingError

IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
BIG, DEFLATED = "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"
UNCOMPRESSED = (IMPLICIT, EXPLICIT, BIG, DEFLATED)
RLE, JPEG_2000 = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.90"

# pydicom does not read these (12-bit JPEG; a delimiter inside a frame).
UNREADABLE = {"JPEG-lossy.dcm", "JPGExtended.dcm", "JPEG2000-embedded-sequence-delimiter.dcm"}
NO_IMAGE = {"badVR.dcm", "nested_priv_SQ.dcm"}
BROKEN = {"MR_truncated.dcm", "rtplan_truncated.dcm", "meta_missing_tsyntax.dcm"}


def bundled() -> Iterator[Any]:
    folder = Path(pydicom.__file__).parent / "data"
    for path in sorted([*folder.glob("test_files/*.dcm"), *folder.glob("charset_files/*.dcm")]):
        if path.name in UNREADABLE | BROKEN:
            continue
        with path.open("rb") as file:
            head = file.read(160)
        # Those with a group length at the head of a proper file meta group.
        if head[128:132] == b"DICM" and head[132:138] == b"\2\0\0\0UL":
            yield pytest.param(path, id=path.name)


class Original:
    """A file, split into its file meta group and its dataset."""

    def __init__(self, path: Path) -> None:
        data = path.read_bytes()
        start = 144 + struct.unpack_from("<L", data, 140)[0]
        self.dataset = data[start:]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.parsed = pydicom.dcmread(io.BytesIO(data), force=True)
        self.uid = str(self.parsed.file_meta.TransferSyntaxUID)


def bring(data: bytes, source: str, target: str) -> bytes:
    spool = io.BytesIO()
    result = transcode(DatasetSource(io.BytesIO(data), len(data)), source, target, spool)
    read = result.file.read()
    assert len(read) == result.length
    assert len(read) % 2 == 0 or len(data) % 2
    return read


def parse(data: bytes, uid: str) -> Dataset:
    ds = pydicom.dcmread(io.BytesIO(_as_file(data, uid)))
    assert isinstance(ds, Dataset)
    return ds


def _as_file(data: bytes, uid: str) -> bytes:
    value = uid.encode() + b"\0" * (len(uid) % 2)
    element = struct.pack("<HH2sH", 2, 0x10, b"UI", len(value)) + value
    length = struct.pack("<HH2sHL", 2, 0, b"UL", 4, len(element))
    return bytes(128) + b"DICM" + length + element + data


def compare(old: Dataset, new: Dataset) -> None:
    """Element by element; pixels aside, and UN against what a dictionary knows."""
    offsets = {0x7FE00001, 0x7FE00002}
    expected = {tag for tag in map(int, old.keys()) if tag & 0xFFFF} - offsets
    assert set(map(int, new.keys())) == expected
    for tag in sorted(expected - {0x7FE00010, 0x00280004, 0x00280006}):
        before, after = old[tag], new[tag]
        if "UN" in (before.VR, after.VR) or tag >> 16 & 1:
            continue
        assert before.VR == after.VR or before.VR in ("OB", "OW")
        if before.VR == "SQ":
            assert len(before.value) == len(after.value)
            for one, other in zip(before.value, after.value, strict=True):
                compare(one, other)
        elif before.VR not in ("OB", "OW"):
            assert before.value == after.value, before.keyword


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("path", list(bundled()))
def test_every_bundled_file_says_the_same_in_every_uncompressed_syntax(path: Path) -> None:
    original = Original(path)
    expected = None
    if "PixelData" in original.parsed and path.name not in NO_IMAGE:
        expected = pydicom.pixels.pixel_array(original.parsed)
    for target in (IMPLICIT, EXPLICIT, DEFLATED):
        if target == original.uid:
            continue
        data = bring(original.dataset, original.uid, target)
        ds = parse(data, target)
        if path.name != "badVR.dcm" and "priv" not in path.name:
            compare(original.parsed, ds)
        if expected is not None:
            actual = pydicom.pixels.pixel_array(ds)
            assert np.array_equal(expected, actual)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "name", ["CT_small.dcm", "MR_small.dcm", "rtdose.dcm", "SC_rgb_small_odd.dcm"]
)
def test_big_endian_and_back_gives_the_same_bytes(name: str) -> None:
    original = Original(Path(str(get_testdata_file(name, download=False))))
    little = bring(original.dataset, original.uid, EXPLICIT if original.uid != EXPLICIT else BIG)
    if original.uid == EXPLICIT:
        little = bring(little, BIG, EXPLICIT)
    assert bring(bring(little, EXPLICIT, BIG), BIG, EXPLICIT) == little


def explicit(tag: int, vr: bytes, value: bytes) -> bytes:
    if vr in (b"OB", b"OW", b"SQ", b"UN", b"UT"):
        return struct.pack("<HH2sHL", tag >> 16, tag & 0xFFFF, vr, 0, len(value)) + value
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value


def implicit(tag: int, value: bytes) -> bytes:
    return struct.pack("<HHL", tag >> 16, tag & 0xFFFF, len(value)) + value


def test_values_pass_unread_and_unharmed() -> None:
    """Wrong characters, wrong numbers, private elements: a transcoder is no censor."""
    values = [
        (0x0008_0005, b"CS", b"NO SUCH SET "),
        (0x0010_0010, b"PN", b"\xff\xfe\x80^^=="),
        (0x0020_0013, b"IS", b"not a num."),
        (0x0029_0010, b"LO", b"ACME"),
        (0x0029_1001, b"DS", b"\0\1\2\3"),
    ]
    data = b"".join(explicit(*value) for value in values)
    assert bring(data, EXPLICIT, IMPLICIT) == b"".join(implicit(t, v) for t, _, v in values)


def test_group_lengths_that_would_be_wrong_are_left_out() -> None:
    data = implicit(0x0008_0000, b"\x0a\0\0\0") + implicit(0x0008_0060, b"CT")
    assert bring(data, IMPLICIT, EXPLICIT) == explicit(0x0008_0060, b"CS", b"CT")


def test_what_no_dictionary_knows_becomes_un() -> None:
    data = implicit(0x0029_1001, b"\0\1")
    assert bring(data, IMPLICIT, EXPLICIT) == explicit(0x0029_1001, b"UN", b"\0\1")


def test_a_value_too_long_for_its_vr_becomes_un() -> None:
    value = b"1.5\\" * 20_000
    data = bring(implicit(0x3006_0050, value), IMPLICIT, EXPLICIT)
    assert data == explicit(0x3006_0050, b"UN", value)


def test_us_or_ss_is_decided_by_the_pixel_representation_around_it() -> None:
    for representation, vr in ((0, b"US"), (1, b"SS")):
        signed = struct.pack("<H", representation)
        data = implicit(0x0028_0103, signed) + implicit(0x0028_0106, b"\xff\xff")
        assert explicit(0x0028_0106, vr, b"\xff\xff") in bring(data, IMPLICIT, EXPLICIT)


def test_an_item_in_the_other_vr_encoding_is_understood() -> None:
    item = implicit(0x0008_1150, b"1.2\0")
    sequence = struct.pack("<HHL", 0xFFFE, 0xE000, len(item)) + item
    data = explicit(0x0008_1140, b"SQ", sequence)
    ds = parse(bring(data, EXPLICIT, IMPLICIT), IMPLICIT)
    assert ds.ReferencedImageSequence[0].ReferencedSOPClassUID == "1.2"


def test_a_sequence_whose_vr_was_lost_is_read_as_implicit() -> None:
    item = implicit(0x0008_1150, b"1.2\0")
    content = struct.pack("<HHL", 0xFFFE, 0xE000, len(item)) + item
    end = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    header = struct.pack("<HH2sHL", 0x0008, 0x1140, b"UN", 0, 0xFFFFFFFF)
    ds = parse(bring(header + content + end, EXPLICIT, IMPLICIT), IMPLICIT)
    assert ds.ReferencedImageSequence[0].ReferencedSOPClassUID == "1.2"


def test_deflated_datasets_are_deflated_and_of_even_length() -> None:
    for length in range(1, 20):
        data = explicit(0x0008_0060, b"LO", b"x" * 2 * length)
        deflated = bring(data, EXPLICIT, DEFLATED)
        assert len(deflated) % 2 == 0
        assert zlib.decompress(deflated, wbits=-15) == data
        assert bring(deflated, DEFLATED, EXPLICIT) == data


@pytest.mark.parametrize("source", [IMPLICIT, EXPLICIT, BIG, DEFLATED, RLE])
@given(data=st.binary(max_size=400))
def test_no_bytes_whatever_raise_anything_else(source: str, data: bytes) -> None:
    try:
        bring(data, source, EXPLICIT if source != EXPLICIT else IMPLICIT)
    except TranscodingError:
        return


@given(cut=st.integers(0, 5000), flips=st.lists(st.tuples(st.integers(0, 5000), st.binary())))
def test_no_damage_to_a_real_dataset_raises_anything_else(
    cut: int, flips: list[tuple[int, bytes]]
) -> None:
    data = bytearray(Original(Path(str(get_testdata_file("MR_small_RLE.dcm")))).dataset)
    for position, replacement in flips:
        data[position : position + len(replacement)] = replacement
    try:
        bring(bytes(data[: len(data) - cut]), RLE, IMPLICIT)
    except TranscodingError:
        return


def test_nesting_without_end_is_refused() -> None:
    opening = struct.pack("<HH2sHL", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF)
    opening += struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
    with pytest.raises(TranscodingError, match="within the other"):
        bring(opening * 3000, EXPLICIT, IMPLICIT)


@given(st.binary(max_size=40), st.sampled_from([1, 2, 4, 8]))
def test_swapping_twice_changes_nothing(value: bytes, word: int) -> None:
    assert swap(swap(value, word), word) == value


def test_swapping_reverses_each_word() -> None:
    assert swap(b"abcdefg", 2) == b"badcfeg"
    assert swap(b"abcdefgh", 4) == b"dcbahgfe"


@pytest.mark.parametrize("uid", ["1.2.840.10008.1.2.4.100", "1.2.3.4", "", "1.2.840.113619.5.2"])
def test_what_has_no_codec_is_refused_by_name(uid: str) -> None:
    assert not can_transcode(uid, EXPLICIT)
    with pytest.raises(TranscodingError, match=uid or "syntax"):
        bring(b"", uid, EXPLICIT)


def test_every_compressed_syntax_has_a_codec() -> None:
    for uid in COMPRESSED:
        assert can_transcode(uid, EXPLICIT), uid
        assert can_transcode(uid, uid)


def test_nothing_is_lost_unless_it_may_be() -> None:
    for source in (EXPLICIT, *COMPRESSED):
        for uid in LOSSLESS:
            assert can_transcode(source, uid)
        for uid in LOSSY:
            assert can_transcode(source, uid) == (source == uid)
            assert can_transcode(source, uid, may_lose=True)


def test_a_dataset_in_the_right_syntax_already_is_handed_back() -> None:
    source = DatasetSource(io.BytesIO(b"x"), 1)
    assert transcode(source, "1.2.3", "1.2.3", io.BytesIO()) is source


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "colours"),
    [
        ("SC_rgb_jpeg_dcmtk.dcm", "RGB"),
        ("examples_ybr_color.dcm", None),
        ("SC_rgb_rle_2frame.dcm", "RGB"),
    ],
)
def test_the_description_fits_the_decoded_pixels(name: str, colours: str | None) -> None:
    path = get_testdata_file(name, download=False)
    if path is None:
        pytest.skip(f"{name} does not come with this pydicom")
    original = Original(Path(str(path)))
    ds = parse(bring(original.dataset, original.uid, EXPLICIT), EXPLICIT)
    assert ds.PlanarConfiguration == 0
    if colours is not None:
        assert ds.PhotometricInterpretation == colours
    assert "LossyImageCompression" not in original.parsed or (
        ds.LossyImageCompression == original.parsed.LossyImageCompression
    )
    expected = ds.Rows * ds.Columns * ds.SamplesPerPixel * ds.BitsAllocated // 8
    frames = int(ds.get("NumberOfFrames", 1))
    assert len(ds.PixelData) == expected * frames + expected * frames % 2


def test_a_compressed_icon_is_decompressed_too() -> None:
    original = Original(Path(str(get_testdata_file("MR_small_RLE.dcm"))))
    pixels = original.dataset[original.dataset.index(b"\xe0\x7f\x10\x00OB") :]
    icon = Dataset()
    for keyword in ("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit"):
        setattr(icon, keyword, getattr(original.parsed, keyword))
    icon.SamplesPerPixel, icon.PixelRepresentation = 1, 1
    icon.PhotometricInterpretation = "MONOCHROME2"
    fields = DicomBytesIO()
    fields.is_little_endian, fields.is_implicit_VR = True, False
    write_dataset(fields, icon)
    item = struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
    item += fields.getvalue() + pixels + struct.pack("<HHL", 0xFFFE, 0xE00D, 0)
    data = struct.pack("<HH2sHL", 0x0088, 0x0200, b"SQ", 0, 0xFFFFFFFF)
    data += item + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    ds = parse(bring(data, RLE, EXPLICIT), EXPLICIT)
    whole = parse(bring(original.dataset, RLE, EXPLICIT), EXPLICIT)
    assert ds.IconImageSequence[0].PixelData == whole.PixelData


def test_frames_are_decoded_one_by_one_with_a_tick_each() -> None:
    original = Original(Path(str(get_testdata_file("rtdose_rle.dcm"))))
    frames = int(original.parsed.NumberOfFrames)
    ticks: list[int] = []
    spool = io.BytesIO()
    transcode(
        DatasetSource(io.BytesIO(original.dataset), len(original.dataset)),
        RLE, EXPLICIT, spool, lambda: ticks.append(spool.tell()),
    )  # fmt: skip
    assert len(set(ticks)) == len(ticks) == frames


def test_too_few_frames_are_an_error_and_not_a_short_file() -> None:
    original = Original(Path(str(get_testdata_file("rtdose_rle.dcm"))))
    data = original.dataset.replace(b"(\x00\x08\x00IS\x02\x0015", b"(\x00\x08\x00IS\x02\x0016")
    assert data != original.dataset
    with pytest.raises(TranscodingError):
        bring(data, RLE, EXPLICIT)


def test_pixels_that_would_not_fit_into_a_value_are_refused_before_they_are_made() -> None:
    fields = b"".join(
        explicit(tag, b"US", struct.pack("<H", value))
        for tag, value in (
            (0x0028_0002, 1),
            (0x0028_0010, 65535),
            (0x0028_0011, 65535),
            (0x0028_0100, 16),
        )
    )
    pixels = struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF)
    with pytest.raises(TranscodingError, match="bytes long"):
        bring(fields + pixels, RLE, EXPLICIT)


@pytest.mark.parametrize(
    "fragments",
    [
        b"",
        struct.pack("<HHL", 0xFFFE, 0xE000, 0xFF000000),  # an offset table of 4 GB
        struct.pack("<HHLHH", 0xFFFE, 0xE000, 0, 0xFFFE, 0xE000),
        struct.pack("<HHLH", 0xFFFE, 0xE000, 0, 0xFFFE),
        struct.pack("<HHLHHL", 0xFFFE, 0xE000, 4, 0x4141, 0x4141, 0xFFFFFFFF),
    ],
)
def test_fragments_whose_lengths_lie_are_refused(fragments: bytes) -> None:
    original = Original(Path(str(get_testdata_file("MR_small_RLE.dcm"))))
    data = original.dataset[: original.dataset.index(b"\xe0\x7f\x10\x00OB") + 12] + fragments
    with pytest.raises(TranscodingError):
        bring(data, RLE, EXPLICIT)


def test_pixel_data_is_no_sequence() -> None:
    data = struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"SQ", 0, 8)
    with pytest.raises(TranscodingError, match="as a sequence"):
        bring(data + struct.pack("<HHL", 0xFFFE, 0xE000, 0), EXPLICIT, IMPLICIT)


def test_a_deflate_bomb_is_refused_at_a_gigabyte_and_holds_no_memory() -> None:
    deflate = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    header = struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFF0)
    bomb = deflate.compress(header) + deflate.flush(zlib.Z_FULL_FLUSH)
    bomb += (deflate.compress(bytes(1 << 20)) + deflate.flush(zlib.Z_FULL_FLUSH)) * 1100
    longest = 0

    class Counting(io.RawIOBase):
        def write(self, data: Any) -> int:
            nonlocal longest
            longest = max(longest, len(data))
            return len(data)

    with pytest.raises(TranscodingError, match="inflates to over 1024 MiB"):
        transcode(DatasetSource(io.BytesIO(bomb), len(bomb)), DEFLATED, EXPLICIT, Counting())  # type: ignore[arg-type]
    assert longest <= 1 << 20


def test_of_what_describes_pixels_only_that_is_kept() -> None:
    scope = Scope()
    for number in range(0x10000):
        scope.keep(0x0028_0000 | number, bytes(60_000))
    scope.keep(ROWS, b"\1\0")
    assert scope.values == {ROWS: b"\1\0"}


def test_codecs_that_refuse_say_so_in_the_error_and_not_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    original = Original(Path(str(get_testdata_file("JPEG2000.dcm", download=False))))
    data = original.dataset.replace(b"\xff\x4f\xff\x51", b"\xff\x4f\xff\x50")
    assert data != original.dataset
    caplog.clear()
    with pytest.raises(TranscodingError, match="refuses"):
        bring(data, original.uid, EXPLICIT)
    assert not caplog.records
