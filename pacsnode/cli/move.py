"""pacsnode move."""

from contextlib import closing
from typing import TYPE_CHECKING

import click

from pacsnode.cli import options
from pacsnode.cli.output import complain
from pacsnode.cli.run import Run

if TYPE_CHECKING:
    from pydicom import Dataset

    from pacsnode.dicom.message import Peer
    from pacsnode.dicom.query import Model


@click.command("move")
@options.peer
@click.option("--to", "destination", metavar="AE", required=True, help="AE title that is sent to.")
@click.option(
    "--missing",
    is_flag=True,
    help="Ask PEER what it has, and only for what this node's index has not. Run again, it goes on "
    "where a retrieval failed.",
)
@options.level
@options.keys
@options.root
@options.priority
@options.aet
@click.pass_obj
def command(
    run: Run,
    peer: str,
    destination: str,
    missing: bool,
    level_name: str,
    keys: tuple[str, ...],
    root: str | None,
    priority: str,
    aet: str | None,
) -> int:
    """Make PEER send what it has to another (C-MOVE).

    Example: pacsnode move ARCHIVE --to PACSNODE -k StudyInstanceUID=1.2.3
    """
    from pacsnode.cli.retrieving import follow
    from pacsnode.node.build import build_connect
    from pacsnode.scu.move import move

    options.require_values(keys)
    target = options.resolve_peer(run, peer, aet)
    model = options.model_of(level_name, root)
    identifier = options.identifier_of(level_name, keys)
    connect = build_connect(run.configuration)
    urgency = options.PRIORITIES[priority]
    if missing:
        return _missing(run, target, model, level_name, identifier, destination, urgency)
    with closing(move(connect, target, model, identifier, destination, urgency)) as answers:
        return 0 if follow(answers) else 1


def _missing(
    run: Run,
    target: "Peer",
    model: "Model",
    level_name: str,
    identifier: "Dataset",
    destination: str,
    urgency: int,
) -> int:
    from pacsnode.cli.held import held
    from pacsnode.cli.missing import bring, compare
    from pacsnode.node.build import build_connect
    from pacsnode.scu.models import Service, ending, proposal
    from pacsnode.scu.move import move_on

    own = run.configuration.ae_title
    if destination not in (own, target.calling_ae_title):
        complain(f"--missing compares with the index of {own}, while {destination} is sent to")
    with held(run) as here:
        lacking = compare(run, target, model, level_name, identifier, here)
        if not lacking.missing:
            return 0
        connect = build_connect(run.configuration)
        with ending(connect(target, [proposal(Service.MOVE, model)])) as channel:
            return bring(
                lacking,
                lambda asked: move_on(channel, model, asked, destination, urgency),
                here,
            )
