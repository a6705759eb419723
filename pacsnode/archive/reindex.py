"""The index made anew from the storage tree alone, in the order in which the instances came."""

import logging
import os
import uuid
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

from pacsnode import index as index_room
from pacsnode import storage as storage_room
from pacsnode.archive.folder import DataFolder
from pacsnode.archive.receipt_order import ReceiptOrder
from pacsnode.archive.settle import (
    CharacterSets,
    header_of,
    make_good,
    set_aside,
    settle_pending,
)
from pacsnode.dicom.instance import StoredInstance
from pacsnode.errors import (
    ConfigurationError,
    DicomError,
    IndexFailure,
    SchemaTooNew,
    StorageError,
)
from pacsnode.index import Index
from pacsnode.storage import Storage, place
from pacsnode.storage.folders import sync_folder

log = logging.getLogger(__name__)

# done, total. The total is known when the tree has been walked, and 0 until then.
Progress = Callable[[int, int], None]
# A file that cannot be indexed, by name, and why.
Complain = Callable[[str, str], None]


class Rebuilt(NamedTuple):
    """What reindex found: instances in the new index, others set aside because an earlier one has
    their SOP Instance UID, files that stay where they are but are in no index."""

    instances: int
    set_aside: int
    unreadable: int


def reindex(
    data_dir: Path,
    character_sets: Mapping[str, str] | None = None,
    *,
    fsync: bool = True,
    progress: Progress = lambda done, total: None,
    complain: Complain = lambda name, why: None,
) -> Rebuilt:
    """Build a new index beside the old one and put it in its place, whole, at the end; interrupted,
    the old one is still there. What the tree cannot tell (flags, conflicts, pending removals) is
    taken over from the old index as far as that can be read. Raises DataFolderLocked while anybody
    else works in the folder, ConfigurationError, StorageError or IndexFailure."""
    folder = DataFolder(data_dir)
    folder.use(alone=True)
    try:
        storage = storage_room.open(
            folder.instances, folder.conflicts, folder.quarantine, fsync=fsync
        )
        return _Rebuilding(folder, storage, character_sets or {}, progress, complain).run()
    finally:
        folder.release()


class _Rebuilding:
    def __init__(
        self,
        folder: DataFolder,
        storage: Storage,
        character_sets: CharacterSets,
        progress: Progress,
        complain: Complain,
    ) -> None:
        self._folder = folder
        self._storage = storage
        self._character_sets = character_sets
        self._progress = progress
        self._complain = complain
        self._instances = 0
        self._unreadable = 0
        self._duplicates: list[StoredInstance] = []

    def run(self) -> Rebuilt:
        if self._folder.has_index:
            # Raises where this user may not read it: its notes are not to be lost for that.
            self._folder.make_private(self._folder.index)
        old_id = _archive_id(self._folder.index)
        archive_id = self._storage.archive_id or old_id or uuid.uuid4().hex
        if old_id == archive_id:
            self._make_good()
        path = self._folder.index.with_name(self._folder.index.name + ".new")
        _remove_database(path)
        self._folder.make_private(path)
        # Not synced row by row: nothing counts before the whole is there.
        index = index_room.open(path, fsync=False, archive_id=archive_id)
        try:
            # The notes of another archive's index say nothing of this tree.
            if old_id in (None, archive_id) and self._folder.has_index:
                for fault in index_room.salvage(self._folder.index, index):
                    log.warning("not taken over: %s", fault)
            with self._storage.changing():
                # Before there are rows: what was to be removed must not come back.
                settle_pending(self._storage, index, self._character_sets)
            self._fill(index)
        except BaseException:
            index.close()
            _remove_database(path)
            raise
        index.close()
        _require_whole(path)
        self._put_in_place(path, old_id not in (None, archive_id))
        self._storage.claim(archive_id)
        self._set_duplicates_aside(archive_id)
        return Rebuilt(self._instances, len(self._duplicates), self._unreadable)

    def _make_good(self) -> None:
        """What a power cut took from the tree is in the old index only."""
        try:
            with closing(index_room.open(self._folder.index)) as index:
                make_good(self._storage, index)
        except IndexFailure as error:
            log.warning("copies of the last small files cannot be read: %s", error)

    def _fill(self, index: Index) -> None:
        total = 0
        with closing(ReceiptOrder(self._folder.path)) as names:
            for name, opened in self._storage.walk():
                if isinstance(opened, StorageError):
                    self._refuse(name, str(opened))
                    continue
                opened.file.close()
                names.add(opened.stored.received_at, name)
                total += 1
                self._progress(0, 0)
            for done, name in enumerate(names, 1):
                self._add(index, name)
                self._progress(done, total)

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
            self._refuse(name, "in the place of another instance")
        elif index.add(instance, stored) is not None:
            self._duplicates.append(stored)
        else:
            self._instances += 1

    def _refuse(self, name: str, why: str) -> None:
        self._unreadable += 1
        self._complain(name, why)

    def _put_in_place(self, path: Path, keep_old: bool) -> None:
        """From here on it is the index. What a write-ahead log of the old one still held has been
        salvaged; beside the new file it would be taken for the new one's."""
        old = self._folder.index
        try:
            _sync_file(path)
            if keep_old:
                os.replace(old, old.with_name(f"{old.name}.{uuid.uuid4().hex}"))
            for suffix in _BESIDE:
                with suppress(FileNotFoundError):
                    os.unlink(f"{old}{suffix}")
            os.replace(path, old)
            sync_folder(self._folder.path)
        except OSError as error:
            raise StorageError(f"putting the new index in place: {error}") from error

    def _set_duplicates_aside(self, archive_id: str) -> None:
        """Only now: the old index may have known them where they were."""
        if not self._duplicates:
            return
        with closing(index_room.open(self._folder.index, archive_id=archive_id)) as index:
            for stored in self._duplicates:
                with self._storage.changing():
                    set_aside(self._storage, index, None, stored)


# What SQLite keeps beside a database.
_BESIDE = ("-wal", "-shm", "-journal")


def _archive_id(path: Path) -> str | None:
    """Whose index this is, if that can be read."""
    if not index_room.exists(path):
        return None
    try:
        with closing(index_room.open(path)) as index:
            return index.archive_id
    except SchemaTooNew:
        raise
    except (ConfigurationError, IndexFailure) as error:
        log.warning("the old index cannot be read: %s", error)
        return None


def _remove_database(path: Path) -> None:
    for suffix in ("", *_BESIDE):
        with suppress(FileNotFoundError):
            os.unlink(f"{path}{suffix}")


def _require_whole(path: Path) -> None:
    """SQLite keeps a log that it could not bring into the file, and says nothing."""
    if os.path.exists(f"{path}-wal"):
        _remove_database(path)
        raise StorageError("completing the new index: the disk is full, or it failed")


def _sync_file(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())
