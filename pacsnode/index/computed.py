"""Keys that are answered from the rows below: counts, ModalitiesInStudy, SOPClassesInStudy,
InstanceAvailability. One statement for each key asked for and page, not for each row."""

import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence

from pacsnode.dicom.level import COMPUTED, Level
from pacsnode.index.rows import Row

Connection = sqlite3.Connection
Values = Mapping[int, tuple[str, ...]]

ONLINE = "ONLINE"
UNAVAILABLE = "UNAVAILABLE"

_OF = "(SELECT value FROM json_each(?))"
_BELOW_STUDY = "study CROSS JOIN series ON series.parent = study.id"
_BELOW_SERIES = " CROSS JOIN instance ON instance.parent = series.id"

# The rows below, and the column by which they are of the row asked about.
_COUNTED = {
    "NumberOfPatientRelatedStudies": ("study", "study.parent"),
    "NumberOfPatientRelatedSeries": (_BELOW_STUDY, "study.parent"),
    "NumberOfPatientRelatedInstances": (_BELOW_STUDY + _BELOW_SERIES, "study.parent"),
    "NumberOfStudyRelatedSeries": ("series", "series.parent"),
    "NumberOfStudyRelatedInstances": ("series" + _BELOW_SERIES, "series.parent"),
    "NumberOfSeriesRelatedInstances": ("instance", "instance.parent"),
}
_LISTED = {
    "ModalitiesInStudy": "SELECT DISTINCT parent, modality FROM series WHERE parent IN " + _OF,
    "SOPClassesInStudy": "SELECT DISTINCT series.parent, series_header.sop_class_uid FROM series"
    " CROSS JOIN series_header ON series_header.series = series.id WHERE series.parent IN " + _OF,
}
_INSTANCES_OF = {
    Level.PATIENT: _COUNTED["NumberOfPatientRelatedInstances"],
    Level.STUDY: _COUNTED["NumberOfStudyRelatedInstances"],
    Level.SERIES: _COUNTED["NumberOfSeriesRelatedInstances"],
}


def values(
    connection: Connection, level: Level, page: Sequence[Row], keywords: Iterable[str]
) -> list[dict[str, tuple[str, ...]]]:
    """For each row of the page, the computed keys asked for."""
    answers: list[dict[str, tuple[str, ...]]] = [{} for _ in page]
    for keyword in keywords:
        of = level if keyword == "InstanceAvailability" else _level_of(keyword)
        ids = {row.ids[of] for row in page}
        found = _function(keyword, of)(connection, ids) if ids else {}
        for row, answer in zip(page, answers, strict=True):
            if keyword == "InstanceAvailability" and row.stored is not None:
                answer[keyword] = (UNAVAILABLE if row.stored.is_lost else ONLINE,)
            else:
                answer[keyword] = found.get(row.ids[of], ())
    return answers


def _level_of(keyword: str) -> Level:
    return next(level for level in Level if keyword in COMPUTED[level])


def _function(keyword: str, level: Level) -> Callable[[Connection, Iterable[int]], Values]:
    if keyword in _COUNTED:
        return lambda connection, ids: _counts(connection, *_COUNTED[keyword], ids)
    if keyword in _LISTED:
        return lambda connection, ids: listed(connection, keyword, ids)
    if level == Level.IMAGE:
        return lambda connection, ids: {}
    return lambda connection, ids: _availability(connection, level, ids)


def _counts(connection: Connection, below: str, key: str, ids: Iterable[int]) -> Values:
    found = connection.execute(
        f"SELECT {key}, count(*) FROM {below} WHERE {key} IN {_OF} GROUP BY {key}",
        (json.dumps(list(ids)),),
    )
    return {id_: (str(count),) for id_, count in found}


def listed(connection: Connection, keyword: str, ids: Iterable[int]) -> Values:
    """ModalitiesInStudy or SOPClassesInStudy of studies: distinct values, sorted."""
    found: dict[int, set[str]] = {}
    for id_, joined in connection.execute(_LISTED[keyword], (json.dumps(list(ids)),)):
        found.setdefault(id_, set()).update(joined.split("\\"))
    return {id_: tuple(sorted(filter(None, texts))) for id_, texts in found.items()}


def _availability(connection: Connection, level: Level, ids: Iterable[int]) -> Values:
    """ONLINE where at least one instance can be retrieved."""
    available = dict.fromkeys(ids, (ONLINE,))
    if connection.execute("SELECT 1 FROM lost LIMIT 1").fetchone() is None:
        return available
    below, key = _INSTANCES_OF[level]
    gone = connection.execute(
        f"SELECT {key} FROM {below} LEFT JOIN lost"
        f" ON lost.sop_instance_uid = instance.sop_instance_uid WHERE {key} IN {_OF}"
        f" GROUP BY {key} HAVING count(lost.sop_instance_uid) = count(*)",
        (json.dumps(list(ids)),),
    )
    return available | {id_: (UNAVAILABLE,) for (id_,) in gone}
