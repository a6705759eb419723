"""A real node, in processes of its own, against mutated associations: first from callers that may
not store, which may change nothing, then from some that may. Afterwards it serves as before."""

import hashlib
import multiprocessing
import os
import re
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

from pacsnode.archive import folder
from pacsnode.dicom import part10, status
from pacsnode.storage import paths
from tests.benchmarks.processes import Held, held_by_tree, tree
from tests.conftest import PATIENCE, RunningNode, new_dataset, running_node
from tests.fuzz.sending import Tally, address_of, send
from tests.interface import associations

CONFIG = """\
listen: {{port: {port}, max_associations: 200}}
timeouts: {{acse: 5, network: 5, dimse: 5, idle: 10, connect: 2}}
storage: {{fsync: {fsync}, min_free: 1}}
access: {{unknown_callers: [echo, find], max_unknown_associations: 150}}
modalities:
  FUZZ: {{host: 127.0.0.1, port: 1, allow: all}}
  READER: {{host: 127.0.0.1, port: 1, allow: [echo, find, move, get, commit]}}
  TEST: {{host: 127.0.0.1, port: 1, allow: all}}
"""
READERS = ("READER", "READER", "STRANGER", "\x1b[2J\nEVIL", " ")
WRITERS = ("FUZZ", "FUZZ", "FUZZ", "READER")

SENTINELS = 5
ROUNDS = 5  # of each half, with a look at what the node holds after each
SENDERS = 2
WARM_UP_STREAMS = 300  # sent first: threads and caches are there afterwards
MEGABYTE = 1_000_000
FLAT = 32 * MEGABYTE  # more PSS of the whole tree than after the first round

TABLES = ("patient", "study", "series", "instance", "study_header", "series_header", "flag")

_LINE = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+[+-]\d\d:\d\d (?:DEBUG|INFO|WARNING|ERROR) ?|  \| ")
_FAULTS = ("unexpected fault", "Traceback", "ERROR")


@dataclass
class Figures:
    """What a run found out. `held`: after how many streams, what the tree of processes held."""

    seconds: float = 0.0
    tally: Tally = field(default_factory=Tally)
    held: list[tuple[int, Held]] = field(default_factory=list)
    instances: int = 0
    conflicts: int = 0
    faults: list[str] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return self.tally.streams / self.seconds

    def lines(self) -> Iterator[str]:
        """For people."""
        yield f"{self.tally.streams:,} streams, {self.tally.sent / MEGABYTE:,.0f} MB, in "
        yield f"  {self.seconds:.0f} s: {self.rate:,.0f} streams/s"
        yield "answers:"
        for name, count in sorted(self.tally.answers.items(), key=lambda each: -each[1]):
            yield f"  {count:>9,}  {name}"
        yield f"stored by streams that were left valid: {self.instances:,}; "
        yield f"  put aside as conflicts: {self.conflicts:,}"
        yield "  streams   processes  PSS/MB  threads  descriptors"
        for streams, held in self.held:
            yield (
                f"{streams:>9,}  {held.processes:>10}  {held.pss / MEGABYTE:>6.1f}"
                f"  {held.threads:>7}  {held.descriptors:>11}"
            )
        yield f"faults: {len(self.faults)}"
        yield from (f"  {fault}" for fault in self.faults)


class Sentinels:
    """Instances that were there before, and must be the same afterwards."""

    def __init__(self, node: RunningNode) -> None:
        self._node = node
        self._data: dict[str, bytes] = {}
        self._patients: list[str] = []

    def add(self) -> None:
        """Store one more."""
        name = f"SENTINEL{len(self._data)}"
        instance = associations.instance_of(new_dataset(PatientID=name, PatientName="SENTI^NEL"))
        with associations.association(self._node) as channel:
            response = associations.store(channel, *instance)
            assert response.status == status.SUCCESS, response
        self._data[instance.uid] = instance.data
        self._patients.append(name)

    def check(self) -> None:
        """The node answers; each is found, once, and comes back byte for byte."""
        echoed = self._node.command("echo", self._node.peer)
        assert echoed.returncode == 0, echoed.stderr
        for name, (uid, data) in zip(self._patients, self._data.items(), strict=True):
            with associations.association(self._node) as channel:
                found = list(associations.find(channel, "STUDY", PatientID=name, PatientName=""))
            assert [str(each.PatientName) for each in found] == ["SENTI^NEL"], (name, found)
            study = self._study(uid)
            assert associations.get(self._node, "STUDY", StudyInstanceUID=study) == {uid: data}

    def _study(self, uid: str) -> str:
        (place,) = (self._node.data_dir / "instances").rglob(f"{uid}.dcm")
        return place.parent.parent.name


