"""Headers of instances: everything a modality may send is read, nothing can hurt."""

import json
import struct
import time
import tracemalloc
import warnings
import zlib
from io import BytesIO

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pacsnode.dicom.instance import Instance, read_instance
from pacsnode.dicom.level import Level
from pacsnode.errors import UnreadableDataset, UnusableUID
from tests.dicom.raw import (
    BIG_ENDIAN,
    BUNDLED,
    CT,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    UNDEFINED,
    dataset,
    delimiter,
    element,
    implicit,
    opened,
    uids,
)

REAL = next(path for path in BUNDLED if path.name == "CT_small.dcm").read_bytes()[132:]


def read(
    data: bytes, transfer_syntax: str = EXPLICIT, character_set: str | None = None
) -> Instance:
    return read_instance(BytesIO(data), transfer_syntax, character_set, "1.2.9")


def test_uids_values_and_class_are_read() -> None:
    instance = read(dataset((0x00100010, "PN", b"Doe^Jane "), (0x00280010, "US", b"\0\2")))
    assert instance.uids == ("1.2.3", "1.2.3.4", "1.2.3.4.5")
    assert instance.sop_class_uid == CT
    assert instance.values["PatientName"] == ("Doe^Jane",)
    assert instance.values["Rows"] == ("512",)
    assert instance.values["StudyInstanceUID"] == ("1.2.3",)
    assert "PatientID" not in instance.values
    assert instance.others == {Level.PATIENT: "{}", Level.STUDY: "{}", Level.SERIES: "{}"}


def test_every_bundled_file_gives_what_pydicom_reads() -> None:
    compared = 0
    for path, file, meta in opened():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = pydicom.dcmread(path, force=True, stop_before_pixels=True)
            wanted = [expected.get(word) for word in ("StudyInstanceUID", "SeriesInstanceUID")]
            name, number = str(expected.get("PatientName", "")), str(expected.get("Rows", ""))
        if not all(wanted):
            continue
        instance = read_instance(file, meta.transfer_syntax_uid, None, meta.sop_class_uid)
        assert [instance.uids[0], instance.uids[1]] == [str(uid) for uid in wanted], path
        assert instance.uids[2] == str(expected.SOPInstanceUID), path
        assert instance.first("PatientName").rstrip("=") == name.strip(" ").rstrip("="), path
        assert instance.first("Rows") == number, path
        compared += 1
    assert compared > 120


def test_a_dataset_may_begin_anywhere_in_its_file() -> None:
    file = BytesIO(b"something else" + dataset())
    file.seek(14)
    assert read_instance(file, EXPLICIT, None, "").uids.sop_instance_uid == "1.2.3.4.5"


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (b"1.2.3\0", "1.2.3"),
        (b"1.2.3 \0 \0", "1.2.3"),
        (b"1.02.003", "1.02.003"),
        (b" \x001.2.3 ", "1.2.3"),
        (b"../../etc", "../../etc"),
        (b"1.2\\3.4", "1.2\\3.4"),
        (b"\xe4\x01", "\xe4\x01"),
        (b"9" * 128, "9" * 128),
    ],
)
def test_uids_are_kept_as_sent_less_padding(sent: bytes, kept: str) -> None:
    instance = read(dataset(sop=sent))
    assert instance.uids.sop_instance_uid == kept
    assert instance.values["SOPInstanceUID"] == (kept,)


@pytest.mark.parametrize("sent", [b"", b"\0\0", b"  ", b"1" * 129])
@pytest.mark.parametrize("which", ["study", "series", "sop"])
def test_uids_out_of_bounds_cannot_be_used(sent: bytes, which: str) -> None:
    with pytest.raises(UnusableUID):
        read(dataset(**{which: sent}))


def test_a_missing_class_is_the_one_given() -> None:
    elements = uids()
    del elements[0x00080016]
    instance = read(b"".join(elements.values()))
    assert instance.sop_class_uid == "1.2.9"
    assert instance.values["SOPClassUID"] == ("1.2.9",)


@pytest.mark.parametrize("declared", [EXPLICIT, IMPLICIT, "1.2.3.4.5.6", BIG_ENDIAN, ""])
def test_what_is_written_counts_not_what_is_declared(declared: str) -> None:
    pairs = ((0x00080018, b"1.5 "), (0x00100010, b"A^B "), (0x0020000D, b"1.3 "))
    written = b"".join(implicit(*pair) for pair in (*pairs, (0x0020000E, b"1.4 ")))
    for data in (written, dataset((0x00100010, "PN", b"A^B "))):
        assert read(data, declared).values["PatientName"] == ("A^B",)


def test_big_endian_is_read() -> None:
    data = b"".join(
        element(tag, vr, value, order=">")
        for tag, vr, value in (
            (0x00080018, "UI", b"1.5\0"),
            (0x0020000D, "UI", b"1.3\0"),
            (0x0020000E, "UI", b"1.4\0"),
            (0x00280010, "US", b"\2\0"),
        )
    )
    assert read(data, BIG_ENDIAN).values["Rows"] == ("512",)


