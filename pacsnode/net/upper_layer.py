"""pynetdicom's upper layer and association without their threads: everything runs in the thread
that uses the association, which sleeps until the peer sends or a time is up. What pynetdicom keeps
doing is the state machine of PS3.8 9.2 and the association PDUs."""

import struct
import time
from typing import TYPE_CHECKING, Any

from pynetdicom.association import Association
from pynetdicom.dul import DULServiceProvider
from pynetdicom.fsm import InvalidEventError
from pynetdicom.pdu import A_ASSOCIATE_AC
from pynetdicom.timer import Timer

from pacsnode.dicom.message import Tick, no_tick
from pacsnode.dicom.recording import Recorder
from pacsnode.errors import AssociationLost, NetworkError
from pacsnode.net import associate
from pacsnode.net.transport import (
    ASSOCIATE_AC,
    ASSOCIATE_RJ,
    ASSOCIATE_RQ,
    KNOWN_PDUS,
    P_DATA,
    Connection,
    OversizedPDU,
    TLSRecord,
)

if TYPE_CHECKING:
    from pacsnode.net.messages import Messages

# What pynetdicom's decoders raise on bytes that are no PDU of theirs.
DECODING_ERRORS = (
    ValueError, TypeError, KeyError, IndexError, AttributeError, AssertionError,
    NotImplementedError, struct.error,
)  # fmt: skip

CLOSED_EVENT, ARTIM_EVENT, INVALID_EVENT = "Evt17", "Evt18", "Evt19"
IDLE, ESTABLISHED, CLOSING = "Sta1", "Sta6", "Sta13"

LINGER = 1.0  # seconds that a peer gets to close after its release, rejection or abort


class Interrupted(AssociationLost):
    """The node is stopping: the association is to be aborted from its own thread."""


class ArtimTimer(Timer):
    """The timer of PS3.8 9.1.5, as a moment to sleep until."""

    def __init__(self, timeout: float | None) -> None:
        super().__init__(timeout)
        self.deadline = float("inf")  # time.monotonic

    def start(self) -> None:
        self.deadline = float("inf") if self.timeout is None else time.monotonic() + self.timeout

    def stop(self) -> None:
        self.deadline = float("inf")


