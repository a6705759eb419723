"""Instances as DICOM files outside the archive: found in folders to be sent, and written where a
C-GET puts them."""

import hashlib
import os
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO

from pacsnode.dicom import part10, status
from pacsnode.dicom.message import Answer, DatasetSource, StoreRequest
from pacsnode.errors import PacsnodeError, UnreadableDataset

MEDIA_STORAGE_DIRECTORY = "1.2.840.10008.1.3.10"
SOP_CLASS_UID, SOP_INSTANCE_UID = 0x0008_0016, 0x0008_0018
LONGEST_NAME = 64  # characters of a UID that may stand in a file's name as it is

Skipped = Callable[[Path, str], None]


@dataclass(frozen=True, slots=True)
class FileInstance:
    """A DICOM file as the sender wants it: its file meta group has been read, no more."""

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    dataset_offset: int

    @contextmanager
    def open(self) -> Iterator[DatasetSource]:
        with self.path.open("rb") as file:
            length = os.fstat(file.fileno()).st_size - self.dataset_offset
            file.seek(self.dataset_offset)
            yield DatasetSource(file, max(length, 0))


def find_files(paths: Iterable[Path], skipped: Skipped) -> Iterator[FileInstance]:
    """The DICOM files that `paths` are or hold, one by one; the others are named to `skipped` with
    the reason."""
    for path in _walk(paths, skipped):
        try:
            instance = read_file(path)
        except PacsnodeError as error:
            skipped(path, str(error))
        except OSError as error:
            skipped(path, error.strerror or str(error))
        else:
            if instance.sop_class_uid == MEDIA_STORAGE_DIRECTORY:
                skipped(path, "a DICOMDIR")
            else:
                yield instance


def read_file(path: Path) -> FileInstance:
    """Raises OSError, and UnreadableDataset where it is no DICOM. Where the file meta group and the
    dataset differ over the UIDs, the dataset is right: it is what the peer gets to see."""
    with path.open("rb") as file:
        meta = part10.read_file_meta(file)
        file.seek(meta.dataset_offset)
        sop_class_uid, sop_instance_uid = _uids_of_dataset(file, meta.transfer_syntax_uid)
    return FileInstance(
        path,
        sop_class_uid or meta.sop_class_uid,
        sop_instance_uid or meta.sop_instance_uid,
        meta.transfer_syntax_uid,
        meta.dataset_offset,
    )


def _uids_of_dataset(file: BinaryIO, transfer_syntax_uid: str) -> tuple[str, str]:
    from pacsnode.dicom.encode import read_dataset

    wanted = (SOP_CLASS_UID, SOP_INSTANCE_UID)
    try:
        ds = read_dataset(file, transfer_syntax_uid, wanted, stop=SOP_INSTANCE_UID + 1)
    except UnreadableDataset:
        return "", ""
    class_uid, instance_uid = (ds[tag].value if tag in ds else "" for tag in wanted)
    return str(class_uid or "").strip(" \0"), str(instance_uid or "").strip(" \0")


def _walk(paths: Iterable[Path], skipped: Skipped) -> Iterator[Path]:
    def unreadable(error: OSError) -> None:
        skipped(Path(error.filename), error.strerror or str(error))

    for path in paths:
        if not path.is_dir():
            yield from _regular(path, skipped)
            continue
        for folder, folders, names in os.walk(path, onerror=unreadable):
            folders.sort()
            for name in sorted(names):
                yield from _regular(Path(folder, name), skipped)


def _regular(path: Path, skipped: Skipped) -> Iterator[Path]:
    """A pipe or device would be waited for without end."""
    if path.is_file():
        yield path
    else:
        skipped(path, "no such file" if not path.exists() else "not a regular file")


def name_of(request: StoreRequest) -> str:
    """A file name from the SOP Instance UID, which is untrusted: hashed where it is not digits and
    dots."""
    return file_name(request.sop_instance_uid)


def file_name(uid: str) -> str:
    if 0 < len(uid) <= LONGEST_NAME and set(uid) <= set("0123456789.") and uid[0].isdigit():
        return f"{uid}.dcm"
    return f"{hashlib.sha256(uid.encode('utf-8', 'surrogatepass')).hexdigest()[:40]}.dcm"


class FileSink:
    """Takes one dataset into a DICOM file in `folder`. It has its name when it is whole, and then
    replaces what had it; `done` is told the path."""

    def __init__(
        self, folder: Path, name: str, request: StoreRequest, done: Callable[[Path], None]
    ) -> None:
        self._target = folder / name
        self._incoming = folder / f".incoming-{uuid.uuid4().hex}"
        self._done = done
        self._file: IO[bytes] | None = None
        self._failed: OSError | None = None
        try:
            self._file = open(self._incoming, "xb")  # noqa: SIM115
            self._file.write(
                part10.encode_plain_meta(
                    request.sop_class_uid,
                    request.sop_instance_uid,
                    request.context.transfer_syntax,
                )
            )
        except OSError as error:
            self._fail(error)

    def write(self, fragment: memoryview) -> None:
        if self._file is None:
            return
        try:
            self._file.write(fragment)
        except OSError as error:
            self._fail(error)

    def finish(self) -> Answer:
        try:
            if self._file is not None:
                self._file.close()
                os.replace(self._incoming, self._target)
        except OSError as error:
            self._fail(error)
        if self._failed is not None:
            return Answer(status.OUT_OF_RESOURCES, "The file cannot be written")
        self._done(self._target)
        return Answer(status.SUCCESS)

    def discard(self) -> None:
        if self._file is None:
            return
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            os.unlink(self._incoming)
        self._file = None

    def _fail(self, error: OSError) -> None:
        self._failed = error
        self.discard()
