"""Rows of the four levels, read a page at a time: by id, by parent, or one after the other. Every
read goes by primary key or index, whatever statistics SQLite has or lacks."""

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from pacsnode.dicom.instance import StoredInstance
from pacsnode.dicom.level import COLUMNS, Level
from pacsnode.index.modalities import LISTS
from pacsnode.index.tables import column
from pacsnode.index.write import STORED_COLUMNS, stored_instance

PAGE = 500

Connection = sqlite3.Connection


class Row(NamedTuple):
    """A row with what the rows above it say. `ids` are primary keys by level; `values` columns by
    keyword as received; `aliases` what else its study is found by; `position` where it stands among
    its siblings."""

    ids: Mapping[Level, int]
    position: int
    values: Mapping[str, str]
    others: Mapping[Level, str]
    aliases: Mapping[str, Sequence[str]] = {}
    stored: StoredInstance | None = None


_KEYWORDS: dict[Level, tuple[str, ...]] = {
    Level.PATIENT: COLUMNS[Level.PATIENT],
    # The patient as this study's instances have it: never a patient row's values.
    Level.STUDY: (*COLUMNS[Level.PATIENT], *COLUMNS[Level.STUDY], *LISTS),
    Level.SERIES: COLUMNS[Level.SERIES],
    Level.IMAGE: COLUMNS[Level.IMAGE],
}
TABLE = {
    Level.PATIENT: "patient",
    Level.STUDY: "study",
    Level.SERIES: "series",
    Level.IMAGE: "instance",
}
_FURTHER = {
    Level.PATIENT: "patient.others",
    Level.STUDY: "study.parent, study.received_at, study.patient_others, study.others,"
    " study.aliases",
    Level.SERIES: "series.parent, series.position, series.others",
    Level.IMAGE: f"instance.parent, instance.position, {STORED_COLUMNS}",
}
_FROM = {
    Level.PATIENT: "patient",
    Level.STUDY: "study",
    Level.SERIES: "series",
    Level.IMAGE: "instance CROSS JOIN series ON series.id = instance.parent"
    " CROSS JOIN study ON study.id = series.parent"
    " LEFT JOIN lost ON lost.sop_instance_uid = instance.sop_instance_uid",
}


def _select(level: Level) -> str:
    names = ", ".join(f"{TABLE[level]}.{column(keyword)}" for keyword in _KEYWORDS[level])
    return f"SELECT {names}, {TABLE[level]}.id, {_FURTHER[level]} FROM {_FROM[level]}"


_SELECT = {level: _select(level) for level in Level}
# How siblings are ordered: series and instances by their numbers.
_ORDERED = {
    Level.STUDY: "(study.received_at, study.id)",
    Level.SERIES: "(series.position, series.id)",
    Level.IMAGE: "(instance.position, instance.id)",
}


def by_id(connection: Connection, level: Level, ids: Iterable[int]) -> list[Row]:
    """In the order of ids; those that are gone are left out."""
    table = TABLE[level]
    return _rows(
        connection,
        level,
        f"WHERE {table}.id IN (SELECT value FROM json_each(?)) ORDER BY {table}.id",
        (json.dumps(list(ids)),),
    )


def by_uid(connection: Connection, level: Level, uids: Iterable[str]) -> list[Row]:
    """In the order of ids."""
    table = TABLE[level]
    return _rows(
        connection,
        level,
        f"WHERE {table}.{column(level.unique_key)} IN (SELECT value FROM json_each(?))"
        f" ORDER BY +{table}.id",
        (json.dumps(list(uids)),),
    )


def after(connection: Connection, level: Level, last: int, size: int) -> list[Row]:
    """The next `size` rows in the order of ids."""
    table = TABLE[level]
    return _rows(
        connection, level, f"WHERE {table}.id > ? ORDER BY {table}.id LIMIT ?", (last, size)
    )


def below(connection: Connection, parent: Row, level: Level, last: Row | None) -> list[Row]:
    """The next page of the rows below `parent`, which is of the level above."""
    columns = _ORDERED[level]
    key = (last.position, last.ids[level]) if last else (-(2**62), 0)
    rows = _rows(
        connection,
        level,
        f"WHERE {TABLE[level]}.parent = ? AND {columns} > (?, ?)"
        f" ORDER BY {columns.strip('()')} LIMIT {PAGE}",
        (parent.ids[Level(level - 1)], *key),
    )
    return [under(parent, row) for row in rows]


def under(parent: Row, row: Row) -> Row:
    """`row` with what its parent says. A study has what the patient's row would say itself."""
    if Level.STUDY in row.ids and Level.PATIENT in row.ids:
        return row
    return row._replace(
        ids={**parent.ids, **row.ids},
        values={**parent.values, **row.values},
        others={**parent.others, **row.others},
        aliases=parent.aliases,
    )


def with_ancestors(connection: Connection, level: Level, rows: Sequence[Row]) -> list[Row]:
    """Rows as read by id or UID, with what the rows above them say."""
    if level <= Level.STUDY or not rows:
        return list(rows)
    above = Level(level - 1)
    parents = with_ancestors(
        connection, above, by_id(connection, above, {row.ids[above] for row in rows})
    )
    known = {parent.ids[above]: parent for parent in parents}
    return [under(known[row.ids[above]], row) for row in rows if row.ids[above] in known]


def _rows(
    connection: Connection, level: Level, rest: str, parameters: Sequence[object]
) -> list[Row]:
    keywords = _KEYWORDS[level]
    build, end = _BUILD[level], len(keywords)
    return [
        build(dict(zip(keywords, row, strict=False)), row[end:])
        for row in connection.execute(f"{_SELECT[level]} {rest}", parameters).fetchall()
    ]


def _patient(values: Mapping[str, str], further: tuple[Any, ...]) -> Row:
    id_, others = further
    return Row({Level.PATIENT: id_}, 0, values, {Level.PATIENT: others})


def _study(values: Mapping[str, str], further: tuple[Any, ...]) -> Row:
    id_, patient, received_at, patient_others, others, aliases = further
    return Row(
        {Level.PATIENT: patient, Level.STUDY: id_},
        received_at,
        values,
        {Level.PATIENT: patient_others, Level.STUDY: others},
        json.loads(aliases) if aliases else {},
    )


def _series(values: Mapping[str, str], further: tuple[Any, ...]) -> Row:
    id_, study, position, others = further
    return Row({Level.STUDY: study, Level.SERIES: id_}, position, values, {Level.SERIES: others})


def _instance(values: Mapping[str, str], further: tuple[Any, ...]) -> Row:
    id_, series, position, *stored = further
    return Row(
        {Level.SERIES: series, Level.IMAGE: id_},
        position,
        values,
        {},
        stored=stored_instance(tuple(stored)),
    )


_BUILD = {
    Level.PATIENT: _patient,
    Level.STUDY: _study,
    Level.SERIES: _series,
    Level.IMAGE: _instance,
}


def aliases_of_patients(
    connection: Connection, ids: Sequence[int]
) -> dict[int, dict[str, list[str]]]:
    """By patient, what its studies are found by beside their own values."""
    found: dict[int, dict[str, list[str]]] = {}
    for patient, text in connection.execute(
        "SELECT parent, aliases FROM study WHERE parent IN (SELECT value FROM json_each(?))"
        " AND aliases <> ''",
        (json.dumps(ids),),
    ):
        for keyword, values in json.loads(text).items():
            found.setdefault(patient, {}).setdefault(keyword, []).extend(values)
    return found
