"""Instances as bytes under UIDs. Knows no attributes, no index and no network."""

from pathlib import Path

from pacsnode.storage.base import (
    Arrival,
    Conflicts,
    Incoming,
    Leftover,
    Seal,
    Standing,
    Storage,
    StoredFile,
    measure,
)
from pacsnode.storage.folders import step
from pacsnode.storage.paths import is_place, place, uids_of
from pacsnode.storage.reading import content_of

__all__ = [
    "Arrival",
    "Conflicts",
    "Incoming",
    "Leftover",
    "Seal",
    "Standing",
    "Storage",
    "StoredFile",
    "content_of",
    "is_place",
    "measure",
    "open",
    "place",
    "uids_of",
]


def open(  # noqa: A001
    instances: Path, conflicts: Path, quarantine: Path, *, fsync: bool = True
) -> Storage:
    """The storage of a data folder. All folders lie on one file system. Raises StorageError."""
    from pacsnode.storage.files import FileStorage

    with step(f"opening the storage tree {instances}"):
        return FileStorage(str(instances), str(conflicts), str(quarantine), fsync=fsync)
