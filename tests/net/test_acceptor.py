"""Incoming associations, from peers that behave and peers that do not."""

import itertools
import logging
import socket
import struct
import threading
import time
from collections.abc import Callable

import pytest

from pacsnode.dicom import status
from pacsnode.dicom.message import Answer, Rejection
from pacsnode.net.listener import Listener
from tests.net import raw
from tests.net.conftest import ScriptedHandler
from tests.net.raw import CT, IMPLICIT, STUDY_FIND, VERIFICATION, RawPeer

Serve = Callable[..., Listener]
Dial = Callable[[Listener], RawPeer]

ECHO_CONTEXT = (1, VERIFICATION, [IMPLICIT])
CT_CONTEXT = (1, CT, [IMPLICIT])
FIND_CONTEXT = (1, STUDY_FIND, [IMPLICIT])


def wait_until_nobody_is_served(listener: Listener) -> None:
    """Threads and sockets are given back: the listener counts a connection until both are gone."""
    deadline = time.monotonic() + 20
    pause = threading.Event()
    while listener.associations or any(
        thread.name.startswith("association-") for thread in threading.enumerate()
    ):
        assert time.monotonic() < deadline
        pause.wait(0.01)


def test_an_echo_is_answered_and_the_association_released(
    serve: Serve, dial: Dial, handler: ScriptedHandler
) -> None:
    listener = serve()
    peer = dial(listener)
    peer.associate(ECHO_CONTEXT)
    peer.send(raw.echo_rq())
    assert peer.response()[0] == status.SUCCESS
    peer.send(raw.pdu(raw.RELEASE_RQ))
    assert peer.receive() == (raw.RELEASE_RP, b"\0\0\0\0")
    peer.close()
    handler.wait_until_all_ended()
    wait_until_nobody_is_served(listener)


@pytest.mark.parametrize(
    ("calling", "expected"),
    [
        (b"", ""),
        (b"lower case", "lower case"),
        ("M\xfcNCHEN".encode("latin-1"), "M\xfcNCHEN"),
        (b" PADDED\0\0", "PADDED"),
        (b"\x01\x02\xff\\", "\x01\x02\xff\\"),
    ],
)
def test_an_odd_calling_title_does_not_break_the_association(
    serve: Serve, dial: Dial, handler: ScriptedHandler, calling: bytes, expected: str
) -> None:
    peer = dial(serve())
    answer = peer.associate(ECHO_CONTEXT, calling=calling, called=b"")
    assert answer[4:36] == b"".ljust(16) + calling.ljust(16), "the titles go back as they came"
    peer.send(raw.echo_rq())
    assert peer.response()[0] == status.SUCCESS
    assert handler.callers[0].ae_title == expected
    assert handler.callers[0].host == "127.0.0.1"


def test_an_ipv4_caller_of_a_dual_stack_listener_has_a_plain_address(
    serve: Serve, handler: ScriptedHandler
) -> None:
    port = serve(host="::").address[1]
    peer = RawPeer(("127.0.0.1", port))
    peer.associate(ECHO_CONTEXT)
    assert handler.callers[0].host == "127.0.0.1"
    peer.close()


def test_items_of_unknown_types_are_ignored(serve: Serve, dial: Dial) -> None:
    peer = dial(serve())
    unknown = raw.item(0x7E, b"from the future")
    peer.associate(ECHO_CONTEXT, user_items=unknown, more_items=unknown)
    peer.send(raw.echo_rq())
    assert peer.response()[0] == status.SUCCESS


@pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom's, of odd UIDs
@pytest.mark.parametrize(
    "request_pdu",
    [
        raw.associate_rq([ECHO_CONTEXT], version=3),
        raw.associate_rq([(1, VERIFICATION + " ", [IMPLICIT + "\0"])]),
        raw.associate_rq([ECHO_CONTEXT, (3, VERIFICATION, [])]),
        raw.associate_rq([ECHO_CONTEXT, (3, "", [IMPLICIT])]),
        raw.associate_rq([ECHO_CONTEXT], user_items=raw.item(0x55, b"\xfcber 16 Zeichen lang")),
        raw.associate_rq([ECHO_CONTEXT], user_items=raw.role(VERIFICATION, 0, 1)),
        raw.associate_rq([ECHO_CONTEXT], user_items=raw.role(VERIFICATION, 0, 0)),
        raw.associate_rq([ECHO_CONTEXT], user_items=raw.role(VERIFICATION, 1, 9)),
        raw.associate_rq([ECHO_CONTEXT], user_items=raw.role("1." * 60 + "1", 1, 1)),
        raw.associate_rq([ECHO_CONTEXT], user_items=raw.item(0x58, b"\x01\1\0\1\xff\0\0")),
    ],
    ids=[
        "versions 1 and 2", "padded UIDs", "a context without transfer syntax",
        "a context without SOP class", "an odd version name", "SCP role alone", "no role",
        "a role of 9", "a role of no UID", "a user's name in Latin-1",
    ],
)  # fmt: skip
def test_a_request_with_oddities_is_taken_for_what_is_sound_in_it(
    serve: Serve, dial: Dial, request_pdu: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    peer = dial(serve())
    peer.send(request_pdu)
    answer = peer.receive()
    assert answer is not None
    assert answer[0] == raw.AC
    peer.send(raw.echo_rq())
    assert peer.response()[0] == status.SUCCESS
    assert "fault" not in caplog.text


def test_as_many_contexts_as_there_can_be_are_answered_one_by_one(serve: Serve, dial: Dial) -> None:
    numbers = range(1, 256, 2)
    classes = (VERIFICATION, CT, "1.2.840.10008.3.1.2.3.3")  # the last is no service of the node
    unknown = "1.2.840.10008.9.9"
    peer = dial(serve())
    answer = peer.associate(
        *(
            (number, classes[number % 3], [unknown] if number % 5 == 0 else [unknown, IMPLICIT])
            for number in numbers
        )
    )
    results = {}
    position = 68 + 4 + len(raw.APPLICATION_CONTEXT)
    while answer[position] == 0x21:
        length = int.from_bytes(answer[position + 2 : position + 4], "big")
        content = answer[position + 4 : position + 4 + length]
        assert content[4:] == raw.item(0x40, IMPLICIT.encode())
        results[content[0]] = content[2]
        position += 4 + length
    assert results == {n: 3 if n % 3 == 2 else 4 if n % 5 == 0 else 0 for n in numbers}
    assert answer[position] == 0x50
    peer.send(raw.echo_rq(context_id=3))
    assert peer.response()[0] == status.SUCCESS


@pytest.mark.parametrize("number", [0, 2])
def test_a_context_with_an_even_number_breaks_the_protocol(
    serve: Serve, dial: Dial, number: int
) -> None:
    peer = dial(serve())
    peer.send(raw.associate_rq([(number, VERIFICATION, [IMPLICIT])]))
    peer.expect_abort()


def test_a_rejection_goes_out_as_the_handler_says(
    serve: Serve, dial: Dial, handler: ScriptedHandler, caplog: pytest.LogCaptureFixture
) -> None:
    handler.rejection = Rejection(1, 1, 3, "RAW from 127.0.0.1 rejected: because")
    listener = serve()
    peer = dial(listener)
    peer.send(raw.associate_rq([ECHO_CONTEXT]))
    assert peer.receive() == (raw.RJ, b"\0\x01\x01\x03")
    peer.close()
    wait_until_nobody_is_served(listener)
    assert handler.open == 0
    assert "rejected: because" in caplog.text


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"application_context": "1.2.3"}, b"\0\x01\x01\x02"),
        # pydicom's complaint, a warning, would be remembered for each UID that is none.
        ({"application_context": "1..2\x1b[2J"}, b"\0\x01\x01\x02"),
        ({"version": 2}, b"\0\x01\x02\x02"),
    ],
)
def test_what_is_no_dicom_association_is_rejected(
    serve: Serve, dial: Dial, options: dict[str, object], expected: bytes
) -> None:
    peer = dial(serve())
    peer.send(raw.associate_rq([ECHO_CONTEXT], **options))  # type: ignore[arg-type]
    assert peer.receive() == (raw.RJ, expected)


