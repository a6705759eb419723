"""From an index that is being rebuilt to its successor: what the storage tree cannot tell. The old
file may be damaged: it is read past the library, row by row, from both ends."""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from peewee import Model

from pacsnode.dicom.instance import Instance, StoredInstance
from pacsnode.dicom.level import COLUMNS, Level
from pacsnode.errors import SchemaTooNew
from pacsnode.index import fold
from pacsnode.index.database import Database
from pacsnode.index.schema import SCHEMA_VERSION, too_new
from pacsnode.index.tables import NOTES, Copy, Flag, Lost, column
from pacsnode.index.write import INSTANCE_KEYWORDS, STORED_COLUMNS, stored_instance

Row = tuple[object, ...]


class LostInstance(NamedTuple):
    """An instance marked as lost; its header and row only where the old index still has them."""

    sop_instance_uid: str
    instance: Instance | None = None
    stored: StoredInstance | None = None


class OldIndex:
    """An index file that may be anything, or nothing. To be closed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection: sqlite3.Connection | None = None
        if path.exists() and path.stat().st_size > 0:
            self._connection = sqlite3.connect(path)
        # Why each table was not read to its end.
        self.faults: list[str] = []

    def close(self) -> None:
        """Brings a write-ahead log into the file, if that can be done."""
        if self._connection is not None:
            self._connection.close()

    @property
    def archive_id(self) -> str | None:
        """Whose index it is, if that can be read. Raises SchemaTooNew."""
        found, _ = self._read("SELECT archive_id, schema_version FROM archive")
        if not found:
            return None
        archive_id, version = found[0]
        if isinstance(version, int) and version > SCHEMA_VERSION:
            raise SchemaTooNew(too_new(self.path, version))
        return str(archive_id)

    @property
    def has_instances(self) -> bool:
        """Whether it is known to have any."""
        return bool(self._read("SELECT 1 FROM instance LIMIT 1")[0])

    def copies(self) -> Iterator[bytes]:
        """Files that may be nowhere else; less those that the index is known not to have."""
        for uid, received_at in self._rows(Copy, ["sop_instance_uid", "received_at"]):
            key = (uid, received_at)
            known, fault = self._read(
                "SELECT 1 FROM instance WHERE sop_instance_uid = ? AND received_at = ?", key
            )
            if known or fault is not None:
                found, _ = self._read(
                    "SELECT content FROM copy WHERE sop_instance_uid = ? AND received_at = ?", key
                )
                for (content,) in found:
                    if isinstance(content, bytes):
                        yield content

    def lost(self) -> Iterator[LostInstance]:
        """Instances marked as lost, with what is known of them."""
        for (uid,) in self._rows(Lost, ["sop_instance_uid"]):
            found, _ = self._read(_LOST_INSTANCE, (uid,))
            yield _lost(str(uid), found[0]) if found else LostInstance(str(uid))

    def carry_notes(self, database: Database) -> None:
        """Copy the tables of NOTES. What was copied before, and is no more, goes; except flags, for
        instances that were added meanwhile may have come with theirs."""
        for table in NOTES:
            columns = [name for name in table._meta.sorted_field_names if name != "id"]  # noqa: SLF001
            before = len(self.faults)
            rows = self._rows(table, columns)
            is_whole = len(self.faults) == before and self._connection is not None
            _put(database, table, columns, rows, anew=is_whole and table is not Flag)

    def _rows(self, table: type[Model], columns: Sequence[str]) -> list[Row]:
        """All that can be read: where a page is damaged, those before and those behind it."""
        meta = table._meta  # noqa: SLF001  # so peewee names what it documents
        key = [field.column_name for field in meta.get_primary_keys()]
        select = f"SELECT {', '.join(columns)} FROM {meta.table_name} ORDER BY "
        rows, fault = self._read(select + ", ".join(key))
        if fault is not None and not self._is_older_than(meta.table_name):
            self.faults.append(f"{self.path}: {meta.table_name}: {fault}")
            behind, _ = self._read(select + ", ".join(f"{name} DESC" for name in key))
            known = set(rows)
            rows += [row for row in reversed(behind) if row not in known]
        return rows

    def _is_older_than(self, table: str) -> bool:
        """Whether it was written by a pacsnode that did not know this table."""
        versions, _ = self._read("SELECT schema_version FROM archive")
        named, _ = self._read("SELECT 1 FROM sqlite_master WHERE name = ?", (table,))
        return bool(versions) and versions[0] < (SCHEMA_VERSION,) and not named

    def _read(self, query: str, values: Row = ()) -> tuple[list[Row], sqlite3.Error | None]:
        """Rows up to the first that cannot be read, and why it cannot."""
        rows: list[Row] = []
        if self._connection is None:
            return rows, None
        try:
            with closing(self._connection.execute(query, values)) as cursor:
                for row in cursor:
                    rows.append(row)  # those before a fault are to be kept
        except sqlite3.Error as error:
            return rows, error
        return rows, None


def _put(
    database: Database, table: type[Model], columns: list[str], rows: list[Row], *, anew: bool
) -> None:
    name, marks = table._meta.table_name, ", ".join("?" * len(columns))  # noqa: SLF001
    with database.writing() as connection:
        if anew:
            connection.execute(f"DELETE FROM {name}")
        connection.executemany(
            f"INSERT OR IGNORE INTO {name} ({', '.join(columns)}) VALUES ({marks})", rows
        )


_LOST_INSTANCE = (
    f"SELECT {STORED_COLUMNS}, study_header.content, series_header.content,"
    f" {', '.join(f'instance.{column(keyword)}' for keyword in INSTANCE_KEYWORDS)}"
    " FROM lost CROSS JOIN instance ON instance.sop_instance_uid = lost.sop_instance_uid"
    " CROSS JOIN series ON series.id = instance.parent"
    " CROSS JOIN study ON study.id = series.parent"
    " CROSS JOIN series_header ON series_header.id = instance.header"
    " CROSS JOIN study_header ON study_header.id = series_header.study_header"
    " WHERE lost.sop_instance_uid = ?"
)
_OF_STORED = STORED_COLUMNS.count(",") + 1


def _lost(uid: str, row: Row) -> LostInstance:
    """A row of _LOST_INSTANCE; what cannot be understood of it is left out."""
    stored = stored_instance(row[:_OF_STORED])
    study_content, series_content, *own = row[_OF_STORED:]
    try:
        study, series = json.loads(str(study_content)), json.loads(str(series_content))
        said = {
            **{keyword: study[keyword] for keyword in COLUMNS[Level.PATIENT]},
            **{keyword: study[keyword] for keyword in COLUMNS[Level.STUDY]},
            **{keyword: series[keyword] for keyword in COLUMNS[Level.SERIES]},
            **dict(zip(INSTANCE_KEYWORDS, own, strict=True)),
            "SOPClassUID": stored.sop_class_uid,
        }
        others = {
            Level.PATIENT: study[fold.PATIENT_OTHERS],
            Level.STUDY: study[fold.OTHERS],
            Level.SERIES: series[fold.OTHERS],
        }
    except (ValueError, KeyError):
        return LostInstance(uid)
    values = {keyword: tuple(text.split("\\")) for keyword, text in said.items() if text}
    return LostInstance(uid, Instance(stored.uids, stored.sop_class_uid, values, others), stored)
