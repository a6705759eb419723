"""A fake archive, and requests whose pending answers are kept."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

from pydicom.dataset import Dataset

from pacsnode.dicom.encode import encode_dataset
from pacsnode.dicom.instance import InstanceUIDs, StoredInstance
from pacsnode.dicom.message import Answer, Caller, Context, GetRequest, MoveRequest
from pacsnode.dicom.query import Query
from pacsnode.errors import InstanceMissing, PacsnodeError
from pacsnode.storage import StoredFile
from tests.scu.scripted import CT, EXPLICIT

STUDY_MOVE, STUDY_GET = "1.2.840.10008.5.1.4.1.2.2.2", "1.2.840.10008.5.1.4.1.2.2.3"
STUDY_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
CALLER = Caller("WORKSTATION", "PACSNODE", "192.0.2.3", 42)
DATA = b"\x08\x00\x60\x00CS\x02\x00CT"


def stored(number: int, sop_class: str = CT, transfer_syntax: str = EXPLICIT) -> StoredInstance:
    uids = InstanceUIDs("1.2", "1.2.3", f"1.2.3.{number}")
    return StoredInstance(uids, sop_class, transfer_syntax, "CT1", len(DATA), bytes(32), 0)


@dataclass
class FakeArchive:
    """What retrieve needs of an Archive. `error` is raised in the selection, and there before the
    instance, that `fails_at` names."""

    instances: list[StoredInstance] = field(default_factory=list)
    missing: set[str] = field(default_factory=set)
    error: PacsnodeError | None = None
    fails_at: tuple[int, int] = (0, 0)
    selections: int = 0
    ae_title: str = "PACSNODE"

    def select(self, query: Query) -> Iterator[StoredInstance]:
        self.selections += 1
        for number, instance in enumerate(self.instances):
            self._fail_at(number)
            yield instance
        self._fail_at(len(self.instances))

    def _fail_at(self, number: int) -> None:
        if self.error is not None and self.fails_at == (self.selections, number):
            raise self.error

    @contextmanager
    def fetch(self, instance: StoredInstance) -> Iterator[StoredFile]:
        if instance.uids.sop_instance_uid in self.missing:
            raise InstanceMissing(f"{instance.uids.sop_instance_uid}: no file")
        yield StoredFile(BytesIO(DATA), instance)


def identifier(level: str = "STUDY", **keys: str) -> Dataset:
    ds = Dataset()
    ds.QueryRetrieveLevel = level
    for keyword, value in (keys or {"StudyInstanceUID": "1.2"}).items():
        setattr(ds, keyword, value)
    return ds


class Requester:
    """The other end of a C-MOVE or C-GET: keeps what it is sent, cancels or vanishes when told."""

    def __init__(self) -> None:
        self.pending: list[Answer] = []
        self.cancel_when: Callable[[], bool] = lambda: False
        self.gone: PacsnodeError | None = None

    def send(self, answer: Answer) -> None:
        if self.gone is not None:
            raise self.gone
        self.pending.append(answer)

    def cancelled(self) -> bool:
        if self.gone is not None:
            raise self.gone
        return self.cancel_when()

    def _fields(
        self, sop_class: str, data: bytes | None, transfer_syntax: str, **more: Any
    ) -> dict[str, Any]:
        if data is None:
            data = encode_dataset(identifier(**more), transfer_syntax)
        return {
            "caller": CALLER,
            "context": Context(1, sop_class, transfer_syntax),
            "message_id": 7,
            "sop_class_uid": sop_class,
            "identifier": data,
            "cancelled": self.cancelled,
            "send": self.send,
        }

    def move(
        self,
        destination: str = "STORE",
        data: bytes | None = None,
        transfer_syntax: str = EXPLICIT,
        **keys: Any,
    ) -> MoveRequest:
        fields = self._fields(STUDY_MOVE, data, transfer_syntax, **keys)
        return MoveRequest(**fields, move_destination=destination)

    def get(self, channel: Any, transfer_syntax: str = EXPLICIT, **keys: Any) -> GetRequest:
        fields = self._fields(STUDY_GET, None, transfer_syntax, **keys)
        return GetRequest(**fields, channel=channel)
