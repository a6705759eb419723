"""The other side of an association, for tests: sends, queries and retrieves dataset bytes as they
are, and holds no more of them in memory than it is asked to."""

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO, NamedTuple

from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from pacsnode import net
from pacsnode.config.model import Timeouts
from pacsnode.dicom import status
from pacsnode.dicom.encode import decode_dataset, encode_dataset
from pacsnode.dicom.message import (
    Answer,
    Channel,
    DatasetSource,
    Peer,
    ProposedContext,
    Response,
    Sink,
    StoreRequest,
    Suboperation,
    accepted,
)
from tests.conftest import CT_IMAGE_STORAGE, PATIENCE, RunningNode

PATIENT_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.1.1"
STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
STUDY_ROOT_GET = "1.2.840.10008.5.1.4.1.2.2.3"
TIMEOUTS = Timeouts(connect=PATIENCE, acse=PATIENCE, network=PATIENCE, dimse=PATIENCE)

OnStore = Callable[[StoreRequest], Sink]


def proposals(*, get: bool = False) -> list[ProposedContext]:
    """Storage of CT images, C-FIND and C-GET."""
    syntaxes = (ExplicitVRLittleEndian,)
    return [
        ProposedContext(CT_IMAGE_STORAGE, syntaxes, as_scu=not get, as_scp=get),
        ProposedContext(PATIENT_ROOT_FIND, syntaxes),
        ProposedContext(STUDY_ROOT_FIND, syntaxes),
        ProposedContext(STUDY_ROOT_GET, syntaxes),
    ]


@contextmanager
def association(
    node: RunningNode, on_store: OnStore | None = None, ae_title: str = "TEST"
) -> Iterator[Channel]:
    """An association with the node; with `on_store` one for C-GET."""
    peer = Peer("node", node.ae_title, node.host, node.port, ae_title)
    channel = net.connect(peer, proposals(get=on_store is not None), on_store, timeouts=TIMEOUTS)
    try:
        yield channel
    finally:
        channel.release()


class Instance(NamedTuple):
    """What is sent: a UID and the bytes of the dataset that has it."""

    uid: str
    data: bytes


def instance_of(ds: Dataset) -> Instance:
    return Instance(ds.SOPInstanceUID, encode_dataset(ds, ExplicitVRLittleEndian))


def store(channel: Channel, uid: str, data: bytes) -> Response:
    """C-STORE of dataset bytes."""
    return store_file(channel, uid, io.BytesIO(data), len(data))


def store_file(channel: Channel, uid: str, file: BinaryIO, length: int) -> Response:
    """C-STORE of `length` bytes as `file` gives them."""
    context = accepted(channel.contexts, CT_IMAGE_STORAGE)
    assert context is not None
    source = DatasetSource(file, length)
    return channel.store(Suboperation(context, CT_IMAGE_STORAGE, uid, source))


def find(channel: Channel, level: str, **keys: object) -> Iterator[Dataset]:
    """C-FIND; empty keys are asked for. Patients are looked for in the Patient Root model."""
    for answer in find_bytes(channel, level, **keys):
        yield decode_dataset(answer, ExplicitVRLittleEndian)


def find_bytes(channel: Channel, level: str, **keys: object) -> Iterator[bytes]:
    """As find; the answers as they come."""
    model = PATIENT_ROOT_FIND if level == "PATIENT" else STUDY_ROOT_FIND
    context = accepted(channel.contexts, model)
    assert context is not None
    for response in channel.find(context, identifier(level, **keys)):
        if response.identifier is not None:
            assert response.status == status.PENDING
            yield response.identifier
        else:
            assert response.status == status.SUCCESS, response


def identifier(level: str, **keys: object) -> bytes:
    ds = Dataset()
    ds.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(ds, keyword, value)
    return encode_dataset(ds, ExplicitVRLittleEndian)


class Kept:
    """A Sink that keeps what comes, in `received` by SOP Instance UID."""

    def __init__(self, received: dict[str, bytes], uid: str) -> None:
        self._received = received
        self._uid = uid
        self._data = bytearray()

    def write(self, fragment: memoryview) -> None:
        self._data += fragment

    def finish(self) -> Answer:
        assert self._uid not in self._received
        self._received[self._uid] = bytes(self._data)
        return Answer(status.SUCCESS)

    def discard(self) -> None:
        return


def get(node: RunningNode, level: str, **keys: object) -> dict[str, bytes]:
    """C-GET: dataset bytes by SOP Instance UID. All must arrive."""
    received: dict[str, bytes] = {}
    responses = get_into(
        node, lambda request: Kept(received, request.sop_instance_uid), level, **keys
    )
    final = responses[-1]
    assert final.status == status.SUCCESS, final
    assert final.counters is not None
    assert (final.counters.completed, final.counters.failed) == (len(received), 0)
    return received


def get_into(
    node: RunningNode, on_store: OnStore, level: str, **keys: object
) -> Sequence[Response]:
    """C-GET; all responses."""
    with association(node, on_store) as channel:
        context = accepted(channel.contexts, STUDY_ROOT_GET)
        assert context is not None
        return list(channel.get(context, identifier(level, **keys)))
