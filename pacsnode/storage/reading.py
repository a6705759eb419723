"""Files of the storage tree, by their own account: what they say of themselves, and whether that
holds."""

import os
from io import BytesIO
from typing import BinaryIO

from pacsnode.dicom import part10
from pacsnode.dicom.instance import InstanceUIDs, StoredInstance
from pacsnode.errors import (
    DicomError,
    InstanceDamaged,
    InstanceMissing,
    InstanceTruncated,
    StorageError,
)
from pacsnode.storage import folders
from pacsnode.storage.base import StoredFile, measure


def read_head(file: BinaryIO, name: str, uids: InstanceUIDs | None) -> StoredFile:
    """What a file says of itself; it is then at its dataset. Raises InstanceDamaged."""
    try:
        meta = part10.read_meta(file)
    except DicomError as error:
        raise InstanceDamaged(f"{name} is not a file of this archive: {error}") from error
    except OSError as error:
        raise folders.storage_error(error, f"reading {name}") from error
    file.seek(meta.dataset_offset)
    stored = StoredInstance(
        uids=uids or InstanceUIDs("", "", meta.sop_instance_uid),
        sop_class_uid=meta.sop_class_uid,
        transfer_syntax_uid=meta.transfer_syntax_uid,
        source_ae_title=meta.source_ae_title,
        length=meta.length,
        digest=meta.digest,
        received_at=meta.received_at,
    )
    return StoredFile(file, stored)


def open_any(path: str, uids: InstanceUIDs | None) -> StoredFile | StorageError:
    """A file that may be anything: opened where it is one of ours, whole or not; else why not."""
    if not os.path.isfile(path):  # a pipe would be waited for
        kind = InstanceDamaged if os.path.lexists(path) else InstanceMissing
        return kind(f"{path} is no file")
    try:
        file = open(path, "rb")  # noqa: SIM115  # the caller's
    except FileNotFoundError:
        return InstanceMissing(f"no file at {path}")
    except OSError as error:
        return folders.storage_error(error, "opening")
    try:
        return read_head(file, path, uids)
    except StorageError as error:
        file.close()
        return error
    except BaseException:
        file.close()
        raise


def content_of(content: bytes) -> StoredFile:
    """The bytes of a whole file, opened. Raises InstanceDamaged where they are not that."""
    opened = read_head(BytesIO(content), "a file in memory", None)
    begin = opened.file.tell()
    if measure(opened.file) != (opened.stored.digest, opened.stored.length):
        raise InstanceDamaged("the bytes are not those received")
    opened.file.seek(begin)
    return opened


def check_length(opened: StoredFile, name: str) -> None:
    held = os.fstat(opened.file.fileno()).st_size - opened.file.tell()
    promised = opened.stored.length
    if held < promised:
        raise InstanceTruncated(f"{name} holds {held} of {promised} bytes")
    if held > promised:
        raise InstanceDamaged(f"{name} holds {held} bytes instead of {promised}")


def digest_of(file: BinaryIO) -> bytes:
    """BLAKE3 of the dataset, or of the whole file where it is none of ours."""
    try:
        read_head(file, "", None)
    except InstanceDamaged:
        file.seek(0)
    return measure(file)[0]


def holds(path: str, digest: bytes) -> bool:
    with open(path, "rb") as file:
        return digest_of(file) == digest


def is_intact(path: str, stored: StoredInstance | None) -> bool:
    """Whether a file holds what it says of itself."""
    return stored is not None and holds(path, stored.digest)