def test_a_dataset_reaches_the_sink_byte_for_byte_whatever_its_fragments(
    serve: Serve, dial: Dial, handler: ScriptedHandler
) -> None:
    peer = dial(serve())
    peer.associate(CT_CONTEXT)
    data = bytes(range(256)) * 400
    cuts = [0, 1, 1, 7, 8_000, 20_000, 20_002, 100_000, len(data)]
    stream = raw.store_rq(uid="1.2.3.4")
    for start, stop in itertools.pairwise(cuts):
        last = 2 if stop == len(data) else 0
        stream += raw.pdu(raw.P_DATA, raw.pdv(1, last, data[start:stop]))
    for position in range(0, len(stream), 999):
        peer.send(stream[position : position + 999])
    assert peer.response()[0] == status.SUCCESS
    assert handler.stored == [data]
    assert handler.store_requests[0].sop_instance_uid == "1.2.3.4"


def test_command_and_dataset_may_share_a_pdu_and_a_command_may_come_in_pieces(
    serve: Serve, dial: Dial, handler: ScriptedHandler
) -> None:
    peer = dial(serve())
    peer.associate(CT_CONTEXT)
    data = raw.command(x0002=CT, x0100=1, x0110=5, x0700=0, x0800=1, x1000="1.2")
    values = raw.pdv(1, 1, data[:11]) + raw.pdv(1, 3, data[11:]) + raw.pdv(1, 2, b"dataset!")
    peer.send(raw.pdu(raw.P_DATA, values))
    assert peer.response()[0] == status.SUCCESS
    assert handler.stored == [b"dataset!"]


def test_the_peers_maximum_length_is_kept(
    serve: Serve, dial: Dial, handler: ScriptedHandler
) -> None:
    identifier = bytes(1000)
    handler.find = lambda _: iter([Answer(status.PENDING, identifier=identifier)])
    peer = dial(serve())
    peer.associate(FIND_CONTEXT, max_pdu=128)
    peer.send(raw.find_rq(1))
    received = b""
    while len(received) < len(identifier):
        answer = peer.receive()
        assert answer is not None
        content = answer[1]
        assert len(content) <= 128
        if not content[5] & 1:
            received += content[6:]
    assert received == identifier


def test_cancel_stops_a_query_between_two_answers(
    serve: Serve, dial: Dial, handler: ScriptedHandler
) -> None:
    first_sent = threading.Event()

    def find(request):  # type: ignore[no-untyped-def]
        yield Answer(status.PENDING, identifier=b"first")
        first_sent.set()
        deadline = time.monotonic() + 20
        while not request.cancelled():
            assert time.monotonic() < deadline
        yield Answer(status.CANCELLED)

    handler.find = find
    peer = dial(serve())
    peer.associate(FIND_CONTEXT)
    peer.send(raw.find_rq(7))
    assert peer.response() == (status.PENDING, b"first")
    peer.send(raw.cancel_rq(7))
    assert peer.response()[0] == status.CANCELLED


