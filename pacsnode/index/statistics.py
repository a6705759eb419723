"""The archive in figures. Reads every row: for people, not for each request."""

import sqlite3

from pacsnode.index.records import Share, Statistics

Connection = sqlite3.Connection

_TOTALS = (
    "SELECT count(*), total(number_of_studies), total(number_of_series),"
    " total(number_of_instances), total(number_of_bytes) FROM tally WHERE study = 0"
)
_BY_MODALITY = (
    "SELECT series.modality, sum(number_of_instances), sum(number_of_bytes) FROM tally"
    " CROSS JOIN series ON series.id = tally.series GROUP BY series.modality"
    " ORDER BY series.modality"
)
_BY_SOURCE = (
    "SELECT source_ae_title, count(*), sum(length) FROM instance GROUP BY source_ae_title"
    " ORDER BY source_ae_title"
)


def statistics(connection: Connection) -> Statistics:
    patients, studies, series, instances, bytes_ = connection.execute(_TOTALS).fetchone()
    return Statistics(
        patients=patients,
        studies=int(studies),
        series=int(series),
        instances=int(instances),
        bytes=int(bytes_),
        by_modality=_shares(connection, _BY_MODALITY),
        by_source=_shares(connection, _BY_SOURCE),
        conflicts=_count(connection, "conflict"),
        flags=_count(connection, "flag"),
        lost=_count(connection, "lost"),
        pending=_count(connection, "pending"),
    )


def _count(connection: Connection, table: str) -> int:
    (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    return int(count)


def _shares(connection: Connection, query: str) -> dict[str, Share]:
    return {name: Share(count, length) for name, count, length in connection.execute(query)}
