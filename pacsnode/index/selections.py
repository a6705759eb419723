"""What keys select by the terms of studies and series: sized, read whole where they are few, or
streamed in bounded steps, each a read transaction of its own, however many terms there are and
however few of them fit."""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pacsnode.dicom.level import Level
from pacsnode.dicom.query import Key
from pacsnode.index import modalities, terms
from pacsnode.index.database import Database
from pacsnode.index.terms import Span

Connection = sqlite3.Connection

# Terms that are gone through in one step: few at first, for the first answer's sake.
FIRST_STEP = 200
STEP = 20_000
_GROWTH = 4

# Among the kinds of STUDY_TERMS: a modality with its date leaves fewer than the date.
_BEFORE_MODALITIES = terms.STUDY_TERMS.index("StudyDate")

_LAST_ID = 2**63 - 1


class Selection(NamedTuple):
    """Rows of a level that have a term in one of the spans. Every row that meets the key is one."""

    level: Level
    spans: tuple[Span, ...]

    @property
    def table(self) -> str:
        return "series_term" if self.level == Level.SERIES else "study_term"

    @property
    def ids(self) -> tuple[str, str]:
        """The column that has the rows' ids, and what joins it to `term`. A patient is found by
        what its studies are found by."""
        if self.level == Level.PATIENT:
            return "study.parent", " CROSS JOIN study ON study.id = term.owner"
        return "term.owner", ""


def selections(level: Level, keys: Sequence[Key]) -> list[Selection]:
    """In the order in which they are likely to be small."""
    by_keyword = {key.keyword: key for key in terms.searched(keys)}
    kinds = terms.SERIES_TERMS if level == Level.SERIES else terms.STUDY_TERMS
    found = [terms.selections(by_keyword[each]) if each in by_keyword else [] for each in kinds]
    if level != Level.SERIES:
        found.insert(_BEFORE_MODALITIES, modalities.selections(by_keyword))
    return [Selection(level, tuple(spans)) for each in found for spans in each if spans]


def size(database: Database, selection: Selection, most: int) -> int:
    """How many terms there are in its spans, patterns aside; `most` at most."""
    counted = 0
    with database.reading() as connection:
        for span in selection.spans:
            counted += _count(connection, selection, _Place(span, span.low), most - counted)
            if counted >= most:
                break
    return counted


def whole(database: Database, selection: Selection) -> list[int]:
    """Its ids, in order."""
    with database.reading() as connection:
        found = [
            id_
            for span in selection.spans
            for id_ in _ids(
                connection, selection, (), _Place(span, span.low), (span.high, _LAST_ID)
            )
        ]
    return sorted(set(found))


def stream(
    database: Database, selection: Selection, others: Sequence[Selection]
) -> Iterator[list[int]]:
    """Ids that it and all `others`, which are of the same level, have; none twice. Of each step
    there is a list, be it empty."""
    seen = _Seen()
    spans = list(reversed(selection.spans))
    place = None
    step = FIRST_STEP
    while place is not None or spans:
        with database.reading() as connection:
            found: list[int] = []
            left = step
            while left > 0 and (place is not None or spans):
                if place is None:
                    span = spans.pop()
                    place = _Place(span, span.low)
                end = _end(connection, selection, place, left)
                left -= end.passed
                found += _ids(connection, selection, others, place, end.at)
                place = end.place
        yield sorted(id_ for id_ in found if seen.is_new(id_))
        step = min(step * _GROWTH, STEP)


class _Place(NamedTuple):
    """Behind this term of this owner, in a span."""

    span: Span
    value: str
    owner: int = 0  # before all of them


class _End(NamedTuple):
    """Where a step ends: at a term and its owner, so many behind its beginning; `place` is where
    the next one begins, None at the end of the span."""

    at: tuple[str, int]
    passed: int
    place: _Place | None


def _end(connection: Connection, selection: Selection, place: _Place, most: int) -> _End:
    row = connection.execute(
        f"SELECT term.value, term.owner {_behind(selection)}"
        " ORDER BY term.value, term.owner LIMIT 1 OFFSET ?",
        (*_behind_parameters(place), most - 1),
    ).fetchone()
    if row is not None:
        return _End(row, most, place._replace(value=row[0], owner=row[1]))
    # At least one, so that spans without any term come to an end as well.
    passed = max(1, _count(connection, selection, place, most))
    return _End((place.span.high, _LAST_ID), passed, None)


def _count(connection: Connection, selection: Selection, place: _Place, most: int) -> int:
    (counted,) = connection.execute(
        f"SELECT count(*) FROM (SELECT 1 {_behind(selection)} LIMIT ?)",
        (*_behind_parameters(place), most),
    ).fetchone()
    return int(counted)


def _behind(selection: Selection) -> str:
    return (
        f"FROM {selection.table} AS term WHERE term.kind = ? AND (term.value, term.owner) > (?, ?)"
        " AND term.value <= ?"
    )


def _behind_parameters(place: _Place) -> tuple[object, ...]:
    return place.span.kind, place.value, place.owner, place.span.high


def _ids(
    connection: Connection,
    selection: Selection,
    others: Sequence[Selection],
    place: _Place,
    end: tuple[str, int],
) -> list[int]:
    span = place.span
    column, join = selection.ids
    query = (
        f"SELECT {column} FROM {selection.table} AS term{join} WHERE term.kind = ?"
        " AND (term.value, term.owner) > (?, ?) AND (term.value, term.owner) <= (?, ?)"
    )
    parameters: list[object] = [span.kind, place.value, place.owner, *end]
    if span.pattern:
        query += " AND term.value GLOB ?"
        parameters.append(span.pattern)
    for other in others:
        condition, further = _has_term(other)
        query += f" AND {condition}"
        parameters += further
    return [id_ for (id_,) in connection.execute(query, parameters)]


def _has_term(selection: Selection) -> tuple[str, list[object]]:
    """Whether the row that `term` has led to is in another selection."""
    if selection.level == Level.PATIENT:
        of_row = (
            "study AS sibling CROSS JOIN study_term AS other ON other.owner = sibling.id"
            " WHERE sibling.parent = study.parent"
        )
    else:
        of_row = f"{selection.table} AS other WHERE other.owner = term.owner"
    singles: dict[str, list[str]] = {}
    for span in selection.spans:
        if span.is_single:
            singles.setdefault(span.kind, []).append(span.low)
    # However many single values there are, SQLite sees one list for each kind.
    fits = ["other.kind = ? AND other.value IN (SELECT value FROM json_each(?))"] * len(singles)
    parameters = [each for kind, texts in singles.items() for each in (kind, json.dumps(texts))]
    for span in selection.spans:
        if not span.is_single:
            fits.append("other.kind = ? AND other.value >= ? AND other.value <= ?")
            parameters += [span.kind, span.low, span.high]
    return f"EXISTS (SELECT 1 FROM {of_row} AND ({' OR '.join(fits)}))", list(parameters)


class _Seen:
    """Which ids there were, a bit for each: a row may have several terms of one selection."""

    _BITS = 1 << 13

    def __init__(self) -> None:
        self._parts: dict[int, bytearray] = {}

    def is_new(self, id_: int) -> bool:
        number, bit = divmod(id_, self._BITS)
        part = self._parts.setdefault(number, bytearray(self._BITS // 8))
        at, mask = bit >> 3, 1 << (bit & 7)
        if part[at] & mask:
            return False
        part[at] |= mask
        return True
