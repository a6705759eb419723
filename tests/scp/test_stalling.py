"""Retrieves whose destination or requester stalls, over real associations: nobody waits in silence,
and whoever ends it ends it for all."""

import itertools
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

from pacsnode.config.model import Modality, Timeouts
from pacsnode.dicom import status
from pacsnode.dicom.encode import encode_dataset
from pacsnode.scu.files import find_files
from pacsnode.scu.store import send
from tests.net import raw
from tests.net.raw import CT, STUDY_GET, RawPeer
from tests.scp.conftest import STUDY_MOVE, identifier
from tests.scu.conftest import Node

EXPLICIT = "1.2.840.10008.1.2.1"
CONTEXTS = [(1, STUDY_MOVE, [EXPLICIT]), (3, STUDY_GET, [EXPLICIT]), (5, CT, [EXPLICIT])]
FILE = Path(str(get_testdata_file("CT_small.dcm", download=False)))


class Destination:
    """Accepts one association after the other and takes what comes, but answers nothing."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._listening.getsockname()
        self.reads = threading.Event()
        self.reads.set()
        self.stored = threading.Event()
        self.over = threading.Event()
        self.last_pdu = 0
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection = self._listening.accept()[0]
            except OSError:
                return
            with connection:
                self._take(connection)

    def _take(self, connection: socket.socket) -> None:
        peer = RawPeer.over(connection)
        request = peer.receive()
        assert request is not None
        items = raw.item(0x10, raw.APPLICATION_CONTEXT.encode())
        for number in range(1, 8, 2):
            content = bytes([number, 0, 0, 0]) + raw.item(0x40, EXPLICIT.encode())
            items += raw.item(0x21, content)
        items += raw.item(0x50, raw.item(0x51, b"\0\0\x40\0") + raw.item(0x52, b"1.2"))
        connection.sendall(raw.pdu(raw.AC, b"\0\1\0\0" + bytes(64) + items))
        while True:
            answer = peer.receive()
            if answer is None:
                break
            self.last_pdu = answer[0]
            self.stored.set()
        self.over.set()

    def close(self) -> None:
        self._listening.close()


@pytest.fixture
def destination() -> Iterator[Destination]:
    made = Destination()
    yield made
    made.close()


@pytest.fixture(params=[1, 3], ids=["one association", "three"])
def node(
    tmp_path: Path, destination: Destination, request: pytest.FixtureRequest
) -> Iterator[Node]:
    host, port = destination.address
    store = Modality(ae_title="STORE", host=host, port=port, associations=request.param)
    made = Node(tmp_path / "node", {"STORE": store}, Timeouts(dimse=3.0))

    def skipped(path: Path, reason: str) -> None:
        raise AssertionError(f"{path}: {reason}")

    assert [o.text for o in send(made.connect, made.peer, find_files([FILE], skipped))] == [""]
    yield made
    made.close()


@pytest.fixture
def requester(node: Node) -> Iterator[RawPeer]:
    peer = RawPeer((node.peer.host, node.peer.port))
    peer.associate(*CONTEXTS, user_items=raw.role(CT, 0, 1))
    yield peer
    peer.close()


def retrieve(kind: int, sop_class: str, context_id: int, **more: str) -> bytes:
    """A C-MOVE or C-GET of the one study."""
    uid = find_uid("StudyInstanceUID")
    data = encode_dataset(identifier(StudyInstanceUID=uid), EXPLICIT)
    command = raw.command(x0002=sop_class, x0100=kind, x0110=7, **more, x0700=0, x0800=1)
    return raw.pdu(raw.P_DATA, raw.pdv(context_id, 3, command) + raw.pdv(context_id, 2, data))


def find_uid(keyword: str) -> str:
    from pydicom import dcmread

    return str(dcmread(FILE, stop_before_pixels=True)[keyword].value)


MOVE = retrieve(0x21, STUDY_MOVE, 1, x0600="STORE")
GET = retrieve(0x10, STUDY_GET, 3)


def test_pending_answers_go_on_while_the_destination_is_silent(
    requester: RawPeer, destination: Destination
) -> None:
    requester.send(MOVE)
    moments = [time.monotonic()]
    for _ in range(4):
        assert requester.response()[0] == status.PENDING
        moments.append(time.monotonic())
    gaps = [after - before for before, after in itertools.pairwise(moments)]
    assert max(gaps) < 1.3, "a second, and what a busy machine adds"


def test_a_requester_that_vanishes_ends_the_destinations_association(
    requester: RawPeer, destination: Destination
) -> None:
    requester.send(MOVE)
    assert destination.stored.wait(20)
    requester.close()
    began = time.monotonic()
    assert destination.over.wait(20)
    assert destination.last_pdu == raw.ABORT
    assert time.monotonic() - began < 4


def test_a_cancel_is_answered_though_the_destination_is_silent(
    requester: RawPeer, destination: Destination
) -> None:
    """The sub-operation under way is tried no second time."""
    requester.send(MOVE)
    assert destination.stored.wait(20)
    requester.send(raw.cancel_rq(7))
    began = time.monotonic()
    code = status.PENDING
    while code == status.PENDING:
        code = requester.response()[0]
    assert code == status.CANNOT_PERFORM_SUBOPERATIONS, "of the only instance"
    assert time.monotonic() - began < 5.5, "one time-out of 3 s, and the association's end"


@pytest.mark.parametrize("request_pdu", [MOVE, GET], ids=["move", "get"])
def test_a_node_that_stops_aborts_at_once_on_both_sides(
    node: Node,
    requester: RawPeer,
    destination: Destination,
    request_pdu: bytes,
) -> None:
    requester.send(request_pdu)
    assert requester.receive() is not None, "FF00, or the C-STORE of the C-GET"
    began = time.monotonic()
    stopping = threading.Thread(target=node.stop_listening)
    stopping.start()
    requester.expect_abort()
    assert time.monotonic() - began < 2.5
    stopping.join(20)
    if request_pdu is MOVE:
        assert destination.over.wait(20)
        assert destination.last_pdu == raw.ABORT
