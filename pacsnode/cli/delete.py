"""pacsnode delete."""

import click

from pacsnode.cli import options
from pacsnode.cli.output import say
from pacsnode.cli.run import Run


@click.command("delete")
@options.level
@options.keys
@click.option("--yes", is_flag=True, help="Do not ask first.")
@click.pass_obj
def command(run: Run, level_name: str, keys: tuple[str, ...], yes: bool) -> int:
    """Remove what matches from index and storage, for good.

    Example: pacsnode delete -L study -k StudyInstanceUID=1.2.3
    """
    from pacsnode.cli.audited import Deletion, opened
    from pacsnode.cli.progress import bar
    from pacsnode.node.build import build_archive

    options.require_values(keys)
    query = options.local_query(level_name, keys, retrieve=True)
    configuration = run.existing()
    with opened(configuration) as trail, build_archive(configuration) as archive:
        deletion = Deletion(trail, archive)
        total, studies = 0, set()
        for stored in archive.select(query):
            deletion.expect(stored)
            total += 1
            studies.add(stored.uids.study_instance_uid)
        if not total:
            say("nothing matches")
            return 0
        if not yes and not confirm(f"Delete {total} instances of {len(studies)} studies for good?"):
            say("nothing deleted")
            return 1
        try:
            with bar() as shown:
                shown.expect(total)
                deleted = archive.delete(query, shown.at, deletion.gone)
        finally:
            # Also where it ends early: what is gone is gone.
            deletion.end()
    say(f"{deleted} instances deleted")
    return 0


def confirm(question: str) -> bool:
    """An end of input is a no; Ctrl-C ends the command."""
    try:
        return click.confirm(question, err=True)
    except click.Abort as abort:
        if isinstance(abort.__context__, EOFError):
            return False
        raise
