"""Requests of ours on an association, and the answers to them (PS3.7 9.3)."""

from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from pacsnode.dicom import status
from pacsnode.dicom.message import (
    Context,
    Counters,
    Response,
    Suboperation,
    Tick,
    accepted,
    no_tick,
)
from pacsnode.errors import (
    AssociationLost,
    NetworkError,
    NoPresentationContext,
    PeerTimeout,
)
from pacsnode.net import command as commands
from pacsnode.net.command import Command, MalformedCommand
from pacsnode.net.contexts import VERIFICATION
from pacsnode.net.messages import QUEUED, Message, Messages

if TYPE_CHECKING:
    from pacsnode.net.upper_layer import DrivenAssociation

_NAMES = {
    commands.C_ECHO_RQ: "C-ECHO",
    commands.C_STORE_RQ: "C-STORE",
    commands.C_FIND_RQ: "C-FIND",
    commands.C_MOVE_RQ: "C-MOVE",
    commands.C_GET_RQ: "C-GET",
    commands.N_ACTION_RQ: "N-ACTION",
    commands.N_EVENT_REPORT_RQ: "N-EVENT-REPORT",
}

Serve = Callable[[Message], None]


class _ReleaseAsked(AssociationLost):
    """The peer asks for the association's release where it should have answered."""


