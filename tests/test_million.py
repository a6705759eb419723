"""The generator of the million studies makes, on a small scale, what storing makes."""

import sqlite3
from contextlib import closing
from pathlib import Path

from pacsnode import index as index_room
from tests.benchmarks.million import population
from tests.benchmarks.million.filling import fill

STUDIES = 60


def tables(path: Path) -> dict[str, list[tuple]]:
    """All rows of all tables, also those in which SQLite keeps what it knows of them."""
    with closing(sqlite3.connect(path)) as connection:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        found = {
            name: sorted(connection.execute(f"SELECT * FROM {name}"), key=repr) for (name,) in names
        }
        found["sqlite_master"] = sorted(
            connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master"), key=repr
        )
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    return found


def test_a_generated_index_is_the_one_that_storing_makes(tmp_path: Path) -> None:
    generated, stored_into = tmp_path / "generated", tmp_path / "stored"
    index_room.open(generated, archive_id="a" * 32).close()
    fill(generated, STUDIES)
    index = index_room.open(stored_into, archive_id="a" * 32, fsync=False)
    for number in range(STUDIES):
        for series in population.instances(number, STUDIES):
            for instance, stored in series:
                assert index.add(instance, stored) is None
    index.close()
    one, other = tables(generated), tables(stored_into)
    assert one.keys() == other.keys()
    for table in one:
        assert one[table] == other[table], table
    assert len(one["study"]) == STUDIES
    assert len(one["instance"]) > 5 * STUDIES
    assert len(one["patient"]) < STUDIES


def test_a_population_is_the_same_each_time_and_of_every_kind() -> None:
    studies = [population.study(number, 1000) for number in range(1000)]
    assert studies == [population.study(number, 1000) for number in range(1000)]
    assert {each.kind for each in studies} == set(population.KINDS)
    assert len({each.uid for each in studies}) == 1000
    assert sum(kind.share for kind in population.KINDS) == 100
    average = sum(
        kind.share / 100 * sum(series.instances for series in kind.series)
        for kind in population.KINDS
    )
    assert 9.5 < average < 10.5
