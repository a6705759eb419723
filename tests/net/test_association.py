"""Associations that the node opens, to peers that behave and peers that do not."""

import errno
import io
import os
import socket
import threading
import time
from collections.abc import Callable

import pytest

from pacsnode import net
from pacsnode.config.model import Timeouts
from pacsnode.dicom import status
from pacsnode.dicom.message import (
    Answer,
    Channel,
    DatasetSource,
    Extensions,
    Peer,
    ProposedContext,
    Suboperation,
)
from pacsnode.errors import (
    AssociationLost,
    AssociationRejected,
    InstanceDamaged,
    NoPresentationContext,
    PeerTimeout,
    PeerUnreachable,
)
from pacsnode.net import association as association_module
from pacsnode.net.listener import Listener
from tests.net import raw
from tests.net.conftest import ScriptedHandler
from tests.net.raw import CT, IMPLICIT, STUDY_FIND, VERIFICATION, accept, until_closed

Serve = Callable[..., Listener]

ECHO = [ProposedContext(VERIFICATION, (IMPLICIT,))]
STORE = [ProposedContext(CT, (IMPLICIT,))]
FIND = [ProposedContext(STUDY_FIND, (IMPLICIT,))]


def peer_at(address: tuple[str, int]) -> Peer:
    return Peer("TEST", "PACSNODE", address[0], address[1], "US")


def open_channel(address: tuple[str, int], contexts: list[ProposedContext], **kw: float) -> Channel:
    return net.connect(peer_at(address), contexts, timeouts=Timeouts(**kw))


def test_echo_store_and_find_on_one_association(serve: Serve, handler: ScriptedHandler) -> None:
    handler.find = lambda request: iter([Answer(status.PENDING, identifier=request.identifier)])
    channel = open_channel(serve().address, [*ECHO, *STORE, *FIND])
    echo, store, find = channel.contexts
    assert channel.echo().status == status.SUCCESS
    data = bytes(range(256)) * 2000
    operation = Suboperation(
        store, CT, "1.2.3", DatasetSource(io.BytesIO(data), len(data)), "ORIGINATOR", 77
    )
    assert channel.store(operation).status == status.SUCCESS
    assert handler.stored == [data]
    request = handler.store_requests[0]
    assert (request.move_originator_ae_title, request.move_originator_message_id) == (
        "ORIGINATOR",
        77,
    )
    answers = list(channel.find(find, b"identifier"))
    assert [answer.status for answer in answers] == [status.PENDING, status.SUCCESS]
    assert answers[0].identifier == b"identifier"
    assert echo.abstract_syntax == VERIFICATION
    channel.release()
    assert not channel.is_open
    handler.wait_until_all_ended()


def test_what_is_asked_for_and_agreed_to_is_known_of_the_context(
    serve: Serve, handler: ScriptedHandler
) -> None:
    wanted = Extensions(relational=True, fuzzy_names=True)
    contexts = [ProposedContext(STUDY_FIND, (IMPLICIT,), extensions=wanted), *ECHO]
    channel = open_channel(serve().address, contexts)
    find, echo = channel.contexts
    list(channel.find(find, b""))
    channel.release()
    assert find.extensions == wanted
    assert echo.extensions == Extensions()
    (request,) = handler.requests
    assert request.context.extensions == wanted, "both sides agree"


def answering(information: bytes | None) -> Callable[[socket.socket], None]:
    """A peer that answers these bytes to the extended negotiation of FIND."""
    item = b""
    if information is not None:
        uid = STUDY_FIND.encode()
        item = raw.item(0x56, len(uid).to_bytes(2, "big") + uid + information)

    def script(connection: socket.socket) -> None:
        accept(connection, user_items=item)
        until_closed(connection)

    return script


@pytest.mark.parametrize(
    ("answer", "agreed"),
    [
        (None, Extensions()),
        (b"\x01", Extensions(relational=True)),
        (b"\0\x01\x01\x01", Extensions(combined_date_time=True)),
        (b"\x01\x01\0\0\0\0\0", Extensions(relational=True, combined_date_time=True)),
    ],
)
def test_what_a_peer_does_not_answer_is_not_agreed_on(  # type: ignore[no-untyped-def]
    play, answer: bytes | None, agreed: Extensions
) -> None:
    wanted = Extensions(relational=True, combined_date_time=True)
    contexts = [ProposedContext(STUDY_FIND, (IMPLICIT,), extensions=wanted)]
    channel = open_channel(play(answering(answer)), contexts)
    assert channel.contexts[0].extensions == agreed, "no more than was asked for"
    channel.abort()


