"""Instances a second from DCMTK's storescu, over one association, synced before each answer.

    python -m tests.benchmarks.store [FOLDER]

FOLDER is where files and the node's data folder go for a while: choose the disk to measure.
`stock` is DCMTK as it is installed, with Nagle's algorithm; `no delay` has TCP_NODELAY set.
Figures are printed; nothing is asserted.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pydicom.uid import generate_uid

from tests.conftest import RunningNode, new_dataset, running_node, write_dataset

CONFIG = "access: {unknown_callers: all}\nstorage: {min_free: 0, fsync: true}\n"
# Title, how many, bytes of pixel data.
KINDS = (("small, 3 KB", 1000, 2_000), ("CT slices, 526 KB", 200, 2 * 512 * 512))
CLIENTS = {"stock": {}, "no delay": {"TCP_NODELAY": "1"}}


def main(parent: Path) -> None:
    print(f"{'instances a second':24}" + "".join(f"{client:>12}" for client in CLIENTS))
    for title, count, size in KINDS:
        figures = [measured(parent, count, size, settings) for settings in CLIENTS.values()]
        print(f"{title:24}" + "".join(f"{figure:12.0f}" for figure in figures))


def measured(parent: Path, count: int, size: int, settings: dict[str, str]) -> float:
    with tempfile.TemporaryDirectory(dir=parent) as temporary:
        folder = Path(temporary)
        make(folder / "files", count, size)
        with running_node(folder, CONFIG) as node:
            # What is loaded with the first instance is not measured.
            make(folder / "first", 1, size)
            send(node, folder / "first", settings)
            return count / send(node, folder / "files", settings)


def make(folder: Path, count: int, size: int) -> None:
    """Files of series with 100 instances each."""
    study = generate_uid()
    for number in range(count):
        if number % 100 == 0:
            series = generate_uid()
        ds = new_dataset(
            StudyInstanceUID=study,
            SeriesInstanceUID=series,
            InstanceNumber=number + 1,
            Rows=512,
            Columns=512,
        )
        ds.add_new("PixelData", "OW", os.urandom(size))
        write_dataset(folder / f"{number:06}", ds)


def send(node: RunningNode, folder: Path, settings: dict[str, str]) -> float:
    """Seconds from storescu's start to its end."""
    kept = {name: value for name, value in os.environ.items() if name != "TCP_NODELAY"}
    begun = time.perf_counter()
    subprocess.run(
        ["storescu", "+sd", "-aec", node.ae_title, node.host, str(node.port), str(folder)],
        env={**kept, **settings},
        check=True,
    )
    return time.perf_counter() - begun


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.gettempdir()))
