"""Associations, C-ECHO and C-FIND."""

import itertools
import random
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from pydicom import Dataset

from tests.benchmarks import data, wire
from tests.benchmarks.association import Association, converse
from tests.benchmarks.errors import Loss
from tests.benchmarks.measurement import Measurement, load
from tests.benchmarks.peers import Node
from tests.benchmarks.processes import measured

ECHO = "association, C-ECHO, release: p50"
BY_ID = "by PatientID: p50"
BY_NAME = "100 matches of a name prefix: p50"
ALL = "all studies: responses/s"

PREFIX_MATCHES = 100
# What a worklist of studies shows; all of it is in every peer's index.
RETURNED = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "StudyID",
    "StudyDescription",
    "ReferringPhysicianName",
)


def by_echo(node: Node, folder: Path, *, count: int) -> Measurement:
    """One after the other, each with a connection of its own."""
    echo = wire.conversation(node.ae_title, wire.VERIFICATION, wire.echo_request())
    converse(node.port, echo, nodelay=node.nodelay)
    with measured(node.pid) as watch:
        p50 = _p50(count, lambda: converse(node.port, echo, nodelay=node.nodelay))
    return Measurement({ECHO: p50}, watch.cpu)


def by_find(node: Node, folder: Path, *, studies: int, queries: int) -> Measurement:
    """Over one association, to the last response."""
    count = min(studies, node.most_studies)
    instances = data.studies(count, PREFIX_MATCHES)
    load(node, instances)
    chance = random.Random(1)
    with (
        Association(
            node.port, node.ae_title, [wire.STUDY_ROOT_FIND], nodelay=node.nodelay
        ) as association,
        measured(node.pid) as watch,
    ):

        def expect(matches: int, **keys: str) -> None:
            found = sum(1 for _ in association.find(_of_studies(**keys)))
            if found != matches:
                raise Loss(f"{found} of {matches} studies found by {keys}")

        expect(1, PatientID=data.patient_id(0))  # what is loaded with the first is not measured
        by_id = _p50(queries, lambda: expect(1, PatientID=data.patient_id(chance.randrange(count))))
        by_name = _p50(queries // 4, lambda: expect(PREFIX_MATCHES, PatientName="FOUND*"))
        rate = count / _p50(5, lambda: expect(count)) * 1000
    return Measurement({BY_ID: by_id, BY_NAME: by_name, ALL: rate}, watch.cpu, instances)


def missing(node: Node, instances: Sequence[data.Instance]) -> list[str]:
    """The instances that the peer does not find, asked for series by series."""
    lost: list[str] = []
    with Association(node.port, node.ae_title, [wire.STUDY_ROOT_FIND], prompt=True) as association:
        series = itertools.groupby(
            instances, lambda each: (each.study_instance_uid, each.series_instance_uid)
        )
        for (study_instance_uid, series_instance_uid), expected in series:
            found = b"".join(
                association.find(_of_instances(study_instance_uid, series_instance_uid))
            )
            lost += [
                each.sop_instance_uid
                for each in expected
                if _as_value(each.sop_instance_uid) not in found
            ]
    return lost


def _as_value(uid: str) -> bytes:
    """An element's length and value in Explicit VR, which no longer UID contains."""
    value = uid.encode() + b"\0" * (len(uid) % 2)
    return b"UI" + len(value).to_bytes(2, "little") + value


def _p50(times: int, work: Callable[[], None]) -> float:
    """Milliseconds."""
    taken = []
    for _ in range(times):
        begun = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken) * 1000


def _of_studies(**keys: str) -> bytes:
    return _identifier("STUDY", {**dict.fromkeys(RETURNED, ""), **keys})


def _of_instances(study_instance_uid: str, series_instance_uid: str) -> bytes:
    return _identifier(
        "IMAGE",
        {
            "StudyInstanceUID": study_instance_uid,
            "SeriesInstanceUID": series_instance_uid,
            "SOPInstanceUID": "",
        },
    )


def _identifier(level: str, keys: dict[str, str]) -> bytes:
    ds = Dataset()
    ds.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(ds, keyword, value)
    return data.encoded(ds)
