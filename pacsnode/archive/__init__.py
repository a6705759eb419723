"""Storage and index together: the only door to the node's instances."""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Self

from pacsnode import index as index_room
from pacsnode import storage as storage_room
from pacsnode.archive import conflicts
from pacsnode.archive.behind import Behind
from pacsnode.archive.commit import Commitments
from pacsnode.archive.condition import troubles
from pacsnode.archive.conflicts import chosen
from pacsnode.archive.delete import delete_selected
from pacsnode.archive.explain import Explanation, explain
from pacsnode.archive.fetch import fetch_stored
from pacsnode.archive.find import Files
from pacsnode.archive.find import find as find_answers
from pacsnode.archive.find import select as select_instances
from pacsnode.archive.folder import DataFolder, agree, check_index, identity
from pacsnode.archive.outcome import Kind, OnDuplicate, OnStored, Outcome
from pacsnode.archive.repair import repair
from pacsnode.archive.settle import recover
from pacsnode.archive.stats import Figures, statistics
from pacsnode.archive.store import Policy, Receipt, Reception
from pacsnode.archive.verify import Fault, Finding, findings
from pacsnode.dicom.commitment import CommitmentReport
from pacsnode.dicom.instance import StoredInstance
from pacsnode.dicom.query import Query
from pacsnode.errors import ConfigurationError, IndexFailure, StorageError
from pacsnode.index import Conflict, Flag, Index, NotedReport
from pacsnode.storage import Arrival, Storage, StoredFile

__all__ = [
    "Archive",
    "Arrival",
    "Explanation",
    "Fault",
    "Figures",
    "Finding",
    "Kind",
    "OnDuplicate",
    "OnStored",
    "Outcome",
    "Policy",
    "Receipt",
    "chosen",
    "open_archive",
]


