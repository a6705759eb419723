"""Peers that stall: dropped after the configured time, with nothing left of them in the process."""

import os
import socket
import time
from collections.abc import Iterator

import pytest

from tests.conftest import PATIENCE, RunningNode, StartNode, new_dataset
from tests.interface.peer import CT, EXPLICIT, IMPLICIT, VERIFICATION, Association, encoded
from tests.net.raw import P_DATA, RawPeer, associate_rq, pdu, pdv, store_rq

SHORT = "timeouts: {acse: 1, network: 1, dimse: 1, idle: 1}\naccess: {unknown_callers: all}\n"


@pytest.fixture
def node(start_node: StartNode) -> RunningNode:
    return start_node(SHORT)


def _held(node: RunningNode) -> tuple[int, int]:
    """Threads and sockets of the process."""
    proc = f"/proc/{node.process.pid}"
    sockets = 0
    for name in os.listdir(f"{proc}/fd"):
        try:
            sockets += os.readlink(f"{proc}/fd/{name}").startswith("socket:")
        except FileNotFoundError:  # closed meanwhile
            continue
    return len(os.listdir(f"{proc}/task")), sockets


def _more(node: RunningNode, before: tuple[int, int]) -> dict[str, int]:
    """What the process holds that it did not hold then."""
    pairs = zip(("threads", "sockets"), _held(node), before, strict=True)
    return {name: now - then for name, now, then in pairs if now > then}


def _stalling_peers(address: tuple[str, int]) -> Iterator[tuple[str, RawPeer]]:
    silent = RawPeer(address)
    yield "says nothing", silent
    half = RawPeer(address)
    half.send(associate_rq([(1, CT, [EXPLICIT])])[:50])
    yield "stops in the A-ASSOCIATE-RQ", half
    for where in ("idles", "stops in a PDU", "stops between two fragments"):
        peer = RawPeer(address)
        peer.associate((1, CT, [EXPLICIT]))
        data = encoded(new_dataset())
        if where != "idles":
            peer.send(store_rq())
        if where == "stops in a PDU":
            peer.send(pdu(P_DATA, pdv(1, 2, data))[:40])
        if where == "stops between two fragments":
            peer.send(pdu(P_DATA, pdv(1, 0, data[:40])))
        yield where, peer


def test_a_peer_that_stalls_is_dropped_and_leaves_nothing(node: RunningNode) -> None:
    address = (node.host, node.port)
    with Association(address, (VERIFICATION, [IMPLICIT])) as warm:
        assert warm.echo().status == 0
        warm.release()
    node.wait_for_log("released after")
    before = _held(node)
    begun = time.monotonic()
    peers = list(_stalling_peers(address))
    for name, peer in peers:
        peer.socket.settimeout(PATIENCE)
        while peer.receive() is not None:
            pass  # an A-ABORT may come before the end
        assert time.monotonic() - begun < 10, name
        peer.close()
    while more := _more(node, before):
        assert time.monotonic() - begun < PATIENCE, more
        time.sleep(0.02)
    assert list((node.data_dir / "instances" / ".incoming").iterdir()) == []


def test_one_byte_a_second_is_not_enough(node: RunningNode) -> None:
    request = associate_rq([(1, CT, [EXPLICIT])])
    begun = time.monotonic()
    with socket.create_connection((node.host, node.port), PATIENCE) as slow:
        slow.settimeout(0.3)
        for byte in request:
            try:
                slow.send(bytes([byte]))
                if slow.recv(1000) == b"":
                    break
            except TimeoutError:
                continue
            except OSError:
                break
        assert time.monotonic() - begun < 10
