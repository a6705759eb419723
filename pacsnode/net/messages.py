"""DIMSE messages on an established association (PS3.7 6.3, PS3.8 annex E): P-DATA fragments put
together as they come, and messages cut into fragments. Dataset bytes pass straight to a Sink."""

import struct
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pynetdicom.dimse import DIMSEServiceProvider

from pacsnode.dicom.message import DatasetSource, Sink, Tick, no_tick
from pacsnode.dicom.recording import Recorder
from pacsnode.errors import NetworkError, PeerTimeout
from pacsnode.net import command as commands
from pacsnode.net.allowance import Allowance
from pacsnode.net.command import Command, MalformedCommand
from pacsnode.net.sending import COMMAND, LAST, Outbox, fragments, largest_fragment
from pacsnode.net.transport import Connection

if TYPE_CHECKING:
    from pacsnode.net.upper_layer import DrivenAssociation

_PDU = struct.Struct(">BxL")
_PDV = struct.Struct(">LBB")

LONGEST_IDENTIFIER = 16 << 20  # bytes: a list of some 250,000 UIDs
LONGEST_INFORMATION = 32 << 20  # bytes of DIMSE-N: some 250,000 references to instances
SHORT = 64 << 10  # bytes of a dataset that nobody counts
TOGETHER = 64 << 10  # bytes of messages that leave together
QUEUED = 8  # messages that a peer may send ahead before the rest waits in its own buffers


@dataclass(slots=True)
class Message:
    """One complete message: its dataset is in `sink` (C-STORE), else in `data`."""

    context_id: int
    command: Command
    sink: Sink | None = None
    data: bytearray | None = None
    length: int = 0  # bytes of dataset so far


OpenSink = Callable[[int, Command], Sink]


def _longest(field: int) -> int:
    """How many bytes of dataset a message may have, but for C-STORE's."""
    return LONGEST_INFORMATION if field in commands.DIMSE_N else LONGEST_IDENTIFIER


