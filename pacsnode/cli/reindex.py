"""pacsnode reindex."""

import click

from pacsnode.cli.output import complain, say
from pacsnode.cli.run import Run


@click.command("reindex")
@click.pass_obj
def command(run: Run) -> int:
    """Rebuild the index from the storage tree alone.

    Refuses while the node, or another command, works in the data folder. Until the new index is
    whole, the old one stays; interrupted, the next run goes on where this one was. Flags,
    conflicts, pending removals, what is lost and open storage commitments are taken over from the
    old index, as far as that can be read. Exit code 1 if a file could not be indexed.
    """
    from pacsnode.archive.reindex import reindex
    from pacsnode.cli.progress import bar
    from pacsnode.node.build import character_sets

    configuration = run.existing()
    try:
        with bar() as shown:
            rebuilt = reindex(
                configuration.data_dir,
                character_sets(configuration.modalities),
                fsync=configuration.storage.fsync,
                progress=shown.at,
                complain=lambda name, why: complain(f"{name}: {why}" if name else why),
            )
    except KeyboardInterrupt:
        complain("the old index is as it was; the next reindex goes on where this one was")
        raise
    say(
        f"{rebuilt.instances} instances indexed, {rebuilt.set_aside} set aside, "
        f"{rebuilt.unreadable} unreadable" + (f", {rebuilt.lost} lost" if rebuilt.lost else "")
    )
    return 1 if rebuilt.unreadable else 0
