"""The archive in figures. Reads every row: for people, not for each request."""

import sqlite3

from pacsnode.index.records import Share, Statistics

Connection = sqlite3.Connection


def statistics(connection: Connection) -> Statistics:
    (bytes_,) = connection.execute("SELECT total(length) FROM instance").fetchone()
    return Statistics(
        patients=_count(connection, "patient"),
        studies=_count(connection, "study"),
        series=_count(connection, "series"),
        instances=_count(connection, "instance"),
        bytes=int(bytes_),
        by_modality=_shares(
            connection,
            "series.modality",
            "instance CROSS JOIN series ON series.id = instance.parent",
        ),
        by_source=_shares(connection, "source_ae_title", "instance"),
        conflicts=_count(connection, "conflict"),
        flags=_count(connection, "flag"),
        lost=_count(connection, "lost"),
        pending=_count(connection, "pending"),
    )


def _count(connection: Connection, table: str) -> int:
    (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    return int(count)


def _shares(connection: Connection, key: str, table: str) -> dict[str, Share]:
    found = connection.execute(
        f"SELECT {key}, count(*), sum(length) FROM {table} GROUP BY {key} ORDER BY {key}"
    )
    return {name: Share(count, length) for name, count, length in found}
