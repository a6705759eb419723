"""The file of an index that is being rebuilt: it stands beside the one in use until it is whole,
and stays there where that is interrupted."""

import logging
import os
import uuid
import zlib
from contextlib import closing, suppress
from pathlib import Path

from pacsnode import __version__
from pacsnode import index as index_room
from pacsnode.archive.folder import DataFolder
from pacsnode.archive.settle import CharacterSets
from pacsnode.errors import ConfigurationError, IndexFailure, StorageError
from pacsnode.index import Index, OldIndex
from pacsnode.storage.folders import sync_folder

log = logging.getLogger(__name__)

# What SQLite keeps beside a database.
_BESIDE = ("-wal", "-shm", "-journal")


class Successor:
    """`character_sets` are those that its rows are made by: what another program or configuration
    made is not gone on with."""

    def __init__(self, folder: DataFolder, character_sets: CharacterSets) -> None:
        self._folder = folder
        self.path = folder.successor
        made_by = f"{__version__} {sorted(character_sets.items())}"
        # Not 0, which an index in use has.
        self._stamp = zlib.crc32(made_by.encode()) % (1 << 30) + 1

    @property
    def archive_id(self) -> str | None:
        """Of what an interrupted run left."""
        with closing(OldIndex(self.path)) as left, suppress(ConfigurationError):
            return left.archive_id
        return None

    def left(self, archive_id: str) -> Index | None:
        """What an interrupted run left, if it can be gone on with."""
        if not index_room.exists(self.path):
            return None
        try:
            index = index_room.open(self.path, fsync=False)
        except (ConfigurationError, IndexFailure) as error:
            log.warning("beginning anew: %s", error)
            return None
        try:
            if index.archive_id == archive_id and index.stamp == self._stamp:
                index.check()
                return index
            log.warning("beginning anew: another archive's, program's or configuration's was begun")
        except IndexFailure as error:
            log.warning("beginning anew: %s", error)
        index.close()
        return None

    def begin(self, archive_id: str) -> Index:
        """An empty index."""
        self.remove()
        self._folder.make_private(self.path)
        # Not synced row by row: nothing counts before the whole is there.
        index = index_room.open(self.path, fsync=False, archive_id=archive_id)
        index.stamp = self._stamp
        return index

    def remove(self) -> None:
        """Raises StorageError."""
        for suffix in ("", *_BESIDE):
            try:
                os.unlink(f"{self.path}{suffix}")
            except FileNotFoundError:
                continue
            except OSError as error:
                raise StorageError(
                    f"{error.filename}, of an earlier reindex, is in the way, and cannot be "
                    f"removed: {error.strerror}: remove it"
                ) from error

    def complete(self, index: Index) -> None:
        """Close it. Raises StorageError where it is not whole then."""
        index.stamp = 0
        index.close()
        # SQLite keeps a log that it could not bring into the file, and says nothing.
        if os.path.exists(f"{self.path}-wal"):
            self.remove()
            raise StorageError("completing the new index: the disk is full, or it failed")

    def put_in_place(self, *, keep_old: bool) -> None:
        """From here on it is the index. What a write-ahead log of the old one still held has been
        salvaged; beside the new file it would be taken for the new one's."""
        old = self._folder.index
        try:
            _sync_file(self.path)
            if keep_old:
                os.replace(old, old.with_name(f"{old.name}.{uuid.uuid4().hex}"))
            for suffix in _BESIDE:
                with suppress(FileNotFoundError):
                    os.unlink(f"{old}{suffix}")
            os.replace(self.path, old)
            sync_folder(self._folder.path)
        except OSError as error:
            raise StorageError(f"putting the new index in place: {error}") from error


def _sync_file(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())
