"""The index made anew from the storage tree, in the order in which the instances came. A run that
is interrupted leaves what it has made, and the next goes on with it: whatever happened meanwhile,
for each row is compared with its file first."""

import uuid
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from pacsnode import index as index_room
from pacsnode import storage as storage_room
from pacsnode.archive.folder import DataFolder
from pacsnode.archive.receipt_order import ReceiptOrder
from pacsnode.archive.settle import (
    CharacterSets,
    doomed_places,
    header_of,
    is_whole,
    restore_copies,
    set_aside,
    settle_pending,
)
from pacsnode.archive.successor import Successor
from pacsnode.archive.verify import EVERYTHING, is_row_of
from pacsnode.dicom.instance import InstanceUIDs, StoredInstance
from pacsnode.errors import ArchiveMismatch, DicomError, StorageError
from pacsnode.index import Index, OldIndex
from pacsnode.storage import Storage, StoredFile, place

# done, total. The total is known when the tree has been walked, and 0 until then.
Progress = Callable[[int, int], None]
# A file that cannot be indexed, by name, and why; or a remark, without a name.
Complain = Callable[[str, str], None]

_FORGOTTEN = 500  # rows that go in one transaction


class Rebuilt(NamedTuple):
    """What reindex found: instances in the new index, others set aside because an earlier one has
    their SOP Instance UID, files that stay where they are but are in no index. Of the instances,
    `resumed` had been indexed by a run that was interrupted, `lost` have no whole file: the old
    index knew them, and that they are lost."""

    instances: int
    set_aside: int
    unreadable: int
    resumed: int = 0
    lost: int = 0


def reindex(
    data_dir: Path,
    character_sets: Mapping[str, str] | None = None,
    *,
    fsync: bool = True,
    progress: Progress = lambda done, total: None,
    complain: Complain = lambda name, why: None,
) -> Rebuilt:
    """Build a new index beside the old one and put it in its place, whole, at the end; interrupted,
    the old one is still there. What the tree cannot tell (flags, conflicts, pending removals, what
    is lost, open commitments) is taken over from the old index as far as that can be read. Raises
    DataFolderLocked while anybody else works in the folder, ConfigurationError, StorageError or
    IndexFailure."""
    folder = DataFolder(data_dir)
    folder.use(alone=True)
    try:
        storage = storage_room.open(
            folder.instances, folder.conflicts, folder.quarantine, fsync=fsync
        )
        with closing(_opened(folder)) as old:
            rebuilding = _Rebuilding(folder, storage, old, character_sets or {}, progress, complain)
            rebuilding.build()
        return rebuilding.finish()
    finally:
        folder.release()


def _opened(folder: DataFolder) -> OldIndex:
    if folder.has_index:
        # Raises where this user may not read it: its notes are not to be lost for that.
        folder.make_private(folder.index)
    return OldIndex(folder.index)


