"""Instances come in, over the network or from files; policy stands here once for all of them."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from pacsnode.archive.behind import Behind
from pacsnode.archive.outcome import OnDuplicate, OnStored, Outcome
from pacsnode.archive.place import Newcomer, Placing
from pacsnode.dicom import part10
from pacsnode.dicom.instance import Instance, StoredInstance, read_instance
from pacsnode.errors import (
    DuplicateRefused,
    IndexFailure,
    MismatchedUID,
    OutOfSpace,
    StorageError,
    UnreadableDataset,
)
from pacsnode.index import Index
from pacsnode.storage import Arrival, Incoming, Storage

log = logging.getLogger(__name__)

BLOCK = 1 << 20

# Every C-STORE begins with the question for free space; the file system is asked once in this time.
_SPACE_KNOWN_FOR = 1.0  # seconds


@dataclass(frozen=True, slots=True)
class Policy:
    """How instances are taken in. `ae_title`: the node's, for the files. `min_free`: bytes that
    stay free. `character_sets`: assumed where a dataset declares none, by the AE title that it came
    from."""

    ae_title: str = ""
    on_duplicate: OnDuplicate = OnDuplicate.KEEP
    min_free: int = 0
    character_sets: Mapping[str, str] = field(default_factory=dict)
    on_stored: Sequence[OnStored] = ()


class Reception:
    """Takes instances in. Safe to call from many threads. `failure` is why disk or index did not
    take the last one, "" where they did. `keeps_replaced`: what gives way to a newcomer stays among
    the settled conflicts."""

    def __init__(
        self,
        storage: Storage,
        index: Index,
        policy: Policy,
        behind: Behind,
        *,
        keeps_replaced: bool = False,
    ) -> None:
        self._storage = storage
        self._index = index
        self._policy = policy
        self._placing = Placing(
            storage,
            index,
            policy.on_duplicate,
            policy.character_sets,
            behind,
            keeps_replaced=keeps_replaced,
        )
        self._behind = behind
        self.failure = ""
        self._free = 0
        self._asked_at = float("-inf")

    def begin(self, arrival: Arrival, default_character_set: str | None = None) -> "Receipt":
        """Start taking an instance. Raises OutOfSpace, StorageError, IndexFailure, or
        DuplicateRefused where it is known already that it will not be wanted."""
        self._check_space()
        with self.noticing():
            return self._begin(arrival, default_character_set)

    def _begin(self, arrival: Arrival, default_character_set: str | None) -> "Receipt":
        if self._policy.on_duplicate is OnDuplicate.REJECT and self._index.instance(
            arrival.sop_instance_uid
        ):
            raise DuplicateRefused(f"{arrival.sop_instance_uid} is here already")
        incoming = self._storage.begin(arrival)
        return Receipt(self, incoming, arrival, default_character_set)

    @contextmanager
    def noticing(self) -> Iterator[None]:
        """Remember what disk or index fail at, until they take an instance."""
        try:
            yield
        except (StorageError, IndexFailure) as error:
            self.failure = str(error)
            raise

    def _check_space(self) -> None:
        now = time.monotonic()
        if now - self._asked_at >= _SPACE_KNOWN_FOR:
            self._free = self._storage.free()
            self._asked_at = now
        if self._free < self._policy.min_free:
            raise OutOfSpace(
                f"{self._free:,} bytes are free, less than storage.min_free, which is "
                f"{self._policy.min_free:,}: free space"
            )

    def complete(
        self, incoming: Incoming, arrival: Arrival, default_character_set: str | None
    ) -> Outcome:
        """See Receipt.finish."""
        with closing(incoming):
            instance = read_instance(
                incoming.reader(),
                arrival.transfer_syntax_uid,
                default_character_set,
                arrival.sop_class_uid,
            )
            _check_uids(instance, arrival)
            seal = incoming.seal(instance.uids if self._behind.has_room else None)
            stored = StoredInstance(
                uids=instance.uids,
                sop_class_uid=instance.sop_class_uid,
                transfer_syntax_uid=arrival.transfer_syntax_uid,
                source_ae_title=arrival.source_ae_title,
                length=seal.length,
                digest=seal.digest,
                received_at=seal.received_at,
            )
            kind = self._placing.place(Newcomer(incoming, instance, stored))
        self.failure = ""
        outcome = Outcome(kind, stored, instance)
        for on_stored in self._policy.on_stored:
            on_stored(outcome)
        return outcome

    def import_file(self, path: Path) -> Outcome:
        """Take in a DICOM file, with file meta group or without. Its dataset stays as it is, byte
        for byte; the file meta group is made anew. Raises UnreadableDataset, also where the file
        cannot be read, and what begin and finish raise."""
        try:
            with path.open("rb") as file:
                receipt = self.copy(file)
        except OSError as error:
            raise UnreadableDataset(f"{path}: {error.strerror}") from error
        return receipt.finish()

    def copy(self, file: BinaryIO) -> "Receipt":
        """Take a file's whole dataset, as import_file. Raises OSError besides."""
        meta = part10.read_file_meta(file)
        character_set = self._policy.character_sets.get(meta.source_ae_title)
        file.seek(meta.dataset_offset)
        instance = read_instance(file, meta.transfer_syntax_uid, character_set, meta.sop_class_uid)
        # What the file meta group says may be wrong: the dataset decides what the instance is.
        arrival = Arrival(
            instance.sop_class_uid,
            instance.uids.sop_instance_uid,
            meta.transfer_syntax_uid,
            meta.source_ae_title,
            self._policy.ae_title,
        )
        receipt = self.begin(arrival, character_set)
        try:
            file.seek(meta.dataset_offset)
            while block := file.read(BLOCK):
                receipt.write(memoryview(block))
        except BaseException:
            receipt.discard()
            raise
        return receipt


class Receipt:
    """An instance that is being taken in. Exactly one of finish and discard ends it."""

    def __init__(
        self,
        reception: Reception,
        incoming: Incoming,
        arrival: Arrival,
        default_character_set: str | None,
    ) -> None:
        self._reception = reception
        self._incoming = incoming
        self._arrival = arrival
        self._default_character_set = default_character_set

    def write(self, fragment: memoryview) -> None:
        """Take the next bytes of the dataset. Raises OutOfSpace or StorageError: then discard."""
        try:
            self._incoming.write(fragment)
        except StorageError as error:
            self._reception.failure = str(error)
            raise

    def finish(self) -> Outcome:
        """Store the complete dataset: it is durable and can be found when this returns. Raises
        UnreadableDataset, MismatchedUID, DuplicateRefused, StorageError, IndexFailure; nothing is
        left behind then."""
        with self._reception.noticing():
            return self._reception.complete(
                self._incoming, self._arrival, self._default_character_set
            )

    def discard(self) -> None:
        """Leave nothing behind. Never raises."""
        self._incoming.close()


def _check_uids(instance: Instance, arrival: Arrival) -> None:
    if instance.uids.sop_instance_uid != arrival.sop_instance_uid:
        raise MismatchedUID(
            f"SOP Instance UID {instance.uids.sop_instance_uid!r} of the dataset, "
            f"{arrival.sop_instance_uid!r} of the command"
        )
    if instance.sop_class_uid != arrival.sop_class_uid:
        raise MismatchedUID(
            f"SOP Class UID {instance.sop_class_uid!r} of the dataset, "
            f"{arrival.sop_class_uid!r} of the command"
        )
