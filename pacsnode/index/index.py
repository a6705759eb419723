"""The index as others see it: every call one short transaction, every failure an IndexFailure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from pacsnode.dicom.instance import Instance, InstanceUIDs, StoredInstance
from pacsnode.dicom.level import Level
from pacsnode.dicom.query import Key, Query
from pacsnode.errors import InvalidQuery
from pacsnode.index import copies, notes, rows, select, statistics, write
from pacsnode.index.commitments import Commitments
from pacsnode.index.conditions import MatchFile
from pacsnode.index.database import Database
from pacsnode.index.records import (
    REPLACE,
    Conflict,
    Copy,
    CopyKey,
    Flag,
    Match,
    Pending,
    Statistics,
)
from pacsnode.index.salvaging import OldIndex
from pacsnode.index.verdict import Verdict, verdict

PAGE = 500


def _no_file(_stored: StoredInstance, keys: Sequence[Key]) -> bool:
    raise InvalidQuery(f"{keys[0].keyword or hex(keys[0].tag)} is in no column of the index")


class Index:
    """Which instances there are. Safe to call from many threads, and beside other processes."""

    def __init__(self, database: Database, archive_id: str) -> None:
        self._database = database
        self.archive_id = archive_id
        self.commitments = Commitments(database)

    def add(
        self, instance: Instance, stored: StoredInstance, content: bytes | None = None
    ) -> StoredInstance | None:
        """None: it was added. Else what is here already; nothing has changed. `content` are the
        bytes of the whole file where that is not on stable storage yet: kept as a copy until
        `drop_copies`."""
        new = write.newcomer(instance, stored)
        copy = [] if content is None else [(copies.ADD, copies.row(stored, content))]
        if self._database.write_once(*copy, (write.ADD_NEXT, write.next_row(new))):
            return None
        with self._database.writing() as connection:
            existing = write.add(connection, new)
            if existing is None:
                for statement in copy:
                    connection.execute(*statement)
            return existing

    def copy_keys(self) -> list[CopyKey]:
        """Of all copies that `add` was given and that are still here, oldest first."""
        with self._database.reading() as connection:
            return copies.keys(connection)

    def copy(self, key: CopyKey) -> Copy | None:
        """None where its instance was deleted or replaced, or the copy was dropped."""
        with self._database.reading() as connection:
            return copies.find(connection, key)

    def drop_copies(self, keys: Iterable[CopyKey]) -> None:
        """Their files are on stable storage."""
        with self._database.writing() as connection:
            copies.drop(connection, keys)

    def replace(self, instance: Instance, stored: StoredInstance) -> StoredInstance | None:
        """Attributes and place of the newcomer for those of the row that is here, which is returned
        (None: there was none, it was added). Where their places differ, the old file is noted as
        pending removal; a note of `begin_replace` is settled."""
        new = write.newcomer(instance, stored)
        with self._database.writing() as connection:
            return write.replace(connection, new)

    def instance(self, sop_instance_uid: str) -> StoredInstance | None:
        """What is returned is durable: a sender may be told of it, a file be given up for it."""
        with self._database.reading() as connection:
            found = write.find(connection, sop_instance_uid)
        if found is not None:
            self._database.make_durable()
        return found

    def find(self, query: Query, match_file: MatchFile = _no_file) -> Iterator[list[Match]]:
        """What matches, in an order that does not change between queries; in pages of at most 500,
        each a transaction of its own that is over before the page is handed out. Empty ones come
        in between, so that whoever asks can give up while nothing matches for long.
        `match_file` is asked about keys at image level that are no columns."""
        return select.find(self._database, query, match_file)

    def select(self, query: Query, match_file: MatchFile = _no_file) -> Iterator[StoredInstance]:
        """All instances below what matches, read like `find`; of each study in the order of series
        and instance numbers."""
        return select.select(self._database, query, match_file)

    def verdict(
        self, study_instance_uid: str, query: Query, match_file: MatchFile = _no_file
    ) -> Verdict | None:
        """Why a study matches, or does not; None where it is not here."""
        return verdict(self._database, study_instance_uid, query, match_file)

    def study(self, study_instance_uid: str) -> Mapping[str, str]:
        """Columns of a study and of its patient, by keyword; none where it is not here."""
        with self._database.reading() as connection:
            found = rows.by_uid(connection, Level.STUDY, [study_instance_uid])
        return found[0].values if found else {}

    def statistics(self) -> Statistics:
        """The archive in figures; reads every row."""
        with self._database.reading() as connection:
            return statistics.statistics(connection)

    def remove(self, sop_instance_uids: Sequence[str]) -> list[Pending]:
        """Rows go, with parents that are empty then. The files are to be removed next, and each
        removal to be settled; until then it is among `pending`."""
        with self._database.writing() as connection:
            return write.remove(connection, sop_instance_uids)

    def begin_replace(self, stored: StoredInstance) -> Pending:
        """Note that the file at this place is about to become the newcomer `stored`; `replace` ends
        it, or `settle` where it was given up."""
        with self._database.writing() as connection:
            return notes.add_pending(connection, REPLACE, stored.uids, stored.digest)

    def pending(self) -> list[Pending]:
        """Steps on the storage tree that a crash may have left undone, oldest first. Durable: they
        may be done now."""
        with self._database.reading() as connection:
            found = notes.pending(connection)
        if found:
            self._database.make_durable()
        return found

    def settle(self, pending: Pending) -> None:
        """The step is done, or was given up."""
        with self._database.writing() as connection:
            notes.settle(connection, pending)

    def set_lost(self, sop_instance_uid: str, lost: bool) -> None:
        """Mark an instance whose file is missing or damaged, or take the mark off."""
        with self._database.writing() as connection:
            notes.set_lost(connection, sop_instance_uid, lost=lost)

    def lost(self) -> Iterator[Flag]:
        """Instances marked as lost, as flags, by SOP Instance UID."""
        last = ""
        while True:
            with self._database.reading() as connection:
                page = notes.lost_after(connection, last, PAGE)
            if not page:
                return
            yield from page
            last = page[-1].uids.sop_instance_uid

    def flag(self, kind: str, uids: InstanceUIDs, text: str) -> None:
        """Note something odd for people; the same flag is kept once."""
        with self._database.writing() as connection:
            notes.flag(connection, kind, uids, text)

    def flags(self) -> Iterator[Flag]:
        """Oldest first."""
        last = 0
        while True:
            with self._database.reading() as connection:
                page = notes.flags_after(connection, last, PAGE)
            if not page:
                return
            yield from (flag for _, flag in page)
            last = page[-1][0]

    def add_conflict(
        self, name: str, uids: InstanceUIDs, source_ae_title: str, received_at: int
    ) -> None:
        """Note an instance that was set aside as `name`."""
        with self._database.writing() as connection:
            notes.add_conflict(connection, name, uids, source_ae_title, received_at)

    def forget_conflict(self, name: str) -> None:
        """It waits for nobody any more."""
        with self._database.writing() as connection:
            notes.forget_conflict(connection, name)

    def conflicts(self) -> Iterator[Conflict]:
        """Oldest first."""
        last = 0
        while True:
            with self._database.reading() as connection:
                page = notes.conflicts_after(connection, last, PAGE)
            if not page:
                return
            yield from (conflict for _, conflict in page)
            last = page[-1][0]

    @property
    def fault(self) -> str:
        """What the disk under the index failed at, as far as this process has seen."""
        return self._database.fault

    def check(self) -> None:
        """Read the whole index file, a gigabyte in some seconds, and see that it is sound. Raises
        IndexDamaged, which names `pacsnode reindex`."""
        self._database.check()

    def is_empty(self) -> bool:
        """Whether there is no instance at all."""
        with self._database.reading() as connection:
            return connection.execute("SELECT 1 FROM instance LIMIT 1").fetchone() is None

    def salvage(self, old_path: Path) -> list[str]:
        """Copy from the index file that this one is to replace what the storage tree cannot tell.
        Before instances are added: whose file is there is not lost. May be done again. Returns a
        line for each table of which something could not be read."""
        with closing(OldIndex(old_path)) as old:
            old.carry_notes(self._database)
            return old.faults

    def forget(self, sop_instance_uids: Sequence[str]) -> None:
        """Rows go, with parents that are empty then, and nobody is told to remove their files: for
        rebuilding."""
        with self._database.writing() as connection:
            write.forget(connection, sop_instance_uids)

    def drop_stray_flags(self) -> None:
        """Those of studies that are not here."""
        with self._database.writing() as connection:
            notes.drop_stray_flags(connection)

    @property
    def stamp(self) -> int:
        """A number that is kept in the file, at first 0: what it was built by."""
        with self._database.reading() as connection:
            return int(connection.execute("PRAGMA user_version").fetchone()[0])

    @stamp.setter
    def stamp(self, number: int) -> None:
        with self._database.writing() as connection:
            connection.execute(f"PRAGMA user_version = {number:d}")

    def close(self) -> None:
        """Clean end: without other processes the write-ahead log is gone afterwards. No other call
        may be under way."""
        self._database.close_all()
