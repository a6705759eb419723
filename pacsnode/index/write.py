"""What changes the four levels. Each function runs inside a transaction that its caller opened.

The usual instance is the next of a known series and says what others said of it. ADD_NEXT adds it
in one statement that looks everything up itself: nothing is remembered from one instance to the
next that others may have changed. Whatever else happens goes through `add` and refresh.py.
"""

import sqlite3
from collections.abc import Iterable
from typing import Any, NamedTuple

from pacsnode.dicom.instance import Instance, InstanceUIDs, StoredInstance
from pacsnode.dicom.level import COLUMNS, Level
from pacsnode.index import fold, notes, refresh
from pacsnode.index.records import REMOVE, Pending
from pacsnode.index.tables import column

Connection = sqlite3.Connection


class Newcomer(NamedTuple):
    """An instance to be added, and what can be worked out before the transaction begins."""

    instance: Instance
    stored: StoredInstance
    study: fold.Header
    series: fold.Header


def newcomer(instance: Instance, stored: StoredInstance) -> Newcomer:
    return Newcomer(instance, stored, fold.study_header(instance), fold.series_header(instance))


STORED_COLUMNS = (
    "study.study_instance_uid, series.series_instance_uid, instance.sop_instance_uid, "
    "instance.sop_class_uid, instance.transfer_syntax_uid, instance.source_ae_title, "
    "instance.length, instance.digest, instance.received_at, lost.sop_instance_uid IS NOT NULL"
)
_FIND = (
    f"SELECT {STORED_COLUMNS} FROM instance"
    " CROSS JOIN series ON series.id = instance.parent"
    " CROSS JOIN study ON study.id = series.parent"
    " LEFT JOIN lost ON lost.sop_instance_uid = instance.sop_instance_uid"
    " WHERE instance.sop_instance_uid = ?"
)


def stored_instance(row: tuple[Any, ...]) -> StoredInstance:
    """A row of STORED_COLUMNS."""
    return StoredInstance(InstanceUIDs(*row[:3]), *row[3:9], bool(row[9]))  # type: ignore[call-arg]


def find(connection: Connection, sop_instance_uid: str) -> StoredInstance | None:
    row = connection.execute(_FIND, (sop_instance_uid,)).fetchone()
    return stored_instance(row) if row else None


INSTANCE_KEYWORDS = tuple(
    keyword for keyword in COLUMNS[Level.IMAGE] if keyword not in ("SOPInstanceUID", "SOPClassUID")
)
_INSTANCE_COLUMNS = (
    "sop_instance_uid",
    "sop_class_uid",
    "position",
    "transfer_syntax_uid",
    "source_ae_title",
    "length",
    "digest",
    "received_at",
    *(column(keyword) for keyword in INSTANCE_KEYWORDS),
)
_MARKS = ", ".join("?" * len(_INSTANCE_COLUMNS))
INSERT_INSTANCE = f"INSERT INTO instance (parent, header, {', '.join(_INSTANCE_COLUMNS)})"

# Adds an instance where its study, its series and their headers are known and it is not the oldest
# that has them (a study's header is as old as the oldest of its series' headers), and where nothing
# is noted of it (notes.arrived). Else it changes nothing.
ADD_NEXT = (
    f"{INSERT_INSTANCE} SELECT series.id, series_header.id, {_MARKS} FROM study"
    " CROSS JOIN study_header ON study_header.study = study.id AND study_header.digest = ?"
    " CROSS JOIN series ON series.parent = study.id AND series.series_instance_uid = ?"
    " CROSS JOIN series_header ON series_header.series = series.id"
    " AND series_header.study_header = study_header.id AND series_header.digest = ?"
    " WHERE study.study_instance_uid = ?"
    " AND series_header.received_at <= ?"
    " AND NOT EXISTS (SELECT 1 FROM pending WHERE sop_instance_uid = ?)"
    " AND NOT EXISTS (SELECT 1 FROM lost WHERE sop_instance_uid = ?)"
    " ON CONFLICT (sop_instance_uid) DO NOTHING"
)


