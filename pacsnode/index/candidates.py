"""Where a query begins: which rows, of which level, can match at all. The indexed keys decide; what
they leave is looked at row by row (select.py): more than matches may be named here, never less.

Where an indexed key leaves a few rows, these are read in one go. Where none does, their ids are
streamed, a bounded number at a time.
"""

import json
from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeVar

from pacsnode.dicom.level import Level
from pacsnode.dicom.query import Key, Query
from pacsnode.index import rows, terms
from pacsnode.index.database import Database
from pacsnode.index.rows import PAGE, Row

FIRST_PAGE = 50
FEW = 1_000
MANY = 10_000

Pages = Iterator[list[Row]]
Item = TypeVar("Item", int, str)


class _Owners(NamedTuple):
    """SQL that selects the ids of rows with a term, and its parameters."""

    sql: str
    parameters: tuple[object, ...]


def begin(database: Database, query: Query) -> tuple[Level, Pages]:
    """A level, and the pages of its rows that can match, each with what stands above it. Each page
    is one read transaction, over before the page is handed out."""
    for level in (Level.IMAGE, Level.SERIES, Level.STUDY):
        key = query.key(level.unique_key) if level <= query.level else None
        if key is not None and key.vr == "UI":
            return level, _by_uid(database, level, key.values)
    owners = {level: _owners(level, query.matching) for level in _term_levels(query.level)}
    for level, selections in owners.items():
        for selection in selections:
            ids = _few(database, selection)
            if ids is not None:
                return level, _by_ids(database, level, iter([ids]))
    for level, selections in owners.items():
        if selections:
            return level, _by_ids(database, level, _stream(database, selections))
    top = min(query.level, Level.STUDY)
    return top, _walk(database, top)


def _term_levels(level: Level) -> tuple[Level, ...]:
    """Levels whose terms can begin a query at `level`."""
    if level <= Level.STUDY:
        return (level,)
    return (Level.SERIES, Level.STUDY)


def _owners(level: Level, keys: Sequence[Key]) -> list[_Owners]:
    """Selections for each key that is searched by, in the order in which they are likely to select
    little."""
    kinds = terms.SERIES_TERMS if level == Level.SERIES else terms.STUDY_TERMS
    by_keyword = {key.keyword: key for key in terms.searched(keys)}
    return [
        _selection(level, spans)
        for kind in kinds
        if kind in by_keyword
        for spans in terms.selections(by_keyword[kind])
    ]


def _selection(level: Level, spans: Sequence[terms.Span]) -> _Owners:
    table = "series_term" if level == Level.SERIES else "study_term"
    # A patient is found by what its studies are found by.
    owner, join = ("owner", "")
    if level == Level.PATIENT:
        owner, join = ("study.parent", " CROSS JOIN study ON study.id = study_term.owner")
    select = f"SELECT {owner} AS id FROM {table}{join} WHERE kind = ?"
    # However many single values there are, SQLite sees one list for each kind.
    singles: dict[str, list[str]] = {}
    for span in spans:
        if span.is_single:
            singles.setdefault(span.kind, []).append(span.low)
    parts = [f"{select} AND value IN (SELECT value FROM json_each(?))"] * len(singles)
    parameters = [part for kind, values in singles.items() for part in (kind, json.dumps(values))]
    for span in spans:
        if not span.is_single:
            glob = " AND value GLOB ?" if span.pattern else ""
            parts.append(f"{select} AND value >= ? AND value <= ?{glob}")
            pattern = [span.pattern] if span.pattern else []
            parameters += [span.kind, span.low, span.high, *pattern]
    return _Owners(" UNION ALL ".join(parts), tuple(parameters))


def _few(database: Database, selection: _Owners) -> list[int] | None:
    """All ids that a selection has, in order; None where they are more than a few."""
    with database.reading() as connection:
        found = connection.execute(
            f"{selection.sql} LIMIT {FEW + 1}", selection.parameters
        ).fetchall()
    if len(found) > FEW:
        return None
    return sorted({id_ for (id_,) in found})


def _stream(database: Database, selections: Sequence[_Owners]) -> Iterator[list[int]]:
    """Ids that all selections have, in order, up to MANY at a time."""
    common = " INTERSECT ".join(f"SELECT id FROM ({each.sql}) WHERE id > ?" for each in selections)
    last = 0
    while True:
        parameters: list[object] = []
        for each in selections:
            parameters += [*each.parameters, last]
        with database.reading() as connection:
            found = connection.execute(
                f"SELECT DISTINCT id FROM ({common}) ORDER BY id LIMIT {MANY}", parameters
            ).fetchall()
        if not found:
            return
        yield [id_ for (id_,) in found]
        last = found[-1][0]


def _by_ids(database: Database, level: Level, lists: Iterator[list[int]]) -> Pages:
    for ids in lists:
        for part in _parts(ids):
            with database.reading() as connection:
                page = rows.by_id(connection, level, part)
                page = rows.with_ancestors(connection, level, page)
            yield page


def _by_uid(database: Database, level: Level, uids: Sequence[str]) -> Pages:
    for part in _parts(list(dict.fromkeys(uids))):
        with database.reading() as connection:
            page = rows.by_uid(connection, level, part)
            page = rows.with_ancestors(connection, level, page)
        yield page


def _parts(items: list[Item]) -> Iterator[list[Item]]:
    """A few first, so that the first answer does not wait for what is counted of hundreds."""
    if items:
        yield items[:FIRST_PAGE]
    for start in range(FIRST_PAGE, len(items), PAGE):
        yield items[start : start + PAGE]


def _walk(database: Database, level: Level) -> Pages:
    last, size = 0, FIRST_PAGE
    while True:
        with database.reading() as connection:
            page = rows.after(connection, level, last, size)
        if not page:
            return
        last, size = page[-1].ids[level], PAGE
        yield page
