"""pacsnode find."""

from contextlib import closing

import click

from pacsnode.cli import options
from pacsnode.cli.output import complain, show_datasets
from pacsnode.cli.run import Run


@click.command("find")
@options.peer
@options.level
@options.keys
@options.fuzzy
@options.form
@options.root
@options.priority
@options.aet
@click.pass_obj
def command(
    run: Run,
    peer: str,
    level_name: str,
    keys: tuple[str, ...],
    fuzzy: bool,
    form: str,
    root: str | None,
    priority: str,
    aet: str | None,
) -> None:
    """Ask PEER what it has (C-FIND).

    Example: pacsnode find ARCHIVE -L study -k PatientName='DOE*' -k StudyDate=20240101-
    """
    from pacsnode.cli.columns import RETURNED, columns
    from pacsnode.dicom.message import Extensions
    from pacsnode.node.build import build_connect
    from pacsnode.scu.find import find

    target = options.resolve_peer(run, peer, aet)
    level = options.level_of(level_name)
    model = options.model_of(level_name, root)
    identifier = options.identifier_of(level_name, keys, RETURNED[level])
    asked = Extensions(fuzzy_names=fuzzy)

    def on_agreed(agreed: Extensions) -> None:
        if fuzzy and not agreed.fuzzy_names:
            complain(f"{target} does not agree to fuzzy matching: names are matched as they stand")

    connect = build_connect(run.configuration)
    urgency = options.PRIORITIES[priority]
    with closing(find(connect, target, model, identifier, asked, on_agreed, urgency)) as answers:
        count = show_datasets(answers, columns(level, options.tags_of(level_name, keys)), form)
    if not count:
        complain("no match")