def test_an_unexpected_fault_answers_c001_and_the_association_lives_on(
    serve: Serve, dial: Dial, handler: ScriptedHandler, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise RuntimeError("inner detail")

    peer = dial(serve())
    peer.associate((1, STUDY_FIND, [IMPLICIT]), (3, CT, [IMPLICIT]))
    dataset = raw.pdu(raw.P_DATA, raw.pdv(3, 2, b"data"))

    handler.find = lambda _: fail()  # type: ignore[assignment,return-value]
    peer.send(raw.find_rq(1))
    assert peer.response()[0] == status.PROCESSING_FAILURE
    for place in ("on_begin", "on_write", "on_finish"):
        setattr(handler, place, fail)
        peer.send(raw.store_rq(3) + dataset)
        assert peer.response()[0] == status.PROCESSING_FAILURE
        setattr(handler, place, None)
    peer.send(raw.store_rq(3) + dataset)
    assert peer.response()[0] == status.SUCCESS
    assert caplog.text.count("RuntimeError: inner detail") == 4


def test_a_service_in_the_wrong_context_and_an_unknown_one_are_refused(
    serve: Serve, dial: Dial
) -> None:
    peer = dial(serve())
    peer.associate((1, VERIFICATION, [IMPLICIT]), (3, CT, [IMPLICIT]))
    peer.send(raw.find_rq(1, context_id=1))
    assert peer.response()[0] == status.SOP_CLASS_NOT_SUPPORTED
    peer.send(raw.store_rq(1) + raw.pdu(raw.P_DATA, raw.pdv(1, 2, b"data")))
    assert peer.response()[0] == status.SOP_CLASS_NOT_SUPPORTED
    n_action = raw.command(x0003=CT, x0100=0x130, x0110=3, x0800=0x0101)
    peer.send(raw.pdu(raw.P_DATA, raw.pdv(1, 3, n_action)))
    assert peer.response()[0] == status.SOP_CLASS_NOT_SUPPORTED
    for number in (0x110, 0x120, 0x140, 0x150):  # N-GET, N-SET, N-CREATE, N-DELETE
        unknown = raw.command(x0003=CT, x0100=number, x0110=4, x0800=0x0101, x1001="1.2.3")
        peer.send(raw.pdu(raw.P_DATA, raw.pdv(1, 3, unknown)))
        answer, _ = peer.message()
        assert answer[0x0900] == status.UNRECOGNISED_OPERATION.to_bytes(2, "little")
        assert answer[0x0100] == (number | 0x8000).to_bytes(2, "little")
        assert answer[0x1000] == b"1.2.3\0"
    peer.send(raw.echo_rq(context_id=1))
    assert peer.response()[0] == status.SUCCESS


BAD_STREAMS = {
    "a PDU of an unknown type": raw.pdu(0x2A, b""),
    "an A-ASSOCIATE-RQ twice": raw.associate_rq([ECHO_CONTEXT]),
    "a PDU longer than offered": struct.pack(">BxL", raw.P_DATA, 131072 + 4096),
    "a PDU of 4 GiB": struct.pack(">BxL", raw.P_DATA, 0xFFFFFFFF),
    "a release of a megabyte": struct.pack(">BxL", raw.RELEASE_RQ, 1 << 20),
    "a data fragment without a command": raw.pdu(raw.P_DATA, raw.pdv(1, 2, b"data")),
    "a command inside a dataset": raw.store_rq() + raw.echo_rq(),
    "a context that was not accepted": raw.echo_rq(context_id=9),
    "a PDV that overruns its PDU": raw.pdu(raw.P_DATA, struct.pack(">LBB", 999, 1, 3) + b"x"),
    "a PDV without its header": raw.pdu(raw.P_DATA, b"\0\0"),
    "a command set that lies": raw.pdu(raw.P_DATA, raw.pdv(1, 3, b"\0\0\0\0\xff\xff\0\0")),
    "a command set without a field": raw.pdu(raw.P_DATA, raw.pdv(1, 3, raw.command(x0110=1))),
    "an endless command set": raw.pdu(raw.P_DATA, raw.pdv(1, 1, bytes(10_000))) * 8,
    "a dataset that changes its context": raw.store_rq()
    + raw.pdu(raw.P_DATA, raw.pdv(3, 2, b"data")),
}


@pytest.mark.parametrize("stream", BAD_STREAMS.values(), ids=BAD_STREAMS)
def test_a_peer_that_breaks_the_protocol_is_aborted(
    serve: Serve, dial: Dial, handler: ScriptedHandler, stream: bytes
) -> None:
    listener = serve()
    peer = dial(listener)
    peer.associate((1, CT, [IMPLICIT]), (3, VERIFICATION, [IMPLICIT]))
    peer.send(stream)
    peer.expect_abort()
    handler.wait_until_all_ended()
    wait_until_nobody_is_served(listener)
    assert handler.stored == []
    assert handler.discarded == len(handler.store_requests)


@pytest.mark.parametrize(
    "stream",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        raw.pdu(raw.RQ, b"short"),
        raw.pdu(raw.RQ, bytes(68) + b"\x10\0\xff\xff"),
        raw.echo_rq(),
        struct.pack(">BxL", raw.RQ, 2 << 20),
    ],
)
def test_what_is_no_association_request_is_dropped(serve: Serve, dial: Dial, stream: bytes) -> None:
    listener = serve()
    peer = dial(listener)
    peer.send(stream)
    answer = peer.receive()
    assert answer is None or answer[0] == raw.ABORT
    peer.close()
    wait_until_nobody_is_served(listener)


