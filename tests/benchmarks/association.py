"""The light client: associations over plain sockets, with the writes of DCMTK."""

import socket
import time
from collections.abc import Callable, Iterator, Sequence
from io import BufferedReader
from types import TracebackType
from typing import Protocol, Self

from tests.benchmarks import wire
from tests.benchmarks.data import Instance
from tests.benchmarks.errors import Fault

HOST = "127.0.0.1"
PATIENCE = 120.0  # seconds without a byte
LONGEST_PDU = 131072
BUFFER = 1 << 18


class Stream(Protocol):
    """What reads all that is asked for, unless the connection ends."""

    def read(self, size: int, /) -> bytes: ...


def connect(port: int, *, nodelay: bool) -> socket.socket:
    connection = socket.create_connection((HOST, port), PATIENCE)
    if nodelay:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def read_pdu(stream: Stream) -> tuple[int, bytes]:
    """Its type and body."""
    head = stream.read(wire.PDU_HEAD.size)
    if len(head) < wire.PDU_HEAD.size:
        raise Fault("the peer closed the connection")
    kind, length = wire.PDU_HEAD.unpack(head)
    return kind, stream.read(length)


def converse(port: int, conversation: Sequence[Sequence[bytes]], *, nodelay: bool) -> None:
    """One association with one request, from connecting to the end (wire.conversation)."""
    with connect(port, nodelay=nodelay) as connection, connection.makefile("rb") as stream:
        answers = []
        for writes in conversation:
            for data in writes:
                connection.sendall(data)
            answers.append(read_pdu(stream))
        expected = [wire.ASSOCIATE_AC, wire.P_DATA, wire.RELEASE_RP]
        if [kind for kind, _ in answers] != expected:
            raise Fault(f"PDUs of types {[kind for kind, _ in answers]} instead of {expected}")
        _, _, command_set = next(wire.values(answers[1][1]))
        if wire.status_of(command_set) != wire.SUCCESS:
            raise Fault(f"status {wire.status_of(command_set):04X}")


class Association:
    """An association that is released at the end of its `with`.

    `prompt`: acknowledge at once what the peer sends (Linux), so that its Nagle's algorithm does
    not hold up what is not being measured.
    """

    def __init__(
        self,
        port: int,
        called: str,
        sop_classes: Sequence[str],
        *,
        nodelay: bool = True,
        prompt: bool = False,
    ) -> None:
        self._prompt = prompt
        self._message_id = 0
        # What is left of the last PDU: a command set and its dataset may come in one.
        self._values: Iterator[tuple[bool, bool, bytes]] = iter(())
        self._socket = connect(port, nodelay=nodelay)
        self._stream = BufferedReader(self._socket.makefile("rb", buffering=0), BUFFER)
        try:
            self._socket.sendall(wire.associate_request(called, sop_classes))
            kind, body = read_pdu(self._stream)
            if kind != wire.ASSOCIATE_AC:
                raise Fault(f"the association was refused: {body.hex()}")
            ids, max_pdu = wire.accepted(body)
            if len(ids) != len(sop_classes):
                raise Fault(f"the peer does not take all of {sop_classes}")
        except BaseException:
            self._close()
            raise
        self._contexts = {uid: number * 2 + 1 for number, uid in enumerate(sop_classes)}
        self._max_pdu = min(max_pdu or LONGEST_PDU, LONGEST_PDU)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.release()
        finally:
            self._close()

    def release(self) -> None:
        self._socket.sendall(wire.RELEASE_RQ)
        kind, _ = self._read()
        if kind != wire.RELEASE_RP:
            raise Fault(f"a PDU of type {kind} instead of the release's")

    def abort(self) -> None:
        self._socket.sendall(wire.ABORT)
        self._close()

    def echo(self) -> None:
        self._send(self._contexts[wire.VERIFICATION], wire.echo_request(self._next_id()))
        status = wire.status_of(self._receive())
        if status != wire.SUCCESS:
            raise Fault(f"C-ECHO: status {status:04X}")

    def store(self, instance: Instance) -> None:
        """Send one instance, as many blocks as it has, and wait for its answer."""
        context_id = self._contexts[instance.sop_class_uid]
        self._send(context_id, wire.store_request(instance, self._next_id()))
        left = instance.length
        for block in instance.blocks():
            left -= len(block)
            self._send(context_id, block, is_command=False, is_last=left == 0)
        status = wire.status_of(self._receive())
        if status != wire.SUCCESS:
            raise Fault(f"C-STORE of {instance.sop_instance_uid}: status {status:04X}")

    def find(self, identifier: bytes) -> Iterator[bytes]:
        """The identifiers of a C-FIND's matches."""
        context_id = self._contexts[wire.STUDY_ROOT_FIND]
        self._send(context_id, wire.find_request(self._next_id()))
        self._send(context_id, identifier, is_command=False)
        while wire.status_of(response := self._receive()) in wire.PENDING:
            yield self._receive()
        if wire.status_of(response) != wire.SUCCESS:
            raise Fault(f"C-FIND: status {wire.status_of(response):04X}")

    def move(self, identifier: bytes, destination: str) -> int:
        """How many instances a C-MOVE has sent."""
        context_id = self._contexts[wire.STUDY_ROOT_MOVE]
        self._send(context_id, wire.move_request(destination, self._next_id()))
        self._send(context_id, identifier, is_command=False)
        while wire.status_of(response := self._receive()) in wire.PENDING:
            if wire.has_dataset(response):
                self._receive()
        if wire.status_of(response) != wire.SUCCESS:
            raise Fault(f"C-MOVE: status {wire.status_of(response):04X}")
        return wire.number_of(response, 0x1021) or 0

    def _next_id(self) -> int:
        self._message_id = self._message_id % 65535 + 1
        return self._message_id

    def _send(
        self, context_id: int, data: bytes, *, is_command: bool = True, is_last: bool = True
    ) -> None:
        self._acknowledge_at_once()
        for head, body in wire.fragments(
            context_id, data, is_command=is_command, is_last=is_last, max_pdu=self._max_pdu
        ):
            self._socket.sendall(head)
            self._socket.sendall(body)

    def _receive(self) -> bytes:
        """The next command set, or dataset, whole."""
        gathered = []
        last = False
        while not last:
            _, last, fragment = next(self._values, None) or self._next_value()
            gathered.append(fragment)
        return gathered[0] if len(gathered) == 1 else b"".join(gathered)

    def _next_value(self) -> tuple[bool, bool, bytes]:
        kind, body = self._read()
        if kind != wire.P_DATA:
            raise Fault(f"a PDU of type {kind} instead of an answer")
        self._values = wire.values(body)
        return next(self._values)

    def _read(self) -> tuple[int, bytes]:
        pdu = read_pdu(self._stream)
        self._acknowledge_at_once()
        return pdu

    def _acknowledge_at_once(self) -> None:
        if self._prompt:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def _close(self) -> None:
        self._stream.close()
        self._socket.close()


def wait_for(port: int, called: str, deadline: float, alive: Callable[[], bool]) -> None:
    """Until a C-ECHO is answered on `port`; Fault at `deadline` of time.monotonic, or when the
    server is no longer alive."""
    echo = wire.conversation(called, wire.VERIFICATION, wire.echo_request())
    while True:
        try:
            return converse(port, echo, nodelay=True)
        except (OSError, Fault) as error:
            if time.monotonic() > deadline or not alive():
                raise Fault(f"nobody answers on port {port}: {error}") from error
            time.sleep(0.002)
