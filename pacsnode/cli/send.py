"""pacsnode send."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard

import click

from pacsnode.cli import options
from pacsnode.cli.output import complain, say
from pacsnode.cli.run import Run
from pacsnode.errors import (
    AssociationLost,
    AssociationRejected,
    NetworkError,
    PeerTimeout,
    PeerUnreachable,
)

if TYPE_CHECKING:
    from pacsnode.archive import Archive
    from pacsnode.dicom.message import Peer
    from pacsnode.scu.sendable import Outcome, Sendable


@click.command("send")
@options.peer
@options.paths
@options.studies
@options.series
@options.instances
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    metavar="N",
    help="Send over N associations at once. Default: what `associations` of PEER's modality says.",
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
    jobs: int | None,
    aet: str | None,
) -> int:
    """Send files and folders, or what the node has itself, to PEER (C-STORE).

    Files that are no DICOM are named and skipped. Compressed instances that PEER does not take are
    sent decompressed. Where PEER takes fewer than N associations, those that it takes do the work.
    """
    wanted = options.own_or_paths(paths, studies, series, instances)
    target = options.resolve_peer(run, peer, aet)
    if jobs is not None:
        target = replace(target, associations=jobs)
    if paths:
        return _send_files(run, target, paths)
    return _send_own(run, target, wanted)


def _send_files(run: Run, target: "Peer", paths: Sequence[Path]) -> int:
    from pacsnode.cli.progress import bar, count_files
    from pacsnode.cli.sources import Files

    files = Files(paths)
    sending = Sending()
    with bar() as shown:
        count_files(paths, shown)
        for done in sending.run(run, target, files):
            shown.at(done + files.skipped + files.failed)
    say(f"{sending}, {files.skipped} skipped")
    return sending.code(files.failed)


def _send_own(run: Run, target: "Peer", wanted: Mapping[str, Sequence[str]]) -> int:
    from pacsnode.cli.progress import bar
    from pacsnode.node.build import build_archive

    sending = Sending()
    with ExitStack() as stack:
        archive = stack.enter_context(build_archive(run.configuration))
        shown = stack.enter_context(bar())
        if shown.is_shown:
            shown.expect(sum(1 for _ in _own(archive, wanted)))
        for done in sending.run(run, target, _own(archive, wanted)):
            shown.at(done)
    say(str(sending))
    return sending.code()


def _own(archive: "Archive", wanted: Mapping[str, Sequence[str]]) -> "Iterator[Sendable]":
    from pacsnode.cli.sources import own_instances
    from pacsnode.scp.retrieve import ArchivedInstance

    for stored in own_instances(archive, wanted):
        yield ArchivedInstance(archive, stored)


class Sending:
    """Counts what becomes of instances and names those that fail."""

    def __init__(self) -> None:
        self._sent = self._warned = self._failed = 0

    def run(self, run: Run, target: "Peer", sendables: "Iterable[Sendable]") -> Iterator[int]:
        """Send; yields how many have been dealt with. Raises NetworkError where the peer cannot be
        had at all."""
        from pacsnode.node.build import build_connect
        from pacsnode.scu.store import send

        connect = build_connect(run.configuration)
        with closing(send(connect, target, sendables)) as outcomes:
            for outcome in outcomes:
                self._take(outcome)
                yield self._sent + self._warned + self._failed

    def _take(self, outcome: "Outcome") -> None:
        if outcome.is_success:
            self._sent += 1
            return
        if not (self._sent or self._warned or self._failed) and _is_no_peer(outcome.error):
            raise outcome.error
        complain(f"{_name(outcome.sendable)}: {outcome.text}")
        if outcome.is_warning:
            self._warned += 1
        else:
            self._failed += 1

    def code(self, unread: int = 0) -> int:
        """The exit code: 0 where there was something to send and all of it has arrived, but for
        the `unread`, of which complaints have been made."""
        if self._failed or unread:
            return 1
        if not (self._sent or self._warned):
            complain("nothing to send: no instance was found")
            return 1
        return 0

    def __str__(self) -> str:
        return f"{self._sent} sent, {self._warned} with warning, {self._failed} failed"


def _is_no_peer(error: object) -> TypeGuard[NetworkError]:
    """Whether it fails for everything that might be sent."""
    if isinstance(error, PeerUnreachable | AssociationRejected):
        return True
    return isinstance(error, AssociationLost | PeerTimeout) and error.step == "association"


def _name(sendable: "Sendable") -> str:
    path = getattr(sendable, "path", None)
    return str(path or sendable.sop_instance_uid)
