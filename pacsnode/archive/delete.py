"""Instances go, on purpose."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from pacsnode.archive.settle import CharacterSets, finish_removals, settle_pending
from pacsnode.dicom.instance import StoredInstance
from pacsnode.errors import StorageError
from pacsnode.index import Index
from pacsnode.storage import Storage

# Instances that go in one transaction. The node's own writers wait for it.
BATCH = 500


def delete_selected(
    storage: Storage,
    index: Index,
    selected: Iterable[StoredInstance],
    character_sets: CharacterSets,
    progress: Callable[[int], None] = lambda done: None,
    on_deleted: Callable[[StoredInstance], None] = lambda stored: None,
) -> int:
    """Remove rows, then files; returns how many. A crash between the two is made good at the next
    start, and so is a file that cannot be removed, which is raised at the end. `progress` is told
    how many are gone, `on_deleted` of each whose row is. Raises StorageError or IndexFailure."""
    done = 0
    faults: list[StorageError] = []
    for batch in _batches(selected):
        # The wait: a writer between its row and its last step still holds its file.
        with storage.changing(*(stored.uids for stored in batch)):
            settle_pending(storage, index, character_sets)
            removals = index.remove([stored.uids.sop_instance_uid for stored in batch])
            gone = {removal.uids.sop_instance_uid for removal in removals}
            for stored in batch:
                if stored.uids.sop_instance_uid in gone:
                    on_deleted(stored)
            faults += finish_removals(storage, index, removals)
        done += len(removals)
        progress(done)
    if faults:
        raise StorageError(
            f"{done} instances are deleted, but {len(faults)} of the files cannot be removed yet: "
            f"{faults[0]}; the node's next start and `pacsnode verify` try again"
        )
    return done


def _batches(selected: Iterable[StoredInstance]) -> Iterator[list[StoredInstance]]:
    remaining = iter(selected)
    while batch := list(islice(remaining, BATCH)):
        yield batch
