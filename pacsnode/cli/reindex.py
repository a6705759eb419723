"""pacsnode reindex."""

import click

from pacsnode.cli.output import complain, say
from pacsnode.cli.run import Run


@click.command("reindex")
@click.pass_obj
def command(run: Run) -> int:
    """Rebuild the index from the storage tree alone.

    Refuses while the node runs. Until it is whole, the old index stays.
    """
    from pacsnode.archive.reindex import reindex
    from pacsnode.cli.progress import bar
    from pacsnode.node.build import character_sets

    configuration = run.existing()
    with bar() as shown:
        rebuilt = reindex(
            configuration.data_dir,
            character_sets(configuration.modalities),
            fsync=configuration.storage.fsync,
            progress=shown.at,
            complain=lambda name, why: complain(f"{name}: {why}"),
        )
    say(
        f"{rebuilt.instances} instances indexed, {rebuilt.set_aside} set aside, "
        f"{rebuilt.unreadable} unreadable"
    )
    return 1 if rebuilt.unreadable else 0
