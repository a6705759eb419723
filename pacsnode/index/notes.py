"""What the storage tree cannot tell: flags, pending steps, conflicts, lost marks. The functions run
inside a transaction that their caller opened."""

import logging
import sqlite3
import time

from pacsnode.dicom.instance import InstanceUIDs
from pacsnode.index.records import REMOVE, REPLACE, Conflict, Flag, Pending

Connection = sqlite3.Connection

LOST = "lost"  # the kind of flag
LOST_TEXT = "lost: its file is missing or damaged; send it again, or delete it"

log = logging.getLogger(__name__)


def now() -> int:
    """Microseconds since 1970 UTC."""
    return time.time_ns() // 1000


def flag(connection: Connection, kind: str, uids: InstanceUIDs, text: str) -> None:
    """The same flag is kept once, and logged then: its text, which may name a patient, apart."""
    cursor = connection.execute(
        "INSERT OR IGNORE INTO flag (kind, study_instance_uid, series_instance_uid,"
        " sop_instance_uid, text, noted_at) VALUES (?, ?, ?, ?, ?, ?)",
        (kind, *uids, text, now()),
    )
    if cursor.rowcount:
        log.warning("flagged, %s: %s", kind, " ".join(uid for uid in uids if uid))
        log.debug("flagged, %s: %s", kind, text)


def unflag(connection: Connection, kind: str, uids: InstanceUIDs, text: str) -> None:
    connection.execute(
        "DELETE FROM flag WHERE study_instance_uid = ? AND kind = ? AND sop_instance_uid = ?"
        " AND text = ?",
        (uids.study_instance_uid, kind, uids.sop_instance_uid, text),
    )


def flags_after(connection: Connection, last: int, limit: int) -> list[tuple[int, Flag]]:
    rows = connection.execute(
        "SELECT id, kind, study_instance_uid, series_instance_uid, sop_instance_uid, text, noted_at"
        " FROM flag WHERE id > ? ORDER BY id LIMIT ?",
        (last, limit),
    )
    return [(row[0], Flag(row[1], InstanceUIDs(*row[2:5]), row[5], row[6])) for row in rows]


def add_pending(connection: Connection, kind: str, uids: InstanceUIDs, digest: bytes) -> Pending:
    """The same step is noted once."""
    (id_,) = connection.execute(
        "INSERT INTO pending (kind, study_instance_uid, series_instance_uid, sop_instance_uid,"
        " digest, noted_at) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET noted_at = excluded.noted_at RETURNING id",
        (kind, *uids, digest, now()),
    ).fetchone()
    return Pending(id_, kind, uids, digest)


def pending(connection: Connection) -> list[Pending]:
    rows = connection.execute(
        "SELECT id, kind, study_instance_uid, series_instance_uid, sop_instance_uid, digest"
        " FROM pending ORDER BY id"
    )
    return [Pending(row[0], row[1], InstanceUIDs(*row[2:5]), row[5]) for row in rows]


def settle(connection: Connection, step: Pending) -> None:
    connection.execute("DELETE FROM pending WHERE id = ?", (step.id,))


def arrived(connection: Connection, uids: InstanceUIDs) -> None:
    """A row for this place says that its file is there: it must not be removed as what a row before
    it left behind, is not in the middle of being replaced, and is not lost."""
    connection.execute(
        "DELETE FROM pending WHERE sop_instance_uid = ? AND (kind = ? OR kind = ?"
        " AND study_instance_uid = ? AND series_instance_uid = ?)",
        (uids.sop_instance_uid, REPLACE, REMOVE, *uids[:2]),
    )
    set_lost(connection, uids.sop_instance_uid, lost=False)


def set_lost(connection: Connection, sop_instance_uid: str, *, lost: bool) -> None:
    if lost:
        connection.execute("INSERT OR IGNORE INTO lost VALUES (?, ?)", (sop_instance_uid, now()))
    else:
        connection.execute("DELETE FROM lost WHERE sop_instance_uid = ?", (sop_instance_uid,))


def lost_after(connection: Connection, last: str, limit: int) -> list[Flag]:
    rows = connection.execute(
        "SELECT coalesce(study.study_instance_uid, ''), coalesce(series.series_instance_uid, ''),"
        " lost.sop_instance_uid, lost.noted_at FROM lost"
        " LEFT JOIN instance ON instance.sop_instance_uid = lost.sop_instance_uid"
        " LEFT JOIN series ON series.id = instance.parent"
        " LEFT JOIN study ON study.id = series.parent"
        " WHERE lost.sop_instance_uid > ? ORDER BY lost.sop_instance_uid LIMIT ?",
        (last, limit),
    )
    return [Flag(LOST, InstanceUIDs(*row[:3]), LOST_TEXT, row[3]) for row in rows]


def forget_instance(connection: Connection, sop_instance_uid: str) -> None:
    """After an instance was removed on purpose."""
    set_lost(connection, sop_instance_uid, lost=False)


def forget_study(connection: Connection, study_instance_uid: str) -> None:
    """After the last instance of a study went."""
    connection.execute("DELETE FROM flag WHERE study_instance_uid = ?", (study_instance_uid,))


def drop_stray_flags(connection: Connection) -> None:
    connection.execute(
        "DELETE FROM flag WHERE study_instance_uid NOT IN (SELECT study_instance_uid FROM study)"
    )


def add_conflict(
    connection: Connection, name: str, uids: InstanceUIDs, source: str, received_at: int
) -> None:
    connection.execute(
        "INSERT OR REPLACE INTO conflict (name, study_instance_uid, series_instance_uid,"
        " sop_instance_uid, source_ae_title, received_at) VALUES (?, ?, ?, ?, ?, ?)",
        (name, *uids, source, received_at),
    )


def forget_conflict(connection: Connection, name: str) -> None:
    """After it was settled."""
    connection.execute("DELETE FROM conflict WHERE name = ?", (name,))


def conflicts_after(connection: Connection, last: int, limit: int) -> list[tuple[int, Conflict]]:
    rows = connection.execute(
        "SELECT id, name, study_instance_uid, series_instance_uid, sop_instance_uid,"
        " source_ae_title, received_at FROM conflict WHERE id > ? ORDER BY id LIMIT ?",
        (last, limit),
    )
    return [(row[0], Conflict(row[1], InstanceUIDs(*row[2:5]), row[5], row[6])) for row in rows]