def test_a_cut_transfer_is_discarded(serve: Serve, dial: Dial, handler: ScriptedHandler) -> None:
    peer = dial(serve())
    peer.associate(CT_CONTEXT)
    peer.send(raw.store_rq() + raw.pdu(raw.P_DATA, raw.pdv(1, 0, b"half of it")))
    assert handler.fragment_came.wait(20)
    peer.close()
    handler.wait_until_all_ended()
    assert (handler.stored, handler.discarded) == ([], 1)


class TestTimeouts:
    """Each of the five bites, and thread and socket are gone after it."""

    def expect_end(self, peer: RawPeer, listener: Listener, seconds: float, began: float) -> None:
        while peer.receive() is not None:
            continue
        waited = time.monotonic() - began
        assert seconds - 0.1 <= waited < seconds + 5
        wait_until_nobody_is_served(listener)

    def test_acse_a_peer_that_connects_and_says_nothing(self, serve: Serve, dial: Dial) -> None:
        listener = serve(acse=0.5)
        began = time.monotonic()
        self.expect_end(dial(listener), listener, 0.5, began)

    def test_acse_a_request_that_comes_a_byte_at_a_time(self, serve: Serve, dial: Dial) -> None:
        listener = serve(acse=0.5)
        began = time.monotonic()
        peer = dial(listener)
        trickle(peer, raw.associate_rq([ECHO_CONTEXT]))
        self.expect_end(peer, listener, 0.5, began)

    def test_network_a_pdu_that_stalls(self, serve: Serve, dial: Dial) -> None:
        listener = serve(network=0.5)
        peer = dial(listener)
        peer.associate(CT_CONTEXT)
        began = time.monotonic()
        peer.send(raw.store_rq() + struct.pack(">BxL", raw.P_DATA, 5000) + b"a few")
        self.expect_end(peer, listener, 0.5, began)

    def test_network_a_pdu_that_comes_a_byte_at_a_time(self, serve: Serve, dial: Dial) -> None:
        listener = serve(network=0.5)
        peer = dial(listener)
        peer.associate(ECHO_CONTEXT)
        began = time.monotonic()
        trickle(peer, raw.echo_rq())
        self.expect_end(peer, listener, 0.5, began)

    def test_network_a_peer_that_stops_reading(
        self, serve: Serve, dial: Dial, handler: ScriptedHandler
    ) -> None:
        def endless(_request):  # type: ignore[no-untyped-def]
            while True:
                yield Answer(status.PENDING, identifier=bytes(100_000))

        handler.find = endless
        listener = serve(network=0.5)
        peer = dial(listener)
        peer.associate(FIND_CONTEXT)
        peer.send(raw.find_rq(1))
        handler.wait_until_all_ended()
        wait_until_nobody_is_served(listener)

    def test_dimse_a_message_that_is_not_gone_on_with(
        self, serve: Serve, dial: Dial, handler: ScriptedHandler
    ) -> None:
        listener = serve(dimse=0.5)
        peer = dial(listener)
        peer.associate(CT_CONTEXT)
        began = time.monotonic()
        peer.send(raw.store_rq() + raw.pdu(raw.P_DATA, raw.pdv(1, 0, b"a fragment")))
        self.expect_end(peer, listener, 0.5, began)
        assert handler.discarded == 1

    def test_idle_an_association_without_messages(self, serve: Serve, dial: Dial) -> None:
        listener = serve(idle=0.5)
        peer = dial(listener)
        peer.associate(ECHO_CONTEXT)
        peer.send(raw.echo_rq())
        assert peer.response()[0] == status.SUCCESS
        began = time.monotonic()
        self.expect_end(peer, listener, 0.5, began)


