"""What peers may make the node hold in memory, together."""

import select
import time
from collections.abc import Callable, Iterator

import pytest

from pacsnode.dicom import status
from pacsnode.dicom.message import Answer, FindRequest
from pacsnode.net.allowance import Allowance
from pacsnode.net.listener import Listener
from tests.conftest import PATIENCE
from tests.net import raw
from tests.net.conftest import ScriptedHandler
from tests.net.raw import RawPeer

LONG = bytes(120_000)
CONTEXT = (1, raw.STUDY_FIND, [raw.IMPLICIT])

Serve = Callable[..., Listener]
Dial = Callable[[Listener], RawPeer]


def test_no_more_is_taken_than_there_is() -> None:
    allowance = Allowance(10)
    assert allowance.take(6)
    assert not allowance.take(5)
    assert allowance.take(4)
    allowance.give_back(10)
    assert allowance.held == 0


@pytest.fixture
def listener(serve: Serve) -> Listener:
    listener = serve()
    listener.allowance.most = 200_000
    return listener


def unfinished(peer: RawPeer) -> None:
    """Of a C-FIND request all but the last fragment."""
    peer.associate(CONTEXT)
    peer.send(raw.find_rq(1)[: -len(raw.pdu(raw.P_DATA, raw.pdv(1, 2, b"")))])
    peer.send(raw.pdu(raw.P_DATA, raw.pdv(1, 0, LONG)))


def complete(peer: RawPeer) -> None:
    """The last fragment, and the answer."""
    peer.send(raw.pdu(raw.P_DATA, raw.pdv(1, 2, b"")))
    assert peer.response()[0] == status.SUCCESS


def test_one_more_long_request_than_memory_is_allowed_for_ends_its_own_association_alone(
    listener: Listener, dial: Dial, handler: ScriptedHandler
) -> None:
    first, second = dial(listener), dial(listener)
    unfinished(first)
    deadline = time.monotonic() + PATIENCE
    while listener.allowance.held < len(LONG):
        assert time.monotonic() < deadline
        select.select([], [], [], 0.01)
    unfinished(second)
    second.expect_abort()
    complete(first)
    third = dial(listener)
    unfinished(third)
    complete(third)


def test_what_was_held_is_given_back_when_its_operation_or_association_is_over(
    listener: Listener, dial: Dial, handler: ScriptedHandler
) -> None:
    held = []

    def find(request: FindRequest) -> Iterator[Answer]:
        held.append((len(request.identifier), listener.allowance.held))
        return iter(())

    handler.find = find
    peer = dial(listener)
    unfinished(peer)
    complete(peer)
    peer.send(raw.find_rq(2))
    peer.response()
    assert held == [(len(LONG), len(LONG)), (0, 0)]
    assert listener.allowance.held == 0
    left = dial(listener)
    unfinished(left)
    left.close()
    peer.close()
    handler.wait_until_all_ended()
    assert listener.allowance.held == 0
