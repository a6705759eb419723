"""Sends streams to a node, many at a time from one thread, and reads what it answers. Each stream
comes from an address of its own, 127.X.Y.Z, which says its number: the node's log names it."""

import selectors
import socket
import struct
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from tests.fuzz.streams import Stream, stream
from tests.net import raw

AT_ONCE = 24  # connections of one sender
PATIENCE = 0.2  # seconds of silence after which a peer that does not say that it is done leaves
LONGEST_WAIT = 30.0  # seconds: no stream takes the node as long

_NAMES = {raw.AC: "A-ASSOCIATE-AC", raw.RJ: "A-ASSOCIATE-RJ", raw.RELEASE_RP: "A-RELEASE-RP"} | {
    raw.ABORT: "A-ABORT", raw.RELEASE_RQ: "A-RELEASE-RQ", raw.P_DATA: "P-DATA",
}  # fmt: skip
_BIND_ADDRESS_NO_PORT = 24
_RESET = struct.pack("ii", 1, 0)


@dataclass(slots=True)
class Tally:
    """What came of some streams: answers by kind; streams that were never answered to the end."""

    streams: int = 0
    sent: int = 0  # bytes
    answers: Counter[str] = field(default_factory=Counter)
    stuck: list[int] = field(default_factory=list)

    def add(self, other: "Tally") -> None:
        self.streams += other.streams
        self.sent += other.sent
        self.answers += other.answers
        self.stuck += other.stuck


def address_of(number: int) -> str:
    """Where the stream of this number comes from."""
    return f"127.{1 + (number >> 16)}.{number >> 8 & 0xFF}.{number & 0xFF}"


class _Peer:
    """One stream on its way."""

    def __init__(self, number: int, what: Stream, address: tuple[str, int]) -> None:
        self.number = number
        self.received = bytearray()
        self._left = [memoryview(piece) for piece in what.pieces if piece]
        self._closes = what.is_closed_at_once
        self.begun = self.last = time.monotonic()
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_IP, _BIND_ADDRESS_NO_PORT, 1)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.bind((address_of(number), 0))
        self.socket.connect_ex(address)

    @property
    def events(self) -> int:
        return selectors.EVENT_READ | (selectors.EVENT_WRITE if self._left else 0)

    def ready(self, events: int) -> bool:
        """Send and take what can be; False where the connection has ended."""
        self.last = time.monotonic()
        try:
            if events & selectors.EVENT_WRITE and self._left:
                sent = self.socket.send(self._left[0])
                self._left[0] = self._left[0][sent:]
                if not self._left[0]:
                    del self._left[0]
                if not self._left and self._closes:
                    self.socket.shutdown(socket.SHUT_WR)
            if events & selectors.EVENT_READ:
                data = self.socket.recv(65536)
                self.received += data
                return bool(data)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return True

    def is_over(self, now: float) -> bool:
        """Whether nobody waits for more: whoever closes at once waits for the node to do so."""
        if self._closes or self._left:
            return now - self.begun > LONGEST_WAIT
        return now - self.last > PATIENCE

    def close(self) -> None:
        with suppress(OSError):
            if not self._closes and self.number % 2:
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.socket.close()


def send(
    address: tuple[str, int], seed: int, numbers: Sequence[int], titles: Sequence[str]
) -> Tally:
    """Send the streams of these numbers."""
    tally = Tally()
    waiting = iter(numbers)
    with selectors.DefaultSelector() as selector:
        peers: set[_Peer] = set()
        is_last = False
        while peers or not is_last:
            while len(peers) < AT_ONCE and not is_last:
                number = next(waiting, None)
                if number is None:
                    is_last = True
                    break
                what = stream(seed, number, titles)
                tally.sent += sum(map(len, what.pieces))
                peer = _Peer(number, what, address)
                peers.add(peer)
                selector.register(peer.socket, peer.events, peer)
            for peer in _ended(selector, peers):
                peers.discard(peer)
                selector.unregister(peer.socket)
                peer.close()
                tally.streams += 1
                tally.answers.update(answers_in(bytes(peer.received)))
                if time.monotonic() - peer.begun > LONGEST_WAIT:
                    tally.stuck.append(peer.number)
    return tally


def _ended(selector: selectors.DefaultSelector, peers: set[_Peer]) -> Iterator[_Peer]:
    ended = set()
    for key, events in selector.select(PATIENCE / 4):
        peer: _Peer = key.data
        if not peer.ready(events):
            ended.add(peer)
        elif key.events != peer.events:
            selector.modify(peer.socket, peer.events, peer)
    now = time.monotonic()
    ended.update(peer for peer in peers if peer.is_over(now))
    yield from ended


def answers_in(received: bytes) -> Iterator[str]:
    """The PDUs and responses that came, by name."""
    position = 0
    is_empty = True
    while position + 6 <= len(received):
        kind, length = struct.unpack_from(">BxL", received, position)
        content = received[position + 6 : position + 6 + length]
        position += 6 + length
        is_empty = False
        if kind == raw.P_DATA:
            yield from _responses(content)
        else:
            yield _NAMES.get(kind, f"PDU {kind:02X}")
    if is_empty:
        yield "closed without an answer"


def _responses(content: bytes) -> Iterator[str]:
    position = 0
    while position + 6 <= len(content):
        length, _, control = struct.unpack_from(">LBB", content, position)
        if control & 1:
            yield _response(raw.read_command(content[position + 6 : position + 4 + length]))
        position += 4 + length


def _response(elements: dict[int, bytes]) -> str:
    """Operation and status; a peer may have asked for PDUs so short that neither is seen whole."""
    field_, status = (elements.get(each, b"") for each in (0x0100, 0x0900))
    if len(field_) != 2 or len(status) != 2:
        return "request, or piece of a message"
    name = _OPERATIONS.get(int.from_bytes(field_, "little") & 0x7FFF, "?")
    return f"{name} {int.from_bytes(status, 'little'):04X}"


_OPERATIONS = {1: "C-STORE", 0x10: "C-GET", 0x20: "C-FIND", 0x21: "C-MOVE", 0x30: "C-ECHO"} | {
    0x130: "N-ACTION", 0x100: "N-EVENT-REPORT",
}  # fmt: skip
