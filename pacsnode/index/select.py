"""A query to the rows that match it. It begins at the level where the indexed keys leave the fewest
rows (candidates.py), and from there goes down a page at a time. dicom/match.py decides about each
row, so that there is one place that says what matching means."""

from collections.abc import Iterator
from dataclasses import replace

from pacsnode.dicom.instance import StoredInstance
from pacsnode.dicom.level import COMPUTED, Level
from pacsnode.dicom.query import Query
from pacsnode.index import candidates, computed, fold, rows
from pacsnode.index.conditions import Conditions, MatchFile
from pacsnode.index.database import Database
from pacsnode.index.records import Match
from pacsnode.index.rows import Row

_ANSWERED = frozenset(
    keyword for level in Level for keyword in (*COMPUTED[level], "InstanceAvailability")
)


def find(database: Database, query: Query, match_file: MatchFile) -> Iterator[list[Match]]:
    asked = [key.keyword for key in query.returned if key.keyword in _ANSWERED]
    for page in _matching(database, query, match_file):
        if not asked:
            yield [_match(query.level, row, {}) for row in page]
            continue
        with database.reading() as connection:
            answers = computed.values(connection, query.level, page, asked)
        yield [_match(query.level, row, answer) for row, answer in zip(page, answers, strict=True)]


def select(database: Database, query: Query, match_file: MatchFile) -> Iterator[StoredInstance]:
    """All instances below what matches; of each study in the order of series and instances."""
    below = _below_patients(query, match_file) if query.level == Level.PATIENT else None
    for page in _matching(database, query, match_file):
        for instances in _down(database, query.level, Level.IMAGE, page, below):
            yield from (row.stored for row in instances if row.stored is not None)


def _below_patients(query: Query, match_file: MatchFile) -> Conditions:
    """A patient may be found by the PatientID or name that one study of theirs carries besides:
    then only this study is meant, not whatever else the patient has."""
    keys = tuple(key for key in query.matching if key.keyword in fold.ALIASED)
    return Conditions(replace(query, level=Level.STUDY, matching=keys), match_file)


def _match(level: Level, row: Row, answer: dict[str, tuple[str, ...]]) -> Match:
    return Match(level, row.values, row.others, answer, row.stored)


def _matching(database: Database, query: Query, match_file: MatchFile) -> Iterator[list[Row]]:
    """Pages of the rows that match; an empty one now and then where none does for long."""
    conditions = Conditions(query, match_file)
    for page in _by_rows(database, query, conditions):
        if conditions.need_files:
            # One by one: none waits for another's file.
            yield from ([row] if conditions.met_by_file(row) else [] for row in page)
        else:
            yield page


def _by_rows(database: Database, query: Query, conditions: Conditions) -> Iterator[list[Row]]:
    """Pages of the rows that meet all conditions which are not their files'; an empty one for each
    page of candidates that leads to none."""
    begin, pages = candidates.begin(database, query)
    for page in pages:
        for level in Level:
            if level <= begin:
                page = conditions.kept(database, level, page)
        is_empty = True
        for found in _down(database, begin, query.level, page, conditions):
            is_empty = False
            yield found
        if is_empty:
            yield []


def _down(
    database: Database, level: Level, to: Level, page: list[Row], conditions: Conditions | None
) -> Iterator[list[Row]]:
    """From rows of one level to those below them that meet the conditions."""
    if level == to:
        if page:
            yield page
        return
    below = Level(level + 1)
    for parent in page:
        for children in _children(database, parent, below):
            kept = conditions.kept(database, below, children) if conditions else children
            yield from _down(database, below, to, kept, conditions)


def _children(database: Database, parent: Row, level: Level) -> Iterator[list[Row]]:
    last = None
    while True:
        with database.reading() as connection:
            page = rows.below(connection, parent, level, last)
        if page:
            yield page
        if len(page) < rows.PAGE:
            return
        last = page[-1]
