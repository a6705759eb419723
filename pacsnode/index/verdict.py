"""Why a study matches a query, or does not: the same conditions as in a search (conditions.py),
asked key by key."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from pacsnode.dicom.instance import StoredInstance
from pacsnode.dicom.json import text_of
from pacsnode.dicom.level import COLUMNS, Level
from pacsnode.dicom.query import Key, Query
from pacsnode.index import rows, write
from pacsnode.index.conditions import Conditions, MatchFile
from pacsnode.index.database import Database
from pacsnode.index.modalities import MODALITIES
from pacsnode.index.rows import Connection, Row


class KeyVerdict(NamedTuple):
    """Whether a key is met, by a row of `level`; `stored` are the values there, `aliases` others
    that instances of the study carry. `is_in_file`: only the instance's file has the value."""

    key: Key
    is_met: bool
    level: Level
    stored: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    is_in_file: bool = False


class Verdict(NamedTuple):
    """Whether anything of a study matches a query. `keys` in the order of the query's, asked of the
    series and instance that come nearest: `values` are those of their rows, `first` by level the
    instance that was received first of them."""

    is_match: bool
    keys: tuple[KeyVerdict, ...]
    values: Mapping[str, str]
    first: Mapping[Level, StoredInstance]


class _Judge(NamedTuple):
    """One key of a query, by itself."""

    key: Key
    conditions: Conditions
    level: Level  # of the rows that it is asked of

    def is_met(self, database: Database, row: Row) -> bool:
        if self.conditions.need_files:
            return self.conditions.met_by_file(row)
        return bool(self.conditions.kept(database, self.level, [row]))


class _Path(NamedTuple):
    """Rows from the study (the patient) down, and how many keys they meet."""

    rows: Mapping[Level, Row]
    met: int


def verdict(
    database: Database, study_instance_uid: str, query: Query, match_file: MatchFile
) -> Verdict | None:
    """None where the study is not here."""
    with database.reading() as connection:
        found = rows.by_uid(connection, Level.STUDY, [study_instance_uid])
        if found and query.level is Level.PATIENT:
            found = rows.by_id(connection, Level.PATIENT, [found[0].ids[Level.PATIENT]])
    if not found:
        return None
    judges = [_judge(key, query, match_file) for key in query.matching]
    best = _nearest(database, found[0], query.level, judges)
    if best is None:
        return None
    return Verdict(
        best.met == len(judges),
        tuple(_key_verdict(database, judge, best) for judge in judges),
        best.rows[max(best.rows)].values,
        _first_received(database, study_instance_uid, best),
    )


def _judge(key: Key, query: Query, match_file: MatchFile) -> _Judge:
    level = max(key.level, Level.STUDY) if query.level > Level.PATIENT else key.level
    return _Judge(key, Conditions(replace(query, matching=(key,)), match_file), level)


def _nearest(database: Database, row: Row, level: Level, judges: Sequence[_Judge]) -> _Path | None:
    """The path that meets most keys; the first of several. None where the study goes meanwhile."""
    top = min(level, Level.STUDY)
    best = None
    for path in _paths(database, _judged(database, _Path({}, 0), top, row, judges), level, judges):
        if best is None or path.met > best.met:
            best = path
        if best.met == len(judges):
            break
    return best


def _judged(
    database: Database, path: _Path, level: Level, row: Row, judges: Sequence[_Judge]
) -> _Path:
    """A path with one more row. Files are asked only where nothing else is in the way."""
    at = [judge for judge in judges if judge.level == level]
    met = sum(judge.is_met(database, row) for judge in at if not judge.conditions.need_files)
    in_file = [judge for judge in at if judge.conditions.need_files]
    if path.met + met + len(in_file) == len(judges):
        met += sum(judge.is_met(database, row) for judge in in_file)
    return _Path({**path.rows, level: row}, path.met + met)


def _paths(database: Database, path: _Path, to: Level, judges: Sequence[_Judge]) -> Iterator[_Path]:
    """All paths from here down to a level."""
    level = max(path.rows)
    if level == to:
        yield path
        return
    below = Level(level + 1)
    for row in _children(database, path.rows[level], below):
        yield from _paths(database, _judged(database, path, below, row, judges), to, judges)


def _children(database: Database, parent: Row, level: Level) -> Iterator[Row]:
    last = None
    while True:
        with database.reading() as connection:
            page = rows.below(connection, parent, level, last)
        yield from page
        if len(page) < rows.PAGE:
            return
        last = page[-1]


def _key_verdict(database: Database, judge: _Judge, path: _Path) -> KeyVerdict:
    row = path.rows[judge.level]
    key, is_met = judge.key, judge.is_met(database, row)
    if judge.conditions.need_files:
        return KeyVerdict(key, is_met, judge.level, is_in_file=True)
    if key.keyword not in COLUMNS[key.level] and key.keyword != MODALITIES:
        return KeyVerdict(key, is_met, judge.level, tuple(_of_others(row, key)))
    with database.reading() as connection:
        found = _aliases(connection, row).get(key.keyword, ())
    aliases = tuple(part for alias in found for part in alias.split("\\"))
    text = row.values[key.keyword]
    stored = tuple(text.split("\\")) if text else ()
    return KeyVerdict(key, is_met, judge.level, stored, aliases)


def _aliases(connection: Connection, row: Row) -> Mapping[str, Sequence[str]]:
    if Level.STUDY in row.ids:
        return row.aliases
    patient = row.ids[Level.PATIENT]
    return rows.aliases_of_patients(connection, [patient]).get(patient, {})


def _of_others(row: Row, key: Key) -> Iterator[str]:
    """The values of an attribute that is kept as DICOM JSON; of a sequence those of its items."""
    attributes = json.loads(row.others.get(key.level) or "{}")
    yield from _texts(attributes.get(f"{key.tag:08X}", {}), key)


def _texts(attribute: Mapping[str, Any], key: Key) -> Iterator[str]:
    for value in attribute.get("Value", ()):
        if attribute.get("vr") != "SQ":
            yield text_of(value)
            continue
        for inner in key.items:
            for text in _texts(value.get(f"{inner.tag:08X}", {}), inner):
                yield f"{inner.keyword}={text}"


_FIRST = (
    f"SELECT {write.STORED_COLUMNS} FROM study"
    " CROSS JOIN series ON series.parent = study.id AND (? OR series.id = ?)"
    " CROSS JOIN instance ON instance.parent = series.id"
    " LEFT JOIN lost ON lost.sop_instance_uid = instance.sop_instance_uid"
    " WHERE study.study_instance_uid = ? ORDER BY instance.received_at, instance.id LIMIT 1"
)


def _first_received(
    database: Database, study_instance_uid: str, path: _Path
) -> dict[Level, StoredInstance]:
    """Of the study, of the series, of the instance: what a file can be read of."""
    lowest = path.rows[max(path.rows)]
    found: dict[Level, StoredInstance] = {}
    for level in Level:
        if level > max(Level.STUDY, *path.rows):
            break
        if level is Level.IMAGE and lowest.stored is not None:
            found[level] = lowest.stored
            continue
        series = lowest.ids.get(Level.SERIES, 0) if level is Level.SERIES else 0
        with database.reading() as connection:
            row = connection.execute(_FIRST, (not series, series, study_instance_uid)).fetchone()
        if row:
            found[level] = write.stored_instance(row)
    return found