class Archive:
    """The node's instances. Safe to use from many threads, and beside other processes."""

    def __init__(self, folder: DataFolder, storage: Storage, index: Index, policy: Policy) -> None:
        self._folder = folder
        self._storage = storage
        self._index = index
        self._behind = Behind(storage, index)
        self._follow(policy)

    def _follow(self, policy: Policy) -> None:
        self._policy = policy
        self._reception = Reception(self._storage, self._index, policy, self._behind)
        self._files = Files(self._storage, policy.character_sets)
        self._commitments = Commitments(
            self._storage, self._index, policy.character_sets, policy.min_free
        )

    def assume(self, character_sets: Mapping[str, str]) -> None:
        """Take these, from now on, for datasets that declare none, by the AE title that they came
        from. What is under way keeps those that it began with."""
        self._follow(replace(self._policy, character_sets=character_sets))

    @property
    def ae_title(self) -> str:
        """The node's own."""
        return self._policy.ae_title

    @property
    def archive_id(self) -> str:
        return self._index.archive_id

    def begin(self, arrival: Arrival, default_character_set: str | None = None) -> Receipt:
        """Start taking an instance. Raises OutOfSpace, StorageError, IndexFailure or
        DuplicateRefused."""
        return self._reception.begin(arrival, default_character_set)

    def import_file(self, path: Path) -> Outcome:
        """Take in a DICOM file by the same policy. Raises what Receipt.finish raises, and
        UnreadableDataset where it is none."""
        return self._reception.import_file(path)

    def find(self, query: Query, transfer_syntax_uid: str) -> Generator[list[bytes], None, None]:
        """The answers to a query as datasets in a transfer syntax; in pages, none empty, of those
        that are at hand together. Raises IndexFailure or StorageError."""
        yield from find_answers(
            self._files, self._index, query, transfer_syntax_uid, ae_title=self.ae_title
        )

    def explain(self, study_instance_uid: str, query: Query) -> Explanation | None:
        """Why a study matches a query or does not; None where it is not here. Raises IndexFailure
        or StorageError."""
        return explain(self._files, self._index, study_instance_uid, query)

    def select(self, query: Query) -> Generator[StoredInstance, None, None]:
        """All instances below what matches. Raises IndexFailure or StorageError."""
        yield from select_instances(self._files, self._index, query)

    def study(self, study_instance_uid: str) -> Mapping[str, str]:
        """What is known of a study and its patient, by keyword; nothing where it is not here.
        Raises IndexFailure."""
        return self._index.study(study_instance_uid)

    def fetch(self, stored: StoredInstance) -> AbstractContextManager[StoredFile]:
        """Open a stored instance at its dataset. Raises InstanceMissing or InstanceDamaged, which
        mark it as lost, StorageError or IndexFailure."""
        return fetch_stored(self._storage, self._index, stored, self._policy.character_sets)

    def delete(
        self,
        query: Query,
        progress: Callable[[int], None] = lambda done: None,
        on_deleted: Callable[[StoredInstance], None] = lambda stored: None,
    ) -> int:
        """Remove all instances below what matches; returns how many. `progress` is told how many
        are gone, `on_deleted` of each. Raises StorageError or IndexFailure."""
        return delete_selected(
            self._storage,
            self._index,
            self.select(query),
            self._policy.character_sets,
            progress,
            on_deleted,
        )

    def verify(
        self, progress: Callable[[int], None] = lambda checked: None, *, repairing: bool = False
    ) -> Iterator[Finding]:
        """Compare index and storage tree, byte for byte, and put right what is found, if wanted;
        see archive/verify.py and archive/repair.py. Raises StorageError or IndexFailure."""
        self._index.check()
        sets = self._policy.character_sets
        if repairing:
            yield from repair(self._storage, self._index, sets, self._folder.path, progress)
        else:
            yield from findings(self._storage, self._index, sets, progress)

    def check_index(self) -> None:
        """As a start of the node does: raises IndexDamaged, which names `pacsnode reindex`."""
        check_index(self._folder, self._index)

    def statistics(self) -> Figures:
        return statistics(self._folder, self._storage, self._index)

    def troubles(self) -> list[str]:
        """What is wrong at this moment, a line each."""
        return list(troubles(self._storage, self._index, self._policy, self._reception))

    @property
    def commitments(self) -> Commitments:
        """Transactions of storage commitment that the node was asked for."""
        return self._commitments

    def expect_reports(self, transaction_uids: Iterable[str], of_ae_title: str) -> None:
        """Before a peer is asked to commit: reports on other transactions are not kept. Raises
        IndexFailure."""
        self._commitments.expect_reports(transaction_uids, of_ae_title)

    def note_report(self, report: CommitmentReport, from_ae_title: str) -> bool:
        """Keep a peer's report on what the node asked it to commit to, durably; False where there
        is no room. Raises UnknownTransaction, IndexFailure."""
        return self._commitments.note_report(report, from_ae_title)

    def commitment_report(self, transaction_uid: str) -> NotedReport | None:
        """The peer's report, if it came within the last 30 days. Raises IndexFailure."""
        return self._commitments.noted_report(transaction_uid)

    def flags(self) -> Iterator[Flag]:
        """What people should look at."""
        return self._index.flags()

    def conflicts(self) -> Iterator[Conflict]:
        """Instances that came with other bytes than those stored, and were set aside."""
        return self._index.conflicts()

    def lost(self) -> Iterator[Flag]:
        """Instances whose files are missing or damaged, as far as that is known."""
        return self._index.lost()

    def keep(self, conflict: Conflict) -> None:
        """Settle a conflict: see archive/conflicts.py. Raises StorageError or IndexFailure, as the
        two below."""
        conflicts.keep(self._storage, self._index, conflict.name)

    def drop(self, conflict: Conflict) -> None:
        conflicts.drop(self._storage, self._index, conflict.name)

    def adopt(self, conflict: Conflict) -> Outcome:
        policy = replace(self._policy, on_duplicate=OnDuplicate.REPLACE)
        reception = Reception(self._storage, self._index, policy, self._behind, keeps_replaced=True)
        return conflicts.adopt(self._storage, self._index, reception, conflict.name)

    def close(self) -> None:
        """Close index and data folder. Nothing may be under way."""
        self._behind.close()
        self._index.close()
        self._folder.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_archive(
    data_dir: Path,
    policy: Policy | None = None,
    *,
    fsync: bool = True,
    serving: bool = False,
) -> Archive:
    """Open the archive in `data_dir`, made where there is none; finish what a crash interrupted.
    `serving`: as the one node that runs on it. Raises ConfigurationError: ArchiveMismatch,
    DataFolderLocked, SchemaTooNew, or where folder or index cannot be used."""
    policy = policy or Policy()
    folder = DataFolder(data_dir)
    folder.use(serving=serving)
    try:
        storage = storage_room.open(
            folder.instances, folder.conflicts, folder.quarantine, fsync=fsync
        )
        archive_id = identity(folder, storage)
        folder.make_private(folder.index)
        index = index_room.open(
            folder.index,
            fsync=fsync,
            archive_id=archive_id,
            # A node that is as old as the index would go on writing what it knows.
            may_migrate=serving or not folder.has_other_node,
        )
        try:
            agree(folder, storage, index.archive_id, index.is_empty)
            recover(storage, index, policy.character_sets)
            if serving:
                check_index(folder, index)
        except BaseException:
            index.close()
            raise
    except (StorageError, IndexFailure) as error:
        folder.release()
        raise ConfigurationError(f"data_dir: {data_dir} cannot be used: {error}") from error
    except BaseException:
        folder.release()
        raise
    return Archive(folder, storage, index, policy)
