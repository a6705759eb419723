"""pacsnode trace."""

import os
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pacsnode.cli.output import complain
from pacsnode.cli.run import Run
from pacsnode.cli.trace_replay import command as replay
from pacsnode.cli.trace_show import command as show

if TYPE_CHECKING:
    from pacsnode.dicom.recording import Opening
    from pacsnode.node.trace_taking import Wanted

RECORD = "record"


class _Tracing(click.Group):
    """`pacsnode trace PEER` is `pacsnode trace record PEER`."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.commands:
            args = [RECORD, *args]
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0].startswith("-") and args[0] not in ctx.help_option_names:
            args = [RECORD, *args]
        return super().parse_args(ctx, args)


@click.group("trace", cls=_Tracing)
def command() -> None:
    """Record what is said on associations, show it, replay it.

    `pacsnode trace PEER -o FILE` records: negotiation, commands and their answers with identifiers,
    never pixel data, names replaced. `pacsnode trace show FILE` prints it in plain words.
    `pacsnode trace replay FILE PEER` asks a test node the same again.
    """


@command.command(RECORD)
@click.argument("peer", required=False)
@click.option("--all", "every", is_flag=True, help="Associations with everybody.")
@click.option(
    "-o",
    "--output",
    "path",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="A new file, which only its owner may read.",
)
@click.option("--with-names", is_flag=True, help="Keep names and what else tells who a patient is.")
@click.option(
    "--associations", type=click.IntRange(min=1), metavar="N", help="End after so many of them."
)
@click.option(
    "--seconds", type=click.FloatRange(min=0, min_open=True), metavar="S", help="End after so many."
)
@click.pass_obj
def record(
    run: Run,
    peer: str | None,
    every: bool,
    path: Path,
    with_names: bool,
    associations: int | None,
    seconds: float | None,
) -> int:
    """Record associations with PEER at the running node, until Ctrl-C.

    PEER is a modality's name or AE title, AE_TITLE@HOST:PORT, or the AE title or address of a
    stranger. Associations that it opens, and those that the node and its commands open to it.
    """
    from pacsnode import __version__
    from pacsnode.dicom.concealment import Pseudonyms
    from pacsnode.dicom.recording import Header
    from pacsnode.node.status import holder
    from pacsnode.node.trace_redaction import Redaction
    from pacsnode.node.trace_taking import Taking

    if (peer is None) != every:
        raise click.UsageError("whose? Either PEER or --all")
    configuration = run.existing()
    _require_owner(configuration.data_dir)
    wanted = _everybodys if peer is None else _wanted(run, peer)
    name = f"pacsnode {__version__}"
    header = Header(name, configuration.ae_title, peer or "", time.time(), not with_names)
    redaction = None if with_names else Redaction(Pseudonyms(secrets.token_bytes(32)))
    taking = Taking(configuration.data_dir, path, header, wanted, redaction)
    if not holder(configuration.data_dir):
        complain(f"no node runs on {configuration.data_dir}; one that starts is recorded")
    complain(f"recording associations with {peer or 'everybody'} in {path}")
    outcome = taking.run(associations, seconds)
    if outcome.is_full:
        complain(f"{path} is full")
    complain(f"{outcome.associations} associations, {outcome.messages} messages in {path}")
    return 1 if outcome.is_full else 0


def _require_owner(folder: Path) -> None:
    """The node could not reach the socket of another user. Raises UsageError."""
    from pacsnode.errors import UsageError

    owner = folder.stat().st_uid
    if owner != os.geteuid():
        raise UsageError(f"{folder} belongs to user {owner}: run this as that user")


def _everybodys(_opening: "Opening") -> bool:
    return True


def _wanted(run: Run, peer: str) -> "Wanted":
    """Which associations are with `peer`."""
    from pacsnode.errors import UsageError
    from pacsnode.node.traces import whose
    from pacsnode.scp.hosts import Hosts, look_up
    from pacsnode.scu.peer import resolve

    configuration = run.configuration
    modalities = configuration.modalities
    hosts = Hosts(look_up)
    try:
        found = resolve(peer, modalities, configuration.ae_title)
    except UsageError:
        if "@" in peer:
            raise
        complain(f"{peer} is no peer of `modalities`: taken for a stranger's AE title or host")
        title, host = peer, peer
    else:
        title, host = found.ae_title, found.host

    def is_wanted(opening: "Opening") -> bool:
        if opening.peer_ae_title == title:
            return True
        return whose(opening, modalities, {"": host}, hosts.matches) == ""

    return is_wanted


command.add_command(show)
command.add_command(replay)
