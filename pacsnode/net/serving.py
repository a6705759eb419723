"""Requests that come in on an association: handed to the handler, its answers put on the wire."""

import logging
from collections.abc import Callable, Generator
from types import TracebackType
from typing import TYPE_CHECKING, TypedDict

from pacsnode.dicom import status
from pacsnode.dicom.message import (
    ActionRequest,
    Answer,
    Caller,
    Channel,
    Context,
    EchoRequest,
    EventReportRequest,
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
from pacsnode.net.operation import Operation
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
    commands.N_ACTION_RQ: Service.COMMIT,
    commands.N_EVENT_REPORT_RQ: Service.COMMIT,
}

_FAULT = Answer(status.PROCESSING_FAILURE, "Unexpected fault, see the node's log")
_UNKNOWN = Answer(status.UNRECOGNISED_OPERATION, "This operation is not known to the node")
_WRONG_CONTEXT = Answer(status.SOP_CLASS_NOT_SUPPORTED, "Not a service of this SOP class")


def _name(field: int, service: Service | None) -> str:
    """By which the tally counts a request."""
    if field == commands.N_EVENT_REPORT_RQ:
        return "report"
    return service.value if service is not None else f"{field:04X}"


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
    priority: int


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
        operation = Operation(self._association, message)
        service = _SERVICES.get(field)
        name = _name(field, service)
        answers = self._answers(operation, service)
        try:
            for answer in answers:
                operation.respond(answer)
                self.tally.count(name, answer)
        except NetworkError:
            if not operation.is_answered:
                self.tally.break_off(name)
            raise
        finally:
            answers.close()
            operation.end()

    def _answers(
        self, operation: Operation, service: Service | None
    ) -> Generator[Answer, None, None]:
        """The handler's answers; a fault of its own becomes the last one. What the handler does
        after its last answer is done before the next request is served."""
        sink = operation.message.sink
        with Surviving(service.value if service else "request") as guard:
            if sink is not None:
                yield sink.finish()
            elif service is None:
                yield _UNKNOWN
            else:
                yield from self._handled(operation, service)
        if guard.failed and not operation.is_answered:
            yield _FAULT

    def _handled(self, operation: Operation, service: Service) -> Generator[Answer, None, None]:
        context = self._contexts[operation.message.context_id]
        # Of a report nobody asks who may send it: peers forget to negotiate that.
        has_role = context.as_scp or operation.message.command.field == commands.N_EVENT_REPORT_RQ
        if service_of(context.abstract_syntax) is not service or not has_role:
            yield _WRONG_CONTEXT
            return
        yield from self._handler.handle(self._request(operation, service, context))

    def _request(self, operation: Operation, service: Service, context: Context) -> Request:
        if service is Service.ECHO:
            return EchoRequest(
                caller=self._caller, context=context, message_id=operation.message_id
            )
        if service is Service.COMMIT:
            return self._of_commitment(operation, context)
        message = operation.message
        common = _Common(
            caller=self._caller,
            context=context,
            message_id=operation.message_id,
            sop_class_uid=message.command.text(commands.AFFECTED_SOP_CLASS_UID),
            identifier=bytes(message.data or b""),
            cancelled=operation.is_cancelled,
            send=operation.respond,
            priority=message.command.priority,
        )
        if service is Service.FIND:
            return FindRequest(**common)
        if service is Service.GET:
            return GetRequest(**common, channel=self._channel())
        destination = message.command.text(commands.MOVE_DESTINATION)
        return MoveRequest(**common, move_destination=destination)

    def _of_commitment(self, operation: Operation, context: Context) -> Request:
        command, information = operation.message.command, bytes(operation.message.data or b"")
        if command.field == commands.N_EVENT_REPORT_RQ:
            return EventReportRequest(
                caller=self._caller,
                context=context,
                message_id=operation.message_id,
                sop_class_uid=command.text(commands.AFFECTED_SOP_CLASS_UID),
                sop_instance_uid=command.text(commands.AFFECTED_SOP_INSTANCE_UID),
                event_type=command.number(commands.EVENT_TYPE_ID),
                information=information,
            )
        return ActionRequest(
            caller=self._caller,
            context=context,
            message_id=operation.message_id,
            sop_class_uid=command.text(commands.REQUESTED_SOP_CLASS_UID),
            sop_instance_uid=command.text(commands.REQUESTED_SOP_INSTANCE_UID),
            action_type=command.number(commands.ACTION_TYPE_ID),
            information=information,
            cancelled=operation.is_cancelled,
            channel=self._channel(),
        )
