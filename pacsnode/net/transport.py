"""The connection under an association: whole PDUs in, bytes out, every wait with an end.

The socket does not block; waiting is `poll`'s, so that file descriptors from 1,024 on work. All of
an association runs in one thread: a peer's bytes wait in the kernel until they are asked for, and
an SSLSocket, which has no lock of its own, needs none: other threads only end its TCP connection,
or the input of it. After that OpenSSL still sends, as its contexts have OP_IGNORE_UNEXPECTED_EOF.
"""

import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pynetdicom.transport import AssociationSocket

from pacsnode import tls
from pacsnode.dicom.message import Tick, no_tick
from pacsnode.errors import AssociationLost, PeerTimeout

if TYPE_CHECKING:
    from pynetdicom.association import Association

HEADER = struct.Struct(">BxL")
P_DATA = 0x04
ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ = 0x01, 0x02, 0x03
KNOWN_PDUS = range(0x01, 0x08)  # PS3.8 9.3.1

# Peers count their PDUs' headers differently, so a little over the offer is taken. Nothing
# announced is no licence to make the node hold gigabytes.
ALLOWANCE = 1024
LONGEST_PDU = 16 << 20
LONGEST_ASSOCIATE = 1 << 20
LONGEST_OTHER = 1 << 10

FIRST_BUFFER = 17 << 10  # doubled three or four times it holds one or two PDUs as offered
SLICE = 0.5  # seconds between two ticks
QUICKACK = getattr(socket, "TCP_QUICKACK", None)
TLS_RECORDS = range(0x14, 0x18)  # RFC 8446 5.1

# A peer that lost its power says no more: after two minutes of silence it counts as gone. It also
# keeps firewalls from forgetting a connection whose peer is at work for long.
KEEPALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}

# What says that nothing can be done now. TLS may have to write in order to read, and the reverse.
BLOCKED = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class OversizedPDU(Exception):
    """A PDU that is longer than what was offered, or of no known type. Never leaves this room."""


class TLSRecord(OversizedPDU):
    """No PDU but TLS, on a connection without. Never leaves this room."""