class _Rebuilding:
    def __init__(
        self,
        folder: DataFolder,
        storage: Storage,
        old: OldIndex,
        character_sets: CharacterSets,
        progress: Progress,
        complain: Complain,
    ) -> None:
        self._folder = folder
        self._storage = storage
        self._old = old
        self._character_sets = character_sets
        self._progress = progress
        self._complain = complain
        self._successor = Successor(folder, character_sets)
        known = storage.archive_id or old.archive_id or self._successor.archive_id
        self._archive_id = known or uuid.uuid4().hex
        # The notes of another archive's index say nothing of this tree.
        self._is_other = old.archive_id not in (None, self._archive_id)
        self._is_resuming = False
        self._instances = self._resumed = self._unreadable = self._lost = 0
        self._duplicates: list[StoredInstance] = []
        # Nobody else is at work: asked once, not for each file.
        self._doomed: set[InstanceUIDs] = set()

    def build(self) -> None:
        """The new index, whole, beside the old one."""
        if self._storage.archive_id is None:
            self._require_instances()
        index = self._begun()
        try:
            if not self._is_other:
                self._carry_over(index)
            self._require_instances()
            with self._storage.changing():
                # Before there are rows: what was to be removed must not come back.
                settle_pending(self._storage, index, self._character_sets)
            self._doomed = doomed_places(index)
            self._fill(index)
            if not self._is_other:
                self._carry_lost(index)
            index.drop_stray_flags()
        except KeyboardInterrupt:
            index.close()
            raise
        except BaseException:
            index.close()
            self._successor.remove()
            raise
        self._successor.complete(index)

    def _require_instances(self) -> None:
        """Raises ArchiveMismatch where the tree has none, and there must have been some."""
        if self._storage.is_empty and self._old.has_instances:
            raise ArchiveMismatch(
                f"data_dir: {self._folder.instances} holds no instances, but the index knows some: "
                "is the right disk mounted? To begin with an empty index all the same, remove "
                f"{self._folder.index}"
            )

    def finish(self) -> Rebuilt:
        """Put it in the old one's place, which nobody has open any more."""
        self._successor.put_in_place(keep_old=self._is_other)
        self._storage.claim(self._archive_id)
        self._set_duplicates_aside()
        return Rebuilt(
            self._instances + self._resumed,
            len(self._duplicates),
            self._unreadable,
            self._resumed,
            self._lost,
        )

    def _set_duplicates_aside(self) -> None:
        """Only now: the old index may have known them where they were."""
        if not self._duplicates:
            return
        with closing(index_room.open(self._folder.index)) as index:
            for stored in self._duplicates:
                with self._storage.changing():
                    set_aside(self._storage, index, None, stored)

    # What an earlier run left

    def _begun(self) -> Index:
        """The new index: that of an interrupted run, less what is not so any more, or an empty
        one."""
        index = self._successor.left(self._archive_id)
        if index is None:
            return self._successor.begin(self._archive_id)
        self._is_resuming = True
        try:
            self._compare(index)
        except BaseException:
            index.close()
            raise
        return index

    def _compare(self, index: Index) -> None:
        """Between the runs instances may have been deleted or replaced: rows whose file is not the
        one that was indexed go."""
        changed: list[str] = []
        for done, row in enumerate(index.select(EVERYTHING), 1):
            if not self._is_as_indexed(row):
                changed.append(row.uids.sop_instance_uid)
            self._progress(done, 0)
        for begin in range(0, len(changed), _FORGOTTEN):
            index.forget(changed[begin : begin + _FORGOTTEN])
        left = index.statistics().instances
        if left:
            self._complain("", f"going on with a reindex that was interrupted after {left:,}")

    def _is_as_indexed(self, row: StoredInstance) -> bool:
        try:
            opened = self._storage.open(row.uids)
        except StorageError:
            return False
        opened.file.close()
        found = opened.stored
        return (found.digest, found.received_at) == (row.digest, row.received_at)

    # What the old index alone has

    def _carry_over(self, index: Index) -> None:
        for fault in index.salvage(self._folder.index):
            self._complain("", f"not all of it could be taken over: {fault}")
        self._forget_doomed(index)
        restore_copies(self._storage, index, self._old.copies(), self._character_sets)

    def _forget_doomed(self, index: Index) -> None:
        """What an earlier run indexed and was deleted or replaced since, its file still to go: a
        row here would pass for an instance that was stored anew."""
        places = doomed_places(index)
        rows = (index.instance(uids.sop_instance_uid) for uids in places)
        index.forget([row.uids.sop_instance_uid for row in rows if row and row.uids in places])

    def _carry_lost(self, index: Index) -> None:
        """Instances that were marked as lost are so still, unless their file is whole again."""
        for lost in self._old.lost():
            row = index.instance(lost.sop_instance_uid)
            if row is not None and is_whole(self._storage, row):
                index.set_lost(lost.sop_instance_uid, False)
                continue
            if row is None and lost.instance is not None and lost.stored is not None:
                index.add(lost.instance, lost.stored)
            index.set_lost(lost.sop_instance_uid, True)
            self._lost += 1

    # The tree

    def _fill(self, index: Index) -> None:
        with closing(ReceiptOrder(self._folder.path)) as names:
            total = self._walk(index, names)
            for done, name in enumerate(names, self._resumed + 1):
                self._add(index, name)
                self._progress(done, total)

    def _walk(self, index: Index, names: ReceiptOrder) -> int:
        """Collect what is to be indexed; returns how many instances there are in all."""
        for name, found in self._storage.walk():
            if not isinstance(found, StoredFile):
                self._refuse(name, str(found))
                continue
            found.file.close()
            if self._is_indexed(index, name, found.stored):
                self._resumed += 1
                continue
            names.add(found.stored.received_at, name)
            self._progress(0, 0)
        return self._resumed + len(names)

    def _is_indexed(self, index: Index, name: str, stored: StoredInstance) -> bool:
        """By a run before this one."""
        return self._is_resuming and is_row_of(index, name, stored.uids)

    def _add(self, index: Index, name: str) -> None:
        try:
            opened = self._storage.open(name)
            with closing(opened.file):
                instance = header_of(opened, self._character_sets)
                stored = opened.stored._replace(
                    uids=instance.uids, sop_class_uid=instance.sop_class_uid
                )
        except (StorageError, DicomError) as error:
            self._refuse(name, str(error))
            return
        if place(instance.uids) != name:
            self._refuse(name, "in the place of another instance: `verify --repair` moves it home")
            return
        if stored.uids in self._doomed:
            self._refuse(name, "it was deleted, and cannot be removed")
            return
        present = index.add(instance, stored)
        if present is None or present.uids == stored.uids:
            self._instances += 1
        elif present.received_at <= stored.received_at:
            self._duplicates.append(stored)
        else:
            # An interrupted run came before this file did, which is older.
            index.forget([present.uids.sop_instance_uid])
            index.add(instance, stored)
            self._duplicates.append(present)

    def _refuse(self, name: str, why: str) -> None:
        self._unreadable += 1
        self._complain(name, why)
