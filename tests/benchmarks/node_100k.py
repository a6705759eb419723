"""A whole node with 100,000 instances in 2,000 studies in its index: how long it takes to start,
and its C-FIND to its first and last answer, over one association.

    python -m tests.benchmarks.node_100k [FOLDER]

FOLDER is kept and used again. Goals: ready in under 1 s, first answers within 20 ms. Figures are
printed; nothing is asserted.
"""

import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from pacsnode import index as index_room
from pacsnode.dicom.message import Channel, accepted
from tests.benchmarks.find_100k import NAMES, STUDIES, fill
from tests.conftest import RunningNode, running_node
from tests.interface.associations import STUDY_ROOT_FIND, association, identifier

CONFIG = "access: {unknown_callers: all}\nstorage: {min_free: 0}\n"
STARTS = 5
TIMES = 100

Keys = Mapping[str, object]
ASKED: Keys = dict.fromkeys(
    (
        "PatientName",
        "PatientID",
        "PatientBirthDate",
        "StudyInstanceUID",
        "StudyDate",
        "StudyTime",
        "AccessionNumber",
        "StudyDescription",
        "ModalitiesInStudy",
        "NumberOfStudyRelatedInstances",
    ),
    "",
)

QUERIES: dict[str, tuple[str, Callable[[int], Keys]]] = {
    "studies by PatientID": ("STUDY", lambda n: {"PatientID": f"P{n // 2:06}"}),
    "studies by AccessionNumber": ("STUDY", lambda n: {"AccessionNumber": f"A{n:07}"}),
    "studies by DOE*": ("STUDY", lambda n: {"PatientName": "DOE*"}),
    "studies by another name*": ("STUDY", lambda n: {"PatientName": f"{NAMES[n % 10]}*"}),
    "studies of one day": (
        "STUDY",
        lambda n: {"StudyDate": f"20{20 + n % 4}{1 + n % 12:02}{1 + n % 28:02}"},
    ),
    "all studies": ("STUDY", lambda n: {}),
    "series of a study": (
        "SERIES",
        lambda n: {"StudyInstanceUID": f"1.2.826.0.1.3680043.10.{n}", "SeriesInstanceUID": ""},
    ),
    "instances of a series": (
        "IMAGE",
        lambda n: {
            "StudyInstanceUID": f"1.2.826.0.1.3680043.10.{n}",
            "SeriesInstanceUID": f"1.2.826.0.1.3680043.10.{n}.1",
            "SOPInstanceUID": "",
        },
    ),
}


def main(folder: Path) -> None:
    if not (folder / "pacsnode-data" / "index.sqlite").exists():
        make(folder)
    seconds = [started(folder) for _ in range(STARTS)]
    print(f"start to ready line: {', '.join(f'{each * 1000:.0f}' for each in seconds)} ms")
    with running_node(folder, CONFIG) as node:
        report(node)


def make(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with running_node(folder, CONFIG) as node:
        data_dir = node.data_dir
    index = index_room.open(data_dir / "index.sqlite", fsync=False)
    fill(index)
    index.close()


def started(folder: Path) -> float:
    """Seconds from the command to its ready line, after a clean stop."""
    begun = time.perf_counter()
    with running_node(folder, CONFIG):
        return time.perf_counter() - begun


def report(node: RunningNode) -> None:
    chance = random.Random(1)
    print(f"{'ms':28}{'first p50':>10}{'p95':>8}{'last p50':>10}{'p95':>8}{'answers':>9}")
    with association(node) as channel:
        for title, (level, keys_of) in QUERIES.items():
            firsts, lasts, count = [], [], 0
            repeats = TIMES if title != "all studies" else 3
            for _ in range(repeats):
                asked = ASKED if level == "STUDY" else {}
                keys = {**asked, **keys_of(chance.randrange(STUDIES))}
                first, last, found = timed(channel, level, keys)
                firsts.append(first)
                lasts.append(last)
                count += found
            figures = f"{shares(firsts)}{shares(lasts, 10)}"
            print(f"{title:28}{figures}{count / repeats:9.1f}")


def timed(channel: Channel, level: str, keys: Keys) -> tuple[float, float, int]:
    """Milliseconds to the first and the last response, and how many answers."""
    context = accepted(channel.contexts, STUDY_ROOT_FIND)
    assert context is not None
    data = identifier(level, **keys)
    begun = time.perf_counter()
    first = None
    count = -1
    for _ in channel.find(context, data):
        first = first or time.perf_counter() - begun
        count += 1
    assert first is not None
    return first * 1000, (time.perf_counter() - begun) * 1000, count


def shares(values: list[float], width: int = 10) -> str:
    ranked = sorted(values)
    p95 = ranked[min(len(ranked) - 1, int(len(ranked) * 0.95))]
    return f"{statistics.median(values):{width}.1f}{p95:8.1f}"


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary))
