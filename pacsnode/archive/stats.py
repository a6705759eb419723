"""The archive in figures."""

import os
from typing import NamedTuple

from pacsnode.archive.folder import DataFolder
from pacsnode.index import Index, Statistics
from pacsnode.storage import Storage


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
    with os.scandir(path) as entries:
        return sum(entry.is_file(follow_symlinks=False) for entry in entries)
