"""pacsnode stats."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from pacsnode.cli import options
from pacsnode.cli.output import Title, show_csv, show_json, show_table
from pacsnode.cli.run import Run

if TYPE_CHECKING:
    from pacsnode.archive import Figures

Row = tuple[str, int]


@click.command("stats")
@options.form
@click.pass_obj
def command(run: Run, form: str) -> None:
    """The archive in figures."""
    from pacsnode.node.build import build_archive

    with build_archive(run.existing()) as archive:
        figures = archive.statistics()
    if form == "json":
        show_json(_nested(figures))
    elif form == "csv":
        show_csv(("figure", "value"), _rows(figures))
    else:
        show_table(
            (Title("Figure"), Title("Value")),
            ((name, f"{value:,}") for name, value in _rows(figures)),
        )


def _totals(figures: "Figures") -> Iterator[Row]:
    known = figures.known
    yield "patients", known.patients
    yield "studies", known.studies
    yield "series", known.series
    yield "instances", known.instances
    yield "bytes", known.bytes
    yield "conflicts", figures.conflicts
    yield "quarantine", figures.quarantine
    yield "flagged", known.flags
    yield "lost", known.lost
    yield "free bytes", figures.free


def _rows(figures: "Figures") -> Iterator[Row]:
    yield from _totals(figures)
    for name, shares in (
        ("modality", figures.known.by_modality),
        ("source", figures.known.by_source),
    ):
        for key, share in shares.items():
            yield f"{name} {key or '(none)'}: instances", share.instances
            yield f"{name} {key or '(none)'}: bytes", share.bytes


def _nested(figures: "Figures") -> dict[str, object]:
    known = figures.known
    return {
        **{name.replace(" ", "_"): value for name, value in _totals(figures)},
        "by_modality": {key: share._asdict() for key, share in known.by_modality.items()},
        "by_source": {key: share._asdict() for key, share in known.by_source.items()},
    }
