"""The index file: new, known, too new, damaged."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from pacsnode import index as index_room
from pacsnode.dicom.level import COLUMNS, Level
from pacsnode.errors import ConfigurationError, IndexFailure, SchemaTooNew
from pacsnode.index import schema, tables
from pacsnode.index.tables import column
from tests.index.counting import counted, lists, lists_of_series, tallies
from tests.index.instances import make


def test_a_new_index_takes_the_archive_id_given(path: Path) -> None:
    assert not index_room.exists(path)
    index_room.open(path, archive_id="a" * 32).close()
    assert index_room.exists(path)
    reopened = index_room.open(path, archive_id="b" * 32)
    assert reopened.archive_id == "a" * 32
    reopened.close()


def test_without_one_each_index_gets_its_own(tmp_path: Path) -> None:
    first, second = (index_room.open(tmp_path / name) for name in ("1", "2"))
    assert len(first.archive_id) == 32
    assert first.archive_id != second.archive_id
    first.close()
    second.close()


def test_every_column_of_the_levels_is_a_field_of_its_table() -> None:
    models = (tables.Patient, tables.Study, tables.Series, tables.Instance)
    for level, model in zip(Level, models, strict=True):
        assert {column(keyword) for keyword in COLUMNS[level]} <= set(model._meta.columns)


def test_rows_are_numbered_for_good_and_point_at_rows_that_exist(path: Path) -> None:
    index = index_room.open(path)
    for table in ("patient", "study", "series", "instance"):
        (text,) = index._database.execute_sql(
            "SELECT sql FROM sqlite_master WHERE name = ?", (table,)
        ).fetchone()
        assert "AUTOINCREMENT" in text
    assert index._database.execute_sql("PRAGMA foreign_keys").fetchone() == (1,)
    index.close()


@pytest.mark.parametrize("fsync", [True, False])
def test_sqlite_keeps_the_file_whole_and_leaves_the_rest_to_us(path: Path, fsync: bool) -> None:
    index = index_room.open(path, fsync=fsync)
    for pragma, value in (("synchronous", 1), ("journal_mode", "wal"), ("wal_autocheckpoint", 0)):
        assert index._database.execute_sql(f"PRAGMA {pragma}").fetchone() == (value,)
    index.close()


def test_a_newer_schema_is_refused_with_both_versions(path: Path) -> None:
    index_room.open(path).close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE archive SET schema_version = 99")
    with pytest.raises(SchemaTooNew, match=rf"99.*{schema.SCHEMA_VERSION}"):
        index_room.open(path)


def test_an_older_schema_is_migrated_step_by_step(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index_room.open(path).close()
    monkeypatch.setattr(schema, "SCHEMA_VERSION", schema.SCHEMA_VERSION + 2)
    last = schema.SCHEMA_VERSION
    monkeypatch.setitem(
        schema.MIGRATIONS, last - 1, lambda c: c.execute("CREATE TABLE added (id INTEGER)")
    )
    monkeypatch.setitem(
        schema.MIGRATIONS, last, lambda c: c.execute("ALTER TABLE added ADD COLUMN name TEXT")
    )
    index = index_room.open(path)
    row = index._database.execute_sql("SELECT schema_version FROM archive").fetchone()
    assert row == (last,)
    index._database.execute_sql("SELECT id, name FROM added")
    index.close()


def test_a_migration_sorts_in_files_and_nothing_else_does(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In memory a million studies' terms would take gigabytes."""
    index_room.open(path).close()
    monkeypatch.setattr(schema, "SCHEMA_VERSION", schema.SCHEMA_VERSION + 1)
    stores = []
    monkeypatch.setitem(
        schema.MIGRATIONS,
        schema.SCHEMA_VERSION,
        lambda connection: stores.append(connection.execute("PRAGMA temp_store").fetchone()),
    )
    index = index_room.open(path)
    with index._database.writing() as connection:
        stores.append(connection.execute("PRAGMA temp_store").fetchone())
    assert stores == [(1,), (2,)]
    index.close()


