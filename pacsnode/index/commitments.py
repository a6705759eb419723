"""Storage commitment: what was asked of the node and is not reported yet, and reports on what the
node asked of others. Any process may work on what is open: whoever does holds a lease on it, which
ends by itself where its holder dies."""

import sqlite3
import uuid
from collections.abc import Iterable
from typing import Any, NamedTuple

from pacsnode.dicom.commitment import (
    CommitmentReport,
    CommitmentRequest,
    encode_report,
    encode_request,
    parse_report,
    parse_request,
)
from pacsnode.dicom.elements import EXPLICIT_VR_LITTLE_ENDIAN
from pacsnode.errors import UnknownTransaction
from pacsnode.index.database import Database

SECOND = 1_000_000  # microseconds, in which all times here are, since 1970 UTC
LEASE = 120 * SECOND
FAR = 2 * 3600 * SECOND  # what is further ahead than any pause or lease, was noted by a wrong clock
KEPT = 30 * 24 * 3600 * SECOND  # for so long a report on what the node asked for can be looked up

# What may be open at once, of all callers together and of one: transactions, and bytes of their
# requests; and how many bytes of reports are kept.
MOST_OPEN, MOST_BYTES = 10_000, 256 << 20
MOST_OPEN_OF_ONE, MOST_BYTES_OF_ONE = MOST_OPEN // 4, MOST_BYTES // 4
MOST_BYTES_OF_REPORTS = 256 << 20

_ENCODING = EXPLICIT_VR_LITTLE_ENDIAN


class Commitment(NamedTuple):
    """An open transaction, on lease to who got this. `ae_title` and `host` are the requester's;
    `is_duplicate`: its UID was that of another open one when it was asked for; `attempts` to report
    have failed. `report` is what was found, None before it was looked for."""

    id: int
    lease: str
    transaction_uid: str
    ae_title: str
    host: str
    asked_at: int
    attempts: int
    is_duplicate: bool
    request: CommitmentRequest
    report: CommitmentReport | None


class Asked(NamedTuple):
    """Who asks for what."""

    request: CommitmentRequest
    ae_title: str
    host: str


class NotedReport(NamedTuple):
    """A report that came to the node, or to a command, from a peer."""

    report: CommitmentReport
    from_ae_title: str
    noted_at: int


class Backlog(NamedTuple):
    """Open transactions, and how many of them could not be reported several times."""

    open: int
    stuck: int


STUCK_AFTER = 3  # attempts

_COLUMNS = (
    "id, lease, transaction_uid, ae_title, host, asked_at, attempts, is_duplicate, request, report"
)

# Due, on lease to nobody, and nobody at work for the same requester: many take one association at a
# time. Clocks of processes differ a little, and may be set back: what is far ahead of them is past.
_DUE = (
    "(due_at <= :now OR due_at > :now + :far)"
    " AND (claimed_until <= :now OR claimed_until > :now + :far)"
    " AND ae_title NOT IN (SELECT ae_title FROM commitment"
    " WHERE claimed_until > :now AND claimed_until <= :now + :far)"
)
_FIND_DUE = f"SELECT id FROM commitment WHERE {_DUE} ORDER BY due_at LIMIT 1"
_CLAIM = (
    "UPDATE commitment SET lease = :token, claimed_until = :now + :lease"
    f" WHERE id = ({_FIND_DUE}) RETURNING {_COLUMNS}"
)
_OWN = " WHERE id = ? AND lease = ?"


