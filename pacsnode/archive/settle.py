"""What was begun on the storage tree and not finished: after a crash, or a failure that left its
note in the index. Each step may itself be interrupted and is then done again.

  deletion            rows went and removals were noted in one transaction; then files go; then the
                      notes. Interrupted: the files go at the next start.
  replacement in one  the newcomer's digest was noted, its file renamed over the old one, then row
  place               and note changed in one transaction. Interrupted: the file tells which of the
                      two it is; the row follows the file.
  new small instance  its row came with a copy of its file, which was synced with many others later.
                      Interrupted: the copy tells what the file must be; see behind.py.
  new instance        a file with a temporary name besides its place (storage/files.py): kept where
                      the index has it, taken back where not, for then it was never acknowledged."""

import errno
import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing, suppress

from pacsnode.dicom.elements import Source
from pacsnode.dicom.instance import Instance, InstanceUIDs, StoredInstance, read_instance
from pacsnode.errors import (
    DicomError,
    IndexFull,
    InstanceDamaged,
    InstanceMissing,
    StorageError,
)
from pacsnode.index import Index
from pacsnode.index.records import REMOVE, Copy, Pending
from pacsnode.storage import (
    Incoming,
    Leftover,
    Standing,
    Storage,
    StoredFile,
    content_of,
    measure,
)

log = logging.getLogger(__name__)

# Character sets assumed where a dataset declares none, by the AE title that it came from.
CharacterSets = Mapping[str, str]


def header_of(opened: StoredFile, character_sets: CharacterSets) -> Instance:
    """The header of a stored file. Raises UnreadableDataset."""
    return _header(opened.file, opened.stored, character_sets)


def _header(file: Source, stored: StoredInstance, character_sets: CharacterSets) -> Instance:
    return read_instance(
        file,
        stored.transfer_syntax_uid,
        character_sets.get(stored.source_ae_title),
        stored.sop_class_uid,
    )


def same_instance(row: StoredInstance | None, stored: StoredInstance) -> bool:
    """Whether the index knows exactly these bytes in this place."""
    return row is not None and row.digest == stored.digest and row.uids == stored.uids


def is_whole(storage: Storage, expected: StoredInstance) -> bool:
    """Whether the place holds these very bytes."""
    try:
        opened = storage.open(expected.uids)
    except (InstanceMissing, InstanceDamaged):
        return False
    with closing(opened.file):
        if opened.stored.digest != expected.digest:
            return False
        return measure(opened.file)[0] == expected.digest


def settle_pending(storage: Storage, index: Index, character_sets: CharacterSets) -> None:
    """Finish everything that the index has a note of. Inside storage.changing."""
    pending = index.pending()
    if not pending:
        return
    finish_removals(storage, index, [note for note in pending if note.kind == REMOVE])
    for note in pending:
        if note.kind != REMOVE:
            _finish_replacement(storage, index, note, character_sets)


def finish_removals(
    storage: Storage, index: Index, removals: Sequence[Pending]
) -> list[StorageError]:
    """Remove files whose rows went; returns why some of them stay, which keep their notes. Inside
    storage.changing."""
    doomed, done, faults = [], [], []
    for note in removals:
        try:
            standing = storage.stands(note.uids)
        except StorageError as error:
            faults.append(error)
            continue
        if standing is Standing.WRITING:
            # Either its own writer, whose row came and went before it was done, or a newcomer who
            # found the place free: told apart when that one is done.
            continue
        if standing is Standing.NOTHING or not _is_place_known(index, note.uids):
            # Nothing there: the deletion may not be durable yet.
            doomed.append(note)
        else:
            done.append(note)
    removed, refused = _remove(storage, doomed)
    for note in done + removed:
        index.settle(note)
    faults += refused
    for fault in faults:
        log.error(
            "a file that is to go stays: %s: tried again at the next start, and by verify", fault
        )
    return faults


def _remove(
    storage: Storage, doomed: Sequence[Pending]
) -> tuple[list[Pending], list[StorageError]]:
    """All at once; where one is refused, one by one, so that it keeps no other from going. After a
    failure of the disk nobody can tell which of them went: all are done again later."""
    try:
        storage.delete(*(note.uids for note in doomed))
    except StorageError as error:
        if not _is_refusal(error):
            return [], [error]
    else:
        return list(doomed), []
    removed, refused = [], []
    for note in doomed:
        try:
            storage.delete(note.uids)
            removed.append(note)
        except StorageError as error:
            refused.append(error)
    return removed, refused


def _is_refusal(error: StorageError) -> bool:
    """Whether the file system would not, rather than could not."""
    return isinstance(error.__cause__, OSError) and error.__cause__.errno in (
        errno.EACCES,
        errno.EPERM,
        errno.EROFS,
        errno.EISDIR,
        errno.EBUSY,
    )


def doomed_places(index: Index) -> set[InstanceUIDs]:
    """Places of what was deleted and is still to be removed."""
    return {note.uids for note in index.pending() if note.kind == REMOVE}


def is_doomed(index: Index, uids: InstanceUIDs) -> bool:
    """Whether this place is among them."""
    return uids in doomed_places(index)


def _is_place_known(index: Index, uids: InstanceUIDs) -> bool:
    """Whether a row points here: the instance was stored anew after its removal was noted."""
    row = index.instance(uids.sop_instance_uid)
    return row is not None and row.uids == uids


