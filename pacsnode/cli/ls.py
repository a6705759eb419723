"""pacsnode ls."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import TYPE_CHECKING

import click

from pacsnode.cli import options
from pacsnode.cli.output import complain, show_datasets
from pacsnode.cli.run import Run

if TYPE_CHECKING:
    from pydicom import Dataset

    from pacsnode.dicom.instance import InstanceUIDs

FLAGS_SETTLED = (
    "A flag goes by itself: when the instance that is lost came again or was deleted, or when no "
    "instance of the study contradicts it any more."
)
CONFLICTS_SETTLED = (
    "The first stays in its place until `pacsnode conflicts keep|adopt|drop NAME` settles which of "
    "the two is right; both are complete files, here and in instances/."
)
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)  # of the time that notes count in microseconds
NOTED = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "DateTime", "TextValue")


@click.command("ls")
@options.level
@options.keys
@options.fuzzy
@options.form
@click.option("--flagged", is_flag=True, help="What the node found odd, and what is lost, instead.")
@click.option(
    "--conflicts", is_flag=True, help="Instances that came again with other bytes, instead."
)
@click.option(
    "--explain",
    "explained",
    metavar="[STUDY]",
    is_flag=False,
    flag_value="",
    help="Say of one study why it matches the keys or does not. STUDY: its StudyInstanceUID, or an "
    "AccessionNumber or PatientID that only it has; without, the one that such a key names.",
)
@click.pass_obj
def command(
    run: Run,
    level_name: str,
    keys: tuple[str, ...],
    fuzzy: bool,
    form: str,
    flagged: bool,
    conflicts: bool,
    explained: str | None,
) -> None:
    """List what the node itself has."""
    from pacsnode.cli.columns import RETURNED, columns
    from pacsnode.dicom.elements import EXPLICIT_VR_LITTLE_ENDIAN
    from pacsnode.dicom.encode import decode_dataset
    from pacsnode.node.build import build_archive

    is_explained = explained is not None
    if ((flagged or conflicts) and (keys or is_explained)) or (flagged and conflicts):
        raise click.UsageError("--flagged and --conflicts stand alone")
    level = options.level_of(level_name)
    with build_archive(run.existing()) as archive:
        if explained is not None:
            from pacsnode.cli.explain import show_explanation

            query = options.local_query(level_name, keys, is_fuzzy=fuzzy)
            show_explanation(archive, explained, query, form)
            return
        if flagged:
            flags = chain(archive.lost(), archive.flags())
            noted = ((flag.uids, flag.noted_at, flag.text) for flag in flags)
            _show(_notes(noted), _tags(), form, FLAGS_SETTLED)
            return
        if conflicts:
            noted = (
                (one.uids, one.received_at, f"{one.name} from {one.source_ae_title}")
                for one in archive.conflicts()
            )
            _show(_notes(noted), _tags(), form, CONFLICTS_SETTLED)
            return
        query = options.local_query(level_name, [*keys, *RETURNED[level]], is_fuzzy=fuzzy)
        for key in query.ignored:
            complain(f"{key.keyword or hex(key.tag)} was not matched: it is not of this level")
        answers = (
            decode_dataset(answer, EXPLICIT_VR_LITTLE_ENDIAN)
            for page in archive.find(query, EXPLICIT_VR_LITTLE_ENDIAN)
            for answer in page
        )
        _show(answers, columns(level, options.tags_of(level_name, keys)), form)


def _show(datasets: "Iterable[Dataset]", tags: list[int], form: str, advice: str = "") -> None:
    if not show_datasets(datasets, tags, form):
        complain("nothing to list")
    elif advice:
        complain(advice)


def _tags() -> list[int]:
    from pydicom.datadict import tag_for_keyword

    return [tag for tag in map(tag_for_keyword, NOTED) if tag is not None]


def _notes(noted: "Iterable[tuple[InstanceUIDs, int, str]]") -> "Iterator[Dataset]":
    """Notes as datasets, so that they can be had in every format."""
    from pydicom import Dataset

    from pacsnode.dicom.encode import text_element

    for uids, microseconds, text in noted:
        values = (*uids, _moment(microseconds), text)
        dataset = Dataset()
        for keyword, value in zip(NOTED, values, strict=True):
            dataset.add(text_element(keyword, (value,) if value else ()))
        yield dataset


def _moment(microseconds: int) -> str:
    """As DICOM's DT; empty where a damaged file says what is no date."""
    try:
        moment = BEGINNING + timedelta(microseconds=microseconds)
    except OverflowError:
        return ""
    return moment.strftime("%Y%m%d%H%M%S.%f+0000")
