"""Instances as files in a folder tree: data_dir/instances, with conflicts/ beside it.

The order of steps is what makes a crash harmless. An instance is written under a temporary name in
instances/.incoming, synced, linked into its place (link never overwrites), its folders are synced,
then its row is committed, then the temporary name goes. A crash leaves
  before the link    a file with one name: removed at the next start
  before the row     a file with two names and no row: never acknowledged; taken back at the start
  after the row      a file with two names and a row: stored; only the temporary name is removed.
A small file may be synced later, with its folders (seal's later_at): then a power cut may leave any
part of it under either name, so its temporary name tells the place that is to be looked at.
A file's writer holds its lock all the while, so a living one is never taken for a dead one."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from pacsnode.dicom import part10
from pacsnode.dicom.instance import InstanceUIDs
from pacsnode.errors import (
    InstanceDamaged,
    InstanceExists,
    InstanceMissing,
    StorageError,
)
from pacsnode.storage import folders, incoming, paths, reading, walking, writeback
from pacsnode.storage.base import (
    Arrival,
    Conflicts,
    Incoming,
    Leftover,
    Seal,
    Standing,
    Storage,
    StoredFile,
)
from pacsnode.storage.conflicts import ConflictsFolder
from pacsnode.storage.quarantine import QuarantineFolder


class FileStorage(Storage):
    """`root` is the instances folder, `conflicts` where set-aside instances go, `quarantine`, by
    default beside it, where damaged ones go: all on one file system. Raises OSError where they
    cannot be made."""

    def __init__(
        self, root: str, conflicts: str, quarantine: str | None = None, *, fsync: bool = True
    ) -> None:
        self._root = os.path.abspath(root)
        self._conflicts = ConflictsFolder(os.path.abspath(conflicts), fsync=fsync)
        beside = os.path.join(os.path.dirname(self._root), "quarantine")
        self._quarantine = QuarantineFolder(os.path.abspath(quarantine or beside), fsync=fsync)
        self._incoming = incoming.IncomingFolder(os.path.join(self._root, paths.INCOMING))
        self._changes = os.path.join(self._root, paths.CHANGES)
        self._fsync = fsync
        self._tree = folders.Tree(self._root, self._changes, fsync)
        self._prepare()
        self._file_system = writeback.FileSystem(self._root)

    def _prepare(self) -> None:
        for folder in (self._root, self._conflicts.path, self._incoming.path):
            with suppress(FileExistsError):
                os.mkdir(folder, folders.FOLDER_MODE)
                folders.sync_folder(os.path.dirname(folder))
        os.close(os.open(self._changes, os.O_RDWR | os.O_CREAT, folders.FILE_MODE))

    # Whose tree this is

    @property
    def archive_id(self) -> str | None:
        try:
            with open(os.path.join(self._root, paths.ARCHIVE_ID), encoding="ascii") as file:
                return file.read().strip() or None
        except FileNotFoundError:
            return None
        except OSError as error:
            raise folders.storage_error(error, "reading the archive id") from error

    def claim(self, archive_id: str) -> None:
        temporary = os.path.join(self._incoming.path, paths.ARCHIVE_ID)
        with folders.step("writing the archive id"):
            descriptor = os.open(
                temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, folders.FILE_MODE
            )
            with open(descriptor, "w", encoding="ascii") as file:
                file.write(archive_id + "\n")
                file.flush()
                os.fsync(descriptor)
            os.replace(temporary, os.path.join(self._root, paths.ARCHIVE_ID))
            folders.sync_folder(self._root)

    @property
    def is_empty(self) -> bool:
        """Whether there is no study folder."""
        with folders.step("reading the storage tree"), os.scandir(self._root) as entries:
            return all(entry.name in paths.RESERVED for entry in entries)

    # New instances

    def begin(self, arrival: Arrival) -> Incoming:
        return self._new_incoming(part10.encode_meta(*arrival))

    def _new_incoming(self, head: bytes) -> incoming.FileIncoming:
        return incoming.FileIncoming(
            self._tree,
            self._incoming,
            head,
            fsync=self._fsync,
            can_wait=self._file_system.can_sync,
        )

    def put(self, incoming: Incoming, uids: InstanceUIDs) -> None:
        source = _own(incoming)
        place = self._path(uids)
        folder = os.path.dirname(place)
        with folders.step("putting an instance in place"):
            for _ in range(folders.ATTEMPTS):
                try:
                    os.link(source.path, place)
                    break
                except FileNotFoundError:
                    # No folder yet, or a deletion took it away again.
                    self._tree.make(folder)
                except FileExistsError:
                    if source.stands_at(place):
                        break
                    _wait_for_writer(place)
                    raise InstanceExists(f"something stands at {paths.place(uids)}") from None
            else:
                raise StorageError(f"no folder stays for {paths.place(uids)}")
            if source.content is None:
                self._tree.sync(folder)

    # Changes of what stands in a place

    @contextmanager
    def changing(self, *places: InstanceUIDs) -> Iterator[None]:
        with folders.step("waiting for a writer"):
            for uids in places:
                _wait_for_writer(self._path(uids))
        # A description of its own for each caller: the lock is between threads too.
        with folders.step("locking the storage tree"):
            descriptor = os.open(self._changes, os.O_RDWR)
        try:
            with folders.step("locking the storage tree"):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def stands(self, uids: InstanceUIDs) -> Standing:
        with folders.step("looking at a stored instance"):
            try:
                descriptor = os.open(self._path(uids), os.O_RDONLY)
            except (FileNotFoundError, NotADirectoryError):
                return Standing.NOTHING
            try:
                # Shared: those who wait for a writer hold theirs for a moment.
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return Standing.WRITING
            finally:
                os.close(descriptor)
        return Standing.AT_REST

    def replace(self, incoming: Incoming, uids: InstanceUIDs) -> None:
        source = _own(incoming)
        place = self._path(uids)
        with folders.step("replacing an instance"):
            if not source.stands_at(place):
                self._tree.make(os.path.dirname(place))
                # With two names of one file rename would do nothing.
                os.rename(source.path, place)
                source.renamed(place)
            self._tree.sync(os.path.dirname(place))

    def delete(self, *places: InstanceUIDs) -> None:
        with folders.step("deleting an instance"):
            parents = set()
            for uids in places:
                path = self._path(uids)
                with suppress(FileNotFoundError, NotADirectoryError):
                    os.unlink(path)
                parents.add(os.path.dirname(path))
            self._tree.prune(parents)

    def sync(self) -> None:
        with folders.step("syncing the storage tree"):
            self._file_system.sync()

    def distrust(self, uids: InstanceUIDs) -> None:
        with suppress(OSError), open(self._path(uids), "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def restore(self, uids: InstanceUIDs, content: bytes) -> None:
        place = self._path(uids)
        folder = os.path.dirname(place)
        with folders.step("restoring an instance"):
            path, descriptor = self._incoming.make()
            try:
                if os.write(descriptor, content) != len(content):
                    raise StorageError("restoring an instance: written in part")
                os.fsync(descriptor)
                self._tree.make(folder)
                os.rename(path, place)
            except BaseException:
                with suppress(OSError):
                    os.unlink(path)
                raise
            finally:
                os.close(descriptor)
            self._tree.sync(folder)

    # Other folders

    @property
    def conflicts(self) -> Conflicts:
        return self._conflicts

    def set_aside(self, incoming: Incoming | None, uids: InstanceUIDs) -> str | None:
        with folders.step("setting an instance aside"):
            if incoming is not None:
                source = _own(incoming)
                return self._conflicts.link(source.path, uids, source.digest)
            path = self._path(uids)
            name = self._conflicts.link(path, uids, _digest_of(path))
        self.delete(uids)
        return name

    def keep_beside(self, uids: InstanceUIDs) -> None:
        path = self._path(uids)
        with folders.step("keeping what is replaced"), suppress(FileNotFoundError):
            self._conflicts.link_settled(path, uids, _digest_of(path))

    def quarantine(self, name: str, why: str, text: str) -> str:
        path = os.path.join(self._root, name)
        if not os.path.isfile(path):  # a pipe would be waited for
            kind = InstanceDamaged if os.path.lexists(path) else InstanceMissing
            raise kind(f"{name} is no file")
        with folders.step(f"moving {name} to the quarantine"):
            here = self._quarantine.link(path, name, why, text)
            self._remove(path)
        return here

    def move(self, name: str, uids: InstanceUIDs) -> None:
        path, place = os.path.join(self._root, name), self._path(uids)
        with folders.step(f"moving {name} to its place"):
            self._tree.make(os.path.dirname(place))
            try:
                os.link(path, place)
            except FileExistsError:
                if not os.path.samefile(path, place):  # a move that was interrupted
                    raise InstanceExists(f"something stands at {paths.place(uids)}") from None
            self._tree.sync(os.path.dirname(place))
            self._remove(path)

    def _remove(self, path: str) -> None:
        """A file, durably, with folders that are empty then. Raises OSError."""
        with suppress(FileNotFoundError):
            os.unlink(path)
        folder = os.path.dirname(path)
        if folder != self._root:
            self._tree.prune([folder])

    # Reading

    def open(self, place: InstanceUIDs | str) -> StoredFile:
        name = place if isinstance(place, str) else paths.place(place)
        try:
            file = open(os.path.join(self._root, name), "rb")  # noqa: SIM115  # the caller's
        except (FileNotFoundError, NotADirectoryError):
            raise InstanceMissing(f"no file at {name}") from None
        except OSError as error:
            raise folders.storage_error(error, f"opening {name}") from error
        try:
            opened = reading.read_head(file, name, None if isinstance(place, str) else place)
            reading.check_length(opened, name)
        except BaseException:
            file.close()
            raise
        return opened

    def walk(self) -> Iterator[tuple[str, StoredFile | StorageError]]:
        return walking.walk(self._root)

    def free(self) -> int:
        with folders.step("asking for free space"):
            state = os.statvfs(self._root)
        return state.f_bavail * state.f_frsize

    # After a crash

    def leftovers(self) -> Iterator[Leftover]:
        with folders.step("sweeping the incoming folder"):
            names = sorted(os.listdir(self._incoming.path))
        for name in names:
            if name == paths.ARCHIVE_ID:
                continue
            path = os.path.join(self._incoming.path, name)
            with folders.step("sweeping the incoming folder"):
                descriptor = incoming.lock_leftover(path)
            if descriptor is None:
                continue
            leftover = self._take_up(path, descriptor)
            if leftover is not None:
                yield leftover

    def _take_up(self, path: str, descriptor: int) -> Leftover | None:
        """A file with a second name is complete and stood, or stands, somewhere: the archive must
        say what becomes of it. Any other is removed. One that was to be synced later may have a
        second name and not be complete: a power cut took what nobody was told of."""
        try:
            with open(path, "rb") as file:
                opened = reading.read_head(file, path, None)
                dataset_offset = file.tell()
        except (FileNotFoundError, InstanceDamaged):
            opened, dataset_offset = None, 0
        except BaseException:
            os.close(descriptor)
            raise
        found = self._new_incoming(b"")
        stored = opened.stored if opened is not None else None
        seal = Seal(stored.digest, stored.length, stored.received_at) if stored else None
        found.resume(incoming.Named(path, descriptor), dataset_offset, seal)
        place = paths.place_of(os.path.basename(path))
        if place is not None and not reading.is_intact(path, stored):
            with self.changing():
                found.withdraw_from(os.path.join(self._root, place))
            stored = None
        if stored is None or os.fstat(descriptor).st_nlink < 2:
            found.close()
            return None
        return Leftover(found, stored)

    def _path(self, uids: InstanceUIDs) -> str:
        return self._tree.place(uids)


def _own(item: Incoming) -> incoming.FileIncoming:
    assert isinstance(item, incoming.FileIncoming)  # noqa: S101  # a storage gets its own back
    return item


def _digest_of(path: str) -> bytes:
    with open(path, "rb") as file:
        return reading.digest_of(file)


def _wait_for_writer(place: str) -> None:
    """Return when nobody is at work on this file, or it is gone. Raises OSError."""
    try:
        descriptor = os.open(place, os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)
