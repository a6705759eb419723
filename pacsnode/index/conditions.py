"""Whether a row meets the keys of its level: in its columns, in its further attributes (DICOM
JSON), in what is computed from the rows below, or in its file."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pacsnode.dicom.instance import StoredInstance
from pacsnode.dicom.json import text_of
from pacsnode.dicom.level import COLUMNS, Level
from pacsnode.dicom.match import matches
from pacsnode.dicom.query import Key, Query
from pacsnode.index import computed, fold, rows
from pacsnode.index.database import Database
from pacsnode.index.rows import Row

# Whether an instance's file meets the keys that are in no column.
MatchFile = Callable[[StoredInstance, Sequence[Key]], bool]

MODALITIES = "ModalitiesInStudy"


class Conditions:
    """The keys of a query, sorted by the rows that have to meet them."""

    def __init__(self, query: Query, match_file: MatchFile) -> None:
        self._match_file = match_file
        self._columns: dict[Level, list[Key]] = {level: [] for level in Level}
        self._others: dict[Level, list[Key]] = {level: [] for level in Level}
        # Lists of UIDs may be long: one look-up for each row, not one comparison for each value.
        self._uids: dict[Level, list[tuple[str, frozenset[str]]]] = {level: [] for level in Level}
        self._modalities: list[Key] = []
        for key in query.matching:
            self._sort(key, query.level)

    def _sort(self, key: Key, level: Level) -> None:
        # Below the patient level it is the study's own patient attributes that count.
        row = max(key.level, Level.STUDY) if level > Level.PATIENT else key.level
        if key.keyword == MODALITIES:
            self._modalities.append(key)
        elif key.keyword in COLUMNS[key.level] and key.vr == "UI":
            self._uids[row].append((key.keyword, frozenset(key.values)))
        elif key.keyword in COLUMNS[key.level]:
            self._columns[row].append(key)
        else:
            self._others[row].append(key)

    def kept(self, database: Database, level: Level, page: list[Row]) -> list[Row]:
        """Those rows of a page that meet the keys of `level`, but for what only files can tell."""
        columns = self._columns[level]
        if level == Level.PATIENT and any(key.keyword in fold.ALIASED for key in columns):
            page = _with_aliases(database, page)
        for keyword, uids in self._uids[level]:
            page = [row for row in page if row.values[keyword] in uids]
        for key in columns:
            page = [row for row in page if _meets(row, key)]
        if level == Level.STUDY and self._modalities:
            page = self._with_modalities(database, page)
        others = self._others[level]
        if not others or level == Level.IMAGE:
            return page
        return [row for row in page if all(_meets_json(row, key) for key in others)]

    @property
    def need_files(self) -> bool:
        """Whether there are keys that only an instance's file can tell."""
        return bool(self._others[Level.IMAGE])

    def met_by_file(self, row: Row) -> bool:
        return row.stored is not None and self._match_file(row.stored, self._others[Level.IMAGE])

    def _with_modalities(self, database: Database, page: list[Row]) -> list[Row]:
        with database.reading() as connection:
            found = computed.listed(connection, MODALITIES, {row.ids[Level.STUDY] for row in page})
        return [
            row
            for row in page
            if all(matches(key, found.get(row.ids[Level.STUDY], ())) for key in self._modalities)
        ]


def _with_aliases(database: Database, page: list[Row]) -> list[Row]:
    """A patient is found by what its studies are found by."""
    with database.reading() as connection:
        found = rows.aliases_of_patients(connection, [row.ids[Level.PATIENT] for row in page])
    return [row._replace(aliases=found.get(row.ids[Level.PATIENT], {})) for row in page]


def _meets(row: Row, key: Key) -> bool:
    text = row.values[key.keyword]
    if matches(key, text.split("\\") if text else ()):
        return True
    aliases = row.aliases.get(key.keyword, ())
    return matches(key, [part for alias in aliases for part in alias.split("\\")])


def _meets_json(row: Row, key: Key) -> bool:
    text = row.others.get(key.level)
    return meets_attribute(key, json.loads(text).get(f"{key.tag:08X}", {}) if text else {})


def meets_attribute(key: Key, attribute: Mapping[str, Any]) -> bool:
    """Whether an attribute of the DICOM JSON Model meets a key."""
    content = attribute.get("Value", ())
    if key.items:
        wanted = [inner for inner in key.items if not inner.is_universal]
        return any(
            all(meets_attribute(inner, item.get(f"{inner.tag:08X}", {})) for inner in wanted)
            for item in content
            if isinstance(item, Mapping)
        )
    return matches(key, [text_of(value) for value in content if not _is_item(attribute)])


def _is_item(attribute: Mapping[str, Any]) -> bool:
    return attribute.get("vr") == "SQ"