class Feeder:
    """Sends streams to a node from several processes."""

    def __init__(self, node: RunningNode, seed: int, pool: ProcessPoolExecutor) -> None:
        self._send = partial(send, (node.host, node.port), seed)
        self._pool = pool

    def feed(self, numbers: range, titles: tuple[str, ...]) -> Tally:
        """Raises AssertionError where the node does not answer one of them to its end."""
        tally = Tally()
        parts = [numbers[part::SENDERS] for part in range(SENDERS)]
        for each in self._pool.map(partial(self._send, titles=titles), parts):
            tally.add(each)
        assert not tally.stuck, f"never answered to the end: {tally.stuck}"
        return tally


def run(
    home: Path,
    streams: int,
    *,
    seed: int = 0,
    port: int = 0,
    fsync: bool = True,
    tell: Callable[[str], object] = print,
) -> Figures:
    """Half of the streams from readers, half from writers. Raises AssertionError where the node is
    not what it was; what its log tells of faults is in `faults`."""
    figures = Figures()
    config = CONFIG.format(port=port, fsync=str(fsync).lower())
    context = multiprocessing.get_context("forkserver")
    with (
        ProcessPoolExecutor(SENDERS, mp_context=context) as pool,
        running_node(home, config) as node,
    ):
        feeder = Feeder(node, seed, pool)
        sentinels = Sentinels(node)
        for _ in range(SENTINELS):
            sentinels.add()
        sentinels.check()
        half = streams // 2
        feeder.feed(range(WARM_UP_STREAMS), WRITERS)
        at_rest = _at_rest(node)
        before = _contents(node)
        begun = time.monotonic()
        _rounds(node, feeder, figures, (range(half), READERS), tell)
        changed = [name for name, digest in _contents(node).items() if before.get(name) != digest]
        assert not changed, f"callers that may not store have changed {changed[:10]}"
        assert len(before) == len(_contents(node)), (
            "callers that may not store have removed something"
        )
        sentinels.check()
        _rounds(node, feeder, figures, (range(half, streams), WRITERS), tell)
        figures.seconds = time.monotonic() - begun
        _check_archive(node, figures)
        sentinels.check()
        sentinels.add()
        sentinels.check()
        _at_rest(node, at_rest)
        figures.held.append((streams, held_by_tree(node.process.pid)))
    figures.faults += [*_grown(figures), *_faults(node.log)]
    return figures


def _rounds(
    node: RunningNode,
    feeder: Feeder,
    figures: Figures,
    what: tuple[range, tuple[str, ...]],
    tell: Callable[[str], object],
) -> None:
    numbers, titles = what
    size = -(-len(numbers) // ROUNDS)
    for start in range(0, len(numbers), size):
        figures.tally.add(feeder.feed(numbers[start : start + size], titles))
        held = held_by_tree(node.process.pid)
        figures.held.append((figures.tally.streams, held))
        tell(f"{figures.tally.streams:,} streams, PSS {held.pss / MEGABYTE:.1f} MB")


class Rest(NamedTuple):
    """What a node holds that serves nobody: threads, and what is open, by process and name."""

    threads: int
    descriptors: Counter[str]

    def exceeds(self, other: "Rest") -> bool:
        return self.threads > other.threads or bool(self.descriptors - other.descriptors)


def _rest(node: RunningNode) -> Rest:
    """Connections to the index are left out: a few of them are kept for the next transactions."""
    names: Counter[str] = Counter()
    for pid in tree(node.process.pid):
        for path in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                names[f"{path.readlink().name.partition(':')[0]} of {pid}"] += 1
    kept = {name: count for name, count in names.items() if not name.startswith(folder.INDEX)}
    return Rest(held_by_tree(node.process.pid).threads, Counter(kept))


def _at_rest(node: RunningNode, expected: Rest | None = None) -> Rest:
    """Once nobody is served: no thread and nothing open that was not `expected`."""
    deadline = time.monotonic() + PATIENCE
    while True:
        rest = _rest(node)
        if not _connections(node) and not (expected and rest.exceeds(expected)):
            return rest
        assert time.monotonic() < deadline, f"left over: {rest}, before: {expected}"
        time.sleep(0.1)


def _connections(node: RunningNode) -> int:
    """Connections that the node still has."""
    lines = Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]
    fields = (line.split() for line in lines)
    return sum(each[1].endswith(f":{node.port:04X}") and each[3] in ("01", "08") for each in fields)


