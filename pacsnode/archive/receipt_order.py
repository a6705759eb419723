"""Names in the order of receipt, however many: runs that are sorted in memory wait in files without
names."""

import heapq
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

# Names sorted in memory at a time; the rest waits in temporary files.
RUN = 100_000


class ReceiptOrder:
    """Takes names, then gives them back sorted. To be closed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names: list[tuple[int, str]] = []
        self._runs: list[IO[str]] = []

    def add(self, received_at: int, name: str) -> None:
        """A name without line breaks."""
        self._names.append((received_at, name))
        if len(self._names) >= RUN:
            self._spill()

    def _spill(self) -> None:
        run = tempfile.TemporaryFile("w+", encoding="ascii", dir=self._folder)  # noqa: SIM115
        self._runs.append(run)
        run.writelines(f"{received_at} {name}\n" for received_at, name in sorted(self._names))
        run.seek(0)
        self._names = []

    def __iter__(self) -> Iterator[str]:
        sources = [_read(run) for run in self._runs]
        for _, name in heapq.merge(sorted(self._names), *sources):
            yield name

    def close(self) -> None:
        for run in self._runs:
            run.close()


def _read(run: IO[str]) -> Iterator[tuple[int, str]]:
    for line in run:
        received_at, _, name = line.rstrip("\n").partition(" ")
        yield int(received_at), name
