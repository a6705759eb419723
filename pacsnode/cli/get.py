"""pacsnode get."""

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pacsnode.cli import options
from pacsnode.cli.run import Run

if TYPE_CHECKING:
    from pacsnode.dicom.message import StoreRequest


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
    from pacsnode.cli.interrupts import Interrupts
    from pacsnode.cli.retrieving import follow
    from pacsnode.node.build import build_connect
    from pacsnode.scu.files import name_of
    from pacsnode.scu.get import get

    options.require_values(keys)
    target = options.resolve_peer(run, peer, aet)
    model = options.model_of(level_name, root)
    identifier = options.identifier_of(level_name, keys)
    connect = build_connect(run.configuration)

    def name(request: "StoreRequest") -> str:
        interrupts.hold()
        return name_of(request)

    def received(_path: Path) -> None:
        interrupts.release()

    with (
        Interrupts() as interrupts,
        closing(
            get(connect, target, model, identifier, folder, name=name, received=received)
        ) as answers,
    ):
        return 0 if follow(answers) else 1
