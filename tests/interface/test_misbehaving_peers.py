"""Peers that break off, stop, vanish or dawdle at a node with two workers: dropped after the
configured time, everyone else served meanwhile, and nothing left of them: no thread, no descriptor,
no temporary file. Time-outs of single steps are tested in tests/net."""

import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from pydicom import Dataset

from tests.conftest import PATIENCE, RunningNode, StartNode, new_dataset
from tests.crowd import at_rest, is_back, many_descriptors, wait_until_gone
from tests.interface.conftest import free_port_number, store_all
from tests.interface.peer import (
    CT,
    EXPLICIT,
    GET_RQ,
    STUDY_GET,
    STUDY_MOVE,
    Association,
    Response,
    encoded,
    keys,
)
from tests.net import raw
from tests.net.raw import P_DATA, RawPeer, pdu, pdv, store_rq

SECONDS = 2
CONFIG = f"""\
listen: {{port: 0, workers: 2}}
timeouts: {{connect: {SECONDS}, acse: {SECONDS}, network: {SECONDS}, dimse: {SECONDS},
  idle: {SECONDS}}}
storage: {{min_free: 0}}
access: {{unknown_callers: all}}
"""
LARGE = 24 << 20  # bytes of pixel data: more than any socket buffers on the way
SMALL = 1000
RESET = struct.pack("ii", 1, 0)  # what makes close() a reset


@pytest.fixture
def node(start_node: StartNode) -> RunningNode:
    return start_node(CONFIG)


@contextmanager
def nothing_left(node: RunningNode) -> Iterator[None]:
    """Whatever happens in the `with`, the node serves others meanwhile, and comes back to what it
    was."""
    before = at_rest(node)
    with somebody_served(node):
        yield
    after = wait_until_gone(node, before, PATIENCE)
    assert is_back(after, before), (before, after)
    assert os.listdir(node.data_dir / "instances" / ".incoming") == []
    assert "Traceback" not in node.log


@contextmanager
def somebody_served(node: RunningNode) -> Iterator[None]:
    """Stores and finds, again and again, at least once during the `with` and once after it."""
    over, turns = threading.Event(), threading.Semaphore(0)

    def work() -> None:
        try:
            while not over.is_set():
                store_all(node, [new_dataset(PatientID="SOMEBODY ELSE")])
                turns.release()
        finally:
            turns.release(3)  # nobody waits for one who has failed

    with ThreadPoolExecutor(1) as pool:
        served = pool.submit(work)
        try:
            assert turns.acquire(timeout=PATIENCE)
            yield
            for _ in range(2):  # one may have been under way
                assert turns.acquire(timeout=PATIENCE)
        finally:
            over.set()
        served.result()


def instance(size: int = SMALL) -> Dataset:
    ds = new_dataset(PatientID="MISBEHAVED")
    ds.add_new("PixelData", "OB", bytes(size))
    return ds


def dropped(peer: RawPeer) -> bool:
    """Whether the node ends the connection; an A-ABORT may come before that."""
    peer.socket.settimeout(PATIENCE)
    while peer.receive() is not None:
        continue
    return True


def leave(peer: RawPeer, how: str) -> None:
    if how == "abort":
        peer.send(pdu(raw.ABORT))
    elif how == "reset":
        peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    peer.close()


