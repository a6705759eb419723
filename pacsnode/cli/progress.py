"""A progress bar on standard error, where that is a terminal; silence elsewhere."""

import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress


class Bar:
    """Says how far a piece of work has come, how fast it goes and how long it will take."""

    def __init__(self, progress: "Progress | None" = None) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=None) if progress else None

    @property
    def is_shown(self) -> bool:
        return self._progress is not None

    def at(self, done: int, total: int | None = None) -> None:
        """So much is done; `total`, once it is known, stays."""
        if self._progress is None or self._task is None:
            return
        self._progress.update(self._task, completed=done)
        if total:
            self._progress.update(self._task, total=total)

    def expect(self, total: int) -> None:
        """So much will be done."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, total=total)


@contextmanager
def bar() -> Iterator[Bar]:
    """What is written to standard error meanwhile appears above the bar."""
    if not sys.stderr.isatty():
        yield Bar()
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        """Pieces of work done in a second."""

        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text(f"{speed:.0f}/s" if speed else "-/s")

    columns = (BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn(compact=True))
    with Progress(*columns, console=Console(stderr=True), redirect_stdout=False) as progress:
        yield Bar(progress)


def count_files(paths: Sequence[Path], shown: Bar) -> None:
    """Tell `shown` how many files there are, found out beside the work: by name, unread."""
    if shown.is_shown:
        threading.Thread(target=_count, args=(paths, shown), daemon=True).start()


def _count(paths: Sequence[Path], shown: Bar) -> None:
    total = 0
    for path in paths:
        if not path.is_dir():
            total += 1
            continue
        total += sum(len(names) for _, _, names in os.walk(path))
    shown.expect(total)
