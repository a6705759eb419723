"""Keeps study, series and patient rows what their headers make of them. Each function runs inside
a transaction that its caller opened."""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from pacsnode.dicom.instance import InstanceUIDs
from pacsnode.index import fold, modalities, notes, terms
from pacsnode.index.tables import column

Connection = sqlite3.Connection

PATIENT_DIFFERS = "patient-differs"  # the kind of flag

_LAST = 2**40  # where what has no number is sorted

_PATIENT_KEYS = (*fold.PATIENT_COLUMNS, fold.PATIENT_OTHERS)
_STUDY_KEYS = (
    *_PATIENT_KEYS,
    *fold.STUDY_COLUMNS,
    fold.OTHERS,
    fold.ALIASES,
    *modalities.LISTS,
)
_SERIES_KEYS = (*fold.SERIES_COLUMNS, fold.OTHERS)


def _names(keywords: Iterable[str]) -> str:
    return ", ".join(column(keyword) for keyword in keywords)


def _assignments(keywords: Iterable[str]) -> str:
    return ", ".join(f"{column(keyword)} = ?" for keyword in keywords)


_SELECT_STUDY = f"SELECT parent, {_names(_STUDY_KEYS)} FROM study WHERE id = ?"
_UPDATE_STUDY = f"UPDATE study SET parent = ?, {_assignments(_STUDY_KEYS)} WHERE id = ?"
_UPDATE_LISTS = f"UPDATE study SET {_assignments(modalities.LISTS)} WHERE id = ?"
_SELECT_SERIES = f"SELECT {_names(_SERIES_KEYS)} FROM series WHERE id = ?"
_UPDATE_SERIES = f"UPDATE series SET position = ?, {_assignments(_SERIES_KEYS)} WHERE id = ?"


def position(number: str) -> int:
    """An integer string as a number to sort by."""
    try:
        return max(-_LAST, min(int(number.split("\\")[0]), _LAST))
    except ValueError:
        return _LAST


class Newest(NamedTuple):
    """A header that was just added."""

    header: int
    state: Mapping[str, str]
    received_at: int


def study(connection: Connection, study_id: int, newest: Newest | None, uids: InstanceUIDs) -> None:
    """Fold a study's row anew. `newest` spares reading the other headers where it is the latest;
    `uids` are those of an instance that may have made the difference."""
    parent, before = _study(connection, study_id)
    if newest is not None and _is_latest(connection, "study", study_id, newest):
        after = fold.fold_study(before, newest.state)
    else:
        folded = fold.fold_studies(_contents(connection, "study", study_id))
        after = {**folded, **{keyword: before[keyword] for keyword in modalities.LISTS}}
        connection.execute(
            "UPDATE study SET received_at ="
            " (SELECT min(received_at) FROM study_header WHERE study = study.id) WHERE id = ?",
            (study_id,),
        )
    if after == before:
        return
    owner = patient(connection, after)
    connection.execute(
        _UPDATE_STUDY, (owner, *(after[keyword] for keyword in _STUDY_KEYS), study_id)
    )
    _replace_terms(connection, "study", study_id, _study_terms(before), _study_terms(after))
    if before[fold.ALIASES] != after[fold.ALIASES]:
        _flag_aliases(connection, before, after, uids)
    refresh_patient(connection, owner)
    if owner != parent:
        leave_patient(connection, parent)


def lists(connection: Connection, study_id: int) -> None:
    """After series or their headers came, went or changed: what they say of their study."""
    _, before = _study(connection, study_id)
    said = modalities.of_series(connection, study_id)
    after = {**before, **said}
    if after == before:
        return
    connection.execute(_UPDATE_LISTS, (*(said[keyword] for keyword in modalities.LISTS), study_id))
    _replace_terms(connection, "study", study_id, modalities.terms(before), modalities.terms(after))


def _study(connection: Connection, study_id: int) -> tuple[int, fold.State]:
    """A study's patient and state."""
    parent, *values = connection.execute(_SELECT_STUDY, (study_id,)).fetchone()
    return parent, dict(zip(_STUDY_KEYS, values, strict=True))


def _study_terms(state: Mapping[str, str]) -> set[terms.Term]:
    return terms.of_study(state) | modalities.terms(state)


