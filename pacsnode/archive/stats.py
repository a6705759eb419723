"""The archive in figures."""

import os
from typing import NamedTuple

from pacsnode.archive.folder import DataFolder
from pacsnode.index import Index, Statistics
from pacsnode.storage import Storage
from pacsnode.storage.quarantine import NOTE


class Figures(NamedTuple):
    """`known` is the index's, `conflicts` and `quarantine` count files, `free` is in bytes."""

    known: Statistics
    conflicts: int
    quarantine: int
    free: int


def statistics(folder: DataFolder, storage: Storage, index: Index) -> Figures:
    return Figures(
        index.statistics(),
        _files(str(folder.conflicts)),
        _files(str(folder.quarantine)),
        storage.free(),
    )


def _files(path: str) -> int:
    """Those of instances; not the notes beside them."""
    with os.scandir(path) as entries:
        return sum(
            entry.is_file(follow_symlinks=False) and not entry.name.endswith(NOTE)
            for entry in entries
        )
