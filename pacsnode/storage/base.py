"""The seam of the storage room: what a backend must do. See files.py for the plain one."""

from abc import ABC, abstractmethod
from collections.abc import Container, Iterator
from contextlib import AbstractContextManager
from enum import Enum
from typing import BinaryIO, NamedTuple, Protocol

from blake3 import blake3

from pacsnode.dicom.elements import Source
from pacsnode.dicom.instance import InstanceUIDs, StoredInstance
from pacsnode.errors import StorageError
from pacsnode.storage import folders

# One read of a file that is checked. Large enough for BLAKE3 to use its widest instructions.
BLOCK = 1 << 20


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
    not know waits for that lock before it takes the file for a leftover.

    Its own name in the incoming folder stays until `close`, which comes after the index row: so
    what a crash interrupts between the two is found at the next start (Storage.leftovers)."""

    def write(self, fragment: memoryview) -> None:
        """Append dataset bytes. Raises OutOfSpace or StorageError."""

    def reader(self) -> Source:
        """The dataset's bytes so far, from the first one on, until the next `write`."""

    @property
    def content(self) -> bytes | None:
        """The whole file, where it was sealed to be synced later and has not been: neither its
        bytes nor its name are on stable storage before Storage.sync or `sync`."""

    def seal(self, later_at: InstanceUIDs | None = None) -> Seal:
        """Complete the file meta group and, if configured, bring all to stable storage: at once, or
        later, in the place of `later_at`, which is done to small files only, and where Storage.sync
        can do it. After a failed fsync the file is never trusted again: discard it."""

    def sync(self) -> None:
        """Bring to stable storage what was sealed for later. A name that it was given meanwhile
        is to be given again."""

    def withdraw(self, uids: InstanceUIDs) -> bool:
        """Take it out of the place that `put` gave it, durably; whether it stood there. Inside
        Storage.changing."""

    def leave(self) -> None:
        """Let go of file and lock and tidy nothing: for when nobody can tell whether the index has
        it. The next start can, and settles it. Never raises."""

    def close(self) -> None:
        """Let go of file and lock; what was not put in place is removed. Never raises."""


class StoredFile(NamedTuple):
    """An instance's file, opened and positioned at the dataset's first byte. `stored` is what the
    file says of itself; its Study and Series UIDs are empty where only the dataset has them."""

    file: BinaryIO
    stored: StoredInstance


class Standing(Enum):
    """What is in a place."""

    NOTHING = "nothing"
    WRITING = "a file whose writer is not done"
    AT_REST = "a file whose writer is done: a leftover, unless the index knows it"


class Leftover(NamedTuple):
    """A complete instance that a crash caught between its first place and its answer."""

    incoming: Incoming
    stored: StoredInstance


class Conflicts(ABC):
    """Instances that were set aside, by name. To be changed inside Storage.changing only."""

    @abstractmethod
    def names(self) -> set[str]:
        """Those that wait for a person."""

    @abstractmethod
    def unknown(self, known: Container[str]) -> Iterator[tuple[str, StoredFile | StorageError]]:
        """What was set aside under other names than the `known` ones; see Storage.walk."""

    @abstractmethod
    def open(self, name: str) -> StoredFile:
        """Raises what Storage.open raises."""

    @abstractmethod
    def settle(self, name: str) -> None:
        """Put it, durably, with those that need nobody any more. Not being there is no error."""

    @abstractmethod
    def drop(self, name: str) -> None:
        """Remove it, durably. Not being there is no error."""


