"""Keys that are not received but follow from what stands below a row. All of it is kept: counts in
tallies, lists in the study's row. Nothing is counted for an answer."""

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter

from pacsnode.dicom.level import COMPUTED, Level
from pacsnode.index import modalities, tally
from pacsnode.index.rows import Row
from pacsnode.index.tally import Place, Tally

Connection = sqlite3.Connection

ONLINE = "ONLINE"
UNAVAILABLE = "UNAVAILABLE"

_AVAILABILITY = "InstanceAvailability"
_COUNTS: dict[str, Callable[[Tally], int]] = {
    "NumberOfPatientRelatedStudies": attrgetter("studies"),
    "NumberOfPatientRelatedSeries": attrgetter("series"),
    "NumberOfPatientRelatedInstances": attrgetter("instances"),
    "NumberOfStudyRelatedSeries": attrgetter("series"),
    "NumberOfStudyRelatedInstances": attrgetter("instances"),
    "NumberOfSeriesRelatedInstances": attrgetter("instances"),
}


def values(
    connection: Connection, level: Level, page: Sequence[Row], keywords: Iterable[str]
) -> list[dict[str, tuple[str, ...]]]:
    """For each row of the page, the computed keys asked for."""
    answers: list[dict[str, tuple[str, ...]]] = [{} for _ in page]
    for keyword in keywords:
        if keyword in modalities.LISTS:
            found = [_listed(row.values.get(keyword, "")) for row in page]
        elif keyword == _AVAILABILITY and level == Level.IMAGE:
            found = [_availability(row.stored is None or row.stored.is_lost) for row in page]
        else:
            found = _tallied(connection, keyword, level, page)
        for answer, value in zip(answers, found, strict=True):
            answer[keyword] = value
    return answers


def _listed(text: str) -> tuple[str, ...]:
    return tuple(text.split("\\")) if text else ()


def _availability(is_lost: bool) -> tuple[str, ...]:
    return (UNAVAILABLE if is_lost else ONLINE,)


def _tallied(
    connection: Connection, keyword: str, level: Level, page: Sequence[Row]
) -> list[tuple[str, ...]]:
    """A study or series of which no instance can be retrieved is not available."""
    of = level if keyword == _AVAILABILITY else _level_of(keyword)
    places = [_place(row, of) for row in page]
    tallies = tally.of(connection, set(places))
    found: list[tuple[str, ...]] = []
    for place in places:
        counted = tallies.get(place)
        if counted is None:  # it went meanwhile
            found.append(())
        elif keyword == _AVAILABILITY:
            found.append(_availability(counted.lost == counted.instances))
        else:
            found.append((str(_COUNTS[keyword](counted)),))
    return found


def _level_of(keyword: str) -> Level:
    return next(level for level in Level if keyword in COMPUTED[level])


def _place(row: Row, level: Level) -> Place:
    ids = row.ids
    return Place(
        ids[Level.PATIENT],
        ids[Level.STUDY] if level >= Level.STUDY else 0,
        ids[Level.SERIES] if level >= Level.SERIES else 0,
    )
