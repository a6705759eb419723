"""File meta groups: the node's own, and what else is found on disks."""

import struct
import warnings
from io import BytesIO

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pacsnode.dicom import part10
from pacsnode.errors import UnreadableDataset
from tests.dicom.raw import BIG_ENDIAN, BUNDLED, CT, EXPLICIT, IMPLICIT, dataset, element, implicit

DIGEST = bytes(range(32))


def sealed(*arguments: str) -> bytes:
    meta = bytearray(part10.encode_meta(*arguments))
    offset, fields = part10.seal_fields(
        DIGEST, 1 << 40, 1_700_000_000_000_000, dataset_offset=len(meta)
    )
    meta[offset : offset + len(fields)] = fields
    assert offset + len(fields) == len(meta)
    return bytes(meta)


def test_a_sealed_file_says_what_was_received() -> None:
    data = sealed(CT, "1.2.3", EXPLICIT, "MODALITY", "NODE")
    assert part10.read_meta(BytesIO(data + dataset())) == part10.FileMeta(
        CT, "1.2.3", EXPLICIT, "MODALITY", len(data), DIGEST, 1 << 40, 1_700_000_000_000_000
    )


def test_a_dataset_may_begin_with_elements_of_the_file_meta_group() -> None:
    """Some devices send them. They belong to the dataset, whatever they say."""
    data = sealed(CT, "1.2.3", EXPLICIT, "MODALITY", "NODE")
    syntax = element(0x00020010, "UI", b"9.9.9.9.9 ")
    spoof = element(0x00020102, "OB", bytes(54)) + element(0x00020003, "UI", b"6.6.6 ")
    for more in (syntax, spoof, data[132:]):
        for read in (part10.read_meta, part10.read_file_meta):
            meta = read(BytesIO(data + more + dataset()))
            assert meta.dataset_offset == len(data)
            assert (meta.transfer_syntax_uid, meta.sop_instance_uid) == (EXPLICIT, "1.2.3")


def test_pydicom_reads_the_same() -> None:
    data = sealed(CT, "1.2.3", EXPLICIT, "MODALITY", "NODE") + dataset()
    read = pydicom.dcmread(BytesIO(data))
    meta = read.file_meta
    assert meta.FileMetaInformationVersion == b"\0\1"
    assert meta.MediaStorageSOPClassUID == CT
    assert meta.MediaStorageSOPInstanceUID == "1.2.3"
    assert meta.TransferSyntaxUID == EXPLICIT
    assert meta.ImplementationClassUID == part10.IMPLEMENTATION_CLASS_UID
    assert meta.ImplementationVersionName == part10.IMPLEMENTATION_VERSION_NAME
    assert meta.SourceApplicationEntityTitle == meta.SendingApplicationEntityTitle == "MODALITY"
    assert meta.ReceivingApplicationEntityTitle == "NODE"
    assert meta.PrivateInformationCreatorUID == part10.PRIVATE_INFORMATION_CREATOR_UID
    assert DIGEST in meta.PrivateInformation
    assert read.SOPInstanceUID == "1.2.3.4.5"


@pytest.mark.parametrize("title", ["", "   ", "\0", "KÜHN", "A\nB"])
def test_titles_that_are_blank_or_not_ascii_are_left_out(title: str) -> None:
    meta = pydicom.dcmread(
        BytesIO(sealed(CT, "1.2.3", EXPLICIT, title, title)), force=True
    ).file_meta
    assert not {0x00020016, 0x00020017, 0x00020018} & meta.keys()


def test_an_open_seal_and_another_programs_file_are_refused() -> None:
    unsealed = part10.encode_meta(CT, "1.2.3", EXPLICIT, "A", "B")
    bundled = next(path for path in BUNDLED if path.name == "CT_small.dcm").read_bytes()
    for data in (unsealed, bundled, dataset(), b""):
        with pytest.raises(UnreadableDataset):
            part10.read_meta(BytesIO(data))


@given(st.text(st.characters(max_codepoint=255), max_size=200), st.text(max_size=20))
def test_untrusted_names_do_not_break_the_layout(uid: str, title: str) -> None:
    meta = part10.read_meta(BytesIO(sealed(uid, uid, EXPLICIT, title, title) + dataset()))
    assert meta.sop_instance_uid == uid.strip("\0 ")
    assert meta.digest == DIGEST


def test_every_bundled_file_with_a_group_is_read_like_pydicom() -> None:
    compared = 0
    for path in BUNDLED:
        data = path.read_bytes()
        if data[128:132] != b"DICM":
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = pydicom.dcmread(BytesIO(data), force=True, stop_before_pixels=True).file_meta
        if not expected.get("TransferSyntaxUID") or not expected.get("MediaStorageSOPInstanceUID"):
            continue
        meta = part10.read_file_meta(BytesIO(data))
        assert meta.transfer_syntax_uid == expected.TransferSyntaxUID, path
        assert meta.sop_instance_uid == expected.MediaStorageSOPInstanceUID, path
        assert (meta.digest, meta.length, meta.received_at) == (b"", 0, 0)
        compared += 1
    assert compared > 140


def group(length: int | None, *elements: bytes) -> bytes:
    content = b"".join(elements)
    head = b"" if length is None else element(0x00020000, "UL", struct.pack("<L", length))
    return bytes(128) + b"DICM" + head + content


@pytest.mark.parametrize("length", [None, 0, 3, 1 << 31])
def test_a_group_length_that_lies_is_not_believed(length: int | None) -> None:
    data = group(length, element(0x00020010, "UI", EXPLICIT.encode() + b"\0"))
    meta = part10.read_file_meta(BytesIO(data + dataset()))
    assert meta == part10.FileMeta(CT, "1.2.3.4.5", EXPLICIT, "", len(data))


@pytest.mark.parametrize("head", [b"", bytes(128) + b"DICM", b"DICM"])
def test_files_without_a_group_are_read_by_their_dataset(head: bytes) -> None:
    instance = (0x00080018, b"1.5 ")
    for data, transfer_syntax in (
        (dataset(), EXPLICIT),
        (implicit(*instance), IMPLICIT),
        (element(instance[0], "UI", instance[1], order=">"), BIG_ENDIAN),
    ):
        meta = part10.read_file_meta(BytesIO(head + data))
        assert meta.transfer_syntax_uid == transfer_syntax
        assert meta.sop_instance_uid in ("1.5", "1.2.3.4.5")
        assert meta.dataset_offset == len(head)


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for head in (b"", bytes(128) + b"DICM", bytes(128) + b"DICM\2\0"):
        try:
            meta = part10.read_file_meta(BytesIO(head + data))
        except UnreadableDataset:
            continue
        assert meta.sop_instance_uid
