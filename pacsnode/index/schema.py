"""The index file: made, recognised, brought up to this program's schema."""

import logging
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import peewee

from pacsnode.errors import ConfigurationError, SchemaTooNew
from pacsnode.index import modalities, refolding, tally
from pacsnode.index.database import Database
from pacsnode.index.tables import TABLES

log = logging.getLogger(__name__)

SCHEMA_VERSION = 5
_LARGE = 256 << 20  # bytes of an index that takes longer to migrate than people wait in silence
_HEADER_SIZE = 100
_SQLITE_HEADER = b"SQLite format 3\x00"


def _add_copies(connection: sqlite3.Connection) -> None:
    connection.execute(
        'CREATE TABLE "copy" ("sop_instance_uid" TEXT NOT NULL, "received_at" BIGINT NOT NULL,'
        ' "content" BLOB NOT NULL, PRIMARY KEY ("sop_instance_uid", "received_at")) WITHOUT ROWID'
    )


def _add_commitments(connection: sqlite3.Connection) -> None:
    connection.execute(
        'CREATE TABLE "commitment" ("id" INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,'
        ' "transaction_uid" TEXT NOT NULL, "ae_title" TEXT NOT NULL, "host" TEXT NOT NULL,'
        ' "asked_at" INTEGER NOT NULL, "attempts" INTEGER NOT NULL DEFAULT 0,'
        ' "is_duplicate" INTEGER NOT NULL DEFAULT 0, "due_at" INTEGER NOT NULL,'
        ' "lease" TEXT NOT NULL DEFAULT \'\', "claimed_until" INTEGER NOT NULL DEFAULT 0,'
        ' "size" INTEGER NOT NULL, "request" BLOB NOT NULL, "report" BLOB)'
    )
    connection.execute('CREATE INDEX "commitment_due_at" ON "commitment" ("due_at")')
    connection.execute(
        'CREATE UNIQUE INDEX "commitment_ae_title_transaction_uid_asked_at_size" ON "commitment"'
        ' ("ae_title", "transaction_uid", "asked_at", "size")'
    )
    connection.execute(
        'CREATE TABLE "commitment_report" ("id" INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,'
        ' "transaction_uid" TEXT NOT NULL, "ae_title" TEXT NOT NULL, "report" BLOB NOT NULL,'
        ' "noted_at" INTEGER NOT NULL)'
    )
    connection.execute(
        'CREATE UNIQUE INDEX "commitmentreport_transaction_uid_ae_title" ON "commitment_report"'
        ' ("transaction_uid", "ae_title")'
    )


def _add_tallies(connection: sqlite3.Connection) -> None:
    """Counts are kept from here on, as are what series say of their study and its terms."""
    for name in ("modalities_in_study", "sop_classes_in_study"):
        connection.execute(f'ALTER TABLE "study" ADD COLUMN "{name}" TEXT NOT NULL DEFAULT \'\'')
    counts = ("studies", "series", "instances", "lost", "bytes")
    connection.execute(
        'CREATE TABLE "tally" ("patient" INTEGER NOT NULL, "study" INTEGER NOT NULL,'
        ' "series" INTEGER NOT NULL,'
        + "".join(f' "number_of_{each}" BIGINT NOT NULL DEFAULT 0,' for each in counts)
        + ' PRIMARY KEY ("patient", "study", "series")) WITHOUT ROWID'
    )
    modalities.fill(connection)
    tally.recount(connection)
    tally.create_triggers(connection)


# What brings an index from the version before to this one; run in one transaction each.
MIGRATIONS: dict[int, Callable[[sqlite3.Connection], None]] = {
    2: _add_copies,
    3: _add_commitments,
    4: _add_tallies,
    5: refolding.refold,
}


