"""The seam of the storage room: what a backend must do. See files.py for the plain one."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple, Protocol

from pacsnode.dicom.instance import InstanceUIDs, StoredInstance


class Arrival(NamedTuple):
    """What is known of an instance before its dataset arrives: what its file meta group says
    (PS3.10 7.1) and nothing that its dataset says."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    source_ae_title: str
    receiving_ae_title: str


class Seal(NamedTuple):
    """What is known once the dataset is complete: BLAKE3 and length of its bytes, and when it was
    received, in microseconds since 1970 UTC."""

    digest: bytes
    length: int
    received_at: int


class Incoming(Protocol):
    """An instance under way to its place: a file of its own until `put`. Holds a lock on its file
    until closed, also when it stands in its place already: who finds a file that the index does
    not know waits for that lock before it takes the file for a leftover."""

    def write(self, fragment: memoryview) -> None:
        """Append dataset bytes. Raises OutOfSpace or StorageError."""

    def reader(self) -> BinaryIO:
        """The dataset's bytes so far, from the first one on."""

    def seal(self) -> Seal:
        """Complete the file meta group and, if configured, bring all to stable storage. After a
        failed fsync the file is never trusted again: discard it."""

    def close(self) -> None:
        """Let go of file and lock; what was not put in place is removed. Never raises."""


class StoredFile(NamedTuple):
    """An instance's file, opened and positioned at the dataset's first byte."""

    file: BinaryIO
    stored: StoredInstance


class Storage(ABC):
    """Where instances are kept. Places are named by UIDs, which are untrusted text."""

    @abstractmethod
    def begin(self, arrival: Arrival) -> Incoming:
        """Start taking an instance. Raises OutOfSpace or StorageError."""

    @abstractmethod
    def put(self, incoming: Incoming, uids: InstanceUIDs) -> None:
        """Move a sealed instance into its place, durably. Raises InstanceExists."""

    @abstractmethod
    def replace(self, incoming: Incoming, uids: InstanceUIDs) -> None:
        """As put, over what stands there: every moment shows the old or the new."""

    @abstractmethod
    def set_aside(self, incoming: Incoming, uids: InstanceUIDs) -> str:
        """Move a sealed instance into the conflicts folder, durably; returns its name there."""

    @abstractmethod
    def open(self, uids: InstanceUIDs) -> StoredFile:
        """Open for reading. Raises InstanceMissing, InstanceDamaged (not a file of ours) or
        StorageError."""

    @abstractmethod
    def delete(self, uids: InstanceUIDs) -> None:
        """Remove, durably, with the folders that are empty then. Not being there is no error."""

    @abstractmethod
    def walk(self) -> Iterator[tuple[str, StoredFile | None]]:
        """Every file in the tree, by name: opened, or None where it is not one of ours. A place
        says nothing about UIDs that had to be hashed: read them from the dataset."""

    @abstractmethod
    def free(self) -> int:
        """Bytes that may still be written."""
