"""A complete newcomer finds its place: the one that is new, and the one that is here already.

What is new costs one link and one transaction, and takes no lock: the place belongs to whoever
links first, the row to whoever adds it first. All else is rare, is looked at anew inside
storage.changing, and begins again where the look shows that things moved meanwhile."""

import logging
from contextlib import closing
from typing import NamedTuple

from pacsnode.archive.behind import Behind
from pacsnode.archive.outcome import Kind, OnDuplicate
from pacsnode.archive.settle import (
    CharacterSets,
    finish_removals,
    is_whole,
    same_instance,
    set_aside,
    settle_pending,
)
from pacsnode.dicom.instance import Instance, StoredInstance
from pacsnode.errors import (
    DuplicateRefused,
    IndexFailure,
    InstanceDamaged,
    InstanceExists,
    InstanceMissing,
    StorageError,
)
from pacsnode.index import Index
from pacsnode.storage import Incoming, Standing, Storage

log = logging.getLogger(__name__)

# Times that another writer may get in between before this one gives up.
_ATTEMPTS = 100


class Newcomer(NamedTuple):
    """A sealed instance, what its header says and what will be known of it."""

    incoming: Incoming
    instance: Instance
    stored: StoredInstance


class Placing:
    """Puts newcomers in their places by one policy."""

    def __init__(
        self,
        storage: Storage,
        index: Index,
        on_duplicate: OnDuplicate,
        character_sets: CharacterSets,
        behind: Behind,
        *,
        keeps_replaced: bool = False,
    ) -> None:
        self._behind = behind
        self._keeps_replaced = keeps_replaced
        self._storage = storage
        self._index = index
        self._on_duplicate = on_duplicate
        self._character_sets = character_sets

    def place(self, new: Newcomer) -> Kind:
        """When this returns the index row is durable, and so are the file and its folders, or a
        copy of the file in the index (behind.py). Raises DuplicateRefused, StorageError or
        IndexFailure; nothing of the newcomer is left then."""
        uid = new.stored.uids.sop_instance_uid
        try:
            for _ in range(_ATTEMPTS):
                in_place = self._put(new)
                if in_place:
                    present = self._index.add(new.instance, new.stored, new.incoming.content)
                    if present is None:
                        self._added(new)
                        return Kind.STORED
                else:
                    present = self._index.instance(uid)
                    if present is None or present.uids != new.stored.uids:
                        self._clear_place(new)
                        continue
                self._sync(new, in_place)
                kind = self._duplicate(new, present, in_place)
                if kind is not None:
                    return kind
        except (StorageError, IndexFailure):
            self._take_back(new)
            raise
        except DuplicateRefused:
            raise
        except BaseException:
            # Interrupted somewhere between file and row: the next start sees how far it came.
            new.incoming.leave()
            raise
        raise StorageError(f"storing {uid}: others change it all the time")

    def _added(self, new: Newcomer) -> None:
        if new.incoming.content is not None:
            self._behind.add(new.stored)

    def _sync(self, new: Newcomer, in_place: bool) -> None:
        """What is not simply new has no copy in the index: its file itself must be durable."""
        if new.incoming.content is not None:
            new.incoming.sync()
            if in_place:
                self._storage.put(new.incoming, new.stored.uids)

    def _put(self, new: Newcomer) -> bool:
        try:
            self._storage.put(new.incoming, new.stored.uids)
        except InstanceExists:
            return False
        return True

    def _take_back(self, new: Newcomer) -> None:
        """After a failure. An index that does not answer may have the row or not: then the file
        stays, with its temporary name, and the next start tells (settle.recover)."""
        stored = new.stored
        try:
            with self._storage.changing():
                row = self._index.instance(stored.uids.sop_instance_uid)
                if not same_instance(row, stored):
                    new.incoming.withdraw(stored.uids)
        except (StorageError, IndexFailure) as error:
            log.warning(
                "%s: left for the next start to settle: %s", stored.uids.sop_instance_uid, error
            )
            new.incoming.leave()

    def _clear_place(self, new: Newcomer) -> None:
        """A file without a row stands in the way: never acknowledged, but nobody's to throw away.
        The same bytes are no loss; others go to the conflicts."""
        uids = new.stored.uids
        with self._storage.changing():
            settle_pending(self._storage, self._index, self._character_sets)
            if self._storage.stands(uids) is not Standing.AT_REST:
                return
            row = self._index.instance(uids.sop_instance_uid)
            if row is not None and row.uids == uids:
                return
            if is_whole(self._storage, new.stored):
                self._storage.delete(uids)
                return
            name = set_aside(self._storage, self._index, None, self._found(new.stored))
            log.warning("%s: a file that nothing knew of is now %s", uids.sop_instance_uid, name)

    def _found(self, expected: StoredInstance) -> StoredInstance:
        """What stands there instead, by its own account if it has any."""
        try:
            opened = self._storage.open(expected.uids)
        except (InstanceMissing, InstanceDamaged):
            return expected._replace(source_ae_title="")
        with closing(opened.file):
            return opened.stored

    def _duplicate(self, new: Newcomer, present: StoredInstance, in_place: bool) -> Kind | None:
        """The instance is here already as `present`; `in_place`: the newcomer stands in a place of
        its own, for its UIDs differ or the file of `present` is missing. None: look again."""
        if self._on_duplicate is OnDuplicate.REJECT:
            self._withdraw(new, in_place)
            raise DuplicateRefused(f"{present.uids.sop_instance_uid} is here already")
        if same_instance(present, new.stored):
            return self._same_bytes(new, present, in_place)
        if self._on_duplicate is OnDuplicate.REPLACE:
            return self._replace(new, present, in_place)
        self._withdraw(new, in_place)
        with self._storage.changing():
            set_aside(self._storage, self._index, new.incoming, new.stored)
        return Kind.CONFLICT

    def _withdraw(self, new: Newcomer, in_place: bool) -> None:
        if in_place:
            with self._storage.changing():
                new.incoming.withdraw(new.stored.uids)

    def _same_bytes(self, new: Newcomer, present: StoredInstance, in_place: bool) -> Kind | None:
        """The sender may delete its copy after our answer: so ours is read, not believed."""
        if not in_place and not present.is_lost and is_whole(self._storage, present):
            return Kind.ALREADY_HERE
        with self._storage.changing():
            row = self._index.instance(present.uids.sop_instance_uid)
            if row is None or not same_instance(row, new.stored):
                return None
            if not in_place:
                if is_whole(self._storage, row):
                    self._index.set_lost(row.uids.sop_instance_uid, False)
                    return Kind.ALREADY_HERE
                self._storage.replace(new.incoming, new.stored.uids)
            self._index.replace(new.instance, new.stored)
        return Kind.RESTORED

    def _replace(self, new: Newcomer, present: StoredInstance, in_place: bool) -> Kind | None:
        with self._storage.changing():
            row = self._index.instance(present.uids.sop_instance_uid)
            if row is None or not same_instance(row, present):
                return None
            stands_there_itself = in_place and row.uids == new.stored.uids
            if self._keeps_replaced and not stands_there_itself:
                self._storage.keep_beside(row.uids)
            if not in_place:
                self._index.begin_replace(new.stored)
                self._storage.replace(new.incoming, new.stored.uids)
            # One transaction: the row changes, and the note of begin_replace goes, or a note comes
            # that the file in the old place is to be removed.
            self._index.replace(new.instance, new.stored)
            if row.uids != new.stored.uids:
                self._remove_old(row)
        return Kind.REPLACED

    def _remove_old(self, old: StoredInstance) -> None:
        """The newcomer is stored whatever happens here: the note stays until this succeeds."""
        try:
            notes = [note for note in self._index.pending() if note.uids == old.uids]
            finish_removals(self._storage, self._index, notes)
        except (StorageError, IndexFailure) as error:
            log.warning("%s: the replaced file stays for now: %s", old.uids, error)
