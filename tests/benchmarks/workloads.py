"""The workloads, with what pacsnode shall reach in each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tests.benchmarks import asking, data, footprint, retrieving, storing
from tests.benchmarks.measurement import Measurement
from tests.benchmarks.peers import DCMQRSCP, ORTHANC, PACSNODE, UNSYNCED, Node, Peer


@dataclass(frozen=True)
class Metric:
    """One figure of a workload. `times`: by peer, how many times as fast pacsnode shall be;
    `limit`: what pacsnode shall stay under, whatever the peers do."""

    name: str
    unit: str
    times: Mapping[str, float] = field(default_factory=dict)
    limit: float | None = None
    more_is_better: bool = False


@dataclass(frozen=True, eq=False)
class Workload:
    """`work` takes a node, a folder for files and `sizes`; `quick` is what is smaller in a short
    run, `workers` what pacsnode is started with. The title is filled with the sizes."""

    name: str
    setting: str
    title: str
    peers: Sequence[Peer]
    metrics: Sequence[Metric]
    work: Callable[..., Measurement]
    sizes: Mapping[str, int]
    quick: Mapping[str, int] = field(default_factory=dict)
    workers: int | None = None
    note: str = ""

    def sizes_of(self, *, quick: bool) -> Mapping[str, int]:
        return {**self.sizes, **(self.quick if quick else {})}

    def measure(self, node: Node, folder: Path, *, quick: bool) -> Measurement:
        return self.work(node, folder, **self.sizes_of(quick=quick))


# dcmqrscp, which syncs nothing, is compared with a pacsnode that does not sync either.
STORING = (PACSNODE, ORTHANC, UNSYNCED, DCMQRSCP)
SYNCED = (PACSNODE, ORTHANC)
ALL = (PACSNODE, ORTHANC, DCMQRSCP)

LOSES = (
    "no figure of dcmqrscp: where associations run side by side, it refuses instances and loses"
    " some that it has acknowledged"
)


def _times(orthanc: float | None = None, dcmqrscp: float | None = None) -> Mapping[str, float]:
    goals = {ORTHANC.name: orthanc, DCMQRSCP.name: dcmqrscp}
    return {name: times for name, times in goals.items() if times is not None}


def _stored(orthanc: float | None = None, dcmqrscp: float | None = None) -> tuple[Metric]:
    return (Metric(storing.RATE, "/s", _times(orthanc, dcmqrscp), more_is_better=True),)


def _sent(orthanc: float | None = None, limit: float | None = None) -> tuple[Metric]:
    return (Metric(retrieving.RATE, "/s", _times(orthanc), limit, more_is_better=True),)


SMALL = partial(storing.by_storescu, make=data.small)
CT = partial(storing.by_storescu, make=data.ct)

WORKLOADS = (
    Workload(
        "store-small", "stock", "C-STORE, {count:,} × 3 KB, one association",
        STORING, _stored(40, 40), SMALL, {"count": 1000}, {"count": 100},
    ),
    Workload(
        "store-small", "nodelay", "C-STORE, {count:,} × 3 KB, one association",
        STORING, _stored(1.0), SMALL, {"count": 1000},
    ),
    Workload(
        "store-small-8", "nodelay", "C-STORE, {associations} associations × {count} × 3 KB",
        SYNCED, _stored(1.3), SMALL, {"count": 250, "associations": 8}, {"count": 100},
        note=LOSES,
    ),
    Workload(
        "store-ct", "stock", "C-STORE, {count} × 526 KB CT, one association",
        STORING, _stored(15, 15), CT, {"count": 400}, {"count": 50},
    ),
    Workload(
        "store-ct", "nodelay", "C-STORE, {count} × 526 KB CT, one association",
        STORING, _stored(2, 1.0), CT, {"count": 400}, {"count": 200},
    ),
    Workload(
        "store-ct-4", "nodelay", "C-STORE, {associations} associations × {count} × 526 KB CT",
        SYNCED, _stored(2), CT, {"count": 120, "associations": 4}, {"count": 50},
        note=LOSES,
    ),
    Workload(
        "store-each", "stock", "An association for each 3 KB, {clients} clients × {count}",
        SYNCED, _stored(6), storing.one_association_each,
        {"count": 50, "clients": 8}, {"count": 20}, note=LOSES,
    ),
    Workload(
        "store-each", "nodelay", "An association for each 3 KB, {clients} clients × {count}",
        SYNCED, _stored(0.5), storing.one_association_each,
        {"count": 100, "clients": 8}, {"count": 50}, note=LOSES,
    ),
    *(
        Workload(
            "echo", setting, "Association + C-ECHO + release",
            ALL, (Metric(asking.ECHO, "ms", limit=1.5),), asking.by_echo,
            {"count": 400}, {"count": 200},
        )
        for setting in ("stock", "nodelay")
    ),
    Workload(
        "find", "nodelay", "C-FIND among {studies:,} studies",
        ALL,
        (
            Metric(asking.BY_ID, "ms", _times(1.0)),
            Metric(asking.BY_NAME, "ms", _times(1.0)),
            Metric(asking.ALL, "/s", _times(1.0), more_is_better=True),
        ),
        asking.by_find, {"studies": 2000, "queries": 400}, {"queries": 100},
        note=f"dcmqrscp holds {DCMQRSCP.most_studies} studies at most, and is asked among these",
    ),
    Workload(
        "move", "stock", "C-MOVE of a CT study of {count} slices to storescp",
        ALL, _sent(limit=950), retrieving.by_move, {"count": 200}, {"count": 50},
    ),
    Workload(
        "move", "nodelay", "C-MOVE of a CT study of {count} slices to storescp",
        ALL, _sent(0.7), retrieving.by_move, {"count": 200},
    ),
    Workload(
        "get", "stock", "C-GET of a CT study of {count} slices by getscu",
        ALL, _sent(1.0), retrieving.by_get, {"count": 200}, {"count": 50},
    ),
    Workload(
        "get", "nodelay", "C-GET of a CT study of {count} slices by getscu",
        ALL, _sent(0.7), retrieving.by_get, {"count": 200},
    ),
    Workload(
        "idle", "nodelay", "{associations} idle associations, {seconds} s",
        ALL, (Metric(footprint.CPU, "s", limit=0.1),), footprint.by_idling,
        {"associations": 100, "seconds": 10}, {"seconds": 5},
    ),
    Workload(
        "memory", "nodelay", "Memory, pacsnode with 2 workers; an object of {frames} × 50 MB",
        ALL,
        (
            Metric(footprint.AFTER_START, "MB", limit=150),
            Metric(footprint.MORE, "MB", limit=100),
            Metric(footprint.RESIDENT, "MB"),
        ),
        footprint.by_huge_object, {"frames": 20}, {"frames": 8}, workers=2,
    ),
    Workload(
        "start", "nodelay", "Start",
        ALL, (Metric(footprint.READY, "s", limit=1.0),), footprint.by_starting, {},
    ),
)  # fmt: skip