class UpperLayer(DULServiceProvider):
    """Drives the state machine from the calling thread. `failure` says why a connection ended, when
    it was not the peer's A-ABORT."""

    socket: Connection | None
    _assoc: "DrivenAssociation"

    def __init__(self, association: "DrivenAssociation") -> None:
        super().__init__(association)
        self.artim_timer: ArtimTimer = ArtimTimer(None)
        self.tick: Tick = no_tick
        self.failure: NetworkError | None = None
        self.request_pdu = b""  # the A-ASSOCIATE-RQ as it came, and its contexts
        self.proposed: list[associate.ProposedContext] = []
        self.answered: list[associate.AnsweredContext] = []  # for the A-ASSOCIATE-AC
        self.rejection: associate.Rejection | None = None  # the A-ASSOCIATE-RJ that came
        self.stop_requested = False
        self.recorder: Recorder | None = None

    @property
    def is_closed(self) -> bool:
        return bool(self._kill_thread)

    @property
    def has_ended(self) -> bool:
        """Whether the association is over, though its connection may linger."""
        return self.is_closed or self.state == CLOSING

    @property
    def state(self) -> str:
        state: str = self.state_machine.current_state
        return state

    @property
    def connection(self) -> Connection:
        """Raises AssociationLost where the association is over."""
        self.require_open()
        if self.socket is None or self.socket.socket is None:
            raise AssociationLost("the association has ended")
        return self.socket

    def require_open(self) -> None:
        """Raises AssociationLost where the association is over."""
        if self.has_ended:
            raise self.failure or AssociationLost("the peer aborted the association")

    def require_running(self) -> None:
        """Raises Interrupted where the node is stopping."""
        if self.stop_requested:
            raise Interrupted("the node is stopping")

    def send_pdu(self, primitive: Any) -> None:
        """Hand a primitive to the state machine and carry out what follows from it."""
        self.to_provider_queue.put(primitive)
        self.run_events()

    def receive_pdu(self, wait: bool = False, timeout: float | None = None) -> Any:
        """The next primitive for the service user; None where `timeout` seconds bring none."""
        deadline = time.monotonic() + (timeout or 0) if wait else 0.0
        while self.to_user_queue.empty():
            if not wait or self.has_ended or not self.pump(deadline, self.tick):
                return None
        return self.to_user_queue.get(block=False)

    def pump(self, deadline: float, tick: Tick = no_tick, end: float = float("inf")) -> bool:
        """Take in one PDU, or the end of the connection; False where nothing came by `deadline`
        (time.monotonic). Raises PeerTimeout for a PDU that does not get on, or is not there by
        `end`; Interrupted."""
        self.run_events()
        if self.is_closed or self.socket is None:
            return False
        end = min(end, self.artim_timer.deadline)
        try:
            pdu = self.socket.read_pdu(deadline, tick, end)
        except AssociationLost as error:
            if self.state != CLOSING:
                self.require_running()
            self.failure = error
            self.event_queue.put(CLOSED_EVENT)
        except TLSRecord:
            self.failure = AssociationLost(
                "the peer speaks TLS, and this connection is plain", "tls"
            )
            self.event_queue.put(INVALID_EVENT)
        except OversizedPDU as error:
            self.failure = AssociationLost(f"the peer broke the protocol: {error}")
            self.event_queue.put(INVALID_EVENT)
        else:
            if pdu is not None:
                self._take(pdu)
            elif self.artim_timer.deadline <= time.monotonic():
                self.event_queue.put(ARTIM_EVENT)
            else:
                return False
        self.run_events()
        return True

    def _take(self, pdu: memoryview) -> None:
        try:
            if pdu[0] == P_DATA and self.state == ESTABLISHED:
                self._assoc.dimse.receive(pdu)
                return
            if self.recorder is not None and pdu[0] != P_DATA:
                self.recorder.pdu(False, bytes(pdu))
            if pdu[0] not in KNOWN_PDUS:
                raise ValueError(f"a PDU of the unknown type {pdu[0]:02X}")
            decoded, event = self._decode_pdu(bytearray(self._tidied(pdu)))
        except DECODING_ERRORS as error:
            self.failure = AssociationLost(f"the peer broke the protocol: {error}")
            self.event_queue.put(INVALID_EVENT)
            return
        state = self.state
        self._recv_pdu.put(decoded)
        self.event_queue.put(event)
        self.run_events()
        if self.state == CLOSING != state:
            self.failure = self.failure or AssociationLost(
                f"the peer broke the protocol: {type(decoded).__name__} is out of place"
            )

    def _tidied(self, pdu: memoryview) -> bytes:
        data = bytes(pdu)
        if data[0] == ASSOCIATE_RJ:
            self.rejection = associate.rejection(data)
            return associate.PLAIN_REJECTION
        if data[0] not in (ASSOCIATE_RQ, ASSOCIATE_AC):
            return data
        if data[0] == ASSOCIATE_RQ:
            self.proposed = associate.proposed_contexts(data)
            self.request_pdu = data
        return associate.tidy(data)

    def run_events(self) -> None:
        """Let the state machine act on everything that user and transport have said."""
        while not self.is_closed:
            if self.event_queue.empty() and not self._process_recv_primitive():
                return
            event = self.event_queue.get(block=False)
            try:
                self.state_machine.do_action(event)
            except InvalidEventError as error:
                self._give_up(AssociationLost(f"the association's protocol failed: {error}"))
            except DECODING_ERRORS as error:
                failure = AssociationLost(f"the peer broke the protocol: {error}")
                if event == INVALID_EVENT:
                    self._give_up(failure)
                    return
                self._kill_thread = False  # the state machine gives up where an A-ABORT will do
                self.failure = self.failure or failure
                self.event_queue.put(INVALID_EVENT)

    def _give_up(self, error: NetworkError) -> None:
        self.failure = self.failure or error
        if self.socket is not None:
            self.socket.close()
        self.kill_dul()

    def _send(self, pdu: Any) -> None:
        """Encode and send an association PDU; a connection that is gone becomes an event."""
        data = bytes(pdu.encode())
        if isinstance(pdu, A_ASSOCIATE_AC) and self.request_pdu:
            data = associate.answer(data, self.request_pdu, self.answered)
        if self.socket is None or self.socket.socket is None:
            return
        if self.recorder is not None:
            self.recorder.pdu(True, data)
        try:
            self.socket.send(data)
        except NetworkError as error:
            self.failure = self.failure or error
            self.event_queue.put(CLOSED_EVENT)

    def linger(self) -> None:
        """Where the association has ended, give the peer a moment to close: what was sent last
        would be lost with an unread byte in the way (RFC 1122 4.2.2.13). Then close."""
        deadline = time.monotonic() + (LINGER if self.state == CLOSING else 0)
        try:
            while time.monotonic() < deadline and not self.is_closed:
                self.pump(deadline, end=deadline)
        except NetworkError as error:
            self.failure = self.failure or error
        if self.socket is not None:
            self.socket.close()
        self.kill_dul()
        if self.recorder is not None:
            self.recorder.end(str(self.failure or ""))
            self.recorder = None


class DrivenAssociation(Association):
    """An association that its own thread drives. `timeouts` are the configuration's."""

    dul: UpperLayer
    dimse: "Messages"

    def abort(self, block: bool = True) -> None:
        """A-ABORT (service user), then the connection's end. Never raises."""
        if not self.dul.is_closed and self.dul.state not in (IDLE, CLOSING) and not self.is_aborted:
            self.acse.send_abort(0x00)
        self.is_aborted = True
        self.is_established = False
        self.kill()

    def kill(self) -> None:
        """Close the connection; after an A-ABORT the peer gets a moment to do so first."""
        self.is_established = False
        self._kill = True
        self.dul.linger()
