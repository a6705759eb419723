"""The listening socket: addresses, and what happens when descriptors or threads run out."""

import os
import queue
import resource
import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest

from pacsnode.dicom import status
from pacsnode.errors import ConfigurationError
from pacsnode.net.acceptor import IncomingAssociation
from tests.net import raw
from tests.net.conftest import ScriptedHandler
from tests.net.raw import IMPLICIT, VERIFICATION, RawPeer
from tests.net.test_acceptor import Dial, Serve, wait_until_nobody_is_served

ECHO_CONTEXT = (1, VERIFICATION, [IMPLICIT])


def echoes(address: tuple[str, int]) -> bool:
    peer = RawPeer(address)
    peer.associate(ECHO_CONTEXT)
    peer.send(raw.echo_rq())
    answer = peer.response()[0]
    peer.close()
    return answer == status.SUCCESS


def test_ipv6_alone_and_dual_stack(serve: Serve, handler: ScriptedHandler) -> None:
    alone = serve(host="::1").address
    assert alone[0] == "::1"
    assert echoes(alone)
    both = serve(host="::").address[1]
    assert echoes(("::1", both))
    assert echoes(("127.0.0.1", both))
    assert [caller.host for caller in handler.callers] == ["::1", "::1", "127.0.0.1"]


def test_a_port_in_use_is_said_in_one_plain_line(serve: Serve) -> None:
    from pacsnode import net
    from pacsnode.config.model import Listen, Timeouts

    port = serve().address[1]
    with pytest.raises(ConfigurationError) as caught:
        net.listen(
            ScriptedHandler(), ae_title="X", settings=Listen(host="127.0.0.1", port=port),
            timeouts=Timeouts(),
        )  # fmt: skip
    assert str(caught.value) == (
        f"listen: cannot listen on 127.0.0.1 port {port}: Address already in use; another "
        "program has it, perhaps a node that runs already: stop that one, or choose another "
        "listen.port"
    )


@pytest.mark.parametrize("host", ["no.such.host.invalid", "a" * 70, "..", "192.0.2.1"])
def test_an_address_that_cannot_be_had_is_a_configuration_error(host: str, serve: Serve) -> None:
    with pytest.raises(ConfigurationError, match="cannot listen on"):
        serve(host=host)


@pytest.fixture
def few_descriptors() -> Iterator[list[socket.socket]]:
    """All descriptors but one are taken until the list is cleared."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    held: list[socket.socket] = []
    highest = max(map(int, os.listdir("/proc/self/fd")))  # other tests' may still be open
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 100, limits[1]))
    yield held
    for taken in held:
        taken.close()
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_without_descriptors_connections_wait_and_the_log_says_so_once(
    serve: Serve,
    dial: Dial,
    few_descriptors: list[socket.socket],
    caplog: pytest.LogCaptureFixture,
) -> None:
    listener = serve()
    said: queue.SimpleQueue[str] = queue.SimpleQueue()
    caplog.handler.addFilter(lambda record: said.put(record.getMessage()) is None)
    with suppress(OSError):
        while True:
            few_descriptors.append(socket.socket())
    few_descriptors.pop().close()
    peer = dial(listener)
    peer.send(raw.associate_rq([ECHO_CONTEXT]) + raw.echo_rq())
    assert said.get(timeout=20) == "cannot take connections: Too many open files; they wait"
    peer.socket.settimeout(0.5)
    with pytest.raises(TimeoutError):
        peer.receive()
    peer.socket.settimeout(20)
    for _ in range(20):
        few_descriptors.pop().close()
    answer = peer.receive()
    assert answer is not None
    assert answer[0] == raw.AC
    assert peer.response()[0] == status.SUCCESS
    assert said.get(timeout=20) == "connections are taken again"
    assert said.empty()


def test_without_a_thread_a_connection_is_closed_and_the_next_one_served(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = serve()
    start, failures = IncomingAssociation.start, [RuntimeError("can't start new thread")]

    def scarce(association: IncomingAssociation) -> None:
        if failures:
            raise failures.pop()
        start(association)

    monkeypatch.setattr(IncomingAssociation, "start", scarce)
    refused = RawPeer(listener.address)
    assert refused.receive() is None
    refused.close()
    assert echoes(listener.address)
    wait_until_nobody_is_served(listener)
