"""What one trial of a workload is, and what comes out of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.benchmarks.association import Association
from tests.benchmarks.data import Instance
from tests.benchmarks.peers import Node


@dataclass(frozen=True)
class Measurement:
    """Figures by the names of the workload's metrics, CPU seconds of the peer while they were
    taken, and what it has acknowledged in all."""

    figures: Mapping[str, float]
    cpu: float = 0.0
    stored: Sequence[Instance] = ()


def load(node: Node, instances: Sequence[Instance]) -> None:
    """Store what is not measured, as fast as the peer takes it."""
    classes = list(dict.fromkeys(instance.sop_class_uid for instance in instances))
    with Association(node.port, node.ae_title, classes, prompt=True) as association:
        for instance in instances:
            association.store(instance)
