"""pacsnode verify."""

from typing import TYPE_CHECKING

import click

from pacsnode.cli.output import complain, say
from pacsnode.cli.run import Run

if TYPE_CHECKING:
    from pacsnode.archive import Finding


@click.command("verify")
@click.option("--repair", is_flag=True, help="Put right what is found; delete nothing.")
@click.pass_obj
def command(run: Run, repair: bool) -> int:
    """Compare index and storage, byte for byte.

    Names files that are missing, orphaned, truncated or altered. Exit code 1 if there are any. The
    node may be running meanwhile.

    --repair indexes orphans, in the order of their receipt, marks instances as lost whose file is
    missing or damaged, and moves damaged files to quarantine/ in the data folder, each with a note
    of where it was and why. The line of each finding says what was done. Exit code 1 if anything
    is left for a person: a lost instance, which is to be sent again or deleted, or a file that
    cannot be read or is none of the archive's.
    """
    from pacsnode.cli.progress import bar
    from pacsnode.node.build import build_archive

    found = 0
    left: dict[str, str] = {}
    with build_archive(run.existing()) as archive, bar() as shown:
        if shown.is_shown:
            shown.expect(2 * archive.statistics().known.instances)  # rows, then files
        for finding in archive.verify(shown.at, repairing=repair):
            found += 1
            say(_line(finding))
            left[finding.name] = finding.left
    if not found:
        complain("index and storage agree")
        return 0
    if not repair:
        complain(f"{found} faults; `pacsnode verify --repair` puts right what can be")
        return 1
    remaining = sum(map(bool, left.values()))
    complain(f"{found} faults, {remaining} of them left for a person")
    return 1 if remaining else 0


def _line(finding: "Finding") -> str:
    told = [f"{finding.fault}: {finding.name}: {finding.text}", finding.done, finding.left]
    return "; ".join(part for part in told if part)
