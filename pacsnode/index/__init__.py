"""Which instances there are. Knows no files. The only room with peewee."""

import uuid
from pathlib import Path

from pacsnode.errors import ConfigurationError, PacsnodeError
from pacsnode.index import schema
from pacsnode.index.commitments import Asked, Backlog, Commitment, NotedReport
from pacsnode.index.database import Database
from pacsnode.index.index import Index
from pacsnode.index.records import (
    Conflict,
    Copy,
    CopyKey,
    Flag,
    Match,
    Pending,
    Share,
    Statistics,
)
from pacsnode.index.salvaging import LostInstance, OldIndex
from pacsnode.index.verdict import KeyVerdict, Verdict

__all__ = [
    "Asked",
    "Backlog",
    "Commitment",
    "Conflict",
    "Copy",
    "CopyKey",
    "Flag",
    "Index",
    "KeyVerdict",
    "LostInstance",
    "Match",
    "NotedReport",
    "OldIndex",
    "Pending",
    "Share",
    "Statistics",
    "Verdict",
    "exists",
    "open",
    "salvage",
]


def exists(url_or_path: str | Path) -> bool:
    """Whether there is an index; an empty file, left by a start that was cut short, is none."""
    path = _path(url_or_path)
    return path.is_file() and path.stat().st_size > 0


def open(  # noqa: A001
    url_or_path: str | Path,
    *,
    fsync: bool = True,
    archive_id: str | None = None,
    may_migrate: bool = True,
) -> Index:
    """Open the index, made and migrated where needed. `archive_id` is for a new one; without it a
    new one gets a random id. `may_migrate`: not while a node runs that may be an older one. Raises
    SchemaTooNew or ConfigurationError, which names the file and what to do; IndexFailure where a
    migration failed or nothing can be synced."""
    database = Database(_path(url_or_path), fsync=fsync)
    try:
        found = schema.prepare(database, archive_id or uuid.uuid4().hex, may_migrate=may_migrate)
        database.start_upkeep()
    except PacsnodeError:
        database.close_all()
        raise
    return Index(database, found)


def salvage(old_path: str | Path, new_index: Index) -> list[str]:
    """See Index.salvage."""
    return new_index.salvage(_path(old_path))


def _path(url_or_path: str | Path) -> Path:
    """`sqlite:` URLs and plain paths."""
    text = str(url_or_path)
    scheme, separator, rest = text.partition("://")
    if not separator:
        return Path(text)
    if scheme != "sqlite":
        raise ConfigurationError(f"index.url: {scheme} is not supported by this version")
    return Path(rest)
