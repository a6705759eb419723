"""Where reports of storage commitment come in for a command: at the running node, which keeps them
in the index, or, where none runs, at the command itself, in the node's place."""

import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pacsnode.archive.folder import NODE_LOCK
from pacsnode.config.model import Configuration
from pacsnode.errors import ConfigurationError
from pacsnode.node.status import holder
from pacsnode.scu.commit import Reports, ReportsInMemory
from pacsnode.scu.peer import find_modality

if TYPE_CHECKING:
    from pacsnode.archive import Archive
    from pacsnode.dicom.commitment import CommitmentReport
    from pacsnode.dicom.message import Peer
    from pacsnode.net.listener import Listener

LOOK = 0.25  # seconds between two looks for a node that starts
GRACE = 1.0  # seconds for what is under way


class ArchivedReports:
    """Those that are kept in the index."""

    def __init__(self, archive: "Archive") -> None:
        self._archive = archive

    def expect(self, transaction_uids: Iterable[str], ae_title: str) -> None:
        self._archive.expect_reports(transaction_uids, ae_title)

    def note(self, report: "CommitmentReport", ae_title: str) -> bool:
        return self._archive.note_report(report, ae_title)

    def find(self, transaction_uid: str) -> "CommitmentReport | None":
        noted = self._archive.commitment_report(transaction_uid)
        return noted.report if noted is not None else None


class Desk(NamedTuple):
    """Where reports are found. `trouble` says why they cannot come in on associations that the peer
    opens, if so."""

    reports: Reports
    trouble: str = ""


@contextmanager
def report_desk(configuration: Configuration, peer: "Peer", *, listening: bool) -> Iterator[Desk]:
    """While this is entered, reports come in; `listening` at the node's address as well, where no
    node does. Raises ConfigurationError, IndexFailure."""
    from pacsnode.node.build import build_archive

    with ExitStack() as stack:
        archive, reports = None, ReportsInMemory()  # type: Archive | None, Reports
        if (configuration.data_dir / "instances").is_dir():
            archive = stack.enter_context(build_archive(configuration))
            reports = ArchivedReports(archive)
        trouble = _refusal(configuration, peer)
        if listening and not trouble and not holder(configuration.data_dir):
            try:
                stack.enter_context(_standing_in(configuration, reports, archive))
            except ConfigurationError as error:
                if not holder(configuration.data_dir):  # a node that has started meanwhile
                    trouble = str(error)
        yield Desk(reports, trouble)


def _refusal(configuration: Configuration, peer: "Peer") -> str:
    """Why the node's rights do not let the peer report, if so."""
    found = find_modality(peer.ae_title, configuration.modalities)
    if found is None:
        setting, services = "access.unknown_callers", configuration.access.unknown_callers
    else:
        setting, services = f"modalities.{found[0]}.allow", found[1].allow
    if "commit" in services:
        return ""
    return f"{setting} does not let {peer.ae_title!r} commit"


@contextmanager
def _standing_in(
    configuration: Configuration, reports: Reports, archive: "Archive | None"
) -> Iterator[None]:
    """Listen in the node's place, until one starts."""
    from pacsnode import net
    from pacsnode.node.build import build_settings
    from pacsnode.node.security import build_security
    from pacsnode.scp import Access
    from pacsnode.scp.report import ReportsOnly

    handler = ReportsOnly(Access(build_settings(configuration)), reports.note)
    lock = configuration.data_dir / NODE_LOCK
    before = _mark(lock)
    listener = net.listen(
        handler,
        ae_title=configuration.ae_title,
        settings=configuration.listen,
        timeouts=configuration.timeouts,
        secure=build_security(configuration).incoming,
    )
    listener.start()
    over = threading.Event()
    watcher = threading.Thread(target=_make_way, args=(listener, lock, before, over), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def _make_way(listener: "Listener", lock: Path, before: int | None, over: threading.Event) -> None:
    """Take reports until it is over, or a node starts, which finds its port free in time."""
    while not over.wait(LOOK) and _mark(lock) == before:
        continue
    listener.stop(GRACE)


def _mark(lock: Path) -> int | None:
    """Changes when a node takes the lock. Not by trying it, which could be in a node's way."""
    try:
        return lock.stat().st_mtime_ns
    except OSError:
        return None
