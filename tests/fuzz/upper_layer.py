"""Bytes of a peer into an association, in or out, over a real TCP connection: one association
at a time, with all that the node's own threads do."""

import logging
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from random import Random

from pacsnode import net
from pacsnode.config.model import Listen, Timeouts
from pacsnode.dicom import status
from pacsnode.dicom.message import (
    Answer,
    Caller,
    Channel,
    Counters,
    FindRequest,
    GetRequest,
    Peer,
    ProposedContext,
    Rejection,
    Request,
    Sink,
    StoreRequest,
    accepted,
)
from pacsnode.errors import NetworkError, NoPresentationContext
from pacsnode.net.listener import Listener
from tests.dicom import raw as datasets
from tests.fuzz.streams import session
from tests.net import raw

# Nothing is waited for: what will come has come before it is looked at.
TIMEOUTS = Timeouts(connect=5, acse=2, network=2, dimse=2, idle=2)
LONGEST = 60_000  # bytes that a connection holds without a reader
PATIENCE = 20.0  # seconds


class Faults(logging.Handler):
    """Keeps the records that tell of a fault of the node's own."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(record)


class _CountingSink:
    """A dataset goes nowhere; its sink is ended exactly once."""

    def __init__(self, handler: "CountingHandler") -> None:
        self._handler = handler
        handler.sinks += 1

    def write(self, fragment: memoryview) -> None:
        assert fragment.nbytes >= 0

    def finish(self) -> Answer:
        self._handler.sinks -= 1
        return Answer(status.SUCCESS)

    def discard(self) -> None:
        self._handler.sinks -= 1


class CountingHandler:
    """Takes all, answers a little, and counts what has begun and not ended."""

    def __init__(self) -> None:
        self.associations = 0
        self.sinks = 0

    def welcomes(self, host: str) -> bool:
        return True

    def admit(self, caller: Caller) -> Rejection | None:
        assert len(caller.ae_title) <= 16
        self.associations += 1
        return None

    def ended(self, caller: Caller) -> None:
        self.associations -= 1

    def begin_store(self, request: StoreRequest) -> Sink:
        return _CountingSink(self)

    def handle(self, request: Request) -> Iterator[Answer]:
        if isinstance(request, FindRequest):
            for _ in range(3):
                if request.cancelled():
                    yield Answer(status.CANCELLED)
                    return
                yield Answer(status.PENDING, identifier=request.identifier[:100])
        if isinstance(request, GetRequest):
            yield Answer(status.PENDING, counters=Counters(1, 70_000, 0, 0))
        yield Answer(status.SUCCESS, "x\ny" * 30)


@contextmanager
def _no_faults() -> Iterator[None]:
    """Nothing in here may be logged as a fault of the node's own."""
    faults = Faults()
    logger = logging.getLogger("pacsnode")
    logger.addHandler(faults)
    try:
        yield
    finally:
        logger.removeHandler(faults)
    for record in faults.found:
        error = record.exc_info[1] if record.exc_info else None
        raise AssertionError(f"logged: {record.getMessage()}") from error


@contextmanager
def _listening(handler: CountingHandler) -> Iterator[Listener]:
    settings = Listen(host="127.0.0.1", port=0, max_pdu=16384)
    listener = net.listen(handler, ae_title="PACSNODE", settings=settings, timeouts=TIMEOUTS)
    listener.start()
    try:
        yield listener
    finally:
        listener.stop(0)


def acceptor(data: bytes) -> None:
    """Whatever comes, the association ends by itself, and everything that it began has an end."""
    handler = CountingHandler()
    with _no_faults(), _listening(handler) as listener:
        with socket.create_connection(listener.address[:2], 20) as peer:
            with suppress(OSError):  # the node may close before it has taken all
                peer.sendall(data[:LONGEST])
                peer.shutdown(socket.SHUT_WR)
            raw.until_closed(peer)
        deadline = time.monotonic() + PATIENCE
        while listener.associations:
            assert time.monotonic() < deadline, "an association does not end"
            time.sleep(0)
    assert handler.associations == 0
    assert handler.sinks == 0


def requestor(data: bytes) -> None:
    """What a peer answers to us, wherever it breaks: a NetworkError, or an answer."""
    with _no_faults(), _answering(data[:LONGEST]) as address:
        peer = Peer("PEER", "PEER", *address, "NODE")
        with suppress(NetworkError):
            _ask(net.connect(peer, _PROPOSED, timeouts=TIMEOUTS))


def _ask(channel: Channel) -> None:
    try:
        with suppress(NoPresentationContext):
            channel.echo()
        context = accepted(channel.contexts, raw.STUDY_FIND)
        if context is not None:
            for response in channel.find(context, b""):
                assert 0 <= response.status <= 0xFFFF
    finally:
        channel.release()


@contextmanager
def _answering(data: bytes) -> Iterator[tuple[str, int]]:
    """A server that sends this to its first connection, whatever that says."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(PATIENCE)

        def serve() -> None:
            connection, _ = listening.accept()
            with connection, suppress(OSError):
                connection.settimeout(PATIENCE)
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                raw.until_closed(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listening.getsockname()
        thread.join()


_PROPOSED = [
    ProposedContext(raw.VERIFICATION, (datasets.IMPLICIT,)),
    ProposedContext(raw.STUDY_FIND, (datasets.EXPLICIT,)),
]


def association_stream(random: Random) -> bytes:
    return b"".join(session(random))


def answering_stream(random: Random) -> bytes:
    """An A-ASSOCIATE-AC, the answer to a C-ECHO, matches, and an end."""
    items = raw.item(0x10, raw.APPLICATION_CONTEXT.encode())
    for number, syntax in ((1, datasets.IMPLICIT), (3, datasets.EXPLICIT)):
        result = 0 if random.random() < 0.9 else random.randrange(256)
        items += raw.item(0x21, bytes([number, 0, result, 0]) + raw.item(0x40, syntax.encode()))
    items += raw.item(0x50, raw.item(0x51, struct.pack(">L", 16384)) + raw.item(0x52, b"1.2"))
    pdus = [raw.pdu(raw.AC, struct.pack(">HH", 1, 0) + bytes(64) + items)]
    if random.random() < 0.1:
        pdus = [raw.pdu(raw.RJ, bytes((0, random.randrange(4), random.randrange(4), 1)))]
    pdus.append(_response(1, 0x8030, 1, 0, None))
    for _ in range(random.choice((0, 1, 3))):
        pdus.append(_response(3, 0x8020, 2, 0xFF00, datasets.element(0x00100020, "LO", b"AB")))
    pdus.append(_response(3, 0x8020, 2, random.choice((0, 0xA700, 0xFE00, 0x0124)), None))
    pdus.append(raw.pdu(random.choice((raw.RELEASE_RP, raw.RELEASE_RQ, raw.ABORT))))
    return b"".join(pdus)


def _response(
    context_id: int, field: int, message_id: int, code: int, dataset: bytes | None
) -> bytes:
    kind = 0x0101 if dataset is None else 1
    command = raw.command(
        x0002=raw.STUDY_FIND, x0100=field, x0120=message_id, x0800=kind, x0900=code, x0902="\x1b[2J"
    )
    values = raw.pdv(context_id, 3, command)
    if dataset is not None:
        values += raw.pdv(context_id, 2, dataset)
    return raw.pdu(raw.P_DATA, values)
