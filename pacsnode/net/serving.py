"""Requests that come in on an association: handed to the handler, its answers put on the wire."""

import logging
from collections.abc import Callable, Generator
from types import TracebackType
from typing import TYPE_CHECKING, TypedDict

from pacsnode.dicom import status
from pacsnode.dicom.message import (
    Answer,
    Caller,
    Channel,
    Context,
    EchoRequest,
    FindRequest,
    GetRequest,
    Handler,
    MoveRequest,
    RefusingSink,
    Request,
    Sink,
    StoreRequest,
)
from pacsnode.errors import NetworkError
from pacsnode.net import command as commands
from pacsnode.net.command import Command
from pacsnode.net.contexts import Service, service_of
from pacsnode.net.messages import Message
from pacsnode.net.tally import Tally

if TYPE_CHECKING:
    from pacsnode.net.upper_layer import DrivenAssociation

logger = logging.getLogger(__name__)

_SERVICES = {
    commands.C_ECHO_RQ: Service.ECHO,
    commands.C_STORE_RQ: Service.STORE,
    commands.C_FIND_RQ: Service.FIND,
    commands.C_MOVE_RQ: Service.MOVE,
    commands.C_GET_RQ: Service.GET,
}

_FAULT = Answer(status.PROCESSING_FAILURE, "Unexpected fault, see the node's log")
_UNKNOWN = Answer(status.UNRECOGNISED_OPERATION, "This operation is not known to the node")
_WRONG_CONTEXT = Answer(status.SOP_CLASS_NOT_SUPPORTED, "Not a service of this SOP class")


class Surviving:
    """Where an association survives a fault of ours: the fault is logged with its traceback, and
    `failed` is set. What the network raises passes."""

    def __init__(self, what: str) -> None:
        self._what = what
        self.failed = False

    def __enter__(self) -> "Surviving":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> bool:
        if kind is None or not issubclass(kind, Exception) or issubclass(kind, NetworkError):
            return False
        logger.error("%s: unexpected fault", self._what, exc_info=error)
        self.failed = True
        return True


