"""What stands below each patient, study and series, kept as it changes: triggers of the index file
count in the same transaction, whoever changes the rows and whatever cuts it short.

The rows of a patient, its studies and their series stand side by side in one narrow table: storing
an instance changes one small page more, where columns of the three levels' own rows, long as these
can be, would change three.
"""

import sqlite3
from collections.abc import Iterable, Mapping
from typing import NamedTuple

Connection = sqlite3.Connection


class Tally(NamedTuple):
    """What stands below one row. `lost`: of the instances, those that are marked as lost; `bytes`
    are those of datasets."""

    studies: int
    series: int
    instances: int
    lost: int
    bytes: int


class Place(NamedTuple):
    """Ids of a row and of those above it, as the table's key has them: 0 where the row is above."""

    patient: int
    study: int = 0
    series: int = 0


_COLUMNS = (
    "number_of_studies, number_of_series, number_of_instances, number_of_lost, number_of_bytes"
)
_FIND = f"SELECT {_COLUMNS} FROM tally WHERE patient = ? AND study = ? AND series = ?"


def of(connection: Connection, places: Iterable[Place]) -> Mapping[Place, Tally]:
    """Those of rows that are gone are left out."""
    found = {place: connection.execute(_FIND, place).fetchone() for place in places}
    return {place: Tally(*row) for place, row in found.items() if row}


def _study_of(series: str) -> str:
    return f"(SELECT parent FROM series WHERE id = {series})"


def _patient_of_study(study: str) -> str:
    return f"(SELECT parent FROM study WHERE id = {study})"


def _patient_of(series: str) -> str:
    return (
        "(SELECT study.parent FROM series CROSS JOIN study ON study.id = series.parent"
        f" WHERE series.id = {series})"
    )


def _count(change: str, series: str) -> str:
    """Of a series, its study and its patient."""
    return (
        f"UPDATE tally SET {change} WHERE patient = {_patient_of(series)}"
        f" AND study IN (0, {_study_of(series)}) AND series IN (0, {series})"
    )


def _count_lost(sign: str, uid: str) -> str:
    """Nothing where there is no such instance."""
    series = f"(SELECT parent FROM instance WHERE sop_instance_uid = {uid})"
    return _count(f"number_of_lost = number_of_lost {sign} 1", series)


def _count_instance(sign: str, row: str) -> str:
    is_lost = f"EXISTS (SELECT 1 FROM lost WHERE sop_instance_uid = {row}.sop_instance_uid)"
    return _count(
        f"number_of_instances = number_of_instances {sign} 1,"
        f" number_of_bytes = number_of_bytes {sign} {row}.length,"
        f" number_of_lost = number_of_lost {sign} {is_lost}",
        f"{row}.parent",
    )


def _count_series(sign: str, row: str) -> str:
    return (
        f"UPDATE tally SET number_of_series = number_of_series {sign} 1"
        f" WHERE patient = {_patient_of_study(f'{row}.parent')}"
        f" AND study IN (0, {row}.parent) AND series = 0"
    )


def _count_study(sign: str, row: str) -> str:
    return (
        f"UPDATE tally SET number_of_studies = number_of_studies {sign} 1"
        f" WHERE patient = {row}.parent AND study = 0 AND series = 0"
    )


def _hand_over(sign: str, patient: str) -> str:
    """What a study that changes hands has, from the patient that it leaves or to its new one."""
    names = ("number_of_series", "number_of_instances", "number_of_lost", "number_of_bytes")
    counts = ", ".join(f"tally.{name} {sign} moved.{name}" for name in names)
    return (
        f"UPDATE tally SET number_of_studies = number_of_studies {sign} 1, ({', '.join(names)}) ="
        f" (SELECT {counts} FROM tally AS moved WHERE moved.patient = OLD.parent"
        " AND moved.study = OLD.id AND moved.series = 0)"
        f" WHERE patient = {patient} AND study = 0 AND series = 0"
    )


