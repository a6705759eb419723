"""pacsnode conformance."""

from datetime import date
from pathlib import Path

import click

from pacsnode.cli.run import Run


@click.command("conformance")
@click.option(
    "--format",
    "form",
    type=click.Choice(["markdown", "html"]),
    default="markdown",
    show_default=True,
    help="How the statement is written; html is one file that needs no other.",
)
@click.option(
    "-o",
    "--output",
    "file",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write it to FILE instead of standard output.",
)
@click.pass_obj
def command(run: Run, form: str, file: Path | None) -> None:
    """Print the DICOM Conformance Statement (PS3.2) of the node as configured.

    Secrets of the configuration are left out.

    Example: pacsnode conformance --format html -o conformance.html
    """
    from pacsnode.cli.html import to_html
    from pacsnode.cli.markdown import to_markdown
    from pacsnode.node.conformance import statement

    document = statement(run.configuration, date.today())
    text = to_markdown(document)
    if form == "html":
        text = to_html(text, f"{document.title}: {run.configuration.ae_title}")
    if file is None:
        click.echo(text, nl=False)
    else:
        file.write_text(text, "utf-8")
