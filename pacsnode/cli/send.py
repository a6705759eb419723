"""pacsnode send."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pacsnode.cli import options
from pacsnode.cli.output import say
from pacsnode.cli.run import Run

if TYPE_CHECKING:
    from pacsnode.archive import Archive
    from pacsnode.cli.sending import Sending
    from pacsnode.dicom.message import Peer
    from pacsnode.scu.acknowledged import Acknowledged
    from pacsnode.scu.sendable import Sendable


@dataclass(frozen=True)
class Manner:
    """How it is sent: `rehearsal` is the format of what --dry-run shows, None where it is done."""

    priority: int
    rehearsal: str | None


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
@click.option(
    "--resume",
    "listed",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Keep in FILE what PEER has acknowledged (also with a warning), and leave out what is "
    "there already: the same command, given again, sends the rest. One FILE for each PEER.",
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Send nothing: show what would go in which presentation context, after asking PEER which "
    "ones it accepts. Where it cannot be asked: what would be proposed, and exit code 3.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="How --dry-run shows it.",
)
@options.priority
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
    listed: Path | None,
    dry_run: bool,
    form: str,
    priority: str,
    aet: str | None,
) -> int:
    """Send files and folders, or what the node has itself, to PEER (C-STORE).

    Files that are no DICOM are named and skipped. Instances that PEER does not take as they are
    stored are sent transcoded: decompressed, or as `transfer_syntaxes` of PEER's modality says.
    Where PEER takes fewer than N associations, those that it takes do the work.
    """
    from pacsnode.cli.sending import Sending

    wanted = options.own_or_paths(paths, studies, series, instances)
    target = options.resolve_peer(run, peer, aet)
    if jobs is not None:
        target = replace(target, associations=jobs)
    manner = Manner(options.PRIORITIES[priority], form if dry_run else None)
    with ExitStack() as stack:
        if listed is not None and dry_run and not listed.exists():
            listed = None  # none is made for nothing
        sending = Sending(_open_list(listed, target, stack) if listed is not None else None)
        if paths:
            return _send_files(run, target, paths, sending, manner)
        return _send_own(run, target, wanted, sending, manner)


def _open_list(path: Path, target: "Peer", stack: ExitStack) -> "Acknowledged":
    from pacsnode.errors import UsageError
    from pacsnode.scu.acknowledged import Acknowledged

    try:
        return stack.enter_context(Acknowledged(path, target))
    except OSError as error:
        raise UsageError(f"--resume: {path}: {error.strerror}") from error


def _send_files(
    run: Run, target: "Peer", paths: Sequence[Path], sending: "Sending", manner: Manner
) -> int:
    from pacsnode.cli.progress import bar, count_files
    from pacsnode.cli.rehearsing import rehearse
    from pacsnode.cli.sources import Files

    files = Files(paths)
    if manner.rehearsal is not None:
        code = rehearse(run, target, sending, files, manner.rehearsal)
        return code or int(files.failed > 0)
    with bar() as shown:
        count_files(paths, shown)
        for done in sending.run(run, target, files, manner.priority):
            shown.at(done + files.skipped + files.failed)
    say(f"{sending}, {files.skipped} skipped")
    return sending.code(files.failed)


def _send_own(
    run: Run,
    target: "Peer",
    wanted: Mapping[str, Sequence[str]],
    sending: "Sending",
    manner: Manner,
) -> int:
    from pacsnode.cli.progress import bar
    from pacsnode.cli.rehearsing import rehearse
    from pacsnode.node.build import build_archive

    with ExitStack() as stack:
        archive = stack.enter_context(build_archive(run.configuration))
        if manner.rehearsal is not None:
            return rehearse(run, target, sending, _own(archive, wanted), manner.rehearsal)
        shown = stack.enter_context(bar())
        if shown.is_shown:
            shown.expect(sum(1 for _ in _own(archive, wanted)))
        for done in sending.run(run, target, _own(archive, wanted), manner.priority):
            shown.at(done)
    say(str(sending))
    return sending.code()


def _own(archive: "Archive", wanted: Mapping[str, Sequence[str]]) -> "Iterator[Sendable]":
    from pacsnode.cli.sources import own_instances
    from pacsnode.scp.retrieve import ArchivedInstance

    for stored in own_instances(archive, wanted):
        yield ArchivedInstance(archive, stored)