def _contents(node: RunningNode) -> dict[str, str]:
    """Digests of all stored files, and of the index's tables of instances."""
    found = {}
    for place in ("instances", "conflicts", "quarantine"):
        for path in sorted((node.data_dir / place).rglob("*")):
            if path.is_file():
                found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
    with sqlite3.connect(_database(node)) as connection:
        for table in TABLES:
            rows = connection.execute(f"SELECT * FROM {table}").fetchall()
            found[table] = hashlib.sha256(repr(sorted(map(repr, rows))).encode()).hexdigest()
    connection.close()
    return found


def _database(node: RunningNode) -> Path:
    return node.data_dir / folder.INDEX


def _check_archive(node: RunningNode, figures: Figures) -> None:
    """Index and tree agree, file by file; every file stands where its UIDs say, whole."""
    verified = node.command("verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    tree = node.data_dir / "instances"
    assert not list((tree / paths.INCOMING).iterdir())
    places = []
    for root, _, names in os.walk(tree):
        places += [Path(root, name).relative_to(tree) for name in names if name.endswith(".dcm")]
    for place in places:
        assert paths.is_place(str(place)), place
        with (tree / place).open("rb") as file:
            meta = part10.read_meta(file)
        assert (tree / place).stat().st_size == meta.dataset_offset + meta.length, place
    outside = [path for path in node.folder.rglob("*.dcm") if node.data_dir not in path.parents]
    assert not outside, outside
    with sqlite3.connect(_database(node)) as connection:
        (indexed,) = connection.execute("SELECT count(*) FROM instance").fetchone()
    connection.close()
    assert indexed == len(places)
    figures.instances = len(places) - SENTINELS
    figures.conflicts = len(list((node.data_dir / "conflicts").glob("*")))


def _grown(figures: Figures) -> Iterator[str]:
    """Where memory has not stayed what it was after the first round of a half: caches fill, and
    callers that may store take more than others."""
    for half in (figures.held[:ROUNDS], figures.held[ROUNDS : 2 * ROUNDS]):
        grown = half[-1][1].pss - half[0][1].pss
        if grown > FLAT:
            yield f"memory grew by {grown / MEGABYTE:.1f} MB up to {half[-1][0]:,} streams"


def _faults(log: str) -> list[str]:
    """Lines that tell of a fault of the node's own, or that no record begins; with the stream's
    number, where the line of its association's end tells the address."""
    found = []
    for line in log.split("\n"):
        is_fault = any(word in line for word in _FAULTS)
        if line and (is_fault or not _LINE.match(line)):
            found.append(line)
    return [*found[:40], *_streams_of(found, log)]


def _streams_of(lines: list[str], log: str) -> Iterator[str]:
    numbers = {found[1] for line in lines if (found := re.search(r"ERROR \[(\d+)\]", line))}
    for line in log.split("\n"):
        found = re.search(r"INFO \[(\d+)\] .* from 127\.(\d+)\.(\d+)\.(\d+), called", line)
        if found and found[1] in numbers:
            one, two, three = map(int, found.groups()[1:])
            number = (one - 1) << 16 | two << 8 | three
            yield f"[{found[1]}] was stream {number} from {address_of(number)}"
