"""Index against storage tree and back. Beside a running node: what looks wrong is looked at again
while nothing can change, so that an instance on its way in or out raises no alarm."""

import logging
from collections.abc import Callable, Iterator
from contextlib import closing
from enum import StrEnum
from typing import NamedTuple

from pacsnode.archive.fetch import open_stored
from pacsnode.archive.settle import CharacterSets, header_of, is_doomed, settle_pending
from pacsnode.dicom.instance import InstanceUIDs, StoredInstance
from pacsnode.dicom.level import Level
from pacsnode.dicom.query import Model, Query
from pacsnode.errors import (
    DicomError,
    InstanceDamaged,
    InstanceMissing,
    InstanceTruncated,
    StorageError,
)
from pacsnode.index import Index
from pacsnode.storage import Standing, Storage, StoredFile, measure, place, uids_of

log = logging.getLogger(__name__)

Progress = Callable[[int], None]

EVERYTHING = Query(level=Level.IMAGE, model=Model.PATIENT_ROOT, matching=())


class Fault(StrEnum):
    """What can be wrong with a row or a file."""

    MISSING = "missing"  # the index knows it, the tree does not
    ORPHANED = "orphaned"  # a file that no row points to
    TRUNCATED = "truncated"
    ALTERED = "altered"
    UNREADABLE = "unreadable"  # the file system fails


class Finding(NamedTuple):
    """`name` is the file's place in the storage tree; `uids` are None where nobody can tell. `done`
    is what a repair did; `left` what a person has still to do, empty where that is nothing."""

    fault: Fault
    name: str
    uids: InstanceUIDs | None
    text: str
    done: str = ""
    left: str = ""


def findings(
    storage: Storage,
    index: Index,
    character_sets: CharacterSets,
    progress: Progress = lambda checked: None,
) -> Iterator[Finding]:
    """Every row's file, byte for byte, then every file's row. Rows are marked as lost, or as found
    again, on the way. `progress` is told how many rows, and then files, have been checked. Raises
    StorageError where there is no tree, IndexFailure."""
    checked = 0
    reported = set()
    for finding in check_rows(storage, index, character_sets):
        if finding is not None:
            reported.add(finding.name)
            yield finding
        checked += 1
        progress(checked)
    for name, found in storage.walk():
        orphan = find_orphan(storage, index, name, found, character_sets)
        # A damaged head no longer says whose it is: its row did.
        if orphan is not None and name not in reported:
            yield orphan
        checked += 1
        progress(checked)


def check_rows(
    storage: Storage, index: Index, character_sets: CharacterSets
) -> Iterator[Finding | None]:
    """For each row what is wrong with its file, if anything is."""
    for row in index.select(EVERYTHING):
        finding = check(storage, row)
        if finding is None:
            if row.is_lost:
                index.set_lost(row.uids.sop_instance_uid, False)
        elif finding.fault is not Fault.UNREADABLE:  # nothing that goes on looks like that
            finding = check_again(storage, index, row, character_sets)
        yield finding


def check(storage: Storage, row: StoredInstance) -> Finding | None:
    """Whether the file of a row is there with the bytes received."""
    name, uid = place(row.uids), row.uids.sop_instance_uid
    try:
        opened = open_stored(storage, row)
        with closing(opened.file):
            if measure(opened.file) == (row.digest, row.length):
                return None
    except StorageError as error:
        return Finding(fault_of(error), name, row.uids, str(error))
    return Finding(Fault.ALTERED, name, row.uids, f"{uid}: the bytes are not those received")


def fault_of(error: StorageError) -> Fault:
    if isinstance(error, InstanceMissing):
        return Fault.MISSING
    if isinstance(error, InstanceTruncated):
        return Fault.TRUNCATED
    return Fault.ALTERED if isinstance(error, InstanceDamaged) else Fault.UNREADABLE


def check_again(
    storage: Storage, index: Index, suspect: StoredInstance, character_sets: CharacterSets
) -> Finding | None:
    """Under the lock, by the row as it is now."""
    with storage.changing(suspect.uids):
        settle_pending(storage, index, character_sets)
        row = index.instance(suspect.uids.sop_instance_uid)
        if row is None:
            return None
        finding = check(storage, row)
        if finding is None or finding.fault is not Fault.UNREADABLE:
            index.set_lost(row.uids.sop_instance_uid, finding is not None)
        return finding


def find_orphan(
    storage: Storage,
    index: Index,
    name: str,
    found: StoredFile | StorageError,
    character_sets: CharacterSets,
) -> Finding | None:
    """What is wrong with a file that was walked past, if it is in no row. Closes it."""
    if isinstance(found, InstanceDamaged):
        return _stranger(index, name, found)
    if isinstance(found, StorageError):
        uids = uids_of(name)
        is_known = uids is not None and is_row_of(index, name, uids)
        return None if is_known else Finding(Fault.UNREADABLE, name, uids, str(found))
    with closing(found.file):
        if is_row_of(index, name, found.stored.uids):
            return None
        try:
            uids = header_of(found, character_sets).uids
        except DicomError as error:
            return Finding(Fault.ORPHANED, name, None, f"it cannot be read: {error}")
    if place(uids) != name:
        return Finding(Fault.ORPHANED, name, uids, "it is in the place of another instance")
    with storage.changing():
        settle_pending(storage, index, character_sets)
        if storage.stands(uids) is not Standing.AT_REST or is_row_of(index, name, uids):
            return None
        if is_doomed(index, uids):
            text = "it was deleted, and cannot be removed"
            left = "give the node the right to remove it"
            return Finding(Fault.ORPHANED, name, uids, text, left=left)
    return Finding(Fault.ORPHANED, name, uids, "it is in no row of the index")


def _stranger(index: Index, name: str, error: InstanceDamaged) -> Finding | None:
    """A file that is none of ours; in the place of one of ours it has been found altered."""
    log.debug("%s: %s", name, error)
    uids = uids_of(name)
    if uids is not None and is_row_of(index, name, uids):
        return None
    return Finding(Fault.ORPHANED, name, uids, "it is not a file of this archive")


def is_row_of(index: Index, name: str, uids: InstanceUIDs) -> bool:
    """Whether the index has this instance in this place."""
    row = index.instance(uids.sop_instance_uid)
    return row is not None and place(row.uids) == name
