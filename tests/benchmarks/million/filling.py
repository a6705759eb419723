"""Fills an index that has no rows yet with a population, as its writer would, study after study;
but without a transaction for each instance: rows are made with the writer's own functions and go
into tables without indices and triggers, which are made at the end.

tests/test_million.py compares every table with one that was stored into.
"""

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path

from pacsnode.index import fold, modalities, refresh, tally, terms, write
from pacsnode.index.tables import column
from tests.benchmarks.million import population

BATCH = 5_000  # studies
_CACHE = 512 * 1024  # KiB

Row = Mapping[str, object]
Progress = Callable[[int], None]


def fill(path: Path, studies: int, progress: Progress = lambda done: None) -> None:
    """`path` is an index that nobody has open. Interrupted, it is good for nothing."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for pragma in ("journal_mode = OFF", "synchronous = OFF", f"cache_size = -{_CACHE}"):
            connection.execute(f"PRAGMA {pragma}").fetchall()
        connection.execute("BEGIN")
        indices = _drop_indices(connection)
        tally.drop_triggers(connection)
        for level in ("study", "series"):
            connection.execute(f"CREATE TEMP TABLE {level}_unsorted (kind, value, owner)")
        filling = _Filling(connection, studies)
        for begin in range(0, studies, BATCH):
            filling.add(range(begin, min(begin + BATCH, studies)))
            progress(min(begin + BATCH, studies))
        for level in ("study", "series"):
            connection.execute(
                f"INSERT INTO {level}_term (kind, value, owner)"
                f" SELECT kind, value, owner FROM {level}_unsorted ORDER BY kind, value, owner"
            )
            connection.execute(f"DROP TABLE {level}_unsorted")
        for index in indices:
            connection.execute(index)
        tally.recount(connection)
        tally.create_triggers(connection)
        connection.execute("COMMIT")
        connection.execute("PRAGMA journal_mode = WAL").fetchall()


def _drop_indices(connection: sqlite3.Connection) -> list[str]:
    """What makes them again."""
    found = connection.execute(
        "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
    ).fetchall()
    for name, _ in found:
        connection.execute(f'DROP INDEX "{name}"')
    return [sql for _, sql in found]


class _Filling:
    def __init__(self, connection: sqlite3.Connection, studies: int) -> None:
        self._connection = connection
        self._studies = studies
        self._patients: dict[str, int] = {}
        self._series = 0  # so many are there
        self._rows: dict[str, list[Row]] = {}
        self._instances: list[tuple[object, ...]] = []

    def add(self, numbers: range) -> None:
        for number in numbers:
            self._add_study(number)
        for table, rows in self._rows.items():
            names = list(rows[0])
            self._connection.executemany(
                f"INSERT INTO {table} ({', '.join(names)})"
                f" VALUES ({', '.join(f':{name}' for name in names)})",
                rows,
            )
        self._rows.clear()
        marks = ", ".join("?" * len(self._instances[0]))
        self._connection.executemany(f"{write.INSERT_INSTANCE} VALUES ({marks})", self._instances)
        self._instances.clear()

    def _insert(self, table: str, **row: object) -> None:
        self._rows.setdefault(table, []).append(row)

    def _add_study(self, number: int) -> None:
        id_ = number + 1
        said = list(self._add_all_series(number, id_))
        newcomer = said[0]
        header, received_at = newcomer.study, newcomer.stored.received_at
        state = {
            **header.state,
            fold.ALIASES: "",
            modalities.MODALITIES: modalities.joined(
                each.instance.first("Modality") for each in said
            ),
            modalities.SOP_CLASSES: modalities.joined(each.stored.sop_class_uid for each in said),
        }
        self._insert(
            "study",
            id=id_,
            parent=self._patient(state),
            received_at=received_at,
            **{column(keyword): text for keyword, text in state.items()},
        )
        self._insert(
            "study_header",
            id=id_,
            study=id_,
            digest=header.digest,
            content=header.content,
            received_at=received_at,
        )
        self._add_terms("study", id_, terms.of_study(state) | modalities.terms(state))

    def _add_all_series(self, number: int, study: int) -> Iterator[write.Newcomer]:
        """The first of each series."""
        for instances in population.instances(number, self._studies):
            self._series += 1
            id_ = self._series
            newcomers = [write.newcomer(*each) for each in instances]
            first = newcomers[0]
            header = first.series
            self._insert(
                "series",
                id=id_,
                parent=study,
                position=refresh.position(header.state["SeriesNumber"]),
                **{column(keyword): text for keyword, text in header.state.items()},
            )
            self._insert(
                "series_header",
                id=id_,
                series=id_,
                study_header=study,
                digest=header.digest,
                sop_class_uid=first.stored.sop_class_uid,
                content=header.content,
                received_at=first.stored.received_at,
            )
            self._add_terms("series", id_, terms.of_series(header.state))
            self._instances += [(id_, id_, *write.instance_row(each)) for each in newcomers]
            yield first

    def _patient(self, state: Mapping[str, str]) -> int:
        """Of a person all studies say the same."""
        identity = fold.identity(state)
        known = self._patients.get(identity)
        if known is not None:
            return known
        id_ = self._patients[identity] = len(self._patients) + 1
        values = {column(keyword): state[keyword] for keyword in fold.PATIENT_COLUMNS}
        self._insert(
            "patient", id=id_, identity=identity, others=state[fold.PATIENT_OTHERS], **values
        )
        return id_

    def _add_terms(self, level: str, owner: int, found: set[terms.Term]) -> None:
        for kind, value in found:
            self._insert(f"{level}_unsorted", kind=kind, value=value, owner=owner)