_INSERT = "INSERT INTO tally (patient, study, series)"
_DELETE = "DELETE FROM tally WHERE patient ="
_MOVE = "UPDATE tally SET patient = NEW.parent WHERE patient = OLD.parent AND study = OLD.id"

# What each waits for, and what it does then.
_TRIGGERS: dict[str, tuple[str, ...]] = {
    "INSERT ON patient": (f"{_INSERT} VALUES (NEW.id, 0, 0)",),
    "DELETE ON patient": (f"{_DELETE} OLD.id AND study = 0 AND series = 0",),
    "INSERT ON study": (
        f"{_INSERT} VALUES (NEW.parent, NEW.id, 0)",
        _count_study("+", "NEW"),
    ),
    "DELETE ON study": (
        _count_study("-", "OLD"),
        f"{_DELETE} OLD.parent AND study = OLD.id AND series = 0",
    ),
    "UPDATE OF parent ON study WHEN OLD.parent <> NEW.parent": (
        _hand_over("-", "OLD.parent"),
        _hand_over("+", "NEW.parent"),
        _MOVE,
    ),
    "INSERT ON series": (
        f"{_INSERT} SELECT parent, id, NEW.id FROM study WHERE id = NEW.parent",
        _count_series("+", "NEW"),
    ),
    "DELETE ON series": (
        _count_series("-", "OLD"),
        f"{_DELETE} {_patient_of_study('OLD.parent')} AND study = OLD.parent AND series = OLD.id",
    ),
    "INSERT ON instance": (_count_instance("+", "NEW"),),
    "DELETE ON instance": (_count_instance("-", "OLD"),),
    "INSERT ON lost": (_count_lost("+", "NEW.sop_instance_uid"),),
    "DELETE ON lost": (_count_lost("-", "OLD.sop_instance_uid"),),
}


def _name(event: str) -> str:
    action, _, table = event.removesuffix(" WHEN OLD.parent <> NEW.parent").partition(" ON ")
    return f"tally_{table}_{action.split()[0].lower()}"


def create_triggers(connection: Connection) -> None:
    for event, steps in _TRIGGERS.items():
        body = "; ".join(steps)
        connection.execute(f"CREATE TRIGGER {_name(event)} AFTER {event} BEGIN {body}; END")


_OF_SERIES = (
    "SELECT study.parent AS patient, study.id AS study, series.id AS series,"
    " (SELECT count(*) FROM instance WHERE parent = series.id) AS instances,"
    " (SELECT count(*) FROM instance CROSS JOIN lost"
    " ON lost.sop_instance_uid = instance.sop_instance_uid WHERE parent = series.id) AS lost,"
    " (SELECT coalesce(sum(length), 0) FROM instance WHERE parent = series.id) AS bytes"
    " FROM study CROSS JOIN series ON series.parent = study.id"
)
_SUMS = ", ".join(f"coalesce(sum(number_of_{each}), 0)" for each in ("instances", "lost", "bytes"))
_INSERT_ALL = f"INSERT INTO tally (patient, study, series, {_COLUMNS})"
_COUNT_SERIES = (
    f"{_INSERT_ALL} SELECT patient, study, series, 0, 0, instances, lost, bytes FROM ({_OF_SERIES})"
)
_COUNT_STUDIES = (
    f"{_INSERT_ALL} SELECT study.parent, study.id, 0, 0, count(series), {_SUMS} FROM study"
    " LEFT JOIN tally ON tally.patient = study.parent AND tally.study = study.id"
    " GROUP BY study.id"
)
_COUNT_PATIENTS = (
    f"{_INSERT_ALL} SELECT patient.id, 0, 0, count(study), coalesce(sum(number_of_series), 0),"
    f" {_SUMS} FROM patient LEFT JOIN tally ON tally.patient = patient.id AND tally.series = 0"
    " GROUP BY patient.id"
)


def recount(connection: Connection) -> None:
    """All of them anew, from the rows themselves: reads the whole index."""
    for statement in ("DELETE FROM tally", _COUNT_SERIES, _COUNT_STUDIES, _COUNT_PATIENTS):
        connection.execute(statement)
