"""What it costs to store into an index of a million studies, beside one that is empty: in turns, so
that what else the machine does is borne by both."""

import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pacsnode import index as index_room
from pacsnode.dicom.instance import Instance, StoredInstance
from pacsnode.index import Index
from tests.benchmarks import data
from tests.benchmarks.association import Association
from tests.benchmarks.million import population
from tests.conftest import RunningNode

ROUNDS = 15
RECENT = 1_000  # studies
_STUDIES = 60  # of each round, of which each has some ten instances

Made = tuple[Instance, StoredInstance]


def _all(number: int, studies: int) -> list[Made]:
    return [made for series in population.instances(number, studies) for made in series]


def _more(number: int, studies: int) -> list[Made]:
    """More instances of a study that is there."""
    found = []
    for instance, stored in _all(number, studies):
        uid = f"{stored.uids.sop_instance_uid}.6"
        uids = stored.uids._replace(sop_instance_uid=uid)
        values = {**instance.values, "SOPInstanceUID": (uid,)}
        late = stored.received_at + 3_600_000_000
        renamed = replace(instance, uids=uids, values=values)
        found.append((renamed, stored._replace(uids=uids, received_at=late)))
    return found


def by_index(large: Path, empty: Path, studies: int) -> None:
    """Index.add, synced: of studies that come after all others, and of studies that are known."""
    indices = {"empty": index_room.open(empty), "large": index_room.open(large)}
    chance = random.Random(time.time_ns())
    seconds: dict[tuple[str, str], list[float]] = {}
    for turn in range(ROUNDS):
        tomorrow = range(studies + turn * _STUDIES, studies + (turn + 1) * _STUDIES)
        numbers = {
            "new studies": tomorrow,
            "studies of the last days": chance.sample(range(studies - RECENT, studies), _STUDIES),
            "studies of all ten years": chance.sample(range(studies), _STUDIES),
        }
        for kind, chosen in numbers.items():
            known = [] if kind == "new studies" else chosen
            rows = [
                made
                for number in chosen
                for made in (_more(number, studies) if known else _all(number, studies))
            ]
            before = [made for number in known for made in _all(number, studies)]
            _added(indices["empty"], before)
            for name in sorted(indices, reverse=turn % 2 == 0):
                spent = _added(indices[name], rows) / len(rows)
                seconds.setdefault((kind, name), []).append(spent)
            for index in indices.values():
                index.forget([stored.uids.sop_instance_uid for _, stored in rows])
    for index in indices.values():
        index.close()
    print(f"{'ms for each Index.add, synced':34}{'empty':>8}{'large':>8}{'rate':>8}")
    for kind in dict.fromkeys(kind for kind, _ in seconds):
        _show(kind, seconds[kind, "empty"], seconds[kind, "large"])


def _added(index: Index, rows: Sequence[Made]) -> float:
    begun = time.perf_counter()
    for made in rows:
        index.add(*made)
    return time.perf_counter() - begun


def _show(title: str, empty: list[float], large: list[float]) -> None:
    """Medians, and the median of the ratios within one round: 100 % is as fast."""
    rate = statistics.median(a / b for a, b in zip(empty, large, strict=True))
    one, other = (statistics.median(each) * 1000 for each in (empty, large))
    print(f"{title:34}{one:8.3f}{other:8.3f}{rate:8.0%}", flush=True)


def by_association(large: RunningNode, empty: RunningNode) -> None:
    """C-STORE of small objects over an association with each."""
    nodes = {"empty": empty, "large": large}
    seconds: dict[str, list[float]] = {"empty": [], "large": []}
    for turn in range(ROUNDS):
        for name in sorted(nodes, reverse=turn % 2 == 0):
            instances = data.small(200)
            node = nodes[name]
            classes = list(dict.fromkeys(each.sop_class_uid for each in instances))
            with Association(node.port, node.ae_title, classes, prompt=True) as association:
                begun = time.perf_counter()
                for instance in instances:
                    association.store(instance)
                seconds[name].append((time.perf_counter() - begun) / len(instances))
    _show("ms for each C-STORE of 3 KB", seconds["empty"], seconds["large"])
