"""`pacsnode verify --repair`: what verify finds is put right as far as bytes can be, and nothing is
deleted.

  a row's file is missing       the row is marked as lost: nobody is promised what is not there
  a row's file is damaged       the row is marked, then the file moved to the quarantine
  a file without a row          indexed, in the order of receipt; in a wrong place, moved to its own
                                first; where an instance of its UID is here already, set aside
  such a file that is damaged   moved to the quarantine
  not a file of this archive    left, for it is somebody's, unless it stands in an instance's place

Each step leaves a file its old name until it has the new one, so that a crash between any two only
makes the next run find what is left to do. Each is done inside Storage.changing, by what is there
then, so that a node may run meanwhile."""

from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from itertools import chain
from pathlib import Path

from pacsnode.archive.receipt_order import ReceiptOrder
from pacsnode.archive.settle import (
    CharacterSets,
    header_of,
    is_doomed,
    same_instance,
    set_aside,
    settle_pending,
)
from pacsnode.archive.verify import (
    Fault,
    Finding,
    Progress,
    check,
    check_rows,
    fault_of,
    find_orphan,
    is_row_of,
)
from pacsnode.dicom.instance import Instance, StoredInstance
from pacsnode.errors import (
    DicomError,
    InstanceDamaged,
    InstanceExists,
    InstanceMissing,
    StorageError,
)
from pacsnode.index import Index
from pacsnode.storage import Standing, Storage, StoredFile, is_place, measure, place, uids_of

LOST = "send it again, or delete it"
FOREIGN = "move it elsewhere"


def repair(
    storage: Storage,
    index: Index,
    character_sets: CharacterSets,
    folder: Path,
    progress: Progress = lambda checked: None,
) -> Iterator[Finding]:
    """As verify.findings, with each finding put right before it is yielded. `folder` is for
    temporary files. Raises StorageError where there is no tree, IndexFailure."""
    return _Repair(storage, index, character_sets, folder, progress).run()