class AssociationChannel:
    """A dicom.message.Channel. `serve` answers the requests that come in meanwhile (the C-STOREs
    of a C-GET); without it they wait. `ticks_while_sending` is False where a tick may answer on
    this very association."""

    def __init__(
        self,
        association: "DrivenAssociation",
        contexts: Sequence[Context],
        *,
        dimse: float,
        serve: Serve | None = None,
        ticks_while_sending: bool = True,
    ) -> None:
        self._association = association
        self._messages: Messages = association.dimse
        self._contexts = tuple(contexts)
        self._timeout = dimse
        self._serve = serve
        self._ticks_while_sending = ticks_while_sending
        self._last_message_id = 0
        self._deferred: list[Message] = []
        self._has_ended_in_order = False

    @property
    def contexts(self) -> Sequence[Context]:
        return self._contexts

    @property
    def is_open(self) -> bool:
        layer = self._association.dul
        return not layer.has_ended and layer.to_user_queue.empty()

    def echo(self) -> Response:
        context = accepted(self._contexts, VERIFICATION)
        if context is None:
            raise NoPresentationContext("the peer did not accept the Verification SOP Class")
        message_id = self._next_message_id()
        command = commands.encode(
            {
                commands.AFFECTED_SOP_CLASS_UID: VERIFICATION,
                commands.COMMAND_FIELD: commands.C_ECHO_RQ,
                commands.MESSAGE_ID: message_id,
                commands.COMMAND_DATA_SET_TYPE: commands.NO_DATASET,
            }
        )
        with self._aborting():
            self._messages.send_message(context.context_id, command)
            return self._response(commands.C_ECHO_RQ, message_id, no_tick)

    def load(self, operation: Suboperation) -> None:
        self._messages.load(operation.context.context_id, operation.source)

    def store(
        self,
        operation: Suboperation,
        tick: Tick = no_tick,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> Response:
        message_id = self._next_message_id()
        command = commands.encode(
            {
                commands.AFFECTED_SOP_CLASS_UID: operation.sop_class_uid,
                commands.COMMAND_FIELD: commands.C_STORE_RQ,
                commands.MESSAGE_ID: message_id,
                commands.PRIORITY: operation.priority,
                commands.COMMAND_DATA_SET_TYPE: 1,
                commands.AFFECTED_SOP_INSTANCE_UID: operation.sop_instance_uid,
                commands.MOVE_ORIGINATOR_AE_TITLE: operation.move_originator_ae_title,
                commands.MOVE_ORIGINATOR_MESSAGE_ID: operation.move_originator_message_id,
            }
        )
        sending_tick = tick if self._ticks_while_sending else no_tick
        self.load(operation)
        with self._aborting():
            self._messages.send_loaded(operation.context.context_id, command, sending_tick)
            meanwhile()
            return self._response(commands.C_STORE_RQ, message_id, tick)

    def find(self, context: Context, identifier: bytes, priority: int = 0) -> Iterator[Response]:
        return self._query(commands.C_FIND_RQ, context, identifier, priority)

    def move(
        self, context: Context, identifier: bytes, destination: str, priority: int = 0
    ) -> Iterator[Response]:
        return self._query(commands.C_MOVE_RQ, context, identifier, priority, destination)

    def get(self, context: Context, identifier: bytes, priority: int = 0) -> Iterator[Response]:
        return self._query(commands.C_GET_RQ, context, identifier, priority)

    def _query(
        self,
        field: int,
        context: Context,
        identifier: bytes,
        priority: int,
        destination: str | None = None,
    ) -> Iterator[Response]:
        message_id = self._next_message_id()
        command = commands.encode(
            {
                commands.AFFECTED_SOP_CLASS_UID: context.abstract_syntax,
                commands.COMMAND_FIELD: field,
                commands.MESSAGE_ID: message_id,
                commands.MOVE_DESTINATION: destination,
                commands.PRIORITY: priority,
                commands.COMMAND_DATA_SET_TYPE: 1,
            }
        )
        with self._aborting():
            self._messages.send_message(context.context_id, command, identifier)
        while True:
            with self._aborting():
                response = self._response(field, message_id, no_tick)
            is_last = not status.is_pending(response.status)
            try:
                yield response
            except GeneratorExit:
                if not is_last:
                    self._cancel(field, context, message_id)
                raise
            if is_last:
                return

    def _cancel(self, field: int, context: Context, message_id: int) -> None:
        """C-CANCEL, then drain what is on its way until the final answer."""
        command = commands.encode(
            {
                commands.COMMAND_FIELD: commands.C_CANCEL_RQ,
                commands.MESSAGE_ID_BEING_RESPONDED_TO: message_id,
                commands.COMMAND_DATA_SET_TYPE: commands.NO_DATASET,
            }
        )
        if not self.is_open:
            return
        with self._aborting():
            self._messages.send_message(context.context_id, command)
            while status.is_pending(self._response(field, message_id, no_tick).status):
                continue

    def action(
        self, context: Context, sop_instance_uid: str, action_type: int, information: bytes
    ) -> Response:
        message_id = self._next_message_id()
        command = commands.encode(
            {
                commands.REQUESTED_SOP_CLASS_UID: context.abstract_syntax,
                commands.COMMAND_FIELD: commands.N_ACTION_RQ,
                commands.MESSAGE_ID: message_id,
                commands.COMMAND_DATA_SET_TYPE: 1,
                commands.REQUESTED_SOP_INSTANCE_UID: sop_instance_uid,
                commands.ACTION_TYPE_ID: action_type,
            }
        )
        with self._aborting():
            self._messages.send_message(context.context_id, command, information)
            return self._response(commands.N_ACTION_RQ, message_id, no_tick)

    def report_event(
        self,
        context: Context,
        sop_instance_uid: str,
        event_type: int,
        information: bytes,
        tick: Tick = no_tick,
    ) -> Response:
        message_id = self._next_message_id()
        command = commands.encode(
            {
                commands.AFFECTED_SOP_CLASS_UID: context.abstract_syntax,
                commands.COMMAND_FIELD: commands.N_EVENT_REPORT_RQ,
                commands.MESSAGE_ID: message_id,
                commands.COMMAND_DATA_SET_TYPE: 1,
                commands.AFFECTED_SOP_INSTANCE_UID: sop_instance_uid,
                commands.EVENT_TYPE_ID: event_type,
            }
        )
        # A peer that is content with the answer to its N-ACTION shall have its release in order.
        with self._aborting(but=_ReleaseAsked):
            self._messages.take_input()
            self._require_not_released()
            self._messages.send_message(context.context_id, command, information, tick)
            return self._response(commands.N_EVENT_REPORT_RQ, message_id, tick)

    def serve(self, seconds: float, tick: Tick = no_tick) -> bool:
        if self._has_ended_in_order or self._serve is None:
            return False
        with self._aborting():
            message = self._messages.next(seconds, tick)
            if message is not None:
                self._serve(message)
                return True
            if not self._answer_release():
                self._association.dul.require_open()
        return False

    def _answer_release(self) -> bool:
        """Where the peer has asked for the release of the association, end it so."""
        acse = self._association.acse
        if self._association.dul.has_ended or not acse.is_release_requested():
            return False
        acse.send_release(is_response=True)
        self._has_ended_in_order = True
        self._association.kill()
        return True

    def _require_not_released(self) -> None:
        if not self._association.dul.to_user_queue.empty():
            raise _ReleaseAsked("the peer ended the association unasked", "message")

    def _next_message_id(self) -> int:
        self._last_message_id = self._last_message_id % 0xFFFF + 1
        return self._last_message_id

    def _response(self, field: int, message_id: int, tick: Tick) -> Response:
        """The next answer to one request; other requests are served meanwhile, or wait."""
        try:
            while True:
                message = self._next(field, tick)
                command = message.command
                if not command.field & commands.RESPONSE:
                    self._serve_or_defer(message)
                    continue
                if command.number(commands.MESSAGE_ID_BEING_RESPONDED_TO) == message_id:
                    return _response_of(message)
        except MalformedCommand as error:
            raise AssociationLost(f"the peer broke the protocol: {error}", "message") from error
        finally:
            self._messages.complete.extendleft(reversed(self._deferred))
            self._deferred.clear()

    def _next(self, field: int, tick: Tick) -> Message:
        message = self._messages.next(self._timeout, tick)
        if message is not None:
            return message
        layer = self._association.dul
        layer.require_open()
        self._require_not_released()
        raise PeerTimeout(f"no answer to {_NAMES[field]} within {self._timeout:g} s", "message")

    def _serve_or_defer(self, message: Message) -> None:
        if self._serve is not None:
            self._serve(message)
            return
        if len(self._deferred) >= QUEUED:
            raise MalformedCommand("requests instead of an answer")
        self._deferred.append(message)

    def _aborting(self, but: type[NetworkError] | None = None) -> "_Aborting":
        return _Aborting(self._association, but)

    def release(self, tick: Tick = no_tick) -> None:
        if not self.is_open:
            if not self._answer_release():
                self._association.abort()
            return
        layer = self._association.dul
        layer.tick = tick
        try:
            with self._aborting():
                self._association.acse.negotiate_release()
        except PeerTimeout as error:  # half a PDU in the place of the answer
            layer.failure = error
        finally:
            layer.tick = no_tick

    def abort(self) -> None:
        self._association.abort()


class _Aborting:
    """Whatever is raised in the middle of a message leaves an association of no further use, `but`
    this."""

    def __init__(self, association: "DrivenAssociation", but: type[NetworkError] | None) -> None:
        self._association = association
        self._but = but

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        if kind is None or kind is self._but:
            return
        layer = self._association.dul
        if isinstance(error, NetworkError):
            layer.failure = layer.failure or error
        self._association.abort()


def _response_of(message: Message) -> Response:
    command = message.command
    return Response(
        status=command.required(commands.STATUS),
        comment=command.text(commands.ERROR_COMMENT),
        identifier=bytes(message.data) if message.data is not None else None,
        counters=_counters(command),
    )


def _counters(command: Command) -> Counters | None:
    completed = command.number(commands.COMPLETED)
    failed = command.number(commands.FAILED)
    warning = command.number(commands.WARNING)
    remaining = command.number(commands.REMAINING)
    if completed is failed is warning is remaining is None:
        return None
    return Counters(remaining, completed or 0, failed or 0, warning or 0)
