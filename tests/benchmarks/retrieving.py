"""C-MOVE and C-GET of a CT study."""

from pathlib import Path

from pydicom import Dataset

from tests.benchmarks import data, dcmtk, wire
from tests.benchmarks.association import Association
from tests.benchmarks.errors import Loss
from tests.benchmarks.measurement import Measurement, load, warm
from tests.benchmarks.peers import DESTINATION, Node
from tests.benchmarks.processes import measured

RATE = "sub-operations/s"


def by_move(node: Node, folder: Path, *, count: int) -> Measurement:
    """To storescp; from the request to its last response."""
    instances = data.ct(count)
    load(node, instances)
    first, *_ = warm(node)
    with (
        dcmtk.destination(node),
        Association(
            node.port, node.ae_title, [wire.STUDY_ROOT_MOVE], nodelay=node.nodelay
        ) as association,
    ):
        association.move(_of(first), DESTINATION)
        with measured(node.pid) as watch:
            moved = association.move(_of(instances[0]), DESTINATION)
    return _measurement(moved, watch.seconds, watch.cpu, instances)


def by_get(node: Node, folder: Path, *, count: int) -> Measurement:
    """By getscu, from its start to its end."""
    instances = data.ct(count)
    load(node, instances)
    first, *_ = warm(node)
    dcmtk.get(node, first.study_instance_uid)
    with measured(node.pid) as watch:
        got = dcmtk.get(node, instances[0].study_instance_uid)
    return _measurement(got, watch.seconds, watch.cpu, instances)


def _of(instance: data.Instance) -> bytes:
    """An identifier of its study."""
    ds = Dataset()
    ds.QueryRetrieveLevel = "STUDY"
    ds.StudyInstanceUID = instance.study_instance_uid
    return data.encoded(ds)


def _measurement(
    count: int, seconds: float, cpu: float, instances: list[data.Instance]
) -> Measurement:
    if count != len(instances):
        raise Loss(f"{count} of {len(instances)} instances came")
    return Measurement({RATE: count / seconds}, cpu, instances)