@pytest.mark.parametrize(
    ("how", "size"),
    [("abort", LARGE), ("close", LARGE), ("reset", LARGE), ("close", SMALL)],
    ids=["abort", "close", "reset", "close, small"],
)
def test_who_leaves_in_the_middle_of_a_dataset(node: RunningNode, how: str, size: int) -> None:
    ds = instance(size)
    data = encoded(ds)
    with nothing_left(node):
        for _ in range(6):
            peer = RawPeer((node.host, node.port))
            peer.associate((1, CT, [EXPLICIT]))
            half = data[: len(data) // 2]
            pieces = [half[at : at + 16_000] for at in range(0, len(half), 16_000)]
            peer.send(store_rq(uid=ds.SOPInstanceUID))
            peer.send(b"".join(pdu(P_DATA, pdv(1, 0, piece)) for piece in pieces))
            leave(peer, how)
    listed = node.command("ls", "-L", "image", "-k", "PatientID=MISBEHAVED", "--format", "json")
    assert listed.stdout.strip() == "[]"


def getting(node: RunningNode, ds: Dataset, receives: int | None = None) -> RawPeer:
    """A peer that has asked for an instance by C-GET and not yet read a byte of it. `receives` is
    the size of its buffer."""
    peer = Association(
        (node.host, node.port), (STUDY_GET, [EXPLICIT]), (CT, [EXPLICIT]), as_scp=[CT]
    )
    if receives is not None:
        peer._peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receives)
    wanted = keys("IMAGE", PatientID=ds.PatientID, SOPInstanceUID=ds.SOPInstanceUID)
    peer.ask(GET_RQ, STUDY_GET, wanted)
    return peer._peer


@pytest.mark.parametrize("how", ["abort", "close", "reset"])
def test_a_requester_that_vanishes_during_a_c_get(node: RunningNode, how: str) -> None:
    ds = instance(LARGE)
    store_all(node, [ds])
    with nothing_left(node):
        for _ in range(4):
            peer = getting(node, ds)
            assert peer.receive() is not None, "the instance has begun to come"
            leave(peer, how)


def test_a_requester_that_stops_reading_during_a_c_get(node: RunningNode) -> None:
    ds = instance(LARGE)
    store_all(node, [ds])
    with ExitStack() as stack, nothing_left(node):
        for _ in range(4):
            stack.callback(getting(node, ds, receives=4096).close)
        node.wait_for_log(f"the peer has taken nothing for {SECONDS} s")


def test_a_requester_that_answers_nothing_during_a_c_get(node: RunningNode) -> None:
    """As one whose machine has lost its power: the connection is half open."""
    ds = instance()
    store_all(node, [ds])
    with ExitStack() as stack, nothing_left(node):
        peers = [getting(node, ds) for _ in range(4)]
        for peer in peers:
            stack.callback(peer.close)
        for peer in peers:
            assert dropped(peer)


@contextmanager
def destination(port: int, takes: Callable[[socket.socket], None]) -> Iterator[None]:
    """Whoever connects is taken by `takes`, and then kept until the end."""
    with ExitStack() as stack:
        listening = stack.enter_context(socket.create_server(("127.0.0.1", port)))

        def serve() -> None:
            while True:
                try:
                    connection = stack.enter_context(listening.accept()[0])
                    takes(connection)
                except OSError:
                    return

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


