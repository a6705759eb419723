"""pacsnode move."""

from contextlib import closing

import click

from pacsnode.cli import options
from pacsnode.cli.run import Run


@click.command("move")
@options.peer
@click.option("--to", "destination", metavar="AE", required=True, help="AE title that is sent to.")
@options.level
@options.keys
@options.root
@options.aet
@click.pass_obj
def command(
    run: Run,
    peer: str,
    destination: str,
    level_name: str,
    keys: tuple[str, ...],
    root: str | None,
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
    with closing(move(connect, target, model, identifier, destination)) as answers:
        return 0 if follow(answers) else 1
