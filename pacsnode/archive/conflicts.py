"""Conflicts are settled by a person: the first stays, the newcomer takes its place, or the newcomer
goes. Whatever is no longer served stays in conflicts/settled, except what is dropped.

Files change before the record goes: a crash between the two leaves a conflict that is settled
already, or a record without a file, which the next start takes away (settle.recover)."""

from collections.abc import Iterable
from contextlib import closing

from pacsnode.archive.outcome import Outcome
from pacsnode.archive.store import Reception
from pacsnode.errors import InstanceDamaged, InstanceMissing, UsageError
from pacsnode.index import Conflict, Index
from pacsnode.storage import Storage, measure
from pacsnode.storage.folders import step


def chosen(conflicts: Iterable[Conflict], which: Iterable[str]) -> list[Conflict]:
    """Those that `which` names, by their names or by SOP Instance UID, which stands for all
    conflicts of that instance. Raises UsageError where it names none."""
    known = list(conflicts)
    found: dict[str, Conflict] = {}
    for wanted in which:
        of_it = [one for one in known if wanted in (one.name, one.uids.sop_instance_uid)]
        if not of_it:
            raise UsageError(
                f"{wanted} is neither the name nor the SOP Instance UID of a conflict: see "
                "`pacsnode ls --conflicts`"
            )
        found |= {one.name: one for one in of_it}
    return list(found.values())


def keep(storage: Storage, index: Index, name: str) -> None:
    """The first stays, and so does the newcomer's file, in conflicts/settled; sent again, it is no
    conflict any more. Raises StorageError or IndexFailure."""
    with storage.changing():
        storage.conflicts.settle(name)
        index.forget_conflict(name)


def drop(storage: Storage, index: Index, name: str) -> None:
    """The newcomer's file is removed. Raises StorageError or IndexFailure."""
    with storage.changing():
        storage.conflicts.drop(name)
        index.forget_conflict(name)


def adopt(storage: Storage, index: Index, reception: Reception, name: str) -> Outcome:
    """The newcomer takes the first's place. `reception` is one that replaces, and keeps what it
    replaces beside. Raises what Receipt.finish raises, InstanceMissing, and InstanceDamaged where
    the newcomer is no longer what was received."""
    try:
        opened = storage.conflicts.open(name)
    except InstanceMissing:
        drop(storage, index, name)  # settled already, or somebody took it away
        raise
    with closing(opened.file), step(f"reading {name}"):
        if measure(opened.file)[0] != opened.stored.digest:
            raise InstanceDamaged(f"{name}: the bytes are not those received: only to be dropped")
        outcome = reception.copy(opened.file).finish()
    drop(storage, index, name)
    return outcome
