"""Trials: a workload against a peer that has just been started, and what has become of the
instances it acknowledged."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tests.benchmarks import asking
from tests.benchmarks.errors import Fault, Loss
from tests.benchmarks.measurement import Measurement
from tests.benchmarks.peers import Pacsnode, Peer
from tests.benchmarks.workloads import Workload

FEW = 50  # files


@dataclass(frozen=True)
class Outcome:
    """Of one trial: a measurement or a fault."""

    workload: Workload
    peer: str
    measurement: Measurement | None = None
    fault: str = ""


@dataclass(frozen=True)
class Options:
    rounds: int
    quick: bool
    workers: int | None  # of pacsnode, where the workload does not say
    fsync: bool | None  # of pacsnode, where it is not compared with and without
    parent: Path  # where temporary folders go


def run(workloads: Sequence[Workload], peers: Sequence[str], options: Options) -> Iterator[Outcome]:
    """All trials, workload after workload; the peers take turns, and each is first at times."""
    with tempfile.TemporaryDirectory(prefix="benchmark-", dir=options.parent) as parent:
        yield from _all(workloads, peers, replace(options, parent=Path(parent)))


def _all(
    workloads: Sequence[Workload], peers: Sequence[str], options: Options
) -> Iterator[Outcome]:
    for workload in workloads:
        taking_part = [peer for peer in workload.peers if peer.name in peers]
        for number in range(options.rounds):
            first = number % max(1, len(taking_part))
            for peer in [*taking_part[first:], *taking_part[:first]]:
                title = f"{workload.name} {workload.setting}, {peer.name}"
                print(f"round {number + 1} of {options.rounds}: {title}", file=sys.stderr)
                yield _trial(workload, peer, options)


def _trial(workload: Workload, peer: Peer, options: Options) -> Outcome:
    folder = Path(tempfile.mkdtemp(dir=options.parent))
    try:
        measurement = _measured(workload, peer, folder, options)
    except (Fault, OSError) as error:
        return Outcome(workload, peer.name, fault=str(error) or repr(error))
    finally:
        _tidy(folder)
    return Outcome(workload, peer.name, measurement)


def _tidy(folder: Path) -> None:
    """Remove what is large. Many small files stay until the end: ext4 is slow to make new ones soon
    after, which would be the next trial's burden."""
    if sum(len(names) for _, _, names in os.walk(folder)) < FEW:
        shutil.rmtree(folder)


def _measured(workload: Workload, peer: Peer, folder: Path, options: Options) -> Measurement:
    if isinstance(peer, Pacsnode):
        peer = replace(peer, workers=workload.workers or options.workers)
        if options.fsync is not None:
            peer = replace(peer, fsync=options.fsync)
    with peer.running(folder / "node", workload.setting) as node:
        measurement = workload.measure(node, folder / "files", quick=options.quick)
        lost = asking.missing(node, measurement.stored) if measurement.stored else []
    peer.check(folder / "node")
    if lost:
        raise Loss(f"{len(lost)} of {len(measurement.stored)} acknowledged instances are lost")
    return measurement
