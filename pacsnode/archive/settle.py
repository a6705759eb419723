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

import logging
from collections.abc import Mapping, Sequence
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
from pacsnode.storage import Incoming, Leftover, Standing, Storage, StoredFile, measure

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


def finish_removals(storage: Storage, index: Index, removals: Sequence[Pending]) -> None:
    """Remove files whose rows went. Inside storage.changing."""
    doomed, done = [], []
    for note in removals:
        standing = storage.stands(note.uids)
        if standing is Standing.WRITING:
            # Either its own writer, whose row came and went before it was done, or a newcomer who
            # found the place free: told apart when that one is done.
            continue
        if standing is Standing.NOTHING or not _is_place_known(index, note.uids):
            # Nothing there: the deletion may not be durable yet.
            doomed.append(note.uids)
        done.append(note)
    storage.delete(*doomed)
    for note in done:
        index.settle(note)


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
    """What a crash set aside without a record."""
    known = {conflict.name for conflict in index.conflicts()}
    for name, opened in storage.aside(known):
        uids, source, received_at = InstanceUIDs("", "", ""), "", 0
        if opened is not None:
            source, received_at = opened.stored.source_ae_title, opened.stored.received_at
            with closing(opened.file), suppress(DicomError):
                uids = header_of(opened, character_sets).uids
        index.add_conflict(name, uids, source, received_at)


def set_aside(
    storage: Storage, index: Index, incoming: Incoming | None, stored: StoredInstance
) -> str:
    """Move a newcomer, or what stands in its place, to the conflicts and record it there. File
    first: a record without a file would promise what nobody can show."""
    name = storage.set_aside(incoming, stored.uids)
    index.add_conflict(name, stored.uids, stored.source_ae_title, stored.received_at)
    return name
