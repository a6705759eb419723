"""Small instances are answered when the index holds their row and a copy of their file durably: one
sync of the disk, which those who wait at the same moment share, in place of three. Their files
stand in the tree by then, and are synced soon after, any number at once; then the copies go. What a
power cut takes from the tree meanwhile a start writes anew (settle.make_good)."""

import logging
import threading

from pacsnode.archive.settle import restore
from pacsnode.dicom.instance import StoredInstance
from pacsnode.errors import IndexFailure, StorageError
from pacsnode.index import CopyKey, Index
from pacsnode.storage import Storage

log = logging.getLogger(__name__)

GATHERING = 0.5  # seconds that files gather before they are synced
AGAIN = 10.0  # seconds until what failed is tried again

# Copies of so many bytes at most: where the disk does not keep up, instances are synced one by one.
MOST = 32 << 20


class Behind:
    """Syncs files of small instances in a thread of its own, which lives from the first of them
    until `close`."""

    def __init__(self, storage: Storage, index: Index) -> None:
        self._storage = storage
        self._index = index
        self._lock = threading.Lock()
        self._waiting: list[CopyKey] = []
        self._bytes = 0
        self._is_wanted = threading.Event()
        self._is_closing = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def has_room(self) -> bool:
        """Whether more may be left to be synced later."""
        return self._bytes < MOST

    def add(self, stored: StoredInstance) -> None:
        """The index has a copy of this instance's file."""
        with self._lock:
            self._waiting.append(CopyKey(stored.uids.sop_instance_uid, stored.received_at))
            self._bytes += stored.length
            if self._thread is None:
                self._thread = self._started()
        self._is_wanted.set()

    def _started(self) -> threading.Thread | None:
        """The thread; None where none is to be had now: what waits has its copy meanwhile."""
        thread = threading.Thread(target=self._run, name="behind", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            log.warning("files are not synced yet: %s", error)
            return None
        return thread

    def close(self) -> None:
        """Sync what waits. What cannot be synced keeps its copy, for the next start."""
        self._is_closing.set()
        self._is_wanted.set()
        if self._thread is not None:
            self._thread.join()
        self._sync()

    def _run(self) -> None:
        pause = GATHERING
        while not self._is_closing.is_set():
            self._is_wanted.wait()
            self._is_closing.wait(pause)
            self._is_wanted.clear()
            pause = GATHERING if self._sync() else AGAIN

    def _sync(self) -> bool:
        """Whether nothing is left of what waited."""
        with self._lock:
            keys, self._waiting = self._waiting, []
            size, self._bytes = self._bytes, 0
        if not keys:
            return True
        try:
            self._storage.sync()
        except StorageError as error:
            log.error("%s; what was stored last is written anew", error)  # noqa: TRY400
            keys = self._write_anew(keys)
        else:
            keys = self._drop(keys)
        with self._lock:
            self._waiting += keys
            self._bytes += size if keys else 0
        if keys:
            self._is_wanted.set()
        return not keys

    def _write_anew(self, keys: list[CopyKey]) -> list[CopyKey]:
        """Nobody can tell which of the files the disk has: so each is written once more, and synced
        by itself. Returns those that could not be."""
        for number, key in enumerate(keys):
            try:
                copy = self._index.copy(key)
                if copy is not None:
                    restore(self._storage, self._index, copy)
            except (StorageError, IndexFailure) as error:
                log.error("%s keeps its copy in the index: %s", key.sop_instance_uid, error)  # noqa: TRY400
                return self._drop(keys[:number]) + keys[number:]
        return self._drop(keys)

    def _drop(self, keys: list[CopyKey]) -> list[CopyKey]:
        """The copies of what is on stable storage go. Returns those that did not."""
        try:
            self._index.drop_copies(keys)
        except IndexFailure as error:
            log.error("copies stay in the index: %s", error)  # noqa: TRY400
            return keys
        return []
