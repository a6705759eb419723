"""pacsnode get."""

from contextlib import closing
from pathlib import Path

import click

from pacsnode.cli import options
from pacsnode.cli.run import Run


@click.command("get")
@options.peer
@click.option(
    "-o",
    "--output",
    "folder",
    metavar="DIR",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder to write files into, made if need be.",
)
@options.level
@options.keys
@options.root
@options.aet
@click.pass_obj
def command(
    run: Run,
    peer: str,
    folder: Path,
    level_name: str,
    keys: tuple[str, ...],
    root: str | None,
    aet: str | None,
) -> int:
    """Fetch what PEER has into files (C-GET).

    Example: pacsnode get ARCHIVE -o here -k StudyInstanceUID=1.2.3
    """
    from pacsnode.cli.retrieving import follow
    from pacsnode.node.build import build_connect
    from pacsnode.scu.get import get

    options.require_values(keys)
    target = options.resolve_peer(run, peer, aet)
    model = options.model_of(level_name, root)
    identifier = options.identifier_of(level_name, keys)
    with closing(
        get(build_connect(run.configuration), target, model, identifier, folder)
    ) as answers:
        return 0 if follow(answers) else 1