def trickle(peer: RawPeer, data: bytes) -> None:
    """Send a byte every 50 ms from another thread until the node has had enough."""

    def run() -> None:
        pause = threading.Event()
        for position in range(len(data)):
            try:
                peer.socket.send(data[position : position + 1])
            except OSError:
                return
            pause.wait(0.05)

    threading.Thread(target=run, daemon=True).start()


def test_one_line_tells_of_an_association(
    serve: Serve, dial: Dial, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    listener = serve()
    peer = dial(listener)
    peer.associate(CT_CONTEXT, calling="MODALITY")
    peer.send(raw.store_rq() + raw.pdu(raw.P_DATA, raw.pdv(1, 2, b"data")))
    assert peer.response()[0] == status.SUCCESS
    peer.send(raw.pdu(raw.RELEASE_RQ))
    assert peer.receive() is not None
    peer.close()
    wait_until_nobody_is_served(listener)
    lines = [r.getMessage() for r in caplog.records if r.levelno >= logging.INFO]
    assert len(lines) == 1
    assert lines[0].startswith("MODALITY from 127.0.0.1, called PACSNODE: released after")
    assert lines[0].endswith("; 1 C-STORE")


def test_a_port_probe_says_nothing_at_info(
    serve: Serve, dial: Dial, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    listener = serve()
    for _ in range(3):
        socket.create_connection(listener.address).close()
    last = dial(listener)  # taken after the probes
    last.associate(ECHO_CONTEXT)
    last.close()
    wait_until_nobody_is_served(listener)
    assert [r.getMessage()[:3] for r in caplog.records] == ["RAW"]


def test_stopping_lets_a_store_finish_and_aborts_the_rest(
    serve: Serve, dial: Dial, handler: ScriptedHandler
) -> None:
    listener = serve()
    idle, storing = dial(listener), dial(listener)
    idle.associate(ECHO_CONTEXT)
    storing.associate(CT_CONTEXT)
    storing.send(raw.store_rq() + raw.pdu(raw.P_DATA, raw.pdv(1, 0, b"first half, ")))
    assert handler.fragment_came.wait(20)
    stopping = threading.Thread(target=listener.stop, args=(10,))
    stopping.start()
    idle.expect_abort()
    storing.send(raw.pdu(raw.P_DATA, raw.pdv(1, 2, b"second half")))
    assert storing.response()[0] == status.SUCCESS
    storing.expect_abort()
    stopping.join(20)
    assert not stopping.is_alive()
    assert handler.stored == [b"first half, second half"]
    with pytest.raises(ConnectionRefusedError):
        RawPeer(listener.address)


def test_stopping_aborts_a_query_that_goes_on(
    serve: Serve, dial: Dial, handler: ScriptedHandler
) -> None:
    def endless(_request):  # type: ignore[no-untyped-def]
        while True:
            yield Answer(status.PENDING, identifier=b"more")

    handler.find = endless
    listener = serve()
    peer = dial(listener)
    peer.associate(FIND_CONTEXT)
    peer.send(raw.find_rq(1))
    assert peer.response()[0] == status.PENDING
    stopping = threading.Thread(target=listener.stop, args=(60,))
    stopping.start()
    peer.expect_abort()
    stopping.join(20)
    assert not stopping.is_alive()


def test_a_store_that_does_not_finish_is_severed_after_the_grace(
    serve: Serve, dial: Dial, handler: ScriptedHandler
) -> None:
    listener = serve()
    peer = dial(listener)
    peer.associate(CT_CONTEXT)
    peer.send(raw.store_rq() + raw.pdu(raw.P_DATA, raw.pdv(1, 0, b"half")))
    assert handler.fragment_came.wait(20)
    listener.stop(0.2)
    assert handler.open == 0
    assert (handler.stored, handler.discarded) == ([], 1)
