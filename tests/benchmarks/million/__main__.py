"""The command: python -m tests.benchmarks.million --folder FOLDER [--studies N] [--only PART]

FOLDER is kept and used again: filling it takes minutes and, for a million studies, 8 GB. Figures
are printed; nothing is asserted.
"""

import argparse
import os
import tempfile
import time
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

from pacsnode import index as index_room
from pacsnode.dicom.level import Level
from tests.benchmarks.million import asking, population, storing
from tests.benchmarks.million.asking import timed
from tests.benchmarks.million.filling import fill
from tests.conftest import running_node, start_pacsnode
from tests.index.instances import key, query

CONFIG = "access: {unknown_callers: all}\nstorage: {min_free: 0}\n"
STARTS = 3
PARTS = ("start", "find", "all", "select", "commands", "add", "store")


def main() -> None:
    arguments = _parser().parse_args()
    folder: Path = arguments.folder
    studies: int = arguments.studies
    path = folder / "pacsnode-data" / "index.sqlite"
    if not path.exists():
        _make(folder, studies)
    parts = arguments.only or PARTS
    if "start" in parts:
        _start(folder, path)
    if {"find", "all"} & {*parts}:
        with running_node(folder, CONFIG) as node:
            if "find" in parts:
                asking.report(node, studies, lambda: _drop_from_memory(path))
            if "all" in parts:
                asking.everything(node, studies)
    if "select" in parts:
        _select(path, studies)
    if "commands" in parts:
        _commands(folder)
    with tempfile.TemporaryDirectory(dir=folder) as temporary, ExitStack() as stack:
        if "add" in parts:
            storing.by_index(path, Path(temporary) / "index.sqlite", studies)
        if "store" in parts:
            empty = stack.enter_context(running_node(Path(temporary), CONFIG))
            storing.by_association(stack.enter_context(running_node(folder, CONFIG)), empty)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.million")
    parser.add_argument("--studies", type=int, default=1_000_000, metavar="N")
    parser.add_argument("--folder", type=Path, required=True, help="kept and used again")
    parser.add_argument("--only", action="append", choices=PARTS, help="may be repeated")
    return parser


def _make(folder: Path, studies: int) -> None:
    """A node makes its data folder; nobody has its index open while that is filled."""
    folder.mkdir(parents=True, exist_ok=True)
    with running_node(folder, CONFIG) as node:
        path = node.data_dir / "index.sqlite"
    begun = time.monotonic()

    def progress(done: int) -> None:
        print(f"\r{done:,} studies, {time.monotonic() - begun:.0f} s", end="", flush=True)

    try:
        fill(path, studies, progress)
    except BaseException:
        path.unlink()
        raise
    seconds, size = time.monotonic() - begun, path.stat().st_size
    print(f"\rfilled with {studies:,} studies in {seconds:.0f} s: {size / 1e9:.2f} GB")


def _drop_from_memory(path: Path) -> None:
    """As far as the system does what it is asked; what a process has itself stays."""
    for name in (path, path.with_name(f"{path.name}-wal")):
        if name.exists():
            descriptor = os.open(name, os.O_RDONLY)
            try:
                os.fsync(descriptor)
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)


def _start(folder: Path, path: Path) -> None:
    for number in range(STARTS):
        _drop_from_memory(path)
        begun = time.perf_counter()
        with running_node(folder, CONFIG):
            ready = time.perf_counter() - begun
        print(f"start to ready line, cold {number + 1}: {ready:.2f} s")


def _select(path: Path, studies: int) -> None:
    """What C-MOVE and C-GET of a study begin with."""
    index = index_room.open(path)
    for number in (studies // 3, studies // 2, studies // 5):
        uid = population.study(number, studies).uid
        begun = time.perf_counter()
        count = len(list(index.select(query(Level.STUDY, key("StudyInstanceUID", uid)))))
        print(
            f"a study to retrieve, {count} instances: {(time.perf_counter() - begun) * 1e3:.1f} ms"
        )
    index.close()


def _commands(folder: Path) -> None:
    config = ("--config", folder / "config.yaml")
    with timed("pacsnode stats"):
        out, error = start_pacsnode(*config, "stats", folder=folder).communicate()
    print(error or "\n".join(out.splitlines()[:5]))
    process = start_pacsnode(*config, "ls", "--format", "csv", folder=folder)
    assert process.stdout is not None
    with timed("pacsnode ls, to the first rows"):
        list(islice(process.stdout, 2))
    process.kill()
    process.communicate()


if __name__ == "__main__":
    main()
