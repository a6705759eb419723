"""Arguments and options that several commands have, and what their values stand for."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pacsnode.cli.output import FORMATS
from pacsnode.cli.run import Run
from pacsnode.errors import InvalidQuery, UsageError

if TYPE_CHECKING:
    from pydicom import Dataset

    from pacsnode.dicom.level import Level
    from pacsnode.dicom.message import Peer
    from pacsnode.dicom.query import Model, Query

# As of dicom.message.IdentifierRequest.
PRIORITIES = {"low": 2, "medium": 0, "high": 1}

Command = TypeVar("Command", bound=Callable[..., Any])

peer = click.argument("peer")
aet = click.option("--aet", metavar="AE", help="Calling AE title. Default: the node's own.")
level = click.option(
    "-L",
    "--level",
    "level_name",
    type=click.Choice(["patient", "study", "series", "image"], case_sensitive=False),
    default="study",
    show_default=True,
    help="Query/retrieve level.",
)
keys = click.option(
    "-k",
    "--key",
    "keys",
    metavar="KEY[=VALUE]",
    multiple=True,
    help="A keyword (PatientID) or tag (0010,0020) to match, or without value to return. "
    "May be repeated.",
)
form = click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default="table",
    show_default=True,
    help="How results are printed.",
)
fuzzy = click.option(
    "--fuzzy",
    is_flag=True,
    help="Person names also by their words in any order, and by what they sound like.",
)
root = click.option(
    "--root",
    type=click.Choice(["patient", "study"]),
    help="Information model. Default: patient for the patient level, else study.",
)
priority = click.option(
    "--priority",
    type=click.Choice(list(PRIORITIES)),
    default="medium",
    show_default=True,
    help="What PEER is told of how urgent it is; our own work for it waits by it too.",
)
paths = click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
studies = click.option("--study", "studies", metavar="UID", multiple=True, help="Our own study.")
series = click.option("--series", metavar="UID", multiple=True, help="Our own series.")
instances = click.option(
    "--instance", "instances", metavar="UID", multiple=True, help="Our own instance."
)


def own_or_paths(
    paths: Sequence[Path], studies: Sequence[str], series: Sequence[str], instances: Sequence[str]
) -> Mapping[str, Sequence[str]]:
    """UIDs of the node's own, by the name of their level; none where there are paths."""
    wanted = {"study": studies, "series": series, "image": instances}
    if bool(paths) == any(wanted.values()):
        raise click.UsageError("what? Either PATHs, or --study, --series or --instance UIDs")
    return wanted


def level_of(name: str) -> "Level":
    from pacsnode.dicom.level import Level

    return Level[name.upper()]


def resolve_peer(run: Run, text: str, aet: str | None) -> "Peer":
    """Raises UsageError."""
    from pacsnode.scu.peer import resolve

    configuration = run.configuration
    return resolve(text, configuration.modalities, configuration.ae_title, aet=aet)


def model_of(name: str, root: str | None) -> "Model":
    """Raises UsageError."""
    from pacsnode.scu.models import model_of as choose

    return choose(level_of(name), root)


def identifier_of(name: str, keys: Sequence[str], returned: Sequence[str] = ()) -> "Dataset":
    """The identifier that `keys` describe, which also asks for `returned`. Raises UsageError."""
    from pacsnode.dicom.keys import identifier

    return identifier(level_of(name), [*keys, *returned])


def tags_of(name: str, keys: Sequence[str]) -> list[int]:
    """What `keys` name. Raises UsageError."""
    return [
        int(element.tag)
        for element in identifier_of(name, keys)
        if element.keyword != "QueryRetrieveLevel"
    ]


def local_query(
    name: str, keys: Sequence[str], *, retrieve: bool = False, is_fuzzy: bool = False
) -> "Query":
    """A query of the node's own index. `retrieve`: what it selects is moved or removed, so that it
    must be definite and no key of it may be ignored. Raises UsageError."""
    from pacsnode.dicom.message import Extensions
    from pacsnode.dicom.query import Model, query_from_keys

    extensions = Extensions(fuzzy_names=is_fuzzy)
    try:
        return query_from_keys(
            level_of(name), Model.PATIENT_ROOT, keys, retrieve=retrieve, extensions=extensions
        )
    except InvalidQuery as error:
        raise UsageError(str(error)) from error


def require_values(keys: Sequence[str]) -> None:
    """What moves or removes instances wants to be told which. Raises UsageError."""
    if not any(key.partition("=")[2].strip("* ") for key in keys):
        raise UsageError("which ones? At least one -k KEY=VALUE is needed")
