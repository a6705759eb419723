"""Where reports of storage commitment come in for a command: at the running node, which keeps them
in the index, or, where none runs, at the command itself, in the node's place."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, NamedTuple

from pacsnode.config.model import Configuration
from pacsnode.errors import ConfigurationError, DataFolderLocked
from pacsnode.scu.commit import Reports, ReportsInMemory

if TYPE_CHECKING:
    from pacsnode.archive import Archive
    from pacsnode.dicom.commitment import CommitmentReport


class ArchivedReports:
    """Those that are kept in the index."""

    def __init__(self, archive: "Archive") -> None:
        self._archive = archive

    def note(self, report: "CommitmentReport", ae_title: str) -> bool:
        return self._archive.note_report(report, ae_title)

    def find(self, transaction_uid: str) -> "CommitmentReport | None":
        noted = self._archive.commitment_report(transaction_uid)
        return noted.report if noted is not None else None


class Desk(NamedTuple):
    """Where reports are found. `trouble` says why they cannot come in on associations that peers
    open, if so."""

    reports: Reports
    trouble: str = ""


@contextmanager
def report_desk(configuration: Configuration, *, listening: bool) -> Iterator[Desk]:
    """While this is entered, reports come in; `listening` at the node's address as well, where no
    node does. A node that starts meanwhile finds the data folder in use. Raises ConfigurationError,
    IndexFailure."""
    with ExitStack() as stack:
        archive, is_served = _open(configuration, listening)
        reports: Reports = ReportsInMemory()
        if archive is not None:
            stack.enter_context(archive)
            reports = ArchivedReports(archive)
        if is_served or not listening:
            yield Desk(reports)
            return
        try:
            stack.enter_context(_listening(configuration, reports, archive))
        except ConfigurationError as error:
            yield Desk(reports, str(error))
            return
        yield Desk(reports)


def _open(configuration: Configuration, listening: bool) -> "tuple[Archive | None, bool]":
    """The archive, if there is one, and whether a node runs on it. In the place of a node the
    folder is locked as by one."""
    from pacsnode.node.build import build_archive

    if not (configuration.data_dir / "instances").is_dir():
        return None, False
    if not listening:
        return build_archive(configuration), False
    try:
        return build_archive(configuration, serving=True), False
    except DataFolderLocked:
        return build_archive(configuration), True


@contextmanager
def _listening(
    configuration: Configuration, reports: Reports, archive: "Archive | None"
) -> Iterator[None]:
    from pacsnode import net
    from pacsnode.node.build import build_settings
    from pacsnode.scp import Access
    from pacsnode.scp.report import ReportsOnly

    handler = ReportsOnly(
        Access(build_settings(configuration)),
        reports.note,
        archive.release_thread if archive is not None else lambda: None,
    )
    listener = net.listen(
        handler,
        ae_title=configuration.ae_title,
        settings=configuration.listen,
        timeouts=configuration.timeouts,
    )
    listener.start()
    try:
        yield
    finally:
        listener.stop(grace=1.0)
