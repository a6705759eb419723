"""The file meta group of DICOM files (PS3.10 7.1): the node's own, with the seal of its dataset,
and what other programs write, or leave out."""

import struct
from functools import lru_cache
from typing import BinaryIO, NamedTuple

from pacsnode.dicom.elements import (
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_LITTLE,
    IMPLICIT_VR_LITTLE_ENDIAN,
    Element,
    Form,
    Walker,
    Window,
    forms_of,
    open_window,
)
from pacsnode.dicom.text import decode_uid
from pacsnode.errors import UnreadableDataset

IMPLEMENTATION_CLASS_UID = "2.25.331991253519520259893747030683815860810"
IMPLEMENTATION_VERSION_NAME = "PACSNODE_010"

# Names the layout of (0002,0102) in the node's files: version, BLAKE3, length, time of receipt.
PRIVATE_INFORMATION_CREATOR_UID = "2.25.225607320557431289133420647521708051034"

_GROUP = b"\2\0"
_PREAMBLE = b"\0" * 128 + b"DICM"
_SEAL = struct.Struct("<8s32sQq")
_SEAL_VERSION = b"PACSNOD1"
_OPEN_SEAL = bytes(_SEAL.size)
_MAX_UID = 0xFFFE

_MEDIA_STORAGE_SOP_CLASS_UID = 0x00020002
_MEDIA_STORAGE_SOP_INSTANCE_UID = 0x00020003
_TRANSFER_SYNTAX_UID = 0x00020010
_SOURCE_AE_TITLE = 0x00020016
_PRIVATE_INFORMATION_CREATOR = 0x00020100
_PRIVATE_INFORMATION = 0x00020102
_AFTER_META = 0x00030000
_SOP_CLASS_UID = 0x00080016
_SOP_INSTANCE_UID = 0x00080018
_AFTER_UIDS = 0x00080019

_TRANSFER_SYNTAXES = {
    IMPLICIT_LITTLE: IMPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_LITTLE: EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_BIG: EXPLICIT_VR_BIG_ENDIAN,
}


