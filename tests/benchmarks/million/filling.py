"""Fills an index that has no rows yet with a population, as its writer would, study after study;
but without a transaction for each instance: rows are made with the writer's own functions, in
processes of their own, and go into tables without indices and triggers, which are made at the end.

tests/test_million.py compares every table with one that was stored into.
"""

import sqlite3
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import closing
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

from pacsnode.index import fold, modalities, refresh, tally, terms, write
from pacsnode.index.tables import column
from tests.benchmarks.million import population

BATCH = 2_000  # studies
_AHEAD = 4  # batches
_CACHE = 512 * 1024  # KiB

Row = tuple[object, ...]
Progress = Callable[[int], None]

_STATE_OF_STUDY = (
    *fold.PATIENT_COLUMNS,
    fold.PATIENT_OTHERS,
    *fold.STUDY_COLUMNS,
    fold.OTHERS,
    fold.ALIASES,
    *modalities.LISTS,
)
_STATE_OF_PATIENT = (*fold.PATIENT_COLUMNS, fold.PATIENT_OTHERS)
_STATE_OF_SERIES = (*fold.SERIES_COLUMNS, fold.OTHERS)


def _names(keywords: tuple[str, ...]) -> str:
    return ", ".join(map(column, keywords))


_COLUMNS = {
    "study": f"parent, id, received_at, {_names(_STATE_OF_STUDY)}",
    "patient": f"id, identity, {_names(fold.PATIENT_COLUMNS)}, others",
    "study_header": "id, study, digest, content, received_at",
    "series": f"id, parent, position, {_names(_STATE_OF_SERIES)}",
    "series_header": "id, series, study_header, digest, sop_class_uid, content, received_at",
    "study_unsorted": "owner, kind, value",
    "series_unsorted": "owner, kind, value",
}


def fill(path: Path, studies: int, progress: Progress = lambda done: None) -> None:
    """`path` is an index that nobody has open. Interrupted, it is good for nothing."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for pragma in ("journal_mode = OFF", "synchronous = OFF", f"cache_size = -{_CACHE}"):
            connection.execute(f"PRAGMA {pragma}").fetchall()
        connection.execute("BEGIN")
        indices = dropped(connection, "index")
        dropped(connection, "trigger")
        for level in ("study", "series"):
            connection.execute(f"CREATE TEMP TABLE {level}_unsorted (owner, kind, value)")
        # Of a person all studies say the same.
        patients: dict[str, int] = {}
        with ProcessPoolExecutor(2, get_context("spawn")) as pool:
            for done, batch in _batches(pool, studies):
                _insert(connection, batch, patients)
                progress(done)
        _sort_terms(connection)
        for index in indices:
            connection.execute(index)
        tally.recount(connection)
        tally.create_triggers(connection)
        connection.execute("COMMIT")
        connection.execute("PRAGMA journal_mode = WAL").fetchall()


def dropped(connection: sqlite3.Connection, kind: str) -> list[str]:
    """Drop all indices, or all triggers; what makes them again."""
    found = connection.execute(
        "SELECT name, sql FROM sqlite_master WHERE type = ? AND sql IS NOT NULL", (kind,)
    ).fetchall()
    for name, _ in found:
        connection.execute(f'DROP {kind} "{name}"')
    return [sql for _, sql in found]


def _sort_terms(connection: sqlite3.Connection) -> None:
    for level in ("study", "series"):
        connection.execute(
            f"INSERT INTO {level}_term (kind, value, owner)"
            f" SELECT kind, value, owner FROM {level}_unsorted ORDER BY kind, value, owner"
        )
        connection.execute(f"DROP TABLE {level}_unsorted")


class Batch(NamedTuple):
    """Rows of some studies; `patients` are those that they belong to, by identity, one for each
    study, whose rows begin with what comes behind the patient's id."""

    patients: list[Row]
    rows: dict[str, list[Row]]
    instances: list[Row]


