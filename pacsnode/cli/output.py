"""Results on standard output, as a table, JSON or CSV; everything else on standard error.

Text of datasets never reaches a terminal as it is: control characters are shown as escapes.
"""

import csv
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import click

from pacsnode.log import printable

if TYPE_CHECKING:
    from pydicom import Dataset

FORMATS = ("table", "json", "csv")

# Titles that would be wider than what stands below them.
SHORT_TITLES = {
    "ModalitiesInStudy": "Modalities",
    "NumberOfPatientRelatedStudies": "Studies",
    "NumberOfPatientRelatedSeries": "Series",
    "NumberOfPatientRelatedInstances": "Instances",
    "NumberOfStudyRelatedSeries": "Series",
    "NumberOfStudyRelatedInstances": "Instances",
    "NumberOfSeriesRelatedInstances": "Instances",
}

# Width of a table that no terminal limits: nothing in it is folded.
UNLIMITED = 100_000


def complain(*lines: str) -> None:
    """A failure, or a remark, on standard error: a line each, whatever is in it."""
    for line in lines:
        click.echo(printable(line), err=True)


def say(text: str = "") -> None:
    """A line of results."""
    click.echo(printable(text))


def show_datasets(datasets: "Iterable[Dataset]", columns: Sequence[int], form: str) -> int:
    """Show the elements `columns` (tags) of each dataset, JSON all of them; returns how many
    datasets there were. JSON and CSV go out while datasets come in."""
    counted = Counted(datasets)
    if form == "json":
        _show_json(counted)
    elif form == "csv":
        _show_csv(counted, columns)
    else:
        titles = [Title(_title(tag), _is_foldable(tag)) for tag in columns]
        show_table(titles, ([_text(dataset, tag) for tag in columns] for dataset in counted))
    return counted.count


class Counted:
    """Counts what passes."""

    def __init__(self, datasets: "Iterable[Dataset]") -> None:
        self._datasets = datasets
        self.count = 0

    def __iter__(self) -> "Iterator[Dataset]":
        for dataset in self._datasets:
            self.count += 1
            yield dataset


class Title(NamedTuple):
    """A column's title; a column that is `foldable` gives way where the terminal is narrow."""

    text: str
    is_foldable: bool = False


def show_table(titles: Sequence[Title], rows: Iterable[Sequence[str]]) -> None:
    """Aligned columns under their titles; as wide as need be where no terminal sets limits."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in titles:
        table.add_column(
            Text(printable(title.text)), overflow="fold", no_wrap=not title.is_foldable
        )
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    if not table.rows:
        return
    is_terminal = sys.stdout.isatty()
    console = Console(
        file=sys.stdout, width=None if is_terminal else UNLIMITED, soft_wrap=not is_terminal
    )
    console.print(table)


def _show_json(datasets: "Iterable[Dataset]") -> None:
    """One array, closed also when the datasets end in a failure."""
    from pacsnode.dicom.json import dataset_to_json

    opening = "["
    try:
        for dataset in datasets:
            # ASCII: no control character gets through unescaped.
            click.echo(f"{opening}\n{json.dumps(dataset_to_json(dataset))}", nl=False)
            opening = ","
    finally:
        click.echo("[]" if opening == "[" else "\n]")


def show_json(value: object) -> None:
    click.echo(json.dumps(value, indent=2))


def _show_csv(datasets: "Iterable[Dataset]", columns: Sequence[int]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow([_keyword(tag) for tag in columns])
    for dataset in datasets:
        writer.writerow([printable(_text(dataset, tag)) for tag in columns])


def show_csv(titles: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(titles)
    for row in rows:
        writer.writerow([printable(str(cell)) for cell in row])


def _keyword(tag: int) -> str:
    from pydicom.datadict import keyword_for_tag

    return keyword_for_tag(tag) or f"{tag >> 16:04X},{tag & 0xFFFF:04X}"


def _title(tag: int) -> str:
    """The attribute's name in the data dictionary."""
    from pydicom.datadict import dictionary_description

    keyword = _keyword(tag)
    if keyword in SHORT_TITLES:
        return SHORT_TITLES[keyword]
    try:
        return dictionary_description(tag)
    except KeyError:
        return f"({keyword})"


def _is_foldable(tag: int) -> bool:
    """Whether an attribute's values are long: dates, times, numbers and codes are not."""
    from pydicom.datadict import dictionary_VR

    try:
        return dictionary_VR(tag) not in ("DA", "TM", "IS", "US", "CS")
    except KeyError:
        return True


def _text(dataset: "Dataset", tag: int) -> str:
    """An element's values as people write them, with backslashes between."""
    from pydicom.multival import MultiValue

    if tag not in dataset:
        return ""
    element = dataset[tag]
    if element.VR == "SQ":
        return "; ".join(_item(item) for item in element.value)
    if element.value is None:
        return ""
    if isinstance(element.value, bytes):
        return f"{len(element.value)} bytes"
    if isinstance(element.value, MultiValue | list | tuple):
        return "\\".join(str(value) for value in element.value)
    return str(element.value)


def _item(item: "Dataset") -> str:
    return ", ".join(f"{_keyword(one.tag)}={_text(item, one.tag)}" for one in item)
