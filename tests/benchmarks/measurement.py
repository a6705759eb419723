"""What one trial of a workload is, and what comes out of it."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from tests.benchmarks.association import Association
from tests.benchmarks.data import CT_IMAGE_STORAGE, Instance, studies
from tests.benchmarks.peers import Node


@dataclass(frozen=True)
class Measurement:
    """Figures by the names of the workload's metrics, CPU seconds of the peer while they were
    taken, and what it has acknowledged in all."""

    figures: Mapping[str, float]
    cpu: float = 0.0
    stored: Sequence[Instance] = ()


def warm(node: Node, associations: int = 1) -> list[Instance]:
    """Store a study over each of some associations: what a server, and each of its processes,
    loads with its first instance is not measured."""
    first = studies(associations)
    with ExitStack() as stack:
        opened = [
            stack.enter_context(Association(node.port, node.ae_title, [CT_IMAGE_STORAGE]))
            for _ in first
        ]
        for association, instance in zip(opened, first, strict=True):
            association.store(instance)
    return first


def load(node: Node, instances: Sequence[Instance]) -> None:
    """Store what is not measured, as fast as the peer takes it."""
    classes = list(dict.fromkeys(instance.sop_class_uid for instance in instances))
    with Association(node.port, node.ae_title, classes, prompt=True) as association:
        for instance in instances:
            association.store(instance)