class _GuardedSink:
    """A sink whose unexpected faults end neither the association nor the node."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._guard = Surviving("C-STORE, receiving")

    def write(self, fragment: memoryview) -> None:
        if not self._guard.failed:
            with self._guard:
                self._sink.write(fragment)

    def finish(self) -> Answer:
        if not self._guard.failed:
            return self._sink.finish()
        self._sink.discard()
        return _FAULT

    def discard(self) -> None:
        self._sink.discard()


class _Common(TypedDict):
    caller: Caller
    context: Context
    message_id: int
    sop_class_uid: str
    identifier: bytes
    cancelled: Callable[[], bool]
    send: Callable[[Answer], None]


class Server:
    """Answers the requests of one association. `channel` carries the sub-operations of a C-GET."""

    def __init__(
        self,
        association: "DrivenAssociation",
        handler: Handler,
        caller: Caller,
        contexts: dict[int, Context],
        channel: Callable[[], Channel],
    ) -> None:
        self._association = association
        self._handler = handler
        self._caller = caller
        self._contexts = contexts
        self._channel = channel
        self.tally = Tally()

    def open_sink(self, context_id: int, command: Command) -> Sink:
        """Where the dataset of a C-STORE goes, asked before its first byte is taken."""
        context = self._contexts[context_id]
        if service_of(context.abstract_syntax) is not Service.STORE or not context.as_scp:
            return RefusingSink(_WRONG_CONTEXT)
        request = StoreRequest(
            caller=self._caller,
            context=context,
            message_id=command.required(commands.MESSAGE_ID),
            sop_class_uid=command.text(commands.AFFECTED_SOP_CLASS_UID),
            sop_instance_uid=command.text(commands.AFFECTED_SOP_INSTANCE_UID),
            move_originator_ae_title=command.text(commands.MOVE_ORIGINATOR_AE_TITLE) or None,
            move_originator_message_id=command.number(commands.MOVE_ORIGINATOR_MESSAGE_ID),
        )
        with Surviving("C-STORE"):
            return _GuardedSink(self._handler.begin_store(request))
        return RefusingSink(_FAULT)

    def answer(self, message: Message) -> None:
        """Serve one complete message. Raises NetworkError where the peer cannot be answered."""
        field = message.command.field
        if field & commands.RESPONSE:
            return  # to a request that was given up
        message_id = message.command.required(commands.MESSAGE_ID)
        service = _SERVICES.get(field)
        name = service.value if service is not None else f"{field:04X}"
        answers = self._answers(message, message_id, service)
        try:
            for answer in answers:
                self._respond(message, message_id, answer)
                self.tally.count(name, answer)
        except NetworkError:
            self.tally.break_off(name)
            raise
        finally:
            answers.close()
            self._association.dimse.answered(message_id)

    def _answers(
        self, message: Message, message_id: int, service: Service | None
    ) -> Generator[Answer, None, None]:
        """The handler's answers; a fault of its own becomes the last one."""
        with Surviving(service.value if service else "request") as guard:
            if message.sink is not None:
                yield message.sink.finish()
            elif service is None:
                yield _UNKNOWN
            else:
                yield from self._handled(message, message_id, service)
        if guard.failed:
            yield _FAULT

    def _handled(
        self, message: Message, message_id: int, service: Service
    ) -> Generator[Answer, None, None]:
        context = self._contexts[message.context_id]
        if service_of(context.abstract_syntax) is not service or not context.as_scp:
            yield _WRONG_CONTEXT
            return
        request = self._request(message, message_id, service, context)
        yield from self._handler.handle(request)

    def _request(
        self, message: Message, message_id: int, service: Service, context: Context
    ) -> Request:
        if service is Service.ECHO:
            return EchoRequest(caller=self._caller, context=context, message_id=message_id)
        messages = self._association.dimse

        def cancelled() -> bool:
            messages.take_input()
            return message_id in messages.cancelled

        def send(answer: Answer) -> None:
            self._respond(message, message_id, answer)

        common = _Common(
            caller=self._caller,
            context=context,
            message_id=message_id,
            sop_class_uid=message.command.text(commands.AFFECTED_SOP_CLASS_UID),
            identifier=bytes(message.data or b""),
            cancelled=cancelled,
            send=send,
        )
        if service is Service.FIND:
            return FindRequest(**common)
        if service is Service.GET:
            return GetRequest(**common, channel=self._channel())
        destination = message.command.text(commands.MOVE_DESTINATION)
        return MoveRequest(**common, move_destination=destination)

    def _respond(self, message: Message, message_id: int, answer: Answer) -> None:
        self._association.dul.require_open()
        if message.sink is None:  # a C-STORE that is complete gets its answer
            self._association.dul.require_running()
        values: dict[int, int | str | None] = {
            commands.AFFECTED_SOP_CLASS_UID: (
                message.command.text(commands.AFFECTED_SOP_CLASS_UID)
                or message.command.text(commands.REQUESTED_SOP_CLASS_UID)
                or None
            ),
            commands.COMMAND_FIELD: message.command.field | commands.RESPONSE,
            commands.MESSAGE_ID_BEING_RESPONDED_TO: message_id,
            commands.COMMAND_DATA_SET_TYPE: (
                commands.NO_DATASET if answer.identifier is None else 1
            ),
            commands.STATUS: answer.status,
            commands.ERROR_COMMENT: commands.comment(answer.comment),
        }
        if message.sink is not None:
            values[commands.AFFECTED_SOP_INSTANCE_UID] = message.command.text(
                commands.AFFECTED_SOP_INSTANCE_UID
            )
        if answer.counters is not None:
            values[commands.REMAINING] = answer.counters.remaining
            values[commands.COMPLETED] = answer.counters.completed
            values[commands.FAILED] = answer.counters.failed
            values[commands.WARNING] = answer.counters.warning
        self._association.dimse.send_message(
            message.context_id, commands.encode(_fitting(values)), answer.identifier
        )


def _fitting(values: dict[int, int | str | None]) -> dict[int, int | str | None]:
    """Without the counters that are too large for 16 bits (PS3.7 leaves no other way)."""
    return {
        element: None if isinstance(value, int) and value > 0xFFFF else value
        for element, value in values.items()
    }