class Storage(ABC):
    """Where instances are kept. Places are named by UIDs, which are untrusted text.

    New instances need no lock: a place is taken by whoever comes first. Whatever changes or removes
    what stands in a place (replace, delete, set_aside without an Incoming) happens inside
    `changing`, and so does the look at the index that justifies it."""

    @property
    @abstractmethod
    def archive_id(self) -> str | None:
        """What `claim` wrote down."""

    @property
    @abstractmethod
    def is_empty(self) -> bool:
        """Whether no instance was ever put, or all were deleted."""

    @abstractmethod
    def claim(self, archive_id: str) -> None:
        """Write down, durably, whose tree this is."""

    @abstractmethod
    def begin(self, arrival: Arrival) -> Incoming:
        """Start taking an instance. Raises OutOfSpace or StorageError."""

    @abstractmethod
    def put(self, incoming: Incoming, uids: InstanceUIDs) -> None:
        """Move a sealed instance into its place, durably unless it was sealed to be synced later.
        Raises InstanceExists, and not before the writer of what stands there is done: so never call
        it inside `changing`."""

    @abstractmethod
    def replace(self, incoming: Incoming, uids: InstanceUIDs) -> None:
        """As put, over what stands there: every moment shows the old or the new."""

    @property
    @abstractmethod
    def conflicts(self) -> Conflicts:
        """What was set aside."""

    @abstractmethod
    def set_aside(self, incoming: Incoming | None, uids: InstanceUIDs) -> str | None:
        """Move a sealed instance, or what stands in its place, to the conflicts, durably; returns
        its name there, or None where the same bytes were settled before. They are there only once.
        Inside `changing`."""

    @abstractmethod
    def keep_beside(self, uids: InstanceUIDs) -> None:
        """Give what stands in a place, and is about to be replaced, a name among the settled
        conflicts, durably; nothing, where nothing stands there. Inside `changing`."""

    @abstractmethod
    def quarantine(self, name: str, why: str, text: str) -> str:
        """Move a file that `walk` named out of the tree, durably, with a note of why: a word, and
        a text; returns its name in the quarantine folder. Raises InstanceMissing. Inside
        `changing`."""

    @abstractmethod
    def move(self, name: str, uids: InstanceUIDs) -> None:
        """Move a file that `walk` named to the place where it belongs, which is another, durably.
        Raises InstanceExists. Inside `changing`."""

    @abstractmethod
    def open(self, place: InstanceUIDs | str) -> StoredFile:
        """Open for reading, by UIDs or by a name that `walk` gave. Raises InstanceMissing,
        InstanceDamaged (truncated, or not a file of ours) or StorageError."""

    @abstractmethod
    def delete(self, *places: InstanceUIDs) -> None:
        """Remove, durably, with the folders that are empty then. Not being there is no error."""

    @abstractmethod
    def changing(self, *places: InstanceUIDs) -> AbstractContextManager[None]:
        """Alone, over all threads and processes, with the right to change what stands in a place.
        First waits for the writers of what stands in `places`. Not to be nested; held for moments,
        never while a network or a writer is waited for."""

    @abstractmethod
    def stands(self, uids: InstanceUIDs) -> Standing:
        """What is in this place. Only writers add rows to the index: a file AT_REST that the index
        does not know will not become known."""

    @abstractmethod
    def leftovers(self) -> Iterator[Leftover]:
        """What crashes left in the incoming folder. Incomplete instances are removed on the way;
        those whose writer lives are passed over. Close each."""

    @abstractmethod
    def walk(self) -> Iterator[tuple[str, StoredFile | StorageError]]:
        """Every file in the tree, by name: opened, or why it is not (InstanceDamaged: it is none of
        ours), which is said of a folder that cannot be read, too. A place says nothing about UIDs
        that had to be hashed: read them from the dataset. Raises StorageError where there is no
        tree."""

    @abstractmethod
    def sync(self) -> None:
        """Bring to stable storage, with their names, all files that were put before. Raises
        StorageError, after which any of them may be lost: then `restore` them."""

    @abstractmethod
    def distrust(self, uids: InstanceUIDs) -> None:
        """Read from the disk, not from memory, what is read of a file next, if the system does so:
        memory may hold what the disk never took. After `sync`. Never raises."""

    @abstractmethod
    def restore(self, uids: InstanceUIDs, content: bytes) -> None:
        """Write a whole file anew, durably, over what stands in its place. Inside `changing`."""

    @abstractmethod
    def free(self) -> int:
        """Bytes that may still be written."""


def measure(file: BinaryIO) -> tuple[bytes, int]:
    """BLAKE3 and number of the bytes from here to the end. Raises StorageError."""
    digest, length = blake3(), 0
    block = memoryview(bytearray(BLOCK))
    read = file.readinto  # type: ignore[attr-defined]  # every file of ours has it
    with folders.step(f"reading {getattr(file, 'name', '')}"):
        while count := read(block):
            digest.update(block[:count])
            length += count
    return digest.digest(), length