def test_an_empty_dataset_is_sent_too(serve: Serve, handler: ScriptedHandler) -> None:
    channel = open_channel(serve().address, STORE)
    operation = Suboperation(channel.contexts[0], CT, "1.2", DatasetSource(io.BytesIO(), 0))
    assert channel.store(operation).status == status.SUCCESS
    assert handler.stored == [b""]
    channel.release()


def test_leaving_a_query_early_cancels_it(serve: Serve, handler: ScriptedHandler) -> None:
    cancelled = threading.Event()

    def find(request):  # type: ignore[no-untyped-def]
        while not request.cancelled():
            yield Answer(status.PENDING, identifier=b"more")
        cancelled.set()
        yield Answer(status.CANCELLED)

    handler.find = find
    channel = open_channel(serve().address, [*FIND, *ECHO])
    answers = channel.find(channel.contexts[0], b"")
    assert next(answers).status == status.PENDING
    answers.close()  # type: ignore[attr-defined]
    assert cancelled.is_set()
    assert channel.echo().status == status.SUCCESS, "the association lives on"
    channel.release()


def test_each_step_has_its_name_when_it_fails(serve: Serve, handler: ScriptedHandler) -> None:
    with pytest.raises(PeerUnreachable, match="not found") as name:
        net.connect(Peer("X", "X", "no.such.host.invalid", 104, "US"), ECHO, timeouts=Timeouts())
    assert name.value.step == "name"
    with socket.create_server(("127.0.0.1", 0)) as unused:
        address = unused.getsockname()
    with pytest.raises(PeerUnreachable, match="refused") as tcp:
        open_channel(address, ECHO)
    assert tcp.value.step == "tcp"
    handler.rejection = net_rejection()
    with pytest.raises(AssociationRejected, match="called AE title not recognised") as rejected:
        open_channel(serve().address, ECHO)
    assert (rejected.value.result, rejected.value.source, rejected.value.reason) == (1, 1, 7)


def net_rejection():  # type: ignore[no-untyped-def]
    from pacsnode.dicom.message import Rejection

    return Rejection(1, 1, 7, "no")


def test_a_name_service_that_is_slow_is_waited_for_with_ticks_and_not_without_end(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, ticks = threading.Event(), []
    address = serve().address

    def slow(*_arguments: object, **_more: object) -> list[object]:
        assert answer.wait(20)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address)]

    def tick() -> None:
        ticks.append(time.monotonic())
        if len(ticks) == 2:
            answer.set()

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    net.connect(peer_at(address), ECHO, tick=tick, timeouts=Timeouts()).release()
    assert len(ticks) == 2
    answer.clear()
    with pytest.raises(PeerUnreachable, match="silent") as silent:
        open_channel(address, ECHO, connect=0.2)
    assert silent.value.step == "name"
    answer.set()


def test_a_name_that_no_thread_can_ask_for_is_not_found(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = serve().address
    start = threading.Thread.start

    def start_others(thread: threading.Thread) -> None:
        if thread.name == "name service":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_others)
    with pytest.raises(PeerUnreachable, match="can't start") as short:
        open_channel(address, ECHO)
    assert short.value.step == "name"