class Commitments:
    """Each method is a short transaction, durable when it returns. `now` is the caller's clock."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def open(self, asked: Asked, now: int) -> Commitment | None:
        """Note a transaction, on lease to the caller; None where too many are open."""
        request, ae_title, host = asked
        uid, token, encoded = request.transaction_uid, _token(), encode_request(request, _ENCODING)
        with self._database.writing() as connection:
            if not _has_room(connection, ae_title, len(encoded)):
                return None
            is_duplicate = _is_open(connection, ae_title, uid)
            values = {
                "lease": token,
                "transaction_uid": uid,
                "ae_title": ae_title,
                "host": host,
                "asked_at": now,
                "is_duplicate": is_duplicate,
                "due_at": now,
                "claimed_until": now + LEASE,
                "size": len(encoded),
                "request": encoded,
            }
            number = connection.execute(
                f"INSERT INTO commitment ({', '.join(values)})"
                f" VALUES ({', '.join('?' * len(values))})",
                tuple(values.values()),
            ).lastrowid
        return Commitment(
            number or 0, token, uid, ae_title, host, now, 0, is_duplicate, request, None
        )

    def claim(self, now: int) -> Commitment | None:
        """The lease on what has been due longest, of a requester for whom nobody holds one; None
        where there is none."""
        times = {"now": now, "lease": LEASE, "far": FAR}
        with self._database.reading() as connection:  # nobody else waits for that
            if connection.execute(_FIND_DUE, times).fetchone() is None:
                return None
        with self._database.writing() as connection:
            row = connection.execute(_CLAIM, {**times, "token": _token()}).fetchone()
        return _commitment(row) if row is not None else None

    def due_at(self) -> int | None:
        """When the next is due, or its lease ends; None where nothing is open."""
        with self._database.reading() as connection:
            (due_at,) = connection.execute(
                "SELECT min(max(due_at, claimed_until)) FROM commitment"
            ).fetchone()
        return None if due_at is None else int(due_at)

    def extend(self, commitment: Commitment, now: int) -> bool:
        """A lease from now on; False where another has it."""
        return self._change(commitment, "claimed_until = ?", now + LEASE)

    def keep_report(self, commitment: Commitment, report: CommitmentReport) -> bool:
        """What is to be reported; False where another has the lease."""
        return self._change(commitment, "report = ?", encode_report(report, _ENCODING))

    def give_back(self, commitment: Commitment, now: int) -> bool:
        """For whoever comes next, at once. False as for `extend`."""
        return self._change(commitment, "claimed_until = 0, lease = '', due_at = ?", now)

    def postpone(self, commitment: Commitment, due_at: int) -> bool:
        """After an attempt that failed. False as for `extend`."""
        return self._change(
            commitment,
            "claimed_until = 0, lease = '', attempts = attempts + 1, due_at = ?",
            due_at,
        )

    def _change(self, commitment: Commitment, assignments: str, *values: object) -> bool:
        statement = f"UPDATE commitment SET {assignments}{_OWN}"
        return self._database.write_once((statement, (*values, commitment.id, commitment.lease)))

    def finish(self, commitment: Commitment) -> bool:
        """It is open no more. False as for `extend`."""
        return self._database.write_once(
            (f"DELETE FROM commitment{_OWN}", (commitment.id, commitment.lease))
        )

    def postpone_all(self, ae_title: str, due_at: int) -> None:
        """Whatever else is to be reported to this requester can wait as long as the one that just
        failed: others must not wait while a host that is off is tried for each of its own."""
        with self._database.writing() as connection:
            connection.execute(
                "UPDATE commitment SET due_at = ? WHERE ae_title = ? AND due_at < ? AND lease = ''",
                (due_at, ae_title, due_at),
            )

    def hasten(self, ae_title: str | None, now: int) -> bool:
        """What waits for this requester, or for any, is due now; whether anything did."""
        statement = (
            "UPDATE commitment SET due_at = ?1"
            " WHERE due_at > ?1 AND lease = '' AND (?2 IS NULL OR ae_title = ?2)"
        )
        return self._database.write_once((statement, (now, ae_title)))

    def give_back_all(self) -> None:
        """All leases end: for a start, when nobody can hold one."""
        self._database.write_once(
            ("UPDATE commitment SET lease = '', claimed_until = 0 WHERE lease <> ''", ())
        )

    def backlog(self) -> Backlog:
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT count(*), count(CASE WHEN attempts > ? THEN 1 END) FROM commitment",
                (STUCK_AFTER,),
            ).fetchone()
        return Backlog(*row)

    def expect(self, transaction_uids: Iterable[str], of_ae_title: str, now: int) -> None:
        """Reports on these are wanted: until one comes there is an empty one."""
        with self._database.writing() as connection:
            _forget_old(connection, now)
            connection.executemany(
                "INSERT OR IGNORE INTO commitment_report"
                " (transaction_uid, ae_title, report, noted_at) VALUES (?, ?, x'', ?)",
                [(uid, of_ae_title, now) for uid in transaction_uids],
            )

    def note_report(self, report: CommitmentReport, from_ae_title: str, now: int) -> bool:
        """A report of a peer's; a later one of the same transaction takes its place. Those that are
        too old go. False where there is no room. Raises UnknownTransaction for what was not to be
        expected: whoever may report could fill the index."""
        encoded = encode_report(report, _ENCODING)
        with self._database.writing() as connection:
            _forget_old(connection, now)
            _require_expected(connection, report.transaction_uid)
            (size,) = connection.execute(
                "SELECT total(length(report)) FROM commitment_report"
            ).fetchone()
            if size + len(encoded) > MOST_BYTES_OF_REPORTS:
                return False
            connection.execute(
                "INSERT OR REPLACE INTO commitment_report"
                " (transaction_uid, ae_title, report, noted_at) VALUES (?, ?, ?, ?)",
                (report.transaction_uid, from_ae_title, encoded, now),
            )
        return True

    def report(self, transaction_uid: str) -> NotedReport | None:
        """The latest that came on this transaction."""
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT report, ae_title, noted_at FROM commitment_report"
                " WHERE transaction_uid = ? AND report <> x'' ORDER BY noted_at DESC LIMIT 1",
                (transaction_uid,),
            ).fetchone()
        return NotedReport(parse_report(row[0], _ENCODING), *row[1:]) if row is not None else None


def _token() -> str:
    return uuid.uuid4().hex


def _commitment(row: tuple[Any, ...]) -> Commitment:
    *_, is_duplicate, request, report = row
    return Commitment(  # type: ignore[call-arg]
        *row[:-3],
        bool(is_duplicate),
        parse_request(request, _ENCODING),
        parse_report(report, _ENCODING) if report is not None else None,
    )


def _forget_old(connection: sqlite3.Connection, now: int) -> None:
    connection.execute("DELETE FROM commitment_report WHERE noted_at < ?", (now - KEPT,))


def _require_expected(connection: sqlite3.Connection, transaction_uid: str) -> None:
    """Whoever it comes from: a peer may have a title for what it opens itself."""
    row = connection.execute(
        "SELECT 1 FROM commitment_report WHERE transaction_uid = ? LIMIT 1", (transaction_uid,)
    ).fetchone()
    if row is None:
        raise UnknownTransaction(transaction_uid)


def _has_room(connection: sqlite3.Connection, ae_title: str, size: int) -> bool:
    count, total, own_count, own_total = connection.execute(
        "SELECT count(*), total(size), count(CASE WHEN ae_title = :title THEN 1 END),"
        " total(CASE WHEN ae_title = :title THEN size END) FROM commitment",
        {"title": ae_title},
    ).fetchone()
    return bool(
        count < MOST_OPEN
        and total + size <= MOST_BYTES
        and own_count < MOST_OPEN_OF_ONE
        and own_total + size <= MOST_BYTES_OF_ONE
    )


def _is_open(connection: sqlite3.Connection, ae_title: str, transaction_uid: str) -> bool:
    row = connection.execute(
        "SELECT 1 FROM commitment WHERE ae_title = ? AND transaction_uid = ? LIMIT 1",
        (ae_title, transaction_uid),
    ).fetchone()
    return row is not None
