"""Where reports of storage commitment come in for a command: at the running node, which keeps them
in the index, or, where none runs, at the command itself, in the node's place."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, NamedTuple

from pacsnode.config.model import Configuration
from pacsnode.errors import ConfigurationError
from pacsnode.node.status import holder
from pacsnode.scu.commit import Reports, ReportsInMemory
from pacsnode.scu.peer import find_modality

if TYPE_CHECKING:
    from pacsnode.archive import Archive
    from pacsnode.dicom.commitment import CommitmentReport
    from pacsnode.dicom.message import Peer


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
    from pacsnode.node.build import build_archive, build_settings
    from pacsnode.node.standing_in import standing_in
    from pacsnode.scp import Access
    from pacsnode.scp.report import ReportsOnly

    with ExitStack() as stack:
        reports: Reports = ReportsInMemory()
        if (configuration.data_dir / "instances").is_dir():
            archive = stack.enter_context(build_archive(configuration))
            reports = ArchivedReports(archive)
        trouble = _refusal(configuration, peer)
        if listening and not trouble and not holder(configuration.data_dir):
            try:
                handler = ReportsOnly(Access(build_settings(configuration)), reports.note)
                stack.enter_context(standing_in(configuration, handler))
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
