"""Bytes of small files that stand in the storage tree and are not on stable storage yet. A copy
comes with its instance's row and goes when the file has been synced. The functions run inside a
transaction that their caller opened."""

import sqlite3
from collections.abc import Iterable

from pacsnode.dicom.instance import StoredInstance
from pacsnode.index.records import Copy, CopyKey
from pacsnode.index.write import STORED_COLUMNS, stored_instance

Connection = sqlite3.Connection

ADD = "INSERT INTO copy (sop_instance_uid, received_at, content) VALUES (?, ?, ?)"

# A copy whose instance was deleted or replaced meanwhile is nobody's.
_FIND = (
    f"SELECT {STORED_COLUMNS}, copy.content FROM copy"
    " CROSS JOIN instance ON instance.sop_instance_uid = copy.sop_instance_uid"
    " AND instance.received_at = copy.received_at"
    " CROSS JOIN series ON series.id = instance.parent"
    " CROSS JOIN study ON study.id = series.parent"
    " LEFT JOIN lost ON lost.sop_instance_uid = instance.sop_instance_uid"
    " WHERE copy.sop_instance_uid = ? AND copy.received_at = ?"
)


def row(stored: StoredInstance, content: bytes) -> tuple[object, ...]:
    """What ADD is given."""
    return *key(stored), content


def key(stored: StoredInstance) -> CopyKey:
    return CopyKey(stored.uids.sop_instance_uid, stored.received_at)


def keys(connection: Connection) -> list[CopyKey]:
    """Of all copies, oldest first."""
    rows = connection.execute("SELECT sop_instance_uid, received_at FROM copy ORDER BY received_at")
    return [CopyKey(*found) for found in rows]


def find(connection: Connection, wanted: CopyKey) -> Copy | None:
    found = connection.execute(_FIND, wanted).fetchone()
    return Copy(stored_instance(found[:-1]), found[-1]) if found else None


def drop(connection: Connection, done: Iterable[CopyKey]) -> None:
    connection.executemany("DELETE FROM copy WHERE sop_instance_uid = ? AND received_at = ?", done)