class Messages(DIMSEServiceProvider):
    """The messages of one association. `dimse` is the time in seconds that a peer may take to
    answer and to go on with a message that it has begun; `allowance` is what associations may make
    the node hold together."""

    def __init__(
        self,
        association: "DrivenAssociation",
        *,
        dimse: float,
        open_sink: OpenSink,
        knows_context: Callable[[int], bool],
        allowance: Allowance | None = None,
    ) -> None:
        super().__init__(association)
        self._allowance = allowance or Allowance()
        self._held = 0
        self._association = association
        self._timeout = dimse
        self._open_sink = open_sink
        self._knows_context = knows_context
        self._command = bytearray()
        self._under_way: Message | None = None
        self.complete: deque[Message] = deque()
        self.cancelled: set[int] = set()
        self._asked: set[int] = set()  # message IDs of requests that are not answered yet
        self._waiting = bytearray()  # messages that the next one takes along

    def receive_primitive(self, primitive: Any) -> None:
        """P-DATA after our A-RELEASE-RQ: nobody waits for it any more (PS3.8 7.2.2)."""

    def receive(self, pdu: memoryview) -> None:
        """Take a P-DATA-TF. Raises MalformedCommand where it breaks the protocol."""
        position, end = _PDU.size, len(pdu)
        while position < end:
            if end - position < _PDV.size:
                raise MalformedCommand("a presentation data value is cut off")
            length, context_id, control = _PDV.unpack_from(pdu, position)
            start = position + _PDV.size
            position += 4 + length
            if length < 2 or position > end:
                raise MalformedCommand("a presentation data value overruns its PDU")
            fragment = pdu[start:position]
            if control & COMMAND:
                self._take_command(context_id, fragment, bool(control & LAST))
            else:
                self._take_data(context_id, fragment, bool(control & LAST))

    def _take_command(self, context_id: int, fragment: memoryview, is_last: bool) -> None:
        if self._under_way is not None:
            raise MalformedCommand("a command set inside another message's dataset")
        self._command += fragment
        if len(self._command) > commands.LONGEST_COMMAND:
            raise MalformedCommand(f"a command set of over {commands.LONGEST_COMMAND} bytes")
        if is_last:
            if self._recorder is not None:
                self._recorder.command(False, context_id, bytes(self._command))
            command = commands.decode(self._command)
            self._command.clear()
            self._begin(context_id, command)

    def _begin(self, context_id: int, command: Command) -> None:
        if not self._knows_context(context_id):
            raise MalformedCommand(f"presentation context {context_id} was not accepted")
        field = command.field
        if field == commands.C_CANCEL_RQ:
            self._cancel(command.required(commands.MESSAGE_ID_BEING_RESPONDED_TO))
            return
        has_dataset = command.has_dataset  # or refused, before anybody makes room for a dataset
        if field & commands.RESPONSE:
            command.required(commands.MESSAGE_ID_BEING_RESPONDED_TO)
            command.required(commands.STATUS)
        else:
            self._asked.add(command.required(commands.MESSAGE_ID))
        if field in commands.DIMSE_N:  # refused where they are no numbers, before anybody asks
            command.number(commands.EVENT_TYPE_ID), command.number(commands.ACTION_TYPE_ID)
        message = Message(context_id, command)
        if field == commands.C_STORE_RQ:
            message.sink = self._open_sink(context_id, command)
        elif has_dataset:
            message.data = bytearray()
        if has_dataset:
            self._under_way = message
        else:
            self.complete.append(message)

    def _cancel(self, message_id: int) -> None:
        """A C-CANCEL that comes too late must not hit the next request of the same number."""
        if message_id in self._asked:
            self.cancelled.add(message_id)

    def answered(self, message_id: int) -> None:
        """A request of the peer's has had its last answer."""
        self._asked.discard(message_id)
        self.cancelled.discard(message_id)
        if self._held and not self.complete and self._under_way is None:
            self._let_go()

    def _take_data(self, context_id: int, fragment: memoryview, is_last: bool) -> None:
        message = self._under_way
        if message is None:
            raise MalformedCommand("a dataset fragment without a command set")
        if message.context_id != context_id:
            raise MalformedCommand("a dataset fragment in another presentation context")
        message.length += len(fragment)
        if message.sink is not None:
            message.sink.write(fragment)
        elif message.data is not None:
            longest = _longest(message.command.field)
            if len(message.data) + len(fragment) > longest:
                raise MalformedCommand(f"a dataset of over {longest} bytes")
            message.data += fragment
            if len(message.data) > SHORT:
                self._hold(len(fragment))
        if is_last:
            if self._recorder is not None:
                data = bytes(message.data) if message.data is not None else None
                self._recorder.dataset(False, context_id, message.length, data)
            self._under_way = None
            self.complete.append(message)

    def _hold(self, count: int) -> None:
        if not self._allowance.take(count):
            most = self._allowance.most
            raise MalformedCommand(f"one more of too many long requests: {most} bytes are held")
        self._held += count

    def _let_go(self) -> None:
        self._allowance.give_back(self._held)
        self._held = 0

    @property
    def is_partial(self) -> bool:
        """Whether a message has begun and is not complete."""
        return self._under_way is not None or bool(self._command)

    def next(self, seconds: float, tick: Tick = no_tick) -> Message | None:
        """The next complete message; None where none has begun within `seconds`, or the peer wants
        to end the association or has. Raises PeerTimeout for a message that does not get on."""
        layer = self._association.dul
        deadline = time.monotonic() + seconds
        while not self.complete:
            if not layer.to_user_queue.empty() or layer.is_closed:
                return None
            if self.is_partial:
                deadline = time.monotonic() + self._timeout
            if layer.pump(deadline, tick):
                continue
            if self.is_partial:
                raise PeerTimeout(f"a message stopped for {self._timeout:g} s", "message")
            if not layer.is_closed:
                return None
        return self.complete.popleft()

    def take_input(self) -> None:
        """Read what the peer has sent already, a C-CANCEL perhaps. Raises AssociationLost where it
        has gone."""
        layer = self._association.dul
        while len(self.complete) < QUEUED and layer.connection.has_input():
            layer.pump(time.monotonic() + self._timeout)
        layer.require_open()

    def send_message(
        self,
        context_id: int,
        command: bytes,
        dataset: bytes | None = None,
        tick: Tick = no_tick,
        *,
        more: bool = False,
    ) -> None:
        """Send one message, whole; where there is `more` to send at once it may wait, to leave
        together with that. Raises AssociationLost, PeerTimeout."""
        if self._recorder is not None:
            self._recorder.command(True, context_id, command)
            if dataset is not None:
                self._recorder.dataset(True, context_id, len(dataset), dataset)
        for fragment in self._fragments(context_id, COMMAND, command):
            self._waiting += fragment
        if dataset is not None:
            for fragment in self._fragments(context_id, 0, dataset):
                self._waiting += fragment
        if more and len(self._waiting) < TOGETHER:
            return
        with self._remembering() as connection:
            waiting, self._waiting = self._waiting, bytearray()
            connection.send(waiting, tick)

    def load(self, context_id: int, source: DatasetSource) -> None:
        """Read the beginning of the dataset that goes out next; once is enough. Raises
        InstanceDamaged where the file ends there, OSError."""
        if not self._outbox.holds(context_id, source):
            self._outbox.load(context_id, source)

    def send_loaded(self, context_id: int, command: bytes, tick: Tick) -> None:
        """Send one message with the dataset that was loaded. Raises AssociationLost, PeerTimeout,
        Interrupted; InstanceDamaged where a file ends early, and OSError, after which the
        association can only be aborted."""
        head = b"".join(self._fragments(context_id, COMMAND, command))

        def checking_tick() -> None:
            self._association.dul.require_running()
            tick()

        length = self._outbox.length
        if self._recorder is not None:
            self._recorder.command(True, context_id, command)
        with self._remembering() as connection:
            for block in self._outbox.unload(head):
                checking_tick()
                connection.send(block, checking_tick)
        if self._recorder is not None:
            self._recorder.dataset(True, context_id, length, None)

    @property
    def _recorder(self) -> Recorder | None:
        return self._association.dul.recorder

    @contextmanager
    def _remembering(self) -> Iterator[Connection]:
        """The connection to send on; the first failure is kept for those who ask later."""
        layer = self._association.dul
        try:
            yield layer.connection
        except NetworkError as error:
            layer.failure = layer.failure or error
            raise

    def _fragments(self, context_id: int, kind: int, data: bytes) -> Iterator[bytes]:
        return fragments(context_id, kind, data, self._largest)

    @cached_property
    def _largest(self) -> int:
        """Known once the peer has said how long its PDUs may be."""
        return largest_fragment(self.maximum_pdu_size)

    @cached_property
    def _outbox(self) -> Outbox:
        return Outbox(self._largest)

    def discard(self) -> None:
        """The association is over: nothing that was not complete and answered leaves a trace."""
        pending = list(self.complete)
        if self._under_way is not None:
            pending.append(self._under_way)
        self._under_way = None
        self.complete.clear()
        self._let_go()
        for message in pending:
            if message.sink is not None:
                message.sink.discard()