def series(connection: Connection, series_id: int, newest: Newest | None) -> None:
    """Fold a series' row anew, as `study`."""
    values = connection.execute(_SELECT_SERIES, (series_id,)).fetchone()
    before = dict(zip(_SERIES_KEYS, values, strict=True))
    if newest is not None and _is_latest(connection, "series", series_id, newest):
        after = fold.fold_series(before, newest.state)
    else:
        after = fold.fold_all_series(_contents(connection, "series", series_id))
    if after == before:
        return
    connection.execute(
        _UPDATE_SERIES,
        (
            position(after["SeriesNumber"]),
            *(after[keyword] for keyword in _SERIES_KEYS),
            series_id,
        ),
    )
    _replace_terms(connection, "series", series_id, terms.of_series(before), terms.of_series(after))


def _is_latest(connection: Connection, table: str, row: int, newest: Newest) -> bool:
    """Whether there are other headers, all of them earlier."""
    (latest,) = connection.execute(
        f"SELECT max(received_at) FROM {table}_header WHERE {table} = ? AND id <> ?",
        (row, newest.header),
    ).fetchone()
    return latest is not None and latest < newest.received_at


def _contents(connection: Connection, table: str, row: int) -> Iterator[str]:
    """Earliest first; what came at the same moment in an order that a reindex keeps."""
    return (
        content
        for (content,) in connection.execute(
            f"SELECT content FROM {table}_header WHERE {table} = ? ORDER BY received_at, digest",
            (row,),
        )
    )


def _replace_terms(
    connection: Connection,
    table: str,
    owner: int,
    before: set[terms.Term],
    after: set[terms.Term],
) -> None:
    connection.executemany(
        f"DELETE FROM {table}_term WHERE kind = ? AND value = ? AND owner = ?",
        [(*term, owner) for term in before - after],
    )
    connection.executemany(
        f"INSERT INTO {table}_term (kind, value, owner) VALUES (?, ?, ?)",
        [(*term, owner) for term in after - before],
    )


def _flag_aliases(
    connection: Connection, before: Mapping[str, str], after: Mapping[str, str], uids: InstanceUIDs
) -> None:
    """A flag for each value that differs from the study's own, for as long as it does."""
    of_study = InstanceUIDs(uids.study_instance_uid, "", "")
    known, now = _pairs(before), _pairs(after)
    for pair in known.keys() - now.keys():
        notes.unflag(connection, PATIENT_DIFFERS, of_study, _text_of(*pair))
    for pair in now:
        if pair not in known:
            notes.flag(connection, PATIENT_DIFFERS, of_study, _text_of(*pair))


def _pairs(state: Mapping[str, str]) -> dict[tuple[str, str, str], None]:
    """Keyword, and two values in an order that does not depend on which came first: a reindex adds
    no second flag."""
    return {
        (keyword, min(state[keyword], value), max(state[keyword], value)): None
        for keyword, values in fold.aliases_of(state).items()
        for value in values
    }


def _text_of(keyword: str, one: str, other: str) -> str:
    return f"{keyword} is {one!r} and {other!r} in one study"


def patient(connection: Connection, state: Mapping[str, str]) -> int:
    """The id of the patient whose study this is, made where it is new."""
    identity = fold.identity(state)
    row = connection.execute("SELECT id FROM patient WHERE identity = ?", (identity,)).fetchone()
    if row:
        return int(row[0])
    cursor = connection.execute("INSERT INTO patient (identity) VALUES (?)", (identity,))
    return int(cursor.lastrowid or 0)


def _first_received(keyword: str) -> str:
    name, at_study = (
        ("others", "patient_others") if keyword == fold.PATIENT_OTHERS else (column(keyword),) * 2
    )
    return (
        f"{name} = coalesce((SELECT study.{at_study} FROM study WHERE study.parent = patient.id"
        f" AND study.{at_study} <> '' ORDER BY study.received_at, study.id LIMIT 1), '')"
    )


_REFRESH_PATIENT = (
    f"UPDATE patient SET {', '.join(_first_received(keyword) for keyword in _PATIENT_KEYS)}"
    " WHERE id = ?"
)


def refresh_patient(connection: Connection, patient_id: int) -> None:
    """After a study came to this patient or changed."""
    connection.execute(_REFRESH_PATIENT, (patient_id,))


def leave_patient(connection: Connection, patient_id: int) -> None:
    """After a study of this patient went or changed hands."""
    has_studies = connection.execute(
        "SELECT 1 FROM study WHERE parent = ? LIMIT 1", (patient_id,)
    ).fetchone()
    if has_studies:
        refresh_patient(connection, patient_id)
    else:
        connection.execute("DELETE FROM patient WHERE id = ?", (patient_id,))
