"""What a node costs: idle associations, memory, its start."""

import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from tests.benchmarks import data, wire
from tests.benchmarks.association import Association
from tests.benchmarks.measurement import Measurement, load
from tests.benchmarks.peers import Node
from tests.benchmarks.processes import cpu_of_tree, measured, pss_of_tree, sampled, workers

CPU = "CPU of the whole tree"
AFTER_START = "PSS of the whole tree after start"
MORE = "more while the object comes in"
RESIDENT = "sum of the processes' most (VmHWM)"
READY = "start to ready"

MEGABYTE = 1_000_000


def by_idling(node: Node, folder: Path, *, associations: int, seconds: int) -> Measurement:
    with ExitStack() as stack:
        for _ in range(associations):
            association = Association(node.port, node.ae_title, [wire.VERIFICATION])
            # Orthanc would take seconds for each release.
            stack.callback(association.abort)
        with measured(node.pid) as watch:
            time.sleep(seconds)
    return Measurement({CPU: watch.cpu}, watch.cpu)


def by_huge_object(node: Node, folder: Path, *, frames: int) -> Measurement:
    """Memory before and while an object of `frames` times 50 MB comes in."""
    huge = data.huge(frames)
    with workers([partial(load, node, [huge])]) as go:
        after_start = pss_of_tree(node.pid)
        with sampled(node.pid) as peak, measured(node.pid) as watch:
            go()
    figures = {
        AFTER_START: after_start / MEGABYTE,
        MORE: (peak.pss - after_start) / MEGABYTE,
        RESIDENT: peak.resident / MEGABYTE,
    }
    return Measurement(figures, watch.cpu, [huge])


def by_starting(node: Node, folder: Path) -> Measurement:
    """pacsnode says when it is ready; the others are when they answer a C-ECHO."""
    return Measurement({READY: node.ready_after}, cpu_of_tree(node.pid))