def next_row(new: Newcomer) -> tuple[object, ...]:
    """What ADD_NEXT is given."""
    stored = new.stored
    uids = stored.uids
    return (
        *instance_row(new),
        new.study.digest,
        uids.series_instance_uid,
        new.series.digest,
        uids.study_instance_uid,
        stored.received_at,
        uids.sop_instance_uid,
        uids.sop_instance_uid,
    )


def instance_row(new: Newcomer) -> tuple[object, ...]:
    """Values of _INSTANCE_COLUMNS."""
    stored, values = new.stored, new.instance.values
    return (
        stored.uids.sop_instance_uid,
        stored.sop_class_uid,
        refresh.position(new.instance.first("InstanceNumber")),
        stored.transfer_syntax_uid,
        stored.source_ae_title,
        stored.length,
        stored.digest,
        stored.received_at,
        *["\\".join(values.get(keyword, ())) for keyword in INSTANCE_KEYWORDS],
    )


def add(connection: Connection, new: Newcomer) -> StoredInstance | None:
    """Returns the row that is here already, in which case nothing changes."""
    existing = find(connection, new.stored.uids.sop_instance_uid)
    if existing is not None:
        return existing
    _insert(connection, new)
    return None


def replace(connection: Connection, new: Newcomer) -> StoredInstance | None:
    """Returns the row that was here. Where the newcomer has another place, the old one's file is
    noted as pending removal."""
    uid = new.stored.uids.sop_instance_uid
    old = find(connection, uid)
    header = _take_out(connection, uid) if old else None
    if old is not None and old.uids != new.stored.uids:
        notes.add_pending(connection, REMOVE, old.uids, old.digest)
    _insert(connection, new)
    if header is not None:
        _prune(connection, {header})
    return old


def forget(connection: Connection, sop_instance_uids: Iterable[str]) -> None:
    """As `remove`, but nothing is said of their files."""
    _prune(
        connection,
        {_take_out(connection, uid) for uid in sop_instance_uids if find(connection, uid)},
    )


def remove(connection: Connection, sop_instance_uids: Iterable[str]) -> list[Pending]:
    """Rows go, with parents that are empty then; files are noted as pending removal."""
    pending = []
    headers = set()
    for uid in sop_instance_uids:
        old = find(connection, uid)
        if old is None:
            continue
        headers.add(_take_out(connection, uid))
        notes.forget_instance(connection, uid)
        pending.append(notes.add_pending(connection, REMOVE, old.uids, old.digest))
    _prune(connection, headers)
    return pending


def _insert(connection: Connection, new: Newcomer) -> None:
    study, study_header = _enter_study(connection, new)
    series, series_header = _enter_series(connection, new, study, study_header)
    connection.execute(
        f"{INSERT_INSTANCE} VALUES (?, ?, {_MARKS})", (series, series_header, *instance_row(new))
    )
    notes.arrived(connection, new.stored.uids)


_UNKNOWN = (0, 0, 0)  # no row has the id 0


def _enter_study(connection: Connection, new: Newcomer) -> tuple[int, int]:
    """The ids of the newcomer's study and study header, made where they are new."""
    uids, received_at = new.stored.uids, new.stored.received_at
    row = connection.execute(
        "SELECT study.id, header.id, header.received_at FROM study LEFT JOIN study_header AS header"
        " ON header.study = study.id AND header.digest = ? WHERE study.study_instance_uid = ?",
        (new.study.digest, uids.study_instance_uid),
    ).fetchone()
    study, header, earliest = row or _UNKNOWN
    if header and earliest <= received_at:
        return study, header
    if not study:
        patient = refresh.patient(connection, new.study.state)
        study = _insert_row(
            connection, "study", parent=patient, study_instance_uid=uids.study_instance_uid
        )
    newest = None
    if not header:
        header = _insert_row(
            connection,
            "study_header",
            study=study,
            digest=new.study.digest,
            content=new.study.content,
            received_at=received_at,
        )
        newest = refresh.Newest(header, new.study.state, received_at)
    else:
        _date(connection, "study_header", header, received_at)
    refresh.study(connection, study, newest, uids)
    return study, header