def prepare(database: Database, archive_id: str, *, may_migrate: bool) -> str:
    """Make the tables, or check and migrate those that are there. Returns the archive id, which is
    the one given where the index is new. Raises SchemaTooNew or ConfigurationError."""
    path = Path(database.database)
    _check_header(path)
    _check_size(path)
    try:
        if not database.table_exists("archive"):
            _create(database, archive_id)
            _sync_folder(path.parent)
        found_id, version = database.execute_sql(
            "SELECT archive_id, schema_version FROM archive"
        ).fetchone() or _refuse(path, "its archive table is empty")
        if version < SCHEMA_VERSION and not may_migrate:
            raise ConfigurationError(_too_old(path))
        _migrate(database, path, version)
        for table in TABLES:
            name = table._meta.table_name  # noqa: SLF001  # so peewee names what it documents
            if not database.table_exists(name):
                _refuse(path, f"its table {name} is missing")
    except (sqlite3.Error, peewee.PeeweeException) as error:
        _refuse(path, str(error))
    return str(found_id)


def _check_header(path: Path) -> None:
    """A whole check would read the whole file at every start; the first page must do."""
    try:
        header = path.read_bytes()[:16] if path.stat().st_size < 100 else _head(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigurationError(f"{path}: the index cannot be read: {error.strerror}") from error
    if header and header != _SQLITE_HEADER:
        _refuse(path, "it is not an SQLite file")


def _head(path: Path, size: int = len(_SQLITE_HEADER)) -> bytes:
    with path.open("rb") as file:
        return file.read(size)


def _check_size(path: Path) -> None:
    """Whether the file is as long as it says (https://www.sqlite.org/fileformat2.html#database_header);
    a write-ahead log may hold the rest of it."""
    log = path.with_name(f"{path.name}-wal")
    if not path.exists() or (log.exists() and log.stat().st_size):
        return
    header = _head(path, _HEADER_SIZE)
    if len(header) < _HEADER_SIZE or header[24:28] != header[92:96]:
        return
    page = int.from_bytes(header[16:18], "big")
    pages = int.from_bytes(header[28:32], "big")
    if path.stat().st_size < pages * (65536 if page == 1 else page):
        _refuse(path, "it was cut short")


def _refuse(path: Path, why: str) -> tuple[str, int]:
    raise ConfigurationError(
        f"{path}: the index cannot be used: {why}; `pacsnode reindex` rebuilds it"
    )


def _create(database: Database, archive_id: str) -> None:
    """All tables or none: a start that is cut short here leaves an empty file, which is new."""
    with database.atomic("IMMEDIATE"):
        if database.table_exists("archive"):
            return  # another process was faster
        for table in TABLES:
            peewee.SchemaManager(table, database).create_all(safe=False)
        tally.create_triggers(database.connection())
        database.execute_sql(
            "INSERT INTO archive (id, archive_id, schema_version) VALUES (1, ?, ?)",
            (archive_id, SCHEMA_VERSION),
        )


def too_new(path: Path, version: int) -> str:
    return (
        f"{path}: the index has schema version {version}, this pacsnode knows versions up to "
        f"{SCHEMA_VERSION}: use the pacsnode that wrote it, or a newer one"
    )


def _too_old(path: Path) -> str:
    return (
        f"{path}: the index is still as an older pacsnode made it, and a node is running: restart "
        "it, and wait until it is ready, which may take minutes"
    )


def _migrate(database: Database, path: Path, version: int) -> None:
    if version > SCHEMA_VERSION:
        raise SchemaTooNew(too_new(path, version))
    if version < SCHEMA_VERSION and (size := path.stat().st_size) >= _LARGE:
        log.warning(
            "%s: brought up to date for this pacsnode, once: %d MB, which may take minutes",
            path,
            size >> 20,
        )
    for step in range(version + 1, SCHEMA_VERSION + 1):
        # What is sorted may be larger than memory.
        with database.writing(sorts_in_files=True) as connection:
            (reached,) = connection.execute("SELECT schema_version FROM archive").fetchone()
            if reached >= step:
                continue  # another process was faster
            MIGRATIONS[step](connection)
            connection.execute("UPDATE archive SET schema_version = ?", (step,))


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