@pytest.mark.parametrize(("large", "is_said"), [(1, True), (1 << 40, False)])
def test_commands_too_say_what_may_take_minutes(
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    large: int,
    is_said: bool,
) -> None:
    make_version_1(path)
    monkeypatch.setattr(schema, "_LARGE", large)
    index_room.open(path).close()
    warnings = [record for record in caplog.records if record.levelname == "WARNING"]
    assert [record.name for record in warnings] == ["pacsnode.index.schema"] * is_said
    caplog.clear()
    index_room.open(path).close()
    assert "up to date" not in caplog.text


# What version 1 did not have.
LATER_TABLES = ("copy", "commitment", "commitment_report", "tally")
LATER_COLUMNS = ("modalities_in_study", "sop_classes_in_study")


def make_version_1(path: Path) -> None:
    index_room.open(path).close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE archive SET schema_version = 1")
        triggers = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
        for (name,) in triggers.fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        for table in LATER_TABLES:
            connection.execute(f"DROP TABLE {table}")
        for name in LATER_COLUMNS:
            connection.execute(f"ALTER TABLE study DROP COLUMN {name}")
        connection.execute("DELETE FROM study_term WHERE kind = 'ModalitiesInStudy'")


def statements(path: Path) -> set[tuple[str, str]]:
    with closing(sqlite3.connect(path)) as connection:
        return set(connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"))


def test_a_migrated_index_has_the_tables_of_a_new_one(path: Path, tmp_path: Path) -> None:
    make_version_1(path)
    index_room.open(path).close()
    index_room.open(tmp_path / "new").close()
    migrated, new = (
        {(name, text.replace("BIGINT", "INTEGER")) for name, text in statements(each)}
        for each in (path, tmp_path / "new")
    )
    assert migrated == new


def test_what_an_old_index_did_not_keep_is_counted_when_it_is_migrated(path: Path) -> None:
    index = index_room.open(path)
    for number in range(20):
        study, patient, modality = number % 3, number % 2, ("CT", "MR", "CT\\PT")[number % 3]
        series = f"1.{study}.{number % 5}"
        index.add(
            *make(f"1.{study}", series, str(number), PatientID=f"P{patient}", Modality=modality)
        )
    index.set_lost("3", True)
    index.set_lost("unknown", True)
    index.close()
    make_version_1(path)
    index = index_room.open(path)
    assert tallies(index) == counted(index)
    assert lists(index) == lists_of_series(index)
    assert len(tallies(index)) > 10
    index.close()


def test_a_migration_that_another_process_did_meanwhile_is_not_done_again(path: Path) -> None:
    make_version_1(path)
    index = index_room.open(path)
    schema._migrate(index._database, path, 1)  # what this process had read before
    assert index.copy_keys() == []
    assert index.commitments.backlog().open == 0
    index.close()


def test_a_migration_that_fails_leaves_the_version_it_found(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index_room.open(path).close()
    known = schema.SCHEMA_VERSION

    def fail(connection: sqlite3.Connection) -> None:
        connection.execute("CREATE TABLE added (id INTEGER)")
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patched:
        patched.setattr(schema, "SCHEMA_VERSION", known + 1)
        patched.setitem(schema.MIGRATIONS, known + 1, fail)
        with pytest.raises(IndexFailure, match="disk I/O error"):
            index_room.open(path)
    index = index_room.open(path)
    assert not index._database.table_exists("added")
    index.close()


@pytest.mark.parametrize(
    "content", [b"no database at all", b"\0" * 5000, b"SQLite format 3\0" * 300]
)
def test_a_damaged_file_is_named_with_what_to_do(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match="reindex") as raised:
        index_room.open(path)
    assert str(path) in str(raised.value)


def test_an_empty_file_is_a_new_index(path: Path) -> None:
    path.touch()
    assert not index_room.exists(path)
    index_room.open(path).close()


def test_a_folder_in_its_place_is_named(path: Path) -> None:
    path.mkdir()
    with pytest.raises(ConfigurationError, match=path.name):
        index_room.open(path)


def test_an_unknown_scheme_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="postgresql"):
        index_room.open("postgresql://localhost/x")


def test_a_clean_close_leaves_no_log_to_replay(path: Path) -> None:
    index = index_room.open(path)
    index.add(*make())
    assert path.with_name(path.name + "-wal").stat().st_size > 0
    index.close()
    wal = path.with_name(path.name + "-wal")
    assert not wal.exists() or wal.stat().st_size == 0
    begun = time.monotonic()
    index_room.open(path).close()
    assert time.monotonic() - begun < 1