def accepts_and_stops_reading(connection: socket.socket) -> None:
    """Takes the association, and of what comes then as much as fits into small buffers."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    peer = RawPeer.over(connection)
    request = peer.receive()
    assert request is not None
    items = raw.item(0x10, raw.APPLICATION_CONTEXT.encode())
    for number in range(1, 8, 2):
        items += raw.item(0x21, bytes([number, 0, 0, 0]) + raw.item(0x40, EXPLICIT.encode()))
    items += raw.item(0x50, raw.item(0x51, b"\0\0\x40\0") + raw.item(0x52, b"1.2"))
    peer.send(pdu(raw.AC, b"\0\1\0\0" + bytes(64) + items))


def says_nothing(connection: socket.socket) -> None:
    """Nobody hears the request for an association."""


@pytest.mark.parametrize(
    ("takes", "comment"),
    [(accepts_and_stops_reading, "All sub-operations failed"), (says_nothing, "association")],
    ids=["stops reading", "never answers"],
)
def test_a_destination_of_a_c_move_that_stops(
    start_node: StartNode, takes: Callable[[socket.socket], None], comment: str
) -> None:
    port = free_port_number()
    node = start_node(f"{CONFIG}modalities: {{AWAY: {{host: 127.0.0.1, port: {port}}}}}\n")
    ds = instance(LARGE)
    store_all(node, [ds])
    with destination(port, takes), nothing_left(node):
        final = moved(node, ds)
        assert final.status == 0xA702
        assert comment in final.comment


def moved(node: RunningNode, ds: Dataset) -> Response:
    """The final answer to a C-MOVE of one instance."""
    with Association((node.host, node.port), (STUDY_MOVE, [EXPLICIT])) as peer:
        wanted = keys("IMAGE", PatientID=ds.PatientID, SOPInstanceUID=ds.SOPInstanceUID)
        final = peer.move(STUDY_MOVE, wanted, "AWAY")[-1]
        peer.release()
        return final


def test_a_requester_of_a_c_move_that_vanishes_with_a_destination_that_stops(
    start_node: StartNode,
) -> None:
    port = free_port_number()
    node = start_node(f"{CONFIG}modalities: {{AWAY: {{host: 127.0.0.1, port: {port}}}}}\n")
    ds = instance(LARGE)
    store_all(node, [ds])
    reached = threading.Semaphore(0)

    def takes(connection: socket.socket) -> None:
        accepts_and_stops_reading(connection)
        reached.release()

    with destination(port, takes), nothing_left(node):
        for how in ("abort", "close", "reset"):
            peer = Association((node.host, node.port), (STUDY_MOVE, [EXPLICIT]))
            wanted = keys("IMAGE", PatientID=ds.PatientID, SOPInstanceUID=ds.SOPInstanceUID)
            peer.ask(0x21, STUDY_MOVE, wanted, x0600="AWAY")
            assert reached.acquire(timeout=PATIENCE)
            leave(peer._peer, how)


def test_a_thousand_connections_that_never_speak(node: RunningNode) -> None:
    with many_descriptors(), ExitStack() as stack, nothing_left(node):
        silent = [
            stack.enter_context(socket.create_connection((node.host, node.port), PATIENCE))
            for _ in range(1000)
        ]
        for connection in silent:
            assert connection.recv(1) == b""


def test_a_dataset_of_one_byte_a_second(node: RunningNode) -> None:
    """A PDU has its time from its first byte on, however often another one comes."""
    ds = instance()
    fragment = pdu(P_DATA, pdv(1, 2, encoded(ds)))
    with nothing_left(node):
        peer = RawPeer((node.host, node.port))
        peer.associate((1, CT, [EXPLICIT]))
        peer.send(store_rq(uid=ds.SOPInstanceUID))
        peer.socket.settimeout(1)
        assert sent_before_the_end(peer, fragment) < 4 * SECONDS
        peer.close()
    assert "a PDU was begun and not completed in time" in node.log


def sent_before_the_end(peer: RawPeer, data: bytes) -> int:
    """How many bytes the peer gets to send, one each second, before it is dropped."""
    for number in range(len(data)):
        try:
            peer.send(data[number : number + 1])
            answer = peer.receive()
        except TimeoutError:
            continue
        except OSError:
            return number
        assert answer is None or answer[0] == raw.ABORT
        return number
    return len(data)


def test_a_peer_that_is_stopped_and_never_goes_on(node: RunningNode, tmp_path: Path) -> None:
    """kill -STOP of a process in the middle of a dataset: its machine still acknowledges what the
    node sends, and nobody is there."""
    ds = instance(LARGE)
    begun, say = os.pipe()
    process = os.fork()
    if not process:
        try:
            peer = RawPeer((node.host, node.port))
            peer.associate((1, CT, [EXPLICIT]))
            peer.send(store_rq(uid=ds.SOPInstanceUID))
            peer.send(pdu(P_DATA, pdv(1, 0, encoded(ds)[:16_000])))
            os.write(say, b"1")
            threading.Event().wait()
        finally:
            os._exit(1)
    os.close(say)
    try:
        assert os.read(begun, 1) == b"1"
        os.kill(process, 19)
        node.wait_for_log(f"a message stopped for {SECONDS} s")
        with nothing_left(node):
            pass
    finally:
        os.close(begun)
        os.kill(process, 9)
        os.waitpid(process, 0)
