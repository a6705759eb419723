"""Where a query begins: which rows, of which level, can match at all. The indexed keys decide; what
they leave is looked at row by row (select.py): more than matches may be named here, never less.

Where an indexed key leaves a few rows, these are read in one go. Where none does, their ids are
streamed, a bounded number at a time.
"""

from collections.abc import Iterator, Sequence
from typing import TypeVar

from pacsnode.dicom.level import Level
from pacsnode.dicom.query import Query
from pacsnode.index import rows
from pacsnode.index.database import Database
from pacsnode.index.rows import PAGE, Row
from pacsnode.index.selections import Selection, selections, size, stream, whole

FIRST_PAGE = 50
FEW = 1_000

# Terms of one selection that are counted at most, to tell which of several is the smallest.
COUNTED = 20_000

Pages = Iterator[list[Row]]
Item = TypeVar("Item", int, str)


def begin(database: Database, query: Query) -> tuple[Level, Pages]:
    """A level, and the pages of its rows that can match, each with what stands above it. Each page
    is one read transaction, over before the page is handed out."""
    for level in (Level.IMAGE, Level.SERIES, Level.STUDY):
        key = query.key(level.unique_key) if level <= query.level else None
        if key is not None and key.vr == "UI":
            return level, _by_uid(database, level, key.values)
    found = {level: selections(level, query.matching) for level in _term_levels(query.level)}
    everything = [selection for of_level in found.values() for selection in of_level]
    # Where there is nothing to choose from it is enough to know that it is more than a few.
    most = COUNTED if len(everything) > 1 else FEW + 1
    sizes: dict[Selection, int] = {}
    for selection in everything:
        sizes[selection] = size(database, selection, most)
        if sizes[selection] <= FEW:
            return selection.level, _by_ids(database, selection.level, _once(database, selection))
    if sizes:
        smallest = min(sizes, key=lambda each: sizes[each])
        others = [each for each in found[smallest.level] if each != smallest]
        ids = stream(database, smallest, others)
        return smallest.level, _by_ids(database, smallest.level, ids)
    top = min(query.level, Level.STUDY)
    return top, _walk(database, top)


def _term_levels(level: Level) -> tuple[Level, ...]:
    """Levels whose terms can begin a query at `level`."""
    if level <= Level.STUDY:
        return (level,)
    return (Level.SERIES, Level.STUDY)


def _once(database: Database, selection: Selection) -> Iterator[list[int]]:
    yield whole(database, selection)


def _by_ids(database: Database, level: Level, lists: Iterator[list[int]]) -> Pages:
    for ids in lists:
        if not ids:
            yield []
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
