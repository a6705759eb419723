"""pacsnode import."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pacsnode.cli import options
from pacsnode.cli.output import complain, say
from pacsnode.cli.run import Run
from pacsnode.errors import DicomError, DuplicateRefused

if TYPE_CHECKING:
    from pacsnode.archive import Archive
    from pacsnode.cli.audited import Import
    from pacsnode.cli.interrupts import Interrupts
    from pacsnode.cli.progress import Bar
    from pacsnode.cli.sources import Files


@click.command("import")
@options.paths
@click.pass_obj
def command(run: Run, paths: tuple[Path, ...]) -> int:
    """Take files and folders straight into the node's storage and index.

    No network is needed, and the node may be running meanwhile. Files that are no DICOM are named
    and skipped.
    """
    from pacsnode.cli.audited import Import, opened
    from pacsnode.cli.interrupts import Interrupts
    from pacsnode.cli.progress import bar, count_files
    from pacsnode.cli.sources import Files
    from pacsnode.node.build import build_archive

    if not paths:
        raise click.UsageError("which files? At least one PATH is needed")
    files = Files(paths)
    became: Counter[str] = Counter()
    with opened(run.configuration) as trail, build_archive(run.configuration) as archive:
        told = Import(trail)
        try:
            with bar() as shown, Interrupts() as interrupts:
                count_files(paths, shown)
                failed = _take(archive, files, became, told, shown, interrupts)
        finally:
            told.end()
            # Also where it ends early: what is in is in.
            for what, count in became.items():
                say(f"{count} {what}")
    say(f"{failed + files.failed} failed, {files.skipped} skipped")
    return 1 if failed or files.failed else 0


def _take(
    archive: "Archive",
    files: "Files",
    became: Counter[str],
    told: "Import",
    shown: "Bar",
    interrupts: "Interrupts",
) -> int:
    """Count in `became` what becomes of the files; returns how many could not be taken."""
    from pacsnode.archive import Kind

    failed = 0
    for file in files:
        try:
            with interrupts.held():
                outcome = archive.import_file(file.path)
                became[str(outcome.kind)] += 1
                told.taken(file.path, outcome)
        except (DicomError, DuplicateRefused) as error:
            failed += 1
            complain(f"{file.path}: {error}")
        else:
            if outcome.kind is Kind.CONFLICT:
                complain(f"{file.path}: {outcome.kind}")
        shown.at(files.read)
    return failed