class _Repair:
    def __init__(
        self,
        storage: Storage,
        index: Index,
        character_sets: CharacterSets,
        folder: Path,
        progress: Progress,
    ) -> None:
        self._storage = storage
        self._index = index
        self._character_sets = character_sets
        self._folder = folder
        self._progress = progress
        self._checked = 0

    def run(self) -> Iterator[Finding]:
        reported = set()
        for finding in check_rows(self._storage, self._index, self._character_sets):
            if finding is not None:
                reported.add(finding.name)
                yield self._attempt(finding, self._put_row_right)
            self._count()
        with (
            closing(ReceiptOrder(self._folder)) as orphans,
            closing(ReceiptOrder(self._folder)) as strays,
        ):
            yield from self._walk(orphans, strays, reported)
            # What was restored from a copy a moment ago must not be indexed before it is durable.
            with suppress(StorageError):
                self._storage.sync()
            for name in chain(orphans, strays):
                orphan = Finding(
                    Fault.ORPHANED, name, uids_of(name), "it is in no row of the index"
                )
                yield self._attempt(orphan, self._take_in)

    def _walk(
        self, orphans: ReceiptOrder, strays: ReceiptOrder, reported: set[str]
    ) -> Iterator[Finding]:
        """Files that are ours and in no row are added to `orphans`, or, where they are not in their
        own place, to `strays`; other findings are yielded."""
        for name, found in self._storage.walk():
            received_at = found.stored.received_at if isinstance(found, StoredFile) else None
            finding = find_orphan(self._storage, self._index, name, found, self._character_sets)
            self._count()
            if finding is None or name in reported:
                continue
            if finding.left or finding.fault is not Fault.ORPHANED:
                yield finding._replace(left=finding.left or finding.text)
            elif received_at is None:
                yield self._attempt(finding, self._put_stranger_right)
            else:
                is_home = finding.uids is not None and place(finding.uids) == name
                (orphans if is_home else strays).add(received_at, name)

    def _count(self) -> None:
        self._checked += 1
        self._progress(self._checked)

    def _attempt(self, finding: Finding, step: Callable[[Finding], Finding]) -> Finding:
        """What fails for one file keeps none of the others from being put right."""
        try:
            return step(finding)
        except (StorageError, DicomError) as error:
            return finding._replace(left=f"not repaired: {error}")

    # Rows

    def _put_row_right(self, finding: Finding) -> Finding:
        if finding.fault is Fault.UNREADABLE or finding.uids is None:
            return finding._replace(left="the disk fails, or the node lacks the right to read it")
        if finding.fault is Fault.MISSING:
            return finding._replace(done="marked as lost", left=LOST)
        with self._storage.changing(finding.uids):
            settle_pending(self._storage, self._index, self._character_sets)
            row = self._index.instance(finding.uids.sop_instance_uid)
            fault = check(self._storage, row) if row is not None else None
            if fault is None or row is None or row.uids != finding.uids:
                return finding._replace(done="gone, or whole again, meanwhile")
            # Marked already; should that be lost with the power, who asks for it finds out.
            self._index.set_lost(row.uids.sop_instance_uid, True)
            if fault.fault is Fault.MISSING:
                return finding._replace(done="gone meanwhile, marked as lost", left=LOST)
            here = self._storage.quarantine(finding.name, finding.fault, finding.text)
        return finding._replace(done=f"moved to quarantine/{here}, marked as lost", left=LOST)

    # Files without rows

    def _put_stranger_right(self, finding: Finding) -> Finding:
        """None of ours. What stands in an instance's place was one once."""
        if not is_place(finding.name):
            return finding._replace(left=FOREIGN)
        with self._storage.changing():
            if finding.uids is not None and is_row_of(self._index, finding.name, finding.uids):
                return finding._replace(done="known meanwhile")
            return self._quarantine(finding, "foreign")

    def _quarantine(self, finding: Finding, why: str) -> Finding:
        try:
            here = self._storage.quarantine(finding.name, why, finding.text)
        except InstanceMissing:
            return finding._replace(done="gone meanwhile")
        return finding._replace(done=f"moved to quarantine/{here}")

    def _take_in(self, finding: Finding) -> Finding:
        name = finding.name
        with self._storage.changing():
            settle_pending(self._storage, self._index, self._character_sets)
            try:
                instance, stored = self._read(name)
            except InstanceMissing:
                return finding._replace(done="gone meanwhile")
            except (InstanceDamaged, DicomError) as error:
                why = str(fault_of(error)) if isinstance(error, InstanceDamaged) else "unreadable"
                return self._quarantine(finding._replace(text=str(error)), why)
            if place(stored.uids) != name:
                return self._bring_home(finding, instance, stored)
            if is_row_of(self._index, name, stored.uids):
                return finding._replace(done="indexed meanwhile")
            if self._storage.stands(stored.uids) is not Standing.AT_REST:
                return finding._replace(done="under way meanwhile")
            if is_doomed(self._index, stored.uids):
                return finding._replace(left="it was deleted, and cannot be removed")
            return self._index_it(finding, instance, stored)

    def _read(self, name: str) -> tuple[Instance, StoredInstance]:
        """What a file of ours holds. Raises what Storage.open does, InstanceDamaged where it holds
        other bytes than it says, DicomError."""
        opened = self._storage.open(name)
        with closing(opened.file):
            begin = opened.file.tell()
            if measure(opened.file)[0] != opened.stored.digest:
                raise InstanceDamaged("the bytes are not those received")
            opened.file.seek(begin)
            instance = header_of(opened, self._character_sets)
        return instance, opened.stored._replace(
            uids=instance.uids, sop_class_uid=instance.sop_class_uid
        )

    def _index_it(self, finding: Finding, instance: Instance, stored: StoredInstance) -> Finding:
        """A whole file in its own place."""
        if self._index.add(instance, stored) is None:
            return finding._replace(done="indexed")
        name = set_aside(self._storage, self._index, None, stored)
        where = f"conflicts/{name}" if name else "the settled conflicts"
        return finding._replace(done=f"moved to {where}: other bytes of its UID are here already")

    def _bring_home(self, finding: Finding, instance: Instance, stored: StoredInstance) -> Finding:
        """A whole file in another's place, or in none."""
        row = self._index.instance(stored.uids.sop_instance_uid)
        is_known = same_instance(row, stored)
        try:
            self._storage.move(finding.name, stored.uids)
        except InstanceExists:
            text = "it is stored in its own place" if is_known else "its own place is taken"
            return self._quarantine(finding._replace(text=text), "spare")
        home = finding._replace(name=place(stored.uids), uids=stored.uids)
        if is_known:
            self._index.set_lost(stored.uids.sop_instance_uid, False)
            return home._replace(done=f"moved there from {finding.name}, and found again")
        taken = self._index_it(home, instance, stored)
        return taken._replace(done=f"moved there from {finding.name}, {taken.done}")
