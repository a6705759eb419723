"""C-STORE: over one association, over several at once, with an association for each instance."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from tests.benchmarks import association, data, dcmtk, wire
from tests.benchmarks.data import Instance
from tests.benchmarks.measurement import Measurement, warm
from tests.benchmarks.peers import Node
from tests.benchmarks.processes import measured, workers

RATE = "instances/s"


def by_storescu(
    node: Node,
    folder: Path,
    *,
    make: Callable[[int], list[Instance]],
    count: int,
    associations: int = 1,
) -> Measurement:
    """`count` instances by each of `associations` storescu, a study each."""
    batches = [make(count) for _ in range(associations)]
    folders = [data.write_all(batch, folder / f"{number}") for number, batch in enumerate(batches)]
    first = warm(node, associations)
    with measured(node.pid) as watch:
        dcmtk.store(node, folders)
    stored = [instance for batch in batches for instance in batch]
    return Measurement({RATE: len(stored) / watch.seconds}, watch.cpu, [*first, *stored])


def one_association_each(node: Node, folder: Path, *, count: int, clients: int) -> Measurement:
    """`clients` processes, which open an association for each of their `count` instances. The
    bytes are made in advance: what starts a storescu would outweigh all else."""
    batches = [data.small(count) for _ in range(clients)]
    first = warm(node, clients)
    jobs = [partial(_converse, node, _conversations(node, batch)) for batch in batches]
    with workers(jobs) as go, measured(node.pid) as watch:
        go()
    stored = [instance for batch in batches for instance in batch]
    return Measurement({RATE: len(stored) / watch.seconds}, watch.cpu, [*first, *stored])


Conversation = Sequence[Sequence[bytes]]


def _conversations(node: Node, instances: list[Instance]) -> list[Conversation]:
    return [
        wire.conversation(
            node.ae_title,
            instance.sop_class_uid,
            wire.store_request(instance),
            b"".join(instance.blocks()),
        )
        for instance in instances
    ]


def _converse(node: Node, conversations: list[Conversation]) -> None:
    for conversation in conversations:
        association.converse(node.port, conversation, nodelay=node.nodelay)