def _enter_series(
    connection: Connection, new: Newcomer, study: int, study_header: int
) -> tuple[int, int]:
    """The ids of the newcomer's series and series header, made where they are new."""
    uid, received_at = new.stored.uids.series_instance_uid, new.stored.received_at
    row = connection.execute(
        "SELECT series.id, header.id, header.received_at FROM series"
        " LEFT JOIN series_header AS header ON header.series = series.id"
        " AND header.study_header = ? AND header.digest = ?"
        " WHERE series.parent = ? AND series.series_instance_uid = ?",
        (study_header, new.series.digest, study, uid),
    ).fetchone()
    series, header, earliest = row or _UNKNOWN
    if header and earliest <= received_at:
        return series, header
    if not series:
        series = _insert_row(connection, "series", parent=study, series_instance_uid=uid)
    newest = None
    if not header:
        header = _insert_row(
            connection,
            "series_header",
            series=series,
            study_header=study_header,
            digest=new.series.digest,
            sop_class_uid=new.stored.sop_class_uid,
            content=new.series.content,
            received_at=received_at,
        )
        newest = refresh.Newest(header, new.series.state, received_at)
    else:
        _date(connection, "series_header", header, received_at)
    refresh.series(connection, series, newest)
    refresh.lists(connection, study)
    return series, header


def _insert_row(connection: Connection, table: str, **values: object) -> int:
    marks = ", ".join("?" * len(values))
    cursor = connection.execute(
        f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks})", tuple(values.values())
    )
    return int(cursor.lastrowid or 0)


def _date(connection: Connection, table: str, row: int, received_at: int) -> None:
    connection.execute(f"UPDATE {table} SET received_at = ? WHERE id = ?", (received_at, row))


def _take_out(connection: Connection, sop_instance_uid: str) -> int:
    """Delete an instance's row; the id of its series header, which may be nobody's now."""
    (header,) = connection.execute(
        "SELECT header FROM instance WHERE sop_instance_uid = ?", (sop_instance_uid,)
    ).fetchone()
    connection.execute("DELETE FROM instance WHERE sop_instance_uid = ?", (sop_instance_uid,))
    return int(header)


def _prune(connection: Connection, headers: set[int]) -> None:
    """After instances went: drop headers that nobody carries and rows that have none, and fold the
    others anew."""
    all_series, study_headers = set(), set()
    for header in headers:
        series, study_header = connection.execute(
            "SELECT series, study_header FROM series_header WHERE id = ?", (header,)
        ).fetchone()
        all_series.add(series)
        study_headers.add(study_header)
        _drop_or_date(connection, "series_header", header, "instance", "header")
    for series in all_series:
        if _exists(connection, "series_header", "series", series):
            refresh.series(connection, series, None)
        else:
            connection.execute("DELETE FROM series WHERE id = ?", (series,))
    studies = set()
    for header in study_headers:
        (study,) = connection.execute(
            "SELECT study FROM study_header WHERE id = ?", (header,)
        ).fetchone()
        studies.add(study)
        _drop_or_date(connection, "study_header", header, "series_header", "study_header")
    for study in studies:
        _prune_study(connection, study)


def _prune_study(connection: Connection, study: int) -> None:
    patient, uid = connection.execute(
        "SELECT parent, study_instance_uid FROM study WHERE id = ?", (study,)
    ).fetchone()
    if _exists(connection, "study_header", "study", study):
        refresh.study(connection, study, None, InstanceUIDs(uid, "", ""))
        refresh.lists(connection, study)
        return
    connection.execute("DELETE FROM study WHERE id = ?", (study,))
    notes.forget_study(connection, uid)
    refresh.leave_patient(connection, patient)


def _exists(connection: Connection, table: str, key: str, row: int) -> bool:
    query = f"SELECT 1 FROM {table} WHERE {key} = ? LIMIT 1"
    return connection.execute(query, (row,)).fetchone() is not None


def _drop_or_date(connection: Connection, table: str, row: int, below: str, key: str) -> None:
    """A header is dropped with the last that carry it, and as old as the earliest of them."""
    (earliest,) = connection.execute(
        f"SELECT min(received_at) FROM {below} WHERE {key} = ?", (row,)
    ).fetchone()
    if earliest is None:
        connection.execute(f"DELETE FROM {table} WHERE id = ?", (row,))
    else:
        _date(connection, table, row, earliest)
