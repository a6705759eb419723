"""pacsnode get."""

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pacsnode.cli import options
from pacsnode.cli.run import Run

if TYPE_CHECKING:
    from pacsnode.cli.held import Held
    from pacsnode.cli.interrupts import Interrupts
    from pacsnode.cli.missing import Lacking
    from pacsnode.dicom.message import Peer, StoreRequest
    from pacsnode.dicom.query import Model


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
@click.option(
    "--missing",
    is_flag=True,
    help="Ask PEER what it has, and only for what is neither in DIR nor in this node's index. Run "
    "again, it goes on where a retrieval failed.",
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
    folder: Path,
    missing: bool,
    level_name: str,
    keys: tuple[str, ...],
    root: str | None,
    priority: str,
    aet: str | None,
) -> int:
    """Fetch what PEER has into files (C-GET).

    Example: pacsnode get ARCHIVE -o here -k StudyInstanceUID=1.2.3
    """
    from pacsnode.cli.held import held
    from pacsnode.cli.interrupts import Interrupts
    from pacsnode.cli.missing import compare
    from pacsnode.cli.retrieving import follow
    from pacsnode.node.build import build_connect
    from pacsnode.scu.get import get

    options.require_values(keys)
    target = options.resolve_peer(run, peer, aet)
    model = options.model_of(level_name, root)
    identifier = options.identifier_of(level_name, keys)
    urgency = options.PRIORITIES[priority]
    with Interrupts() as interrupts:
        whole = WholeFiles(interrupts)
        if missing:
            with held(run, folder) as here:
                lacking = compare(run, target, model, level_name, identifier, here)
                return _bring(run, target, model, lacking, here, folder, whole, urgency)
        connect = build_connect(run.configuration)
        with closing(
            get(
                connect, target, model, identifier, folder,
                name=whole.name, received=whole.received, priority=urgency,
            )
        ) as answers:  # fmt: skip
            return 0 if follow(answers) else 1


class WholeFiles:
    """Ctrl-C waits for the end of the file under way."""

    def __init__(self, interrupts: "Interrupts") -> None:
        self._interrupts = interrupts

    def name(self, request: "StoreRequest") -> str:
        from pacsnode.scu.files import name_of

        self._interrupts.hold()
        return name_of(request)

    def received(self, _path: Path) -> None:
        self._interrupts.release()


def _bring(
    run: Run,
    target: "Peer",
    model: "Model",
    lacking: "Lacking",
    here: "Held",
    folder: Path,
    whole: WholeFiles,
    urgency: int,
) -> int:
    from pacsnode.cli.missing import bring
    from pacsnode.node.build import build_connect
    from pacsnode.scu.get import get_on, open_for_get
    from pacsnode.scu.models import ending

    if not lacking.missing:
        return 0
    connect, classes = build_connect(run.configuration), sorted(lacking.sop_classes)
    with ending(
        open_for_get(connect, target, model, classes, folder, whole.name, whole.received)
    ) as channel:
        return bring(lacking, lambda asked: get_on(channel, model, asked, urgency), here)