class FileMeta(NamedTuple):
    """What a file says before its dataset, which begins at byte `dataset_offset`. Digest (BLAKE3,
    32 bytes), length of the dataset and time of receipt (microseconds since 1970 UTC) are those of
    the node's own files, empty and 0 in others."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    source_ae_title: str
    dataset_offset: int
    digest: bytes = b""
    length: int = 0
    received_at: int = 0


def encode_meta(
    sop_class_uid: str,
    sop_instance_uid: str,
    transfer_syntax_uid: str,
    source_ae_title: str,
    receiving_ae_title: str,
) -> bytes:
    """Preamble and file meta group, with an open seal at the very end: see seal_fields. UIDs are
    written as they came; AE titles that are blank or not ASCII are left out."""
    before, after = _around_instance_uid(
        sop_class_uid, transfer_syntax_uid, source_ae_title, receiving_ae_title
    )
    return _head(before, _uid_element(0x0003, sop_instance_uid), after)


@lru_cache(maxsize=64)
def _around_instance_uid(
    sop_class_uid: str, transfer_syntax_uid: str, source_ae_title: str, receiving_ae_title: str
) -> tuple[bytes, bytes]:
    """What all instances of a series have in common, before their own UID and after it."""
    before, after = _plain_elements(sop_class_uid, transfer_syntax_uid)
    return before, b"".join(
        (
            after,
            _ae_element(0x0016, source_ae_title),
            _ae_element(0x0017, source_ae_title),
            _ae_element(0x0018, receiving_ae_title),
            _uid_element(0x0100, PRIVATE_INFORMATION_CREATOR_UID),
            _long_element(0x0102, _OPEN_SEAL),
        )
    )


def encode_plain_meta(sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> bytes:
    """Preamble and file meta group of a file outside the archive: nothing but what PS3.10 asks
    for."""
    before, after = _plain_elements(sop_class_uid, transfer_syntax_uid)
    return _head(before, _uid_element(0x0003, sop_instance_uid), after)


def _plain_elements(sop_class_uid: str, transfer_syntax_uid: str) -> tuple[bytes, bytes]:
    before = _long_element(0x0001, b"\0\1") + _uid_element(0x0002, sop_class_uid)
    after = b"".join(
        (
            _uid_element(0x0010, transfer_syntax_uid),
            _uid_element(0x0012, IMPLEMENTATION_CLASS_UID),
            _element(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME.encode()),
        )
    )
    return before, after


def _head(*elements: bytes) -> bytes:
    group = b"".join(elements)
    return _PREAMBLE + _element(0x0000, b"UL", struct.pack("<L", len(group))) + group


def seal_fields(
    digest: bytes, length: int, received_at: int, *, dataset_offset: int
) -> tuple[int, bytes]:
    """Where in the file to write what, once the dataset is complete: the seal stands right before
    the dataset."""
    seal = _SEAL.pack(_SEAL_VERSION, digest, length, received_at)
    return dataset_offset - len(seal), seal


def _element(number: int, vr: bytes, value: bytes) -> bytes:
    padding = b"\0" if vr == b"UI" else b" "
    value += padding * (len(value) % 2)
    return struct.pack("<HH2sH", 0x0002, number, vr, len(value)) + value


def _long_element(number: int, value: bytes) -> bytes:
    return struct.pack("<HH2sHL", 0x0002, number, b"OB", 0, len(value)) + value


def _uid_element(number: int, uid: str) -> bytes:
    return _element(number, b"UI", uid.encode("latin_1", "replace")[:_MAX_UID])


def _ae_element(number: int, title: str) -> bytes:
    title = title.strip(" \0")
    return (
        _element(number, b"AE", title.encode()[:16])
        if title.isascii() and title.isprintable() and title
        else b""
    )


def read_meta(file: BinaryIO) -> FileMeta:
    """The file meta group of a file that the node wrote. Raises UnreadableDataset for any other,
    and for one whose dataset was never completed."""
    found, offset = _meta_group(file)
    if not _is_sealed(found):
        raise UnreadableDataset("the file meta group is not the node's")
    version, digest, length, received_at = _SEAL.unpack(found[_PRIVATE_INFORMATION])
    if version != _SEAL_VERSION:
        raise UnreadableDataset("the file was never completed")
    return _file_meta(found, offset)._replace(digest=digest, length=length, received_at=received_at)


def read_file_meta(file: BinaryIO) -> FileMeta:
    """What any DICOM file says before its dataset; what is missing there is taken from the dataset,
    also where there is no file meta group at all. Raises UnreadableDataset."""
    found, offset = _meta_group(file)
    meta = _file_meta(found, offset)
    if meta.sop_class_uid and meta.sop_instance_uid and meta.transfer_syntax_uid:
        return meta
    file.seek(offset)
    window = open_window(file, meta.transfer_syntax_uid)
    for form in forms_of(meta.transfer_syntax_uid, window.at(0, 8)):
        uids = _uids_of_dataset(window, form)
        instance_uid = uids.get(_SOP_INSTANCE_UID, "") or meta.sop_instance_uid
        if instance_uid:
            return meta._replace(
                sop_class_uid=meta.sop_class_uid or uids.get(_SOP_CLASS_UID, ""),
                sop_instance_uid=meta.sop_instance_uid or instance_uid,
                transfer_syntax_uid=meta.transfer_syntax_uid or _TRANSFER_SYNTAXES[form],
            )
    raise UnreadableDataset("neither a file meta group nor a SOP Instance UID: no DICOM file")


def _uids_of_dataset(window: Window, form: Form) -> dict[int, str]:
    wanted = (_SOP_CLASS_UID, _SOP_INSTANCE_UID)
    found: dict[int, str] = {}
    try:
        for element in Walker(window, form).walk(wanted, _AFTER_UIDS):
            found[element.tag] = decode_uid(element.raw)
    except UnreadableDataset:
        return found
    return found


def _file_meta(found: dict[int, bytes], offset: int) -> FileMeta:
    return FileMeta(
        decode_uid(found.get(_MEDIA_STORAGE_SOP_CLASS_UID, b"")),
        decode_uid(found.get(_MEDIA_STORAGE_SOP_INSTANCE_UID, b"")),
        decode_uid(found.get(_TRANSFER_SYNTAX_UID, b"")),
        found.get(_SOURCE_AE_TITLE, b"").strip(b" \0").decode("latin_1"),
        offset,
    )


def _meta_group(file: BinaryIO) -> tuple[dict[int, bytes], int]:
    """The group's values by tag, and where the dataset begins. Preamble and prefix may be missing;
    a group length that does not say where the group ends is not believed. The node's own ends with
    its seal, also where the dataset goes on with elements of the group."""
    file.seek(0)
    head = file.read(len(_PREAMBLE))
    start = len(_PREAMBLE) if head.endswith(b"DICM") and len(head) == len(_PREAMBLE) else 0
    if head.startswith(b"DICM"):
        start = 4
    file.seek(start)
    window = Window(file)
    first = window.at(0, 8)
    if first[:2] != _GROUP:
        return {}, start
    form = forms_of("", first)[0]
    walker = Walker(window, form)
    found: dict[int, bytes] = {}
    end = 0
    for element in walker.walk(None, _AFTER_META):
        found[element.tag] = element.raw
        end = end or _end_by_length(element, walker.position)
        if _is_sealed(found) or (walker.position == end and window.at(end, 2) != _GROUP):
            break
    return found, start + walker.position


def _is_sealed(found: dict[int, bytes]) -> bool:
    seal = found.get(_PRIVATE_INFORMATION)
    if seal is None or len(seal) != _SEAL.size:
        return False
    creator = decode_uid(found.get(_PRIVATE_INFORMATION_CREATOR, b""))
    return creator == PRIVATE_INFORMATION_CREATOR_UID


def _end_by_length(element: Element, position: int) -> int:
    if element.tag != 0x00020000 or len(element.raw) != 4:
        return 0
    return position + int.from_bytes(element.raw, "little")