def _finish_replacement(
    storage: Storage, index: Index, note: Pending, character_sets: CharacterSets
) -> None:
    row = index.instance(note.uids.sop_instance_uid)
    if row is not None and row.uids == note.uids:
        try:
            opened = storage.open(note.uids)
        except (InstanceMissing, InstanceDamaged) as error:
            log.warning("a replacement was interrupted, and the file is lost: %s", error)
        else:
            with closing(opened.file):
                if opened.stored.digest == note.digest:
                    index.replace(header_of(opened, character_sets), opened.stored)
                    return
    index.settle(note)


def recover(storage: Storage, index: Index, character_sets: CharacterSets) -> None:
    """Bring index and storage tree into agreement at a start. Other processes may be at work."""
    make_good(storage, index)
    with storage.changing():
        settle_pending(storage, index, character_sets)
    for leftover in storage.leftovers():
        with closing(leftover.incoming):
            _settle_leftover(storage, index, leftover, character_sets)
    _record_conflicts(storage, index, character_sets)


def make_good(storage: Storage, index: Index) -> None:
    """Files whose copies are still here are as they were received, and durably so."""
    found = index.copy_keys()
    if not found:
        return
    are_synced = _sync(storage)
    for key in found:
        copy = index.copy(key)
        if copy is None or (are_synced and _is_on_disk(storage, copy.stored)):
            continue
        restore(storage, index, copy)
        log.info("%s was restored from its copy", key.sop_instance_uid)
    try:
        index.drop_copies(found)
    except IndexFull as error:  # they do no harm until the next start; to be read, all is there
        log.warning("copies stay in the index: %s", error)


def restore_copies(
    storage: Storage, index: Index, copies: Iterable[bytes], character_sets: CharacterSets
) -> None:
    """As make_good, from an index that may be damaged: what these copies are of is what they say
    themselves. What was deleted stays so, by `index`'s notes, and what came later too. Alone."""
    are_synced: bool | None = None
    for content in copies:
        are_synced = _sync(storage) if are_synced is None else are_synced
        try:
            found = content_of(content)
            uids = header_of(found, character_sets).uids
        except (InstanceDamaged, DicomError) as error:
            log.warning("a copy of a small file cannot be read: %s", error)
            continue
        stored = found.stored._replace(uids=uids)
        if is_doomed(index, uids) or (are_synced and _is_on_disk(storage, stored)):
            continue
        if not _is_another_whole(storage, stored):
            with storage.changing():
                storage.restore(uids, content)
            log.info("%s was restored from its copy", uids.sop_instance_uid)


def _is_another_whole(storage: Storage, stored: StoredInstance) -> bool:
    """Whether other bytes stand in the place, as they were received."""
    try:
        opened = storage.open(stored.uids)
    except StorageError:
        return False
    with closing(opened.file):
        found = opened.stored.digest
        return found != stored.digest and measure(opened.file)[0] == found


def _sync(storage: Storage) -> bool:
    """Whether files are on stable storage, as far as they are there at all."""
    try:
        storage.sync()
    except StorageError as error:
        log.warning("%s: what was stored last is written anew", error)
        return False
    return True


def _is_on_disk(storage: Storage, stored: StoredInstance) -> bool:
    """A process that is no more may have been the one that was told of a failed sync."""
    storage.distrust(stored.uids)
    try:
        return is_whole(storage, stored)
    except StorageError as error:
        log.warning("%s", error)
        return False


def restore(storage: Storage, index: Index, copy: Copy) -> None:
    """Write an instance's file anew, durably, unless it is the index's no more."""
    with storage.changing():
        row = index.instance(copy.stored.uids.sop_instance_uid)
        if same_instance(row, copy.stored):
            storage.restore(copy.stored.uids, copy.content)


def _settle_leftover(
    storage: Storage, index: Index, leftover: Leftover, character_sets: CharacterSets
) -> None:
    incoming, stored = leftover
    try:
        instance = _header(incoming.reader(), stored, character_sets)
    except DicomError as error:
        log.warning("%s was left incomplete: %s", stored.uids.sop_instance_uid, error)
        return
    stored = stored._replace(uids=instance.uids)
    with storage.changing():
        row = index.instance(stored.uids.sop_instance_uid)
        if same_instance(row, stored):
            return
        if incoming.withdraw(stored.uids):
            log.info("%s was never acknowledged: taken back", stored.uids.sop_instance_uid)


def _record_conflicts(storage: Storage, index: Index, character_sets: CharacterSets) -> None:
    """What a crash set aside without a record, or settled without taking the record away."""
    with storage.changing():
        known, present = (
            {conflict.name for conflict in index.conflicts()},
            storage.conflicts.names(),
        )
        for name in known - present:
            index.forget_conflict(name)
        for name, found in storage.conflicts.unknown(known):
            uids, source, received_at = InstanceUIDs("", "", ""), "", 0
            if isinstance(found, StoredFile):
                source, received_at = found.stored.source_ae_title, found.stored.received_at
                with closing(found.file), suppress(DicomError):
                    uids = header_of(found, character_sets).uids
            index.add_conflict(name, uids, source, received_at)


def set_aside(
    storage: Storage, index: Index, incoming: Incoming | None, stored: StoredInstance
) -> str | None:
    """Move a newcomer, or what stands in its place, to the conflicts and record it there; its name,
    or None where a person has settled the same before. File first: a record without a file would
    promise what nobody can show. Inside storage.changing."""
    name = storage.set_aside(incoming, stored.uids)
    if name is not None:
        index.add_conflict(name, stored.uids, stored.source_ae_title, stored.received_at)
    return name
