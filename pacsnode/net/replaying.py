"""An association whose every message is given, byte for byte: what a recorded requestor said, to be
said again. It holds to no state machine: how the peer takes it is what is asked."""

import struct
import time
from collections.abc import Iterator
from typing import NamedTuple

from pacsnode.config.model import Timeouts
from pacsnode.dicom import status
from pacsnode.dicom.message import Peer, no_tick
from pacsnode.errors import AssociationLost, PeerTimeout
from pacsnode.net import associate
from pacsnode.net import command as commands
from pacsnode.net.command import Command, MalformedCommand
from pacsnode.net.dial import dial
from pacsnode.net.negotiation import ABORT, RELEASE_RP, RELEASE_RQ, Negotiation, read_negotiation
from pacsnode.net.sending import COMMAND, LAST, fragments, largest_fragment
from pacsnode.net.transport import ASSOCIATE_AC, ASSOCIATE_RJ, HEADER, LONGEST_PDU, P_DATA
from pacsnode.tls import Outgoing

_PDV = struct.Struct(">LBB")
_RELEASE_REQUEST = bytes((RELEASE_RQ, 0, 0, 0, 0, 4, 0, 0, 0, 0))
_ABORT = bytes((ABORT, 0, 0, 0, 0, 4, 0, 0, 0, 0))
_CALLED = slice(10, 26)


class Reply(NamedTuple):
    """A message of the peer's; its dataset is let pass."""

    context_id: int
    command: Command

    @property
    def is_response(self) -> bool:
        return bool(self.command.field & commands.RESPONSE)


class ReplayedAssociation:
    """Opened by a recorded A-ASSOCIATE-RQ. `answer` is None where the peer did not accept it;
    `rejection` says why then."""

    def __init__(
        self, peer: Peer, request: bytes, timeouts: Timeouts, outgoing: Outgoing | None = None
    ) -> None:
        """The request goes out with the called AE title of `peer`. Raises PeerUnreachable,
        AssociationLost, PeerTimeout."""
        self.answer: Negotiation | None = None
        self.rejection: associate.Rejection | None = None
        self._timeouts = timeouts
        self._command = bytearray()
        self._under_way: Reply | None = None
        self._complete: list[Reply] = []
        self._client = dial(peer, timeouts.connect, no_tick, outgoing or Outgoing(None))
        self._client.settimeout(timeouts.acse)
        try:
            called = peer.ae_title.encode("latin-1", "replace").ljust(16)[:16]
            self._send(request[: _CALLED.start] + called + request[_CALLED.stop :])
            self._negotiate(*self._read_pdu(timeouts.acse))
        except BaseException:
            self.close()
            raise

    def _negotiate(self, kind: int, pdu: bytes) -> None:
        try:
            if kind == ASSOCIATE_AC:
                self.answer = read_negotiation(pdu)
            elif kind == ASSOCIATE_RJ:
                self.rejection = associate.rejection(pdu)
        except ValueError as error:
            raise AssociationLost(f"the peer broke the protocol: {error}") from error

    def send(self, context_id: int, command: bytes, dataset: bytes | None = None) -> None:
        """One message. Raises AssociationLost, PeerTimeout."""
        most = self.answer.maximum_length if self.answer is not None else None
        largest = largest_fragment(most)
        self._send(b"".join(fragments(context_id, COMMAND, command, largest)))
        if dataset is not None:
            for fragment in fragments(context_id, 0, dataset, largest):
                self._send(fragment)

    def receive(self) -> Reply:
        """The peer's next message, a request of its own perhaps. Raises AssociationLost,
        PeerTimeout."""
        while not self._complete:
            kind, pdu = self._read_pdu(self._timeouts.dimse)
            if kind != P_DATA:
                raise AssociationLost("the peer ended the association")
            try:
                for context_id, control, fragment in _values(pdu):
                    self._take(context_id, control, fragment)
            except MalformedCommand as error:
                raise AssociationLost(f"the peer broke the protocol: {error}") from error
        return self._complete.pop(0)

    def _take(self, context_id: int, control: int, fragment: bytes) -> None:
        if control & COMMAND:
            self._command += fragment
            if not control & LAST:
                return
            reply = Reply(context_id, commands.decode(self._command))
            self._command.clear()
            if reply.command.has_dataset:
                self._under_way = reply
            else:
                self._complete.append(reply)
        elif control & LAST and self._under_way is not None:
            self._complete.append(self._under_way)
            self._under_way = None

    def accept(self, request: Reply) -> None:
        """Answer a request of the peer's with success, whatever it is. Raises AssociationLost."""
        asked = request.command
        values: dict[int, int | str | None] = {
            commands.AFFECTED_SOP_CLASS_UID: asked.text(commands.AFFECTED_SOP_CLASS_UID) or None,
            commands.COMMAND_FIELD: asked.field | commands.RESPONSE,
            commands.MESSAGE_ID_BEING_RESPONDED_TO: asked.number(commands.MESSAGE_ID),
            commands.COMMAND_DATA_SET_TYPE: commands.NO_DATASET,
            commands.STATUS: status.SUCCESS,
            commands.AFFECTED_SOP_INSTANCE_UID: asked.text(commands.AFFECTED_SOP_INSTANCE_UID)
            or None,
        }
        self.send(request.context_id, commands.encode(values))

    def release(self) -> bool:
        """Whether the peer released it in order."""
        try:
            self._send(_RELEASE_REQUEST)
            while (kind := self._read_pdu(self._timeouts.acse)[0]) == P_DATA:
                continue
        except (AssociationLost, PeerTimeout):
            return False
        finally:
            self.close()
        return kind == RELEASE_RP

    def abort(self) -> None:
        """Never raises."""
        try:
            self._send(_ABORT)
        except (AssociationLost, PeerTimeout):
            return
        finally:
            self.close()

    def close(self) -> None:
        self._client.close()

    def _send(self, data: bytes) -> None:
        self._client.settimeout(self._timeouts.network)
        try:
            self._client.sendall(data)
        except TimeoutError as error:
            raise PeerTimeout("the peer takes nothing", "message") from error
        except OSError as error:
            raise AssociationLost(f"the connection broke: {error.strerror or error}") from error

    def _read_pdu(self, seconds: float) -> tuple[int, bytes]:
        deadline = time.monotonic() + seconds
        head = self._exactly(HEADER.size, deadline)
        kind, length = HEADER.unpack(head)
        if length > LONGEST_PDU:
            raise AssociationLost(f"the peer broke the protocol: a PDU of {length} bytes")
        return kind, head + self._exactly(length, deadline)

    def _exactly(self, size: int, deadline: float) -> bytes:
        data = bytearray()
        while len(data) < size:
            self._client.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                more = self._client.recv(size - len(data))
            except TimeoutError as error:
                raise PeerTimeout("no answer in time", "message") from error
            except OSError as error:
                raise AssociationLost(f"the connection broke: {error.strerror or error}") from error
            if not more:
                raise AssociationLost("the peer closed the connection")
            data += more
        return bytes(data)


def _values(pdu: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Context, control byte and content of each presentation data value. Raises MalformedCommand
    where the lengths lie."""
    position = HEADER.size
    while position < len(pdu):
        if len(pdu) - position < _PDV.size:
            raise MalformedCommand("a presentation data value is cut off")
        length, context_id, control = _PDV.unpack_from(pdu, position)
        end = position + 4 + length
        if length < 2 or end > len(pdu):
            raise MalformedCommand("a presentation data value overruns its PDU")
        yield context_id, control, pdu[position + _PDV.size : end]
        position = end
