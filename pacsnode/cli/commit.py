"""pacsnode commit."""

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pacsnode.cli import options
from pacsnode.cli.output import complain, say
from pacsnode.cli.run import Run

if TYPE_CHECKING:
    from pacsnode.dicom.commitment import CommitmentReport, CommitmentRequest, Reference
    from pacsnode.dicom.message import Peer
    from pacsnode.errors import NetworkError
    from pacsnode.node.reports import Desk

HOLD = 5.0  # seconds that the association is held for a report which may as well come on another


@click.command("commit")
@options.peer
@options.paths
@options.studies
@options.series
@options.instances
@click.option(
    "--transaction",
    "transactions",
    metavar="UID",
    multiple=True,
    help="Ask for nothing; look for the report on what was asked earlier.",
)
@click.option(
    "--wait",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    default=60.0,
    show_default=True,
    help="How long to wait for the report. 0: ask, and print the transaction UID; or look once.",
)
@options.aet
@click.pass_obj
def command(
    run: Run,
    peer: str,
    paths: tuple[Path, ...],
    studies: tuple[str, ...],
    series: tuple[str, ...],
    instances: tuple[str, ...],
    transactions: tuple[str, ...],
    wait: float,
    aet: str | None,
) -> int:
    """Ask PEER whether it keeps files, or what the node has, safe (storage commitment).

    PEER reports on the same association, or opens one to the node's address. Where no node runs,
    this command listens there meanwhile. Exit code 0 means: PEER is committed to every instance.
    """
    from pacsnode.scu.commit import requests_for

    target = options.resolve_peer(run, peer, aet)
    if transactions:
        if paths or studies or series or instances:
            raise click.UsageError("--transaction stands alone: nothing is asked for with it")
        return _look_up(run, target, transactions, wait)
    wanted = options.own_or_paths(paths, studies, series, instances)
    subject = Subject()
    requests = requests_for(_of_files(paths, subject) if paths else _own(run, wanted))
    if not requests:
        complain("nothing to ask for: no instance was found")
        return 1
    code = _ask(run, target, requests, subject, wait)
    return 1 if subject.unread else code


class Subject:
    """What is asked for: instances by the names that the caller knows them by. `unread` files could
    not be asked for."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self.unread = 0

    def call(self, reference: "Reference", name: str) -> None:
        self._names[reference.sop_instance_uid] = name

    def name(self, reference: "Reference") -> str:
        return self._names.get(reference.sop_instance_uid, reference.sop_instance_uid)


def _of_files(paths: Sequence[Path], subject: Subject) -> "Iterator[Reference]":
    from pacsnode.cli.sources import Files
    from pacsnode.dicom.commitment import Reference

    files = Files(paths)
    for file in files:
        reference = Reference(file.sop_class_uid, file.sop_instance_uid)
        if all(reference):
            subject.call(reference, str(file.path))
            yield reference
        else:
            subject.unread += 1
            complain(f"{file.path}: no SOP Class UID or no SOP Instance UID")
    subject.unread += files.failed


def _own(run: Run, wanted: Mapping[str, Sequence[str]]) -> "Iterator[Reference]":
    from pacsnode.cli.sources import own_instances
    from pacsnode.dicom.commitment import Reference
    from pacsnode.node.build import build_archive

    with build_archive(run.existing()) as archive:
        for stored in own_instances(archive, wanted):
            yield Reference(stored.sop_class_uid, stored.uids.sop_instance_uid)


def _ask(
    run: Run, target: "Peer", requests: "Sequence[CommitmentRequest]", subject: Subject, wait: float
) -> int:
    from pacsnode.node.build import build_connect
    from pacsnode.node.reports import report_desk
    from pacsnode.scu.commit import ask, await_reports

    deadline = time.monotonic() + wait
    with report_desk(run.configuration, target, listening=wait > 0) as desk:
        if wait:
            _warn(desk)
        hold = wait if desk.trouble else min(wait, HOLD)
        connect = build_connect(run.configuration)
        try:
            refusals = ask(connect, target, requests, desk.reports, hold)
            taken = [one.transaction_uid for one in requests if one.transaction_uid not in refusals]
            left = 0 if desk.trouble else max(deadline - time.monotonic(), 0)
            came = await_reports(taken, desk.reports, left)
        except KeyboardInterrupt:
            _say_how_to_look(target.name, [one.transaction_uid for one in requests])
            raise
    if not wait:
        return _asked(requests, refusals)
    outcomes = [_outcome(one, came.get(one.transaction_uid), refusals, subject) for one in requests]
    late = [uid for uid in taken if uid not in came]
    if late:
        complain("no report has come")
        _say_how_to_look(target.name, late)
    return 0 if all(outcomes) else 1


def _warn(desk: "Desk") -> None:
    if desk.trouble:
        complain(f"only a report on the same association can be received: {desk.trouble}")


def _say_how_to_look(peer: str, uids: Sequence[str]) -> None:
    for uid in uids:
        complain(f"look for the report with: pacsnode commit {peer} --transaction {uid}")


def _asked(requests: "Sequence[CommitmentRequest]", refusals: "Mapping[str, NetworkError]") -> int:
    for request in requests:
        refusal = refusals.get(request.transaction_uid)
        if refusal is not None:
            complain(f"{request.transaction_uid}: {refusal}")
        else:
            say(f"{request.transaction_uid}: {len(request.references)} asked for")
    return 1 if refusals else 0


def _outcome(
    request: "CommitmentRequest",
    report: "CommitmentReport | None",
    refusals: "Mapping[str, NetworkError]",
    subject: Subject,
) -> bool:
    """Tell what became of a transaction; whether all of it is committed."""
    from pacsnode.scu.commit import verdicts

    uid, asked = request.transaction_uid, len(request.references)
    if report is None:
        if uid in refusals:
            complain(f"{uid}: {refusals[uid]}")
        say(f"{uid}: {asked} {'refused' if uid in refusals else 'without a report'}")
        return False
    failed = 0
    for verdict in verdicts(request, report):
        if verdict.reason is not None:
            failed += 1
            complain(f"{subject.name(verdict.reference)}: {verdict.reason}")
    say(f"{uid}: {asked - failed} committed, {failed} failed")
    return not failed


def _look_up(run: Run, target: "Peer", uids: Sequence[str], wait: float) -> int:
    from pacsnode.dicom.commitment import CommitmentRequest
    from pacsnode.node.reports import report_desk
    from pacsnode.scu.commit import await_reports

    with report_desk(run.existing(), target, listening=wait > 0) as desk:
        desk.reports.expect(uids, target.ae_title)
        came = await_reports(uids, desk.reports, wait)
        if desk.trouble and len(came) < len(uids):
            complain(f"no report can come in now: {desk.trouble}")
    is_good = True
    for uid in uids:
        report = came.get(uid)
        if report is None:
            complain(f"{uid}: no report has come")
            is_good = False
            continue
        told = (*report.committed, *(failure.reference for failure in report.failed))
        request = CommitmentRequest(uid, tuple(dict.fromkeys(told)))
        is_good &= _outcome(request, report, {}, Subject())
    return 0 if is_good else 1
