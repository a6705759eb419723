"""What is sent is what is stored and what comes back, byte for byte: every bundled file as it lies
on the disk, in every transfer syntax, and datasets that no tool would write."""

import struct
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.uid import generate_uid

from tests.conftest import RunningNode, StartNode, bundled, new_dataset
from tests.interface.conftest import Dial, stored_files
from tests.interface.peer import (
    BIG_ENDIAN,
    CT,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    STUDY_FIND,
    STUDY_GET,
    File,
    decoded,
    encoded,
    keys,
    read_file,
)

pytestmark = pytest.mark.filterwarnings("ignore:Invalid value", "ignore:Expected explicit VR")

PRIVATE_SYNTAX = "1.2.826.0.1.3680043.10.999.1"
RLE = "1.2.840.10008.1.2.5"


def part10_files() -> list[File]:
    """The bundled files with a file meta group, and with all UIDs in the dataset (the dataset's
    count: in some files the meta group has others)."""
    files = []
    for path in bundled("test_files"):
        data = path.read_bytes()
        if data[128:132] != b"DICM" or not (file := read_file(data)).transfer_syntax:
            continue
        ds = decoded(file.dataset, file.transfer_syntax)
        if "StudyInstanceUID" in ds and "SOPInstanceUID" in ds:
            files.append(replace(file, **_identity(ds)))
    return files


def _identity(ds: Dataset) -> dict[str, str]:
    return {
        "sop_class_uid": str(ds.SOPClassUID),
        "sop_instance_uid": str(ds.SOPInstanceUID),
    }


def element(tag: int, vr: bytes, value: bytes) -> bytes:
    value += b"\0" * (len(value) % 2)
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value


def get_back(node: RunningNode, dial: Dial, file: File) -> bytes:
    """The dataset by C-GET, in the transfer syntax that it was sent in."""
    association = dial(
        node,
        (STUDY_GET, [IMPLICIT]),
        (file.sop_class_uid, [file.transfer_syntax]),
        as_scp=[file.sop_class_uid],
    )
    responses = association.get(STUDY_GET, keys("IMAGE", SOPInstanceUID=file.sop_instance_uid))
    assert [response.status for response in responses][-1] == 0
    ((uid, transfer_syntax, dataset),) = association.stored
    assert (uid, transfer_syntax) == (file.sop_instance_uid, file.transfer_syntax)
    return dataset


def store(node: RunningNode, dial: Dial, file: File) -> int:
    association = dial(node, (file.sop_class_uid, [file.transfer_syntax]))
    response = association.store(file.sop_class_uid, file.sop_instance_uid, file.dataset)
    association.release()
    return response.status


def test_bundled_files_are_kept_byte_for_byte_and_come_back_so(
    start_node: StartNode, dial: Dial
) -> None:
    node = start_node("access: {unknown_callers: all}\nstorage: {fsync: false, min_free: 1}\n")
    files = part10_files()
    assert len(files) > 60
    for file in files:
        assert store(node, dial, file) == 0
    in_place = {read_file(path.read_bytes()) for path in stored_files(node.data_dir / "instances")}
    aside = {read_file(path.read_bytes()) for path in stored_files(node.data_dir / "conflicts")}
    assert in_place | aside == set(files)
    assert len({file.sop_instance_uid for file in files}) == len(in_place)
    for file in in_place:
        assert get_back(node, dial, file) == file.dataset


def test_pacsnode_send_does_not_touch_a_byte(start_node: StartNode) -> None:
    node = start_node("access: {unknown_callers: all}\nstorage: {fsync: false, min_free: 1}\n")
    folder = Path(bundled("test_files")[0]).parent
    sent = node.command("send", node.peer, folder)
    assert sent.returncode == 1  # some have no Study Instance UID, some are no instances
    arrived = {
        read_file(path.read_bytes()).dataset
        for name in ("instances", "conflicts")
        for path in stored_files(node.data_dir / name)
    }
    assert {file.dataset for file in part10_files()} <= arrived


def _odd_datasets() -> Sequence[tuple[str, str, bytes]]:
    """Names, transfer syntaxes and datasets without the elements of identity."""
    private = element(0x00091001, b"UN", bytes(range(256))) + element(0x00290010, b"LO", b"ODD")
    undefined = (
        b"\x40\0\x75\2SQ\0\0\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff"
        b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0"
    )
    fragments = (
        b"\xe0\x7f\x10\0OB\0\0\xff\xff\xff\xff\xfe\xff\0\xe0\0\0\0\0"
        b"\xfe\xff\0\xe0\4\0\0\0abcd\xfe\xff\xdd\xe0\0\0\0\0"
    )
    group_length = element(0x00280000, b"UL", struct.pack("<L", 77)) + element(
        0x00280010, b"US", struct.pack("<H", 512)
    )
    trailing = element(0xFFFCFFFC, b"OB", b"")[:4] + b"OB\0\0\4\0\0\0\0\0\0\0"
    return [
        ("undefined lengths", EXPLICIT, undefined),
        ("encapsulated", RLE, fragments),
        ("a wrong group length", EXPLICIT, group_length),
        ("trailing padding", EXPLICIT, group_length + trailing),
        ("private elements without creator", EXPLICIT, private),
        ("a private transfer syntax", PRIVATE_SYNTAX, fragments),
    ]


