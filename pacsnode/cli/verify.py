"""pacsnode verify."""

import click

from pacsnode.cli.output import complain, say
from pacsnode.cli.run import Run
from pacsnode.errors import UsageError


@click.command("verify")
@click.option("--repair", is_flag=True, help="Comes in a later version.")
@click.pass_obj
def command(run: Run, repair: bool) -> int:
    """Compare index and storage, byte for byte.

    Names files that are missing, orphaned, truncated or altered. Exit code 1 if there are any. The
    node may be running meanwhile.
    """
    if repair:
        raise UsageError("verify --repair comes in a later version")
    from pacsnode.cli.progress import bar
    from pacsnode.node.build import build_archive

    found = 0
    with build_archive(run.existing()) as archive, bar() as shown:
        if shown.is_shown:
            shown.expect(archive.statistics().known.instances)
        for finding in archive.verify(shown.at):
            found += 1
            say(f"{finding.fault}: {finding.name}: {finding.text}")
    complain(f"{found} faults" if found else "index and storage agree")
    return 1 if found else 0
