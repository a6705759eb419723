"""Names in the order of receipt, however many: runs that are sorted in memory wait in files without
names."""

import heapq
import json
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
        self._count = 0
        self._names: list[tuple[int, str]] = []
        self._runs: list[IO[str]] = []

    def __len__(self) -> int:
        return self._count

    def add(self, received_at: int, name: str) -> None:
        self._count += 1
        self._names.append((received_at, name))
        if len(self._names) >= RUN:
            self._spill()

    def _spill(self) -> None:
        run = tempfile.TemporaryFile("w+", encoding="ascii", dir=self._folder)  # noqa: SIM115
        self._runs.append(run)
        # As JSON: a file may have any name, with line breaks and what is no text.
        run.writelines(f"{at} {json.dumps(name)}\n" for at, name in sorted(self._names))
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
        received_at, _, name = line.partition(" ")
        yield int(received_at), json.loads(name)
