"""What is wrong with the archive at this moment, in words for whoever keeps it running."""

from collections.abc import Iterator

from pacsnode.archive.store import Policy, Reception
from pacsnode.errors import IndexFailure, StorageError
from pacsnode.index import Index
from pacsnode.storage import Storage

NEAR = 2  # less free space than so many times min_free is worth a warning


def troubles(storage: Storage, index: Index, policy: Policy, reception: Reception) -> Iterator[str]:
    """A line each; none where all is well. Asks the file system once and the index twice."""
    yield from _space(storage, policy.min_free)
    try:
        index.instance("")
        stuck = index.commitments.backlog().stuck
    except IndexFailure as error:
        yield f"the index cannot be read: {error}"
    else:
        if stuck:
            yield f"storage commitment: {stuck} reports could not be delivered for some time"
    if index.fault:
        yield f"{index.fault}: mend the disk, then run `pacsnode reindex`"
    if reception.failure:
        yield f"the last instance could not be stored: {reception.failure}"


def _space(storage: Storage, min_free: int) -> Iterator[str]:
    try:
        free = storage.free()
    except StorageError as error:
        yield f"the data folder cannot be read: {error}"
        return
    if free < min_free:
        yield (
            f"full: {free:,} bytes are free, less than storage.min_free ({min_free:,}): "
            "C-STORE is refused (A700)"
        )
    elif free < NEAR * min_free:
        yield f"nearly full: {free:,} bytes are free, storage.min_free is {min_free:,}"