def test_deflated_datasets_are_read_also_when_cut() -> None:
    deflater = zlib.compressobj(wbits=-15)
    data = deflater.compress(dataset((0x7FE00010, "OW", b"x" * 50))) + deflater.flush()
    assert read(data, DEFLATED).uids.study_instance_uid == "1.2.3"
    assert read(data[:-6], DEFLATED).uids.study_instance_uid == "1.2.3"


def test_a_deflate_bomb_costs_little() -> None:
    deflater = zlib.compressobj(9, wbits=-15)
    filler = element(0x00090010, "OB", b"", length=0xFFFFFF00)
    bomb = deflater.compress(filler)
    for _ in range(60):
        bomb += deflater.compress(bytes(1 << 20))
    bomb += deflater.flush()
    tracemalloc.start()
    try:
        with pytest.raises(UnreadableDataset):
            read(bomb, DEFLATED)
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "broken",
    [
        element(0x00400275, "SQ", b"", length=UNDEFINED),
        element(0x00400275, "SQ", delimiter(0xE000, 99999)),
        element(0x00400275, "SQ", b"garbage!garbage!", length=UNDEFINED),
        element(0x00321060, "LO", b"short", length=60000),
        b"\x32\0\x60\x10",
        element(0x00380500, "\x01\x02", b"what?"),
        b"\0" * 64,
    ],
)
def test_what_breaks_after_the_uids_costs_only_itself(broken: bytes) -> None:
    instance = read(dataset((0x00100020, "LO", b"7\0")) + broken)
    assert instance.values["PatientID"] == ("7",)


def test_elements_out_of_order_are_read() -> None:
    late = element(0x00100020, "LO", b"7 ")
    assert read(dataset((0x00280010, "US", b"\1\0")) + late).values["PatientID"] == ("7",)


def test_odd_lengths_and_wrong_representations_are_read() -> None:
    instance = read(
        dataset(
            (0x00100010, "LO", b"Doe^J"),
            (0x00100020, "OB", b"77"),
            (0x00100030, "UN", b"19700101"),
            (0x00280010, "IS", b"512 "),
            (0x00280011, "US", b"\0\1\0"),
            (0x00200013, "IS", b"no number"),
        )
    )
    for keyword, value in {
        "PatientName": "Doe^J",
        "PatientID": "77",
        "PatientBirthDate": "19700101",
        "Rows": "512",
        "Columns": "256",
        "InstanceNumber": "no number",
    }.items():
        assert instance.values[keyword] == (value,)


def test_values_are_split_after_decoding() -> None:
    text = next(chr(code) for code in range(0x4E00, 0x9FA5) if b"\\" in chr(code).encode("gbk"))
    for term, codec in ((b"GB18030 ", "gb18030"), (b"GBK ", "gbk"), (b"ISO_IR 192", "utf_8")):
        raw = text.encode(codec) + b"\\B"
        instance = read(dataset((0x00080005, "CS", term), (0x00100020, "LO", raw)))
        assert instance.values["PatientID"] == (text, "B")


def test_a_character_set_is_assumed_only_where_none_is_declared() -> None:
    name = "Ж".encode("iso8859_5")
    assert read(dataset((0x00100010, "PN", name)), character_set="ISO_IR 144").values[
        "PatientName"
    ] == ("Ж",)
    declared = dataset((0x00080005, "CS", b"ISO_IR 100"), (0x00100010, "PN", name))
    assert read(declared, character_set="ISO_IR 144").values["PatientName"] == (
        name.decode("latin_1"),
    )


def test_the_same_bytes_in_another_character_set_are_another_text() -> None:
    """What the levels' elements say is remembered, with all that it depends on."""
    name, comments = "Ж".encode("iso8859_5"), "Ш".encode("iso8859_5")
    data = dataset((0x00100010, "PN", name), (0x00104000, "LT", comments))
    for term, codec in (
        (None, "latin_1"),
        ("ISO_IR 144", "iso8859_5"),
        ("ISO_IR 126", "iso8859_7"),
    ):
        for _ in range(2):
            instance = read(data, character_set=term)
            expected = {"vr": "LT", "Value": [comments.decode(codec)]}
            assert instance.values["PatientName"] == (name.decode(codec),)
            assert json.loads(instance.others[Level.PATIENT]) == {"00104000": expected}


def test_what_one_instance_says_is_not_said_by_the_next() -> None:
    whole = dataset(
        (0x00100010, "PN", b"A^B "), (0x00100020, "LO", b"7 "), (0x00280010, "US", b"\2\0")
    )
    named, bare = dataset((0x00100010, "PN", b"A^B ")), dataset()
    implicitly = b"".join(implicit(tag, b"1.2 ") for tag in (0x00080018, 0x0020000D, 0x0020000E))
    for _ in range(2):
        assert set(read(whole).values) - set(read(bare).values) == {
            "PatientName",
            "PatientID",
            "Rows",
        }
        assert set(read(named).values) - set(read(bare).values) == {"PatientName"}
        assert read(implicitly, IMPLICIT).values["StudyInstanceUID"] == ("1.2",)