def _batches(pool: Executor, studies: int) -> Iterator[tuple[int, Batch]]:
    """With how many studies are done then; a few are made ahead."""
    ahead: deque[tuple[int, Future[Batch]]] = deque()
    series = 0
    for begin in range(0, studies, BATCH):
        end = min(begin + BATCH, studies)
        ahead.append((end, pool.submit(make, range(begin, end), series, studies)))
        series += sum(len(population.study(n, studies).kind.series) for n in range(begin, end))
        if len(ahead) > _AHEAD:
            done, future = ahead.popleft()
            yield done, future.result()
    for done, future in ahead:
        yield done, future.result()


def _insert(connection: sqlite3.Connection, batch: Batch, patients: dict[str, int]) -> None:
    studies, new = [], []
    for (identity, *values), study in zip(batch.patients, batch.rows["study"], strict=True):
        is_new = identity not in patients
        id_ = patients.setdefault(str(identity), len(patients) + 1)
        studies.append((id_, *study))
        if is_new:  # the patient's first study says it all
            new.append((id_, identity, *values))
    rows = {**batch.rows, "study": studies, "patient": new}
    for table, columns in _COLUMNS.items():
        marks = ", ".join("?" * (columns.count(",") + 1))
        connection.executemany(
            f"INSERT INTO {table} ({columns}) VALUES ({marks})", rows.get(table, ())
        )
    marks = ", ".join("?" * len(batch.instances[0]))
    connection.executemany(f"{write.INSERT_INSTANCE} VALUES ({marks})", batch.instances)


def make(numbers: range, series: int, studies: int) -> Batch:
    """The rows of these of so many studies; `series` are there before."""
    making = _Making(series, studies)
    for number in numbers:
        making.add_study(number)
    return making.batch


class _Making:
    def __init__(self, series: int, studies: int) -> None:
        self._studies = studies
        self._series = series
        self.batch = Batch([], {}, [])

    def add_study(self, number: int) -> None:
        id_ = number + 1
        said = list(self._add_all_series(number, id_))
        header, received_at = said[0].study, said[0].stored.received_at
        modalities_said = (each.instance.first("Modality") for each in said)
        state = {
            **header.state,
            fold.ALIASES: "",
            modalities.MODALITIES: modalities.joined(modalities_said),
            modalities.SOP_CLASSES: modalities.joined(each.stored.sop_class_uid for each in said),
        }
        of_patient = (state[keyword] for keyword in _STATE_OF_PATIENT)
        self.batch.patients.append((fold.identity(state), *of_patient))
        self._add("study", id_, received_at, *(state[keyword] for keyword in _STATE_OF_STUDY))
        self._add("study_header", id_, id_, header.digest, header.content, received_at)
        self._add_terms("study", id_, terms.of_study(state) | modalities.terms(state))

    def _add_all_series(self, number: int, study: int) -> Iterator[write.Newcomer]:
        """The first of each series."""
        for instances in population.instances(number, self._studies):
            self._series += 1
            id_ = self._series
            first = write.newcomer(*instances[0])
            stored, header = first.stored, first.series
            state = header.state
            position = refresh.position(state["SeriesNumber"])
            values = (state[keyword] for keyword in _STATE_OF_SERIES)
            self._add("series", id_, study, position, *values)
            self._add(
                "series_header",
                *(id_, id_, study, header.digest, stored.sop_class_uid, header.content),
                stored.received_at,
            )
            self._add_terms("series", id_, terms.of_series(state))
            self.batch.instances.extend(
                (id_, id_, *write.instance_row(first._replace(instance=each, stored=of)))
                for each, of in instances
            )
            yield first

    def _add(self, table: str, *row: object) -> None:
        self.batch.rows.setdefault(table, []).append(row)

    def _add_terms(self, level: str, owner: int, found: set[terms.Term]) -> None:
        rows = self.batch.rows.setdefault(f"{level}_unsorted", [])
        rows += [(owner, *term) for term in found]
