"""The state machine of PS3.8 9.2 under peers that end, break or cross an association at any moment,
over plain sockets."""

import io
import logging
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from pacsnode import net
from pacsnode.config.model import Timeouts
from pacsnode.dicom import status
from pacsnode.dicom.message import (
    Answer,
    Channel,
    DatasetSource,
    FindRequest,
    GetRequest,
    Peer,
    ProposedContext,
    Suboperation,
)
from pacsnode.errors import AssociationLost, AssociationRejected, NetworkError
from pacsnode.net.listener import Listener
from pacsnode.net.upper_layer import Interrupted
from tests.net import raw
from tests.net.conftest import ScriptedHandler
from tests.net.raw import (
    CT,
    IMPLICIT,
    STUDY_FIND,
    STUDY_GET,
    VERIFICATION,
    RawPeer,
    accept,
    until_closed,
)
from tests.net.test_acceptor import Dial, Serve, wait_until_nobody_is_served

CONTEXTS = [(1, CT, [IMPLICIT]), (3, VERIFICATION, [IMPLICIT]), (5, STUDY_FIND, [IMPLICIT])]
HALF_A_DATASET = raw.store_rq() + raw.pdu(raw.P_DATA, raw.pdv(1, 0, b"half"))
RELEASE_RQ, RELEASE_RP = raw.pdu(raw.RELEASE_RQ), raw.pdu(raw.RELEASE_RP)
Play = Callable[[Callable[[socket.socket], None]], tuple[str, int]]


def abort_pdu(source: int = 0, reason: int = 0) -> bytes:
    return raw.pdu(raw.ABORT, bytes([0, 0, source, reason]))


def reset(peer: RawPeer) -> None:
    """Close with a RST, as a cable that is pulled or a process that is killed does."""
    peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.socket.close()


class Asked:
    """A C-FIND that answers until told to stop."""

    def __init__(self, handler: ScriptedHandler) -> None:
        self.begun = threading.Event()
        self.may_end = threading.Event()
        self.over = threading.Event()
        handler.find = self._answer

    def _answer(self, request: FindRequest) -> Iterator[Answer]:
        self.begun.set()
        try:
            while not self.may_end.is_set():
                if request.cancelled():
                    yield Answer(status.CANCELLED)
                    return
                self.may_end.wait(0.01)
                yield Answer(status.PENDING, identifier=b"more")
        finally:
            self.over.set()


