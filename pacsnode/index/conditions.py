"""Whether a row meets the keys of its level: in its columns, in its further attributes (DICOM
JSON), in what is computed from the rows below, or in its file."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from pacsnode.dicom.instance import StoredInstance
from pacsnode.dicom.json import text_of
from pacsnode.dicom.level import COLUMNS, Level
from pacsnode.dicom.match import matcher
from pacsnode.dicom.query import Key, Query
from pacsnode.index import fold, rows
from pacsnode.index.database import Database
from pacsnode.index.modalities import MODALITIES
from pacsnode.index.moments import OfMoment, of_moment
from pacsnode.index.rows import Row

# Whether an instance's file meets the keys that are in no column.
MatchFile = Callable[[StoredInstance, Sequence[Key]], bool]

Meets = Callable[[Iterable[str]], bool]


class _OfColumn(NamedTuple):
    """What a column's values have to meet."""

    keyword: str
    meets: Meets

    def met_by(self, row: Row) -> bool:
        text = row.values[self.keyword]
        if self.meets(text.split("\\") if text else ()):
            return True
        aliases = row.aliases.get(self.keyword, ())
        return self.meets(part for alias in aliases for part in alias.split("\\"))


class _OfOthers(NamedTuple):
    """What one of a row's further attributes has to meet."""

    level: Level
    name: str
    meets: "MeetsAttribute"

    def met_by(self, row: Row) -> bool:
        text = row.others.get(self.level)
        return self.meets(json.loads(text).get(self.name, {}) if text else {})


class Conditions:
    """The keys of a query, sorted by the rows that have to meet them, and prepared for many.
    `need_files`: there are such as only an instance's file can tell."""

    def __init__(self, query: Query, match_file: MatchFile) -> None:
        self._match_file = match_file
        self._columns: dict[Level, list[_OfColumn]] = {level: [] for level in Level}
        self._others: dict[Level, list[_OfOthers]] = {level: [] for level in Level}
        self._of_file: list[Key] = []
        # Lists of UIDs may be long: one look-up for each row, not one comparison for each value.
        self._uids: dict[Level, list[tuple[str, frozenset[str]]]] = {level: [] for level in Level}
        self._moments: dict[Level, list[OfMoment]] = {level: [] for level in Level}
        self.need_files = any(moment.is_in_files for moment in query.moments)
        for key in query.matching:
            self._sort(key, _row_of(key.level, query.level))
        for moment in query.moments:
            if not moment.is_in_files:
                row = _row_of(moment.level, query.level)
                self._moments[row].append(of_moment(moment, query.timezone))

    def _sort(self, key: Key, row: Level) -> None:
        if key.keyword in COLUMNS[key.level] and key.vr == "UI":
            self._uids[row].append((key.keyword, frozenset(key.values)))
        elif key.keyword in COLUMNS[key.level] or key.keyword == MODALITIES:
            self._columns[row].append(_OfColumn(key.keyword, matcher(key)))
        elif row == Level.IMAGE:
            self._of_file.append(key)
            self.need_files = True
        else:
            of_others = _OfOthers(key.level, f"{key.tag:08X}", attribute_matcher(key))
            self._others[row].append(of_others)

    def kept(self, database: Database, level: Level, page: list[Row]) -> list[Row]:
        """Those rows of a page that meet the keys of `level`, but for what only files can tell."""
        columns = self._columns[level]
        if level == Level.PATIENT and any(key.keyword in fold.ALIASED for key in columns):
            page = _with_aliases(database, page)
        for keyword, uids in self._uids[level]:
            page = [row for row in page if row.values[keyword] in uids]
        for column in columns:
            page = [row for row in page if column.met_by(row)]
        for others in self._others[level]:
            page = [row for row in page if others.met_by(row)]
        for moment in self._moments[level]:
            page = [row for row in page if moment.met_by(row)]
        return page

    def met_by_file(self, row: Row) -> bool:
        return row.stored is not None and self._match_file(row.stored, self._of_file)


def _row_of(level: Level, asked: Level) -> Level:
    """Below the patient level it is the study's own patient attributes that count."""
    return max(level, Level.STUDY) if asked > Level.PATIENT else level


def _with_aliases(database: Database, page: list[Row]) -> list[Row]:
    """A patient is found by what its studies are found by."""
    with database.reading() as connection:
        found = rows.aliases_of_patients(connection, [row.ids[Level.PATIENT] for row in page])
    return [row._replace(aliases=found.get(row.ids[Level.PATIENT], {})) for row in page]


MeetsAttribute = Callable[[Mapping[str, Any]], bool]


def attribute_matcher(key: Key) -> MeetsAttribute:
    """Whether an attribute of the DICOM JSON Model meets a key, prepared for many."""
    if not key.items:
        meets = matcher(key)
        return lambda attribute: meets(_texts(attribute))
    wanted = [
        (f"{inner.tag:08X}", attribute_matcher(inner))
        for inner in key.items
        if not inner.is_universal
    ]
    return lambda attribute: any(
        all(meets_inner(item.get(name, {})) for name, meets_inner in wanted)
        for item in attribute.get("Value", ())
        if isinstance(item, Mapping)
    )


def _texts(attribute: Mapping[str, Any]) -> list[str]:
    """The values of an attribute that is no sequence."""
    if attribute.get("vr") == "SQ":
        return []
    return [text_of(value) for value in attribute.get("Value", ())]
