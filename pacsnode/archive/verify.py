"""Index against storage tree and back. Beside a running node: what looks wrong is looked at again
while nothing can change, so that an instance on its way in or out raises no alarm."""

import logging
from collections.abc import Callable, Iterator
from contextlib import closing
from enum import StrEnum
from typing import NamedTuple

from pacsnode.archive.fetch import open_stored
from pacsnode.archive.settle import CharacterSets, header_of, settle_pending
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
    """`name` is the file's place in the storage tree; `uids` are None where nobody can tell."""

    fault: Fault
    name: str
    uids: InstanceUIDs | None
    text: str


def findings(
    storage: Storage,
    index: Index,
    character_sets: CharacterSets,
    progress: Progress = lambda instances: None,
) -> Iterator[Finding]:
    """Every row's file, byte for byte, then every file's row. Rows are marked as lost, or as found
    again, on the way. `progress` is told how many rows have been checked. Raises IndexFailure."""
    reported = set()
    for done, row in enumerate(index.select(EVERYTHING), 1):
        finding = _check(storage, row)
        if finding is not None:
            finding = check_again(storage, index, row, character_sets)
        elif row.is_lost:
            index.set_lost(row.uids.sop_instance_uid, False)
        if finding is not None:
            reported.add(finding.name)
            yield finding
        progress(done)
    for name, opened in storage.walk():
        orphan = _orphan(storage, index, name, opened, character_sets)
        # A damaged head no longer says whose it is: its row did.
        if orphan is not None and name not in reported:
            yield orphan


def _check(storage: Storage, row: StoredInstance) -> Finding | None:
    name, uid = place(row.uids), row.uids.sop_instance_uid
    try:
        opened = open_stored(storage, row)
        with closing(opened.file):
            if measure(opened.file) == (row.digest, row.length):
                return None
    except InstanceMissing as error:
        return Finding(Fault.MISSING, name, row.uids, str(error))
    except InstanceTruncated as error:
        return Finding(Fault.TRUNCATED, name, row.uids, str(error))
    except InstanceDamaged as error:
        return Finding(Fault.ALTERED, name, row.uids, str(error))
    except StorageError as error:
        return Finding(Fault.UNREADABLE, name, row.uids, str(error))
    return Finding(Fault.ALTERED, name, row.uids, f"{uid}: the bytes are not those received")


def check_again(
    storage: Storage, index: Index, suspect: StoredInstance, character_sets: CharacterSets
) -> Finding | None:
    """Under the lock, by the row as it is now."""
    with storage.changing(suspect.uids):
        settle_pending(storage, index, character_sets)
        row = index.instance(suspect.uids.sop_instance_uid)
        if row is None:
            return None
        finding = _check(storage, row)
        if finding is None or finding.fault is not Fault.UNREADABLE:
            index.set_lost(row.uids.sop_instance_uid, finding is not None)
        return finding


def _orphan(
    storage: Storage,
    index: Index,
    name: str,
    opened: StoredFile | None,
    character_sets: CharacterSets,
) -> Finding | None:
    if opened is None:
        return _stranger(storage, index, name)
    with closing(opened.file):
        if _is_known(index, name, opened.stored.uids):
            return None
        try:
            uids = header_of(opened, character_sets).uids
        except DicomError as error:
            return Finding(Fault.ORPHANED, name, None, f"{name} cannot be read: {error}")
    if place(uids) != name:
        return Finding(Fault.ORPHANED, name, uids, f"{name} is the place of another instance")
    with storage.changing():
        settle_pending(storage, index, character_sets)
        if storage.stands(uids) is not Standing.AT_REST or _is_known(index, name, uids):
            return None
    return Finding(Fault.ORPHANED, name, uids, f"{name} is in no row of the index")


def _stranger(storage: Storage, index: Index, name: str) -> Finding | None:
    """A file that is none of ours; in the place of one of ours it has been found altered, or is
    gone since."""
    try:
        storage.open(name).file.close()
    except InstanceMissing:
        return None
    except InstanceDamaged:
        log.debug("%s is not a file of this archive", name)
    uids = uids_of(name)
    if uids is not None and _is_known(index, name, uids):
        return None
    return Finding(Fault.ORPHANED, name, uids, f"{name} is not a file of this archive")


def _is_known(index: Index, name: str, uids: InstanceUIDs) -> bool:
    row = index.instance(uids.sop_instance_uid)
    return row is not None and place(row.uids) == name
