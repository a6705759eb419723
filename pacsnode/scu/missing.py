"""What a peer has and we have not: its instances, asked for series by series, and the retrieves
that bring those that are missing."""

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset

from pacsnode.dicom.level import Level
from pacsnode.dicom.message import Channel
from pacsnode.dicom.query import Model
from pacsnode.scu.find import find_on

log = logging.getLogger(__name__)

# UIDs in one retrieve: a list in Explicit VR has room for 65,534 bytes, and some peers for less.
LIST = 400

# Which of some SOP Instance UIDs are here.
Held = Callable[[Sequence[str]], Collection[str]]


@dataclass(frozen=True, slots=True)
class Series:
    """Instances of one series of the peer's: their SOP classes by SOP Instance UID. `keys` are the
    unique keys of it and of what it belongs to; `is_whole` where the peer has no others of it."""

    keys: Mapping[str, str]
    instances: Mapping[str, str]
    is_whole: bool


@dataclass(frozen=True, slots=True)
class Retrieve:
    """What one C-MOVE or C-GET asks for: all of a series (no UIDs), or some of its instances."""

    keys: Mapping[str, str]
    sop_instance_uids: tuple[str, ...]
    count: int

    def identifier(self) -> Dataset:
        ds = Dataset()
        ds.QueryRetrieveLevel = "IMAGE" if self.sop_instance_uids else "SERIES"
        for keyword, value in self.keys.items():
            setattr(ds, keyword, value)
        if self.sop_instance_uids:
            ds.SOPInstanceUID = list(self.sop_instance_uids)
        return ds

    def one_by_one(self) -> "Iterator[Retrieve]":
        for uid in self.sop_instance_uids:
            yield Retrieve(self.keys, (uid,), 1)


def series_of(
    channel: Channel, model: Model, level: Level, identifier: Dataset
) -> Iterator[Series]:
    """What `identifier` selects at the peer, by C-FIND from its level down. Raises NetworkError,
    RequestFailed where it refuses a query, and UnreadableDataset."""
    asked = Dataset()
    asked.update(identifier)
    _ask_for(asked, model, level)
    found = _answers(channel, model, level, asked)
    if level is Level.IMAGE:
        yield from _grouped(found, model)
        return
    for keys in found:
        yield from _below(channel, model, level, keys)


def _below(
    channel: Channel, model: Model, level: Level, keys: Mapping[str, str]
) -> Iterator[Series]:
    """The series of one entity at `level`, each with its instances."""
    below = Level(level + 1)
    ds = Dataset()
    ds.QueryRetrieveLevel = below.word
    for keyword, value in keys.items():
        setattr(ds, keyword, value)
    _ask_for(ds, model, below)
    answers = _answers(channel, model, below, ds)
    if below is Level.IMAGE:
        instances = {answer["SOPInstanceUID"]: answer["SOPClassUID"] for answer in answers}
        yield Series(keys, instances, is_whole=True)
        return
    for answer in answers:
        yield from _below(channel, model, below, answer)


def _ask_for(ds: Dataset, model: Model, level: Level) -> None:
    """The unique keys of the level and of those above, where they are not given."""
    wanted = [each.unique_key for each in model.levels if each <= level]
    for keyword in [*wanted, "SOPClassUID"] if level is Level.IMAGE else wanted:
        if keyword not in ds:
            setattr(ds, keyword, "")


def _answers(
    channel: Channel, model: Model, level: Level, asked: Dataset
) -> Sequence[Mapping[str, str]]:
    """The unique keys of what the peer has. An answer whose own key is empty or a wildcard is left
    out: asked for again it would select whatever there is."""
    found = [_keys(answer, model, level, asked) for answer in find_on(channel, model, asked)]
    named = [keys for keys in found if _names_one(keys[level.unique_key])]
    if len(named) < len(found):
        log.warning(
            "%d answers of the peer have no usable %s: what they stand for is left out",
            len(found) - len(named),
            level.unique_key,
        )
    return named


def _names_one(value: str) -> bool:
    return bool(value) and not set(value) & set("*?\\")


def _keys(answer: Dataset, model: Model, level: Level, asked: Dataset) -> dict[str, str]:
    """The unique keys of an answer; what it leaves out is as asked."""
    keywords = [each.unique_key for each in model.levels if each <= level]
    keys = {keyword: _text(answer, keyword) or _text(asked, keyword) for keyword in keywords}
    if level is Level.IMAGE:
        keys["SOPClassUID"] = _text(answer, "SOPClassUID")
    return keys


def _text(ds: Dataset, keyword: str) -> str:
    value = ds.get(keyword)
    return str(value) if value and isinstance(value, str) else ""


def _grouped(found: Iterable[Mapping[str, str]], model: Model) -> Iterator[Series]:
    """Instances that were asked for as such, by series."""
    upper = [each.unique_key for each in model.levels if each < Level.IMAGE]
    groups: dict[tuple[str, ...], dict[str, str]] = {}
    for keys in found:
        group = groups.setdefault(tuple(keys[keyword] for keyword in upper), {})
        group[keys["SOPInstanceUID"]] = keys["SOPClassUID"]
    for values, instances in groups.items():
        known = {keyword: value for keyword, value in zip(upper, values, strict=True) if value}
        yield Series(known, instances, is_whole=False)


def missing_of(series: Series, held: Held) -> list[str]:
    """Its instances that are not here."""
    uids = list(series.instances)
    here: set[str] = set()
    for start in range(0, len(uids), LIST):
        here.update(held(uids[start : start + LIST]))
    return [uid for uid in uids if uid not in here]


def retrieves(series: Series, missing: Sequence[str]) -> Iterator[Retrieve]:
    """What to ask for: the whole series where all of it is missing, else lists of instances."""
    if series.is_whole and len(missing) == len(series.instances):
        yield Retrieve(series.keys, (), len(missing))
        return
    for start in range(0, len(missing), LIST):
        some = tuple(missing[start : start + LIST])
        yield Retrieve(series.keys, some, len(some))
