"""What is named on a command line: files, walked one by one, and what cannot be used named; and
the node's own instances."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pacsnode.cli import options
from pacsnode.cli.output import complain

if TYPE_CHECKING:
    from pacsnode.archive import Archive
    from pacsnode.dicom.instance import StoredInstance
    from pacsnode.scu.files import FileInstance


class Files:
    """The DICOM files below some paths. What is no DICOM in a folder is skipped; a path that was
    named and a file that may not be read are failures. `read` counts all files seen."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        self.skipped = 0
        self.failed = 0
        self.read = 0

    def __iter__(self) -> "Iterator[FileInstance]":
        from pacsnode.scu.files import find_files

        for instance in find_files(self._paths, self._skip):
            self.read += 1
            yield instance

    def _skip(self, path: Path, why: str) -> None:
        self.read += 1
        if path in self._paths or not os.access(path, os.R_OK):
            self.failed += 1
            complain(f"{path}: {why}")
            return
        self.skipped += 1
        complain(f"{path}: skipped: {why}")


def own_instances(
    archive: "Archive", wanted: Mapping[str, Sequence[str]]
) -> "Iterator[StoredInstance]":
    """Those below the UIDs that `wanted` has for a level's name."""
    for name, uids in wanted.items():
        if not uids:
            continue
        unique_key = options.level_of(name).unique_key
        query = options.local_query(name, [f"{unique_key}={uid}" for uid in uids], retrieve=True)
        yield from archive.select(query)