def test_long_values_are_read_each_time_anew() -> None:
    for letter in (b"A", b"B", b"A"):
        instance = read(dataset((0x00104000, "LT", letter * 60_000)))
        assert json.loads(instance.others[Level.PATIENT])["00104000"]["Value"] == [
            letter.decode() * 60_000
        ]


def request_item(step: bytes, procedure: bytes) -> bytes:
    return element(0x00400009, "SH", step) + element(0x00401001, "SH", procedure)


def test_request_attributes_are_read_item_by_item() -> None:
    first, second = request_item(b"S1", b"P1"), request_item(b"S2", b"")
    defined = delimiter(0xE000, len(first)) + first
    undefined = delimiter(0xE000, UNDEFINED) + second + delimiter(0xE00D)
    value = defined + undefined
    for data in (
        element(0x00400275, "SQ", value),
        element(0x00400275, "SQ", value + delimiter(0xE0DD), length=UNDEFINED),
        element(0x00400275, "UN", value),
    ):
        others = json.loads(read(dataset() + data).others[Level.SERIES])
        assert others["00400275"]["Value"] == [
            {
                "00400009": {"vr": "SH", "Value": ["S1"]},
                "00401001": {"vr": "SH", "Value": ["P1"]},
            },
            {"00400009": {"vr": "SH", "Value": ["S2"]}, "00401001": {"vr": "SH"}},
        ]


def test_other_attributes_of_the_levels_are_json() -> None:
    item = element(0x00080100, "SH", b"CTHEAD") + element(0x00091001, "LO", b"private!")
    sequence = delimiter(0xE000, len(item)) + item
    instance = read(
        dataset(
            (0x00101030, "DS", b"72.50 "),
            (0x00104000, "LT", b"a\\b "),
            (0x00081032, "SQ", sequence),
            (0x00081070, "PN", b"Op^A\\Op^B "),
            (0x00091002, "OB", b"\0" * 10),
        )
    )
    others = {level: json.loads(text) for level, text in instance.others.items()}
    assert others[Level.PATIENT] == {"00104000": {"vr": "LT", "Value": ["a\\b"]}}
    assert others[Level.STUDY] == {
        "00081032": {"vr": "SQ", "Value": [{"00080100": {"vr": "SH", "Value": ["CTHEAD"]}}]},
        "00101030": {"vr": "DS", "Value": ["72.50"]},
    }
    assert others[Level.SERIES] == {
        "00081070": {"vr": "PN", "Value": [{"Alphabetic": "Op^A"}, {"Alphabetic": "Op^B"}]}
    }


def test_reading_stops_before_pixel_data_and_passes_over_long_values() -> None:
    class Counting(BytesIO):
        taken = 0

        def read(self, size: int | None = -1) -> bytes:
            data = super().read(size)
            self.taken += len(data)
            return data

    private = element(0x00091002, "OB", bytes(4 << 20))
    file = Counting(private + dataset((0x7FE00010, "OW", bytes(4 << 20))))
    assert read_instance(file, EXPLICIT, None, "").uids.study_instance_uid == "1.2.3"
    assert file.taken < 128 << 10


def nested(depth: int) -> bytes:
    begin = element(0x00081140, "SQ", b"", length=UNDEFINED) + delimiter(0xE000, UNDEFINED)
    return begin * depth + (delimiter(0xE00D) + delimiter(0xE0DD)) * depth


@pytest.mark.parametrize("depth", [1, 15, 1000, 50_000])
def test_depth_is_no_danger(depth: int) -> None:
    assert read(nested(depth) + dataset()).uids.study_instance_uid == "1.2.3"
    wanted = nested(depth).replace(struct.pack("<HH", 0x0008, 0x1140), b"\x08\0\x10\x11", 1)
    assert read(wanted + dataset()).uids.study_instance_uid == "1.2.3"


def test_more_elements_than_a_header_has_end_the_reading() -> None:
    begun = time.monotonic()
    with pytest.raises(UnreadableDataset):
        read(element(0x00090010, "LO", b"") * 2_000_000)
    assert time.monotonic() - begun < 20


@given(
    st.lists(st.tuples(st.integers(0, 1500), st.integers(0, 255)), max_size=12), st.integers(0, 40)
)
def test_altered_bytes_are_read_or_refused(changes: list[tuple[int, int]], cut: int) -> None:
    data = bytearray(REAL)
    for position, value in changes:
        data[204 + position] = value
    if cut:
        del data[204 + cut * 40 :]
    for transfer_syntax in (EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED, "1.2.3"):
        file = BytesIO(data)
        file.seek(204)
        try:
            instance = read_instance(file, transfer_syntax, None, "")
        except UnreadableDataset:
            continue
        assert all(0 < len(uid) <= 128 for uid in instance.uids)
        for texts in instance.values.values():
            "".join(texts).encode("utf_8")
        for text in instance.others.values():
            json.loads(text)


@given(st.binary(max_size=400))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for transfer_syntax in (EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED):
        with pytest.raises(UnreadableDataset):
            read(data, transfer_syntax)
        assert read(dataset() + data).uids.study_instance_uid == "1.2.3"