@pytest.mark.parametrize(
    ("transfer_syntax", "tail"),
    [(syntax, tail) for _, syntax, tail in _odd_datasets()],
    ids=[name for name, _, _ in _odd_datasets()],
)
def test_odd_datasets_are_kept_byte_for_byte(
    open_node: RunningNode, dial: Dial, transfer_syntax: str, tail: bytes
) -> None:
    ds = new_dataset()
    file = File(CT, ds.SOPInstanceUID, transfer_syntax, encoded(ds) + tail)
    assert store(open_node, dial, file) == 0
    assert get_back(open_node, dial, file) == file.dataset


def test_a_dataset_that_begins_as_a_file_does_is_kept_byte_for_byte(
    open_node: RunningNode, dial: Dial
) -> None:
    ds = new_dataset()
    meta = element(0x00020010, b"UI", b"1.2.3.4") + element(0x00020016, b"AE", b"SOMEBODY")
    file = File(CT, ds.SOPInstanceUID, EXPLICIT, meta + encoded(ds))
    assert store(open_node, dial, file) == 0
    assert get_back(open_node, dial, file) == file.dataset


@pytest.mark.parametrize("transfer_syntax", [IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED])
def test_each_uncompressed_transfer_syntax_keeps_its_bytes(
    open_node: RunningNode, dial: Dial, transfer_syntax: str
) -> None:
    ds = new_dataset(PatientComments="x" * 501)
    data = encoded(ds, transfer_syntax)
    if transfer_syntax == DEFLATED:
        deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        data = deflater.compress(data) + deflater.flush()
    file = File(CT, ds.SOPInstanceUID, transfer_syntax, data)
    assert store(open_node, dial, file) == 0
    assert get_back(open_node, dial, file) == data


def test_a_private_sop_class_is_stored_and_found(open_node: RunningNode, dial: Dial) -> None:
    ds = new_dataset(SOPClassUID="1.2.826.0.1.3680043.10.999.2")
    file = File(ds.SOPClassUID, ds.SOPInstanceUID, EXPLICIT, encoded(ds))
    assert store(open_node, dial, file) == 0
    assert get_back(open_node, dial, file) == file.dataset
    found = dial(open_node, (STUDY_FIND, [EXPLICIT])).find(
        STUDY_FIND, keys("IMAGE", SOPInstanceUID=ds.SOPInstanceUID, SOPClassUID="")
    )
    assert found[0].identifier.SOPClassUID == ds.SOPClassUID


def test_a_missing_sop_class_is_the_commands(open_node: RunningNode, dial: Dial) -> None:
    ds = new_dataset()
    del ds.SOPClassUID
    file = File(CT, ds.SOPInstanceUID, EXPLICIT, encoded(ds))
    assert store(open_node, dial, file) == 0
    assert get_back(open_node, dial, file) == file.dataset


@pytest.mark.parametrize(
    "uid",
    [
        "1.2." + "3" * 61,  # 65 characters
        "1." + "9" * 126,  # 128
        "1.02.0003",  # leading zeros
        "../../../etc/passwd",
        "1.2/3\\4"[:5],
        "a uid with spaces",
        "-",
        ".",
    ],
)
def test_whatever_the_uids_are_the_tree_is_not_left(
    open_node: RunningNode, dial: Dial, uid: str
) -> None:
    outside = sorted(path for path in open_node.folder.iterdir())
    ds = new_dataset()
    unique = generate_uid()[-30:]
    uid = (uid + unique)[:128] if len(uid) < 64 else uid
    for tag in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        delattr(ds, tag)
    value = uid.encode()
    data = encoded(ds)
    head, tail = data.split(b"\x08\0\x20\0", 1)
    data = head + element(0x00080018, b"UI", value) + b"\x08\0\x20\0" + tail
    at = data.index(b"\x20\0\x11\0")
    ids = element(0x0020000D, b"UI", value) + element(0x0020000E, b"UI", value)
    file = File(CT, uid, EXPLICIT, data[:at] + ids + data[at:])
    assert store(open_node, dial, file) == 0
    stored = [
        path
        for path in stored_files(open_node.folder)
        if read_file(path.read_bytes()).dataset == file.dataset
    ]
    assert len(stored) == 1
    assert stored[0].is_relative_to(open_node.data_dir / "instances")
    assert sorted(path for path in open_node.folder.iterdir()) == outside
    assert get_back(open_node, dial, file) == file.dataset