def test_an_address_that_cannot_be_tried_is_no_connection(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No descriptor is left, say: a failure of the step, which the rest of the house knows."""
    address = serve().address

    def exhausted(*_arguments: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(association_module.socket, "socket", exhausted)
    with pytest.raises(PeerUnreachable, match="Too many open files") as caught:
        open_channel(address, ECHO)
    assert caught.value.step == "tcp"


def test_what_a_tick_raises_while_connecting_passes_and_closes_the_socket() -> None:
    def tick() -> None:
        raise LookupError("the requester has gone")

    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        waiting = [socket.socket() for _ in range(4)]
        for client in waiting:
            client.setblocking(False)
            client.connect_ex(full.getsockname())
        descriptors = len(os.listdir("/proc/self/fd"))
        with pytest.raises(LookupError):
            net.connect(peer_at(full.getsockname()), ECHO, tick=tick, timeouts=Timeouts())
        assert len(os.listdir("/proc/self/fd")) == descriptors
        for client in waiting:
            client.close()


def test_a_peer_that_accepts_nothing_is_an_error_of_its_own(serve: Serve) -> None:
    with pytest.raises(NoPresentationContext):
        open_channel(serve().address, [ProposedContext("1.2.840.10008.5.1.4.31", (IMPLICIT,))])


def test_a_peer_that_does_not_answer_the_request_times_out(play) -> None:  # type: ignore[no-untyped-def]
    ticks = []
    began = time.monotonic()
    with pytest.raises(PeerTimeout, match="association request"):
        net.connect(
            peer_at(play(until_closed)), ECHO, tick=lambda: ticks.append(1),
            timeouts=Timeouts(acse=1.2),
        )  # fmt: skip
    assert 1.2 <= time.monotonic() - began < 5
    assert len(ticks) >= 2, "a tick at least every half second"


@pytest.mark.parametrize(
    "answer",
    [b"", b"HTTP/1.0 400 Bad Request\r\n\r\n", raw.pdu(raw.ABORT), raw.pdu(raw.RELEASE_RQ)],
)
def test_a_peer_that_is_no_dicom_peer_is_lost(play, answer: bytes) -> None:  # type: ignore[no-untyped-def]
    def script(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(answer)

    with pytest.raises(AssociationLost):
        open_channel(play(script), ECHO)


def test_a_response_that_does_not_come_times_out_and_ends_the_association(play) -> None:  # type: ignore[no-untyped-def]
    def script(connection: socket.socket) -> None:
        accept(connection)
        until_closed(connection)

    channel = open_channel(play(script), ECHO, dimse=0.5)
    with pytest.raises(PeerTimeout, match="no answer to C-ECHO"):
        channel.echo()
    assert not channel.is_open


def test_a_peer_that_stops_reading_ends_the_association(play) -> None:  # type: ignore[no-untyped-def]
    finished = threading.Event()

    def script(connection: socket.socket) -> None:
        accept(connection)
        finished.wait(20)

    channel = open_channel(play(script), STORE, network=0.6)
    data = bytes(30 << 20)
    ticks = []
    operation = Suboperation(
        channel.contexts[0], CT, "1.2", DatasetSource(io.BytesIO(data), len(data))
    )
    with pytest.raises(PeerTimeout):
        channel.store(operation, lambda: ticks.append(1))
    finished.set()
    assert ticks
    assert not channel.is_open


def test_a_peer_that_aborts_in_the_middle_is_lost(play) -> None:  # type: ignore[no-untyped-def]
    def script(connection: socket.socket) -> None:
        accept(connection)
        connection.recv(100)
        connection.sendall(raw.pdu(raw.ABORT))

    channel = open_channel(play(script), ECHO)
    with pytest.raises(AssociationLost):
        channel.echo()
    assert not channel.is_open


def test_a_file_that_ends_early_in_the_middle_aborts_the_association(
    serve: Serve, handler: ScriptedHandler
) -> None:
    channel = open_channel(serve().address, STORE)
    operation = Suboperation(
        channel.contexts[0], CT, "1.2", DatasetSource(io.BytesIO(bytes(2_000_000)), 3_000_000)
    )
    with pytest.raises(InstanceDamaged):
        channel.store(operation)
    assert not channel.is_open
    handler.wait_until_all_ended()
    assert (handler.stored, handler.discarded) == ([], 1)


def test_a_file_that_ends_early_before_anything_has_gone_out_harms_nobody(
    serve: Serve, handler: ScriptedHandler
) -> None:
    channel = open_channel(serve().address, STORE)
    short, whole = DatasetSource(io.BytesIO(bytes(10)), 12), DatasetSource(io.BytesIO(b"ab"), 2)
    with pytest.raises(InstanceDamaged):
        channel.store(Suboperation(channel.contexts[0], CT, "1.2", short))
    assert channel.store(Suboperation(channel.contexts[0], CT, "1.3", whole)).status == 0
    channel.release()
    assert handler.stored == [b"ab"]


def test_releases_that_collide_end_in_order(play) -> None:  # type: ignore[no-untyped-def]
    seen = []

    def script(connection: socket.socket) -> None:
        accept(connection)
        seen.append(connection.recv(10))
        connection.sendall(raw.pdu(raw.RELEASE_RQ))
        seen.append(connection.recv(10))
        connection.sendall(raw.pdu(raw.RELEASE_RP))
        until_closed(connection)

    channel = open_channel(play(script), ECHO)
    channel.release()
    assert not channel.is_open
    assert [data[0] for data in seen] == [raw.RELEASE_RQ, raw.RELEASE_RP]


def test_what_a_tick_raises_passes_and_ends_the_association(play) -> None:  # type: ignore[no-untyped-def]
    def script(connection: socket.socket) -> None:
        accept(connection)
        until_closed(connection)

    def tick() -> None:
        raise AssociationLost("the requester has gone")

    channel = open_channel(play(script), STORE)
    operation = Suboperation(channel.contexts[0], CT, "1.2", DatasetSource(io.BytesIO(b"ab"), 2))
    with pytest.raises(AssociationLost, match="requester"):
        channel.store(operation, tick)
    assert not channel.is_open
