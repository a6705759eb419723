"""From an index that is being rebuilt to its successor: what the storage tree cannot tell."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path

from pacsnode.index.database import Database
from pacsnode.index.tables import NOTES

_BATCH = 500

Row = tuple[object, ...]


def salvage(old_path: Path, database: Database) -> list[str]:
    """Copy flags, pending steps, conflicts and lost marks; what is there already is kept. Returns a
    line for each table of which something could not be read: the old file may be damaged."""
    if not old_path.exists():
        return []
    faults = []
    with closing(sqlite3.connect(old_path)) as old:
        for table in NOTES:
            meta = table._meta  # noqa: SLF001  # so peewee names what it documents
            name = meta.table_name
            columns = [field for field in meta.sorted_field_names if field != "id"]
            try:
                for rows in _batches(old, name, columns):
                    _copy(database, name, columns, rows)
            except sqlite3.Error as error:
                faults.append(f"{old_path}: {name}: {error}")
    return faults


def _batches(old: sqlite3.Connection, table: str, columns: list[str]) -> Iterator[list[Row]]:
    """Rows up to the end, or up to the first that cannot be read, which is raised after them."""
    cursor = old.execute(f"SELECT {', '.join(columns)} FROM {table}")
    fault: sqlite3.Error | None = None
    while fault is None:
        rows: list[Row] = []
        try:
            rows.extend(islice(cursor, _BATCH))
        except sqlite3.Error as error:
            fault = error
        if rows:
            yield rows
        elif fault is None:
            return
    raise fault


def _copy(database: Database, table: str, columns: list[str], rows: list[Row]) -> None:
    marks = ", ".join("?" * len(columns))
    with database.writing() as connection:
        connection.executemany(
            f"INSERT OR IGNORE INTO {table} ({', '.join(columns)}) VALUES ({marks})", rows
        )
