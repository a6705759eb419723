"""Stored instances go out: opened for reading, and known to be what the index says."""

import logging
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

from pacsnode.archive.settle import CharacterSets, settle_pending
from pacsnode.dicom.instance import StoredInstance
from pacsnode.errors import IndexFailure, InstanceDamaged, InstanceMissing
from pacsnode.index import Index
from pacsnode.storage import Storage, StoredFile

log = logging.getLogger(__name__)


@contextmanager
def fetch_stored(
    storage: Storage, index: Index, stored: StoredInstance, character_sets: CharacterSets
) -> Iterator[StoredFile]:
    """Open an instance at its dataset. What is yielded may be another than `stored`, where that was
    replaced meanwhile: go by its own `stored`. Raises InstanceMissing or InstanceDamaged, the
    instance being marked as lost if it is; StorageError or IndexFailure."""
    try:
        opened = open_stored(storage, stored)
    except (InstanceMissing, InstanceDamaged):
        opened = _second_look(storage, index, stored, character_sets)
    with closing(opened.file):
        yield opened


def open_stored(storage: Storage, stored: StoredInstance) -> StoredFile:
    """The file of a row. Whole in length and received with these bytes; the bytes themselves are
    not read. Raises InstanceMissing, InstanceDamaged or StorageError."""
    opened = storage.open(stored.uids)
    if opened.stored.digest != stored.digest:
        opened.file.close()
        raise InstanceDamaged(f"{stored.uids.sop_instance_uid}: the file is of another dataset")
    return StoredFile(opened.file, stored)


def _second_look(
    storage: Storage, index: Index, stored: StoredInstance, character_sets: CharacterSets
) -> StoredFile:
    """A deletion or replacement under way looks like damage: ask again when it is over."""
    uid = stored.uids.sop_instance_uid
    with storage.changing(stored.uids):
        settle_pending(storage, index, character_sets)
        row = index.instance(uid)
        if row is None:
            raise InstanceMissing(f"{uid} was deleted meanwhile")
        try:
            return open_stored(storage, row)
        except (InstanceMissing, InstanceDamaged) as error:
            log.error("lost: %s", error)  # noqa: TRY400  # the text says all
            with suppress(IndexFailure):
                index.set_lost(uid, True)
            raise
