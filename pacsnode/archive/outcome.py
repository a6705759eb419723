"""What became of an instance that was handed to the archive, and what decides it."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from pacsnode.dicom.instance import Instance, StoredInstance


class OnDuplicate(StrEnum):
    """storage.on_duplicate: what to do with an instance that is here already."""

    KEEP = "keep"
    REPLACE = "replace"
    REJECT = "reject"


class Kind(StrEnum):
    """What was done. In each case the instance is durable."""

    STORED = "stored"
    ALREADY_HERE = "already here"
    RESTORED = "restored"  # its file had been missing or damaged
    REPLACED = "replaced"
    CONFLICT = "set aside, other bytes are here already"


@dataclass(frozen=True, slots=True)
class Outcome:
    """`stored` is the newcomer as received, also where an earlier one stays in its place;
    `instance` is its header."""

    kind: Kind
    stored: StoredInstance
    instance: Instance


OnStored = Callable[[Outcome], None]