class TestAcceptor:
    """The node as the association's acceptor."""

    @pytest.mark.parametrize(
        "stream",
        [RELEASE_RQ, RELEASE_RP, raw.echo_rq(), raw.pdu(raw.RJ), raw.pdu(raw.AC, bytes(68))],
    )
    def test_what_may_not_come_before_the_request_is_aborted(
        self, serve: Serve, dial: Dial, handler: ScriptedHandler, stream: bytes
    ) -> None:
        listener = serve()
        peer = dial(listener)
        peer.send(stream)
        peer.expect_abort()
        wait_until_nobody_is_served(listener)
        assert handler.callers == []

    @pytest.mark.parametrize("stream", [RELEASE_RP, raw.pdu(raw.RJ), raw.pdu(raw.AC, bytes(68))])
    def test_what_may_not_come_within_an_association_is_aborted(
        self, serve: Serve, dial: Dial, handler: ScriptedHandler, stream: bytes
    ) -> None:
        listener = serve()
        peer = dial(listener)
        peer.associate(*CONTEXTS)
        peer.send(stream)
        peer.expect_abort()
        handler.wait_until_all_ended()
        wait_until_nobody_is_served(listener)

    @pytest.mark.parametrize("how", ["abort", "odd abort", "close", "half-close", "reset"])
    @pytest.mark.parametrize("when", ["connected", "established", "in a dataset", "in a query"])
    def test_an_association_may_end_at_any_moment(
        self, serve: Serve, dial: Dial, handler: ScriptedHandler, how: str, when: str
    ) -> None:
        listener, asked = serve(), Asked(handler)
        peer = dial(listener)
        if when != "connected":
            peer.associate(*CONTEXTS)
        if when == "in a dataset":
            peer.send(HALF_A_DATASET)
            assert handler.fragment_came.wait(20)
        if when == "in a query":
            peer.send(raw.find_rq(1, context_id=5))
            assert asked.begun.wait(20)
        end: dict[str, Callable[[], None]] = {
            "abort": lambda: peer.send(abort_pdu()),
            "odd abort": lambda: peer.send(abort_pdu(source=1, reason=9)),
            "close": peer.close,
            "half-close": lambda: peer.socket.shutdown(socket.SHUT_WR),
            "reset": lambda: reset(peer),
        }
        end[how]()
        handler.wait_until_all_ended()
        wait_until_nobody_is_served(listener)
        assert handler.stored == []
        assert handler.discarded == len(handler.store_requests)
        assert asked.over.is_set() == (when == "in a query")

    def test_an_odd_abort_is_an_abort_and_no_broken_protocol(
        self, serve: Serve, dial: Dial, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        listener = serve()
        peer = dial(listener)
        peer.associate(*CONTEXTS)
        peer.send(abort_pdu(source=1, reason=9))
        assert peer.receive() is None, "no A-ABORT answers an A-ABORT"
        wait_until_nobody_is_served(listener)
        assert ": aborted by the peer after" in caplog.text

    def test_what_follows_an_abort_is_not_served(
        self, serve: Serve, dial: Dial, handler: ScriptedHandler
    ) -> None:
        listener = serve()
        peer = dial(listener)
        peer.associate(*CONTEXTS)
        peer.send(abort_pdu() + raw.echo_rq(context_id=3))
        assert peer.receive() is None
        wait_until_nobody_is_served(listener)
        assert handler.requests == []

    def test_a_release_waits_for_the_answers_under_way(
        self, serve: Serve, dial: Dial, handler: ScriptedHandler
    ) -> None:
        asked = Asked(handler)
        peer = dial(serve())
        peer.associate(*CONTEXTS)
        peer.send(raw.find_rq(1, context_id=5) + RELEASE_RQ)
        assert peer.response()[0] == status.PENDING
        asked.may_end.set()
        code = status.PENDING
        while code == status.PENDING:
            code = peer.response()[0]
        assert code == status.SUCCESS
        assert peer.receive() == (raw.RELEASE_RP, b"\0\0\0\0")

    def test_data_after_a_release_request_is_aborted(
        self, serve: Serve, dial: Dial, handler: ScriptedHandler
    ) -> None:
        asked = Asked(handler)
        listener = serve()
        peer = dial(listener)
        peer.associate(*CONTEXTS)
        peer.send(raw.find_rq(1, context_id=5))
        assert asked.begun.wait(20)
        peer.send(RELEASE_RQ + raw.echo_rq(context_id=3))
        peer.expect_abort()
        wait_until_nobody_is_served(listener)
        assert asked.over.is_set()

    def test_a_release_in_the_middle_of_a_dataset_discards_it(
        self, serve: Serve, dial: Dial, handler: ScriptedHandler
    ) -> None:
        listener = serve()
        peer = dial(listener)
        peer.associate(*CONTEXTS)
        peer.send(HALF_A_DATASET + RELEASE_RQ)
        assert peer.receive() == (raw.RELEASE_RP, b"\0\0\0\0")
        peer.close()
        handler.wait_until_all_ended()
        assert (handler.stored, handler.discarded) == ([], 1)

    def test_messages_sent_ahead_are_answered_before_the_release(
        self, serve: Serve, dial: Dial
    ) -> None:
        peer = dial(serve())
        peer.associate(*CONTEXTS)
        peer.send(b"".join(raw.echo_rq(n, 3) for n in range(1, 40)) + RELEASE_RQ)
        assert [peer.response()[0] for _ in range(39)] == [status.SUCCESS] * 39
        assert peer.receive() == (raw.RELEASE_RP, b"\0\0\0\0")

    def test_a_peer_that_does_not_close_after_its_release_is_closed(
        self, serve: Serve, dial: Dial
    ) -> None:
        listener = serve()
        peer = dial(listener)
        peer.associate(*CONTEXTS)
        peer.send(RELEASE_RQ)
        assert peer.receive() == (raw.RELEASE_RP, b"\0\0\0\0")
        assert peer.receive() is None
        wait_until_nobody_is_served(listener)

    def test_a_cancel_counts_for_the_request_under_way_only(
        self, serve: Serve, dial: Dial, handler: ScriptedHandler
    ) -> None:
        """One that comes after the last answer must not stop the next query of that number."""
        heard = []

        def find(request: FindRequest) -> Iterator[Answer]:
            heard.append(request.cancelled())
            return iter(())

        handler.find = find
        peer = dial(serve())
        peer.associate(*CONTEXTS)
        for number in (*range(20, 40), 1):
            peer.send(raw.cancel_rq(number, 5))
        peer.send(raw.find_rq(1, context_id=5))
        assert peer.response()[0] == status.SUCCESS
        peer.send(raw.find_rq(2, context_id=5) + raw.cancel_rq(2, 5))
        peer.response()
        peer.send(raw.find_rq(3, context_id=5))
        peer.response()
        assert heard[0] is False
        assert heard[2] is False

    def test_a_request_of_another_version_is_rejected_and_logged(
        self, serve: Serve, dial: Dial, caplog: pytest.LogCaptureFixture
    ) -> None:
        listener = serve()
        peer = dial(listener)
        peer.send(raw.associate_rq(CONTEXTS, version=2))
        assert peer.receive() == (raw.RJ, b"\0\x01\x02\x02")
        peer.close()
        wait_until_nobody_is_served(listener)
        assert "rejected 1/2/2: " in caplog.text
        assert "127.0.0.1" in caplog.text

    def test_a_fault_of_ours_outside_an_operation_aborts_and_gives_the_place_back(
        self, serve: Serve, dial: Dial, handler: ScriptedHandler, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object) -> None:
            raise RuntimeError("inner detail")

        listener = serve()
        peer = dial(listener)
        peer.associate(*CONTEXTS)
        peer.send(HALF_A_DATASET)
        assert handler.fragment_came.wait(20)
        monkeypatch.setattr("tests.net.conftest.RecordingSink.discard", fail)
        monkeypatch.setattr("pacsnode.net.serving.Server.answer", fail)
        peer.send(raw.pdu(raw.P_DATA, raw.pdv(1, 2, b"rest") + raw.pdv(1, 3, HALF_A_DATASET[12:])))
        peer.expect_abort()
        handler.wait_until_all_ended()
        wait_until_nobody_is_served(listener)

    def test_a_peer_that_asks_instead_of_answering_is_given_up(
        self, serve: Serve, dial: Dial, handler: ScriptedHandler
    ) -> None:
        """Requests that come while a sub-operation waits for its answer wait in turn, up to a
        number."""
        held = []

        def get(request: GetRequest) -> Iterator[Answer]:
            operation = Suboperation(
                request.channel.contexts[0], CT, "1.2", DatasetSource(io.BytesIO(b"ab"), 2)
            )
            try:
                request.channel.store(operation)
            except AssociationLost as error:
                held.append(str(error))
                raise
            yield Answer(status.SUCCESS)

        handler.get = get
        listener = serve()
        peer = dial(listener)
        peer.associate(*CONTEXTS, (7, STUDY_GET, [IMPLICIT]), user_items=raw.role(CT, 0, 1))
        peer.send(raw.get_rq(1, context_id=7))
        peer.send(b"".join(raw.echo_rq(number, 3) for number in range(2, 100)))
        peer.expect_abort()
        wait_until_nobody_is_served(listener)
        assert held == ["the peer broke the protocol: requests instead of an answer"]

    def test_a_node_that_stops_breaks_off_a_dataset_on_its_way_out(
        self, serve: Serve, dial: Dial, handler: ScriptedHandler
    ) -> None:
        size = 200 << 20
        caught: list[type] = []

        class Zeros(io.RawIOBase):
            def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
                return len(buffer)

        def get(request: GetRequest) -> Iterator[Answer]:
            source = DatasetSource(Zeros(), size)  # type: ignore[arg-type]
            try:
                request.channel.store(Suboperation(request.channel.contexts[0], CT, "1.2", source))
            except NetworkError as error:
                caught.append(type(error))
                raise
            yield Answer(status.SUCCESS)

        handler.get = get
        listener = serve()
        peer = dial(listener)
        peer.associate(
            *CONTEXTS, (7, STUDY_GET, [IMPLICIT]), user_items=raw.role(CT, 0, 1), max_pdu=1 << 16
        )
        peer.send(raw.get_rq(1, context_id=7))
        assert peer.receive() is not None
        stopping = threading.Thread(target=listener.stop, args=(60,))
        stopping.start()
        received = 0
        while (answer := peer.receive()) is not None and answer[0] == raw.P_DATA:
            received += len(answer[1])
        # In the middle of a PDU there is no place for an A-ABORT: the connection ends.
        assert answer is None or answer[0] == raw.ABORT
        assert received < size
        stopping.join(20)
        assert caught == [Interrupted]


def never_releases(connection: socket.socket) -> None:
    accept(connection)
    until_closed(connection)


def dial_out(address: tuple[str, int], **timeouts: float) -> Channel:
    contexts = [ProposedContext(CT, (IMPLICIT,)), ProposedContext(VERIFICATION, (IMPLICIT,))]
    peer = Peer("TEST", "PEER", *address, "US")
    return net.connect(peer, contexts, timeouts=Timeouts(**timeouts))


class TestRequestor:
    """The node as the association's requestor."""

    @pytest.mark.parametrize(
        "ending",
        [abort_pdu(), abort_pdu(1, 9), b"", raw.pdu(0x2A), raw.pdu(raw.RJ), b"\x06\0\0\0\0\x04\0"],
        ids=["abort", "odd abort", "close", "unknown PDU", "rejection", "half a PDU"],
    )
    def test_whatever_answers_a_release_it_ends_and_raises_nothing(
        self, play: Play, ending: bytes
    ) -> None:
        def script(connection: socket.socket) -> None:
            accept(connection)
            assert connection.recv(10) == RELEASE_RQ
            connection.sendall(ending)
            if ending:
                until_closed(connection)

        channel = dial_out(play(script), network=0.5)
        channel.release()
        assert not channel.is_open

    def test_data_after_our_release_request_is_passed_over(self, play: Play) -> None:
        seen, over = [], threading.Event()

        def script(connection: socket.socket) -> None:
            accept(connection)
            seen.append(connection.recv(10))
            connection.sendall(raw.echo_rq() * 3 + RELEASE_RP)
            seen.append(connection.recv(10))
            over.set()

        channel = dial_out(play(script))
        channel.release()
        assert not channel.is_open
        assert over.wait(20)
        assert seen == [RELEASE_RQ, b""], "no A-ABORT"

    def test_a_release_that_is_not_answered_ends_in_time_and_ticks(self, play: Play) -> None:
        channel = dial_out(play(never_releases), acse=1.2)
        ticks: list[float] = []
        began = time.monotonic()
        channel.release(lambda: ticks.append(time.monotonic()))
        assert 1.1 <= time.monotonic() - began < 4
        assert len(ticks) >= 2
        assert not channel.is_open

    def test_what_a_tick_raises_in_a_release_passes_and_ends_it(self, play: Play) -> None:
        def tick() -> None:
            raise LookupError("the requester has gone")

        channel = dial_out(play(never_releases))
        with pytest.raises(LookupError):
            channel.release(tick)
        assert not channel.is_open

    @pytest.mark.parametrize("codes", [(1, 1, 3), (9, 1, 3), (1, 7, 3), (1, 1, 99), (2, 3, 2)])
    def test_a_rejection_is_one_whatever_its_codes(
        self, play: Play, codes: tuple[int, int, int]
    ) -> None:
        def script(connection: socket.socket) -> None:
            connection.recv(65536)
            connection.sendall(raw.pdu(raw.RJ, bytes([0, *codes])))
            until_closed(connection)

        with pytest.raises(AssociationRejected) as caught:
            dial_out(play(script))
        rejected = caught.value
        assert (rejected.result, rejected.source, rejected.reason) == codes

    @pytest.mark.parametrize("stream", [abort_pdu(0), abort_pdu(2, 0), abort_pdu(1, 9)])
    def test_an_abort_answers_the_request(self, play: Play, stream: bytes) -> None:
        def script(connection: socket.socket) -> None:
            connection.recv(65536)
            connection.sendall(stream)
            until_closed(connection)

        with pytest.raises(AssociationLost, match="aborted the association request"):
            dial_out(play(script))

    @pytest.mark.parametrize(
        "stream", [RELEASE_RQ, abort_pdu(), b"", raw.pdu(raw.RJ), raw.pdu(0x2A), RELEASE_RP]
    )
    def test_a_peer_that_ends_it_before_a_request_is_noticed(
        self, play: Play, stream: bytes
    ) -> None:
        def script(connection: socket.socket) -> None:
            accept(connection)
            connection.sendall(stream)
            if stream:
                until_closed(connection)

        channel = dial_out(play(script))
        operation = Suboperation(
            channel.contexts[0], CT, "1.2", DatasetSource(io.BytesIO(b"ab"), 2)
        )
        with pytest.raises(NetworkError):
            channel.store(operation)
        assert not channel.is_open
        channel.release()
        channel.abort()


def test_associations_of_every_ending_leave_no_thread_and_no_descriptor(
    serve: Serve, handler: ScriptedHandler
) -> None:
    listener: Listener = serve(network=0.4)
    descriptors = len(os.listdir("/proc/self/fd"))
    threads = threading.active_count()
    for number in range(200):
        peer = RawPeer(listener.address)
        peer.associate(*CONTEXTS)
        if number % 4 == 0:
            peer.send(RELEASE_RQ)
            assert peer.receive() is not None
        elif number % 4 == 1:
            peer.send(HALF_A_DATASET + abort_pdu())
        elif number % 4 == 2:
            reset(peer)
        elif number % 20 == 3:
            peer.send(b"\x04\0\0\0")
            assert peer.receive() is not None, "dropped with an A-ABORT"
        peer.close()
    handler.wait_until_all_ended()
    wait_until_nobody_is_served(listener)
    assert threading.active_count() == threads
    assert len(os.listdir("/proc/self/fd")) == descriptors
