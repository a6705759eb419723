"""What is here already, for --missing: in the node's own index, and in a folder of files."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pacsnode.cli import options
from pacsnode.cli.run import Run

if TYPE_CHECKING:
    from pacsnode.archive import Archive


class Held:
    """Which instances are here: in the archive, where there is one, but for those found lost; and
    in `folder`."""

    def __init__(self, archive: "Archive | None", folder: Path | None) -> None:
        self._archive = archive
        self._folder = folder
        self._in_files = set(_in_files(folder)) if folder is not None else set()

    def __call__(self, sop_instance_uids: Sequence[str]) -> Collection[str]:
        here = {uid for uid in sop_instance_uids if uid in self._in_files or self._has_come(uid)}
        return here | self._in_archive([uid for uid in sop_instance_uids if uid not in here])

    def _has_come(self, uid: str) -> bool:
        """Whether a C-GET has put it into the folder meanwhile."""
        from pacsnode.scu.files import file_name

        return self._folder is not None and (self._folder / file_name(uid)).exists()

    def _in_archive(self, uids: Sequence[str]) -> set[str]:
        if self._archive is None or not uids:
            return set()
        query = options.local_query("image", [f"SOPInstanceUID={uid}" for uid in uids])
        return {
            stored.uids.sop_instance_uid
            for stored in self._archive.select(query)
            if not stored.is_lost
        }


def _in_files(folder: Path) -> Iterator[str]:
    from pacsnode.scu.files import find_files

    if folder.is_dir():
        for instance in find_files([folder], lambda path, why: None):
            yield instance.sop_instance_uid


@contextmanager
def held(run: Run, folder: Path | None = None) -> Iterator[Held]:
    """In the archive of the configuration; a command makes none where there is none."""
    from pacsnode.node.build import build_archive

    if not (run.configuration.data_dir / "instances").is_dir():
        yield Held(None, folder)
        return
    with build_archive(run.configuration) as archive:
        yield Held(archive, folder)