class Connection(AssociationSocket):
    """One TCP connection. `network` is the time in seconds that a whole PDU, from its first byte,
    and one blocked write may take."""

    def __init__(
        self,
        association: "Association",
        client: socket.socket,
        *,
        max_pdu: int,
        network: float,
    ) -> None:
        super().__init__(association, client_socket=client)
        client.setblocking(False)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _keep_alive(client)
        self._client = client
        self._network = network
        self._longest = min(max_pdu + ALLOWANCE, LONGEST_PDU) if max_pdu else LONGEST_PDU
        self._buffer = memoryview(bytearray(FIRST_BUFFER))
        self._start = 0
        self._end = 0
        self._polls: dict[int, select.poll] = {}
        self._is_stuck = False
        self._is_deaf = False

    def fileno(self) -> int:
        return self._client.fileno()

    def connect(self, primitive: Any) -> None:
        """Say that the transport is up: it is opened before the association begins, so that a
        failure can be told as name, TCP or TLS."""
        primitive.result = "Evt2"
        self.provider_queue.put(primitive)

    def read_pdu(
        self, deadline: float, tick: Tick = no_tick, end: float = float("inf")
    ) -> memoryview | None:
        """The next PDU, whole, with its header; valid until the next call. None where its first
        byte has not come by `deadline`, or its last by `end` (time.monotonic, both). Raises
        AssociationLost where the peer has closed, PeerTimeout for a PDU that does not get on,
        OversizedPDU."""
        while self._is_deaf or self._end == self._start:
            if not self._fill(min(deadline, end), tick):
                return None
            if self._is_deaf:  # nothing tells where the next PDU would begin
                self._start = self._end
        deadline = min(time.monotonic() + self._network, end)
        self._require(HEADER.size, deadline, tick)
        kind, length = HEADER.unpack_from(self._buffer, self._start)
        if length > self._limit(kind):
            self._is_deaf = True
            if kind in TLS_RECORDS:
                raise TLSRecord
            raise OversizedPDU(f"PDU of type {kind:02X} with {length} bytes")
        size = HEADER.size + length
        self._require(size, deadline, tick)
        pdu = self._buffer[self._start : self._start + size]
        self._start += size
        return pdu

    def _limit(self, kind: int) -> int:
        if kind == P_DATA:
            return self._longest
        return LONGEST_ASSOCIATE if kind in (ASSOCIATE_RQ, ASSOCIATE_AC) else LONGEST_OTHER

    def _require(self, size: int, deadline: float, tick: Tick) -> None:
        """Have `size` bytes in the buffer. It grows with what has come, not with what is said to
        come."""
        while self._end - self._start < size:
            if not self._fill(deadline, tick):
                raise PeerTimeout("a PDU was begun and not completed in time", "message")

    def _make_room(self) -> None:
        """Move what is there to the front, of a larger buffer where it fills more than half."""
        kept = self._buffer[self._start : self._end]
        if 2 * len(kept) > len(self._buffer):
            self._buffer = memoryview(bytearray(2 * len(self._buffer)))
        self._buffer[: len(kept)] = kept
        self._start, self._end = 0, len(kept)

    def _fill(self, deadline: float, tick: Tick) -> bool:
        """Read what is there, waiting for it until `deadline`; False where nothing came."""
        if self._start == self._end:
            self._start = self._end = 0
        elif self._end == len(self._buffer):
            self._make_room()
        while True:
            try:
                count = self._client.recv_into(self._buffer[self._end :])
            except BLOCKED as blocked:
                if not self._wait(self._poll(blocked, select.POLLIN), deadline, tick):
                    return False
                continue
            except OSError as error:
                raise _lost(error) from error
            if count == 0:
                raise AssociationLost("the peer closed the connection")
            self._end += count
            if QUICKACK is not None:
                # Clients with Nagle's algorithm wait for this ACK before they go on.
                self._client.setsockopt(socket.IPPROTO_TCP, QUICKACK, 1)
            return True

    def _poll(self, blocked: BaseException | None, usual: int) -> select.poll:
        """Waits for what the socket wants: where it does not say, for `usual`."""
        event = usual
        if isinstance(blocked, ssl.SSLWantReadError):
            event = select.POLLIN
        elif isinstance(blocked, ssl.SSLWantWriteError):
            event = select.POLLOUT
        poll = self._polls.get(event)
        if poll is None:
            poll = self._polls[event] = select.poll()
            poll.register(self._client, event)
        return poll

    @staticmethod
    def _wait(poll: select.poll, deadline: float, tick: Tick) -> bool:
        """Sleep until the socket is ready or `deadline` has passed, ticking meanwhile."""
        # The main thread, which takes signals, wakes as often: one that comes right before poll
        # begins does not end it, and a Ctrl-C would wait for the peer.
        wakes = tick is not no_tick or threading.current_thread() is threading.main_thread()
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            if poll.poll((min(left, SLICE) if wakes else left) * 1000):
                return True
            tick()

    def has_input(self) -> bool:
        """Whether a read would find something at once, perhaps what TLS has decrypted already."""
        if self._end > self._start:
            return True
        if isinstance(self._client, ssl.SSLSocket) and self._client.pending():
            return True
        return bool(self._poll(None, select.POLLIN).poll(0))

    def send(self, data: bytes | bytearray | memoryview, tick: Tick = no_tick) -> None:
        """Send all of `data`, ticking whenever the peer is slow to take it. Raises AssociationLost,
        PeerTimeout."""
        view = memoryview(data)
        try:
            while view:
                try:
                    view = view[self._client.send(view) :]
                except BLOCKED as blocked:
                    self._wait_writable(self._poll(blocked, select.POLLOUT), tick)
        except OSError as error:
            cause = last_words(self._client) or error
            raise _lost(cause) from cause

    def _wait_writable(self, poll: select.poll, tick: Tick) -> None:
        seconds = 0 if self._is_stuck else self._network
        # Should this be left by an exception, an A-ABORT shall not wait as long again.
        self._is_stuck = True
        if not self._wait(poll, time.monotonic() + seconds, tick):
            raise PeerTimeout(f"the peer has taken nothing for {self._network:g} s", "message")
        tick()
        self._is_stuck = False

    def wake(self) -> None:
        """Make a thread that waits for input see the connection's end; sending still works."""
        self._shut(socket.SHUT_RD)

    def sever(self) -> None:
        """End the connection under a thread that uses it."""
        self._shut(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close, after which the association's state machine is told so (Evt17)."""
        if self.socket is None:
            return
        self._shutdown_socket()
        self._is_connected = False
        self.event_queue.put("Evt17")

    def _shutdown_socket(self) -> None:
        if isinstance(self._client, ssl.SSLSocket):
            # TLS's close_notify; few peers answer it, so nobody waits for that.
            self._quietly(self._client.unwrap)
        self._shut(socket.SHUT_RDWR)
        self._quietly(self._client.close)
        self.socket = None

    def _shut(self, how: int) -> None:
        # Not SSLSocket's own method: that drops TLS, and the thread that uses the socket would go
        # on in the clear.
        self._quietly(lambda: socket.socket.shutdown(self._client, how))

    @staticmethod
    def _quietly(action: Callable[[], object]) -> None:
        try:
            action()
        except (OSError, ValueError):  # the latter of TLS that was never begun
            return


def last_words(client: socket.socket) -> ssl.SSLError | None:
    """The alert of a peer that ended TLS before it was written to."""
    if not isinstance(client, ssl.SSLSocket):
        return None
    try:
        client.recv(1)
    except (*BLOCKED, ssl.SSLEOFError):
        return None
    except ssl.SSLError as error:
        return error
    except OSError:
        return None
    return None


def _lost(error: OSError) -> AssociationLost:
    by_tls = isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError)
    words = f"the connection broke: {tls.reason(error)}"
    return AssociationLost(words, "tls" if by_tls else "association")


def _keep_alive(client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEPALIVE.items():
        option = getattr(socket, name, None)
        if option is not None:
            client.setsockopt(socket.IPPROTO_TCP, option, value)
