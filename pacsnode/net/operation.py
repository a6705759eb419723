"""An operation that a peer asks for (PS3.7 7.1): its request message, and the responses to it."""

from typing import TYPE_CHECKING

from pacsnode.dicom import status
from pacsnode.dicom.message import Answer
from pacsnode.net import command as commands
from pacsnode.net.command import Command
from pacsnode.net.messages import Message

if TYPE_CHECKING:
    from pacsnode.net.upper_layer import DrivenAssociation


class Operation:
    """One operation on an association."""

    def __init__(self, association: "DrivenAssociation", message: Message) -> None:
        self._association = association
        self.message = message
        self.message_id = message.command.required(commands.MESSAGE_ID)
        # The command sets of thousands of matches are the same.
        self._of_matches: dict[int, bytes] = {}
        self.is_answered = False

    def respond(self, answer: Answer) -> None:
        """Send a response; where `more` is at hand, it may wait for that. The last one is on the
        wire when this returns. Raises NetworkError."""
        layer = self._association.dul
        layer.require_open()
        if self.message.sink is None:  # a C-STORE that is complete gets its answer
            layer.require_running()
        is_last = not status.is_pending(answer.status)
        self._association.dimse.send_message(
            self.message.context_id,
            self._command_set(answer),
            answer.identifier,
            more=answer.more and not is_last,
        )
        if is_last:
            self.is_answered = True
            self._forget()

    def is_cancelled(self) -> bool:
        """Whether a C-CANCEL came, among what the peer sent meanwhile. Raises AssociationLost."""
        messages = self._association.dimse
        messages.take_input()
        return self.message_id in messages.cancelled

    def end(self) -> None:
        """All responses are sent, or never will be."""
        if not self.is_answered:
            self._forget()

    def _forget(self) -> None:
        """From now on the peer may use the message's number again."""
        self._association.dimse.answered(self.message_id)

    def _command_set(self, answer: Answer) -> bytes:
        is_match = answer.identifier is not None and not answer.comment and answer.counters is None
        if not is_match:
            return self._encoded(answer)
        encoded = self._of_matches.get(answer.status)
        if encoded is None:
            encoded = self._of_matches[answer.status] = self._encoded(answer)
        return encoded

    def _encoded(self, answer: Answer) -> bytes:
        request = self.message.command
        values: dict[int, int | str | None] = {
            commands.AFFECTED_SOP_CLASS_UID: (
                request.text(commands.AFFECTED_SOP_CLASS_UID)
                or request.text(commands.REQUESTED_SOP_CLASS_UID)
                or None
            ),
            commands.COMMAND_FIELD: request.field | commands.RESPONSE,
            commands.MESSAGE_ID_BEING_RESPONDED_TO: self.message_id,
            commands.COMMAND_DATA_SET_TYPE: (
                commands.NO_DATASET if answer.identifier is None else 1
            ),
            commands.STATUS: answer.status,
            commands.ERROR_COMMENT: commands.comment(answer.comment),
        }
        if self.message.sink is not None:
            values[commands.AFFECTED_SOP_INSTANCE_UID] = request.text(
                commands.AFFECTED_SOP_INSTANCE_UID
            )
        if request.field in commands.DIMSE_N:
            values |= _of_dimse_n(request)
        if answer.counters is not None:
            values[commands.REMAINING] = answer.counters.remaining
            values[commands.COMPLETED] = answer.counters.completed
            values[commands.FAILED] = answer.counters.failed
            values[commands.WARNING] = answer.counters.warning
        return commands.encode(_fitting(values))


def _of_dimse_n(request: Command) -> dict[int, int | str | None]:
    """What a response has of its request besides (PS3.7 10.3)."""
    return {
        commands.AFFECTED_SOP_INSTANCE_UID: (
            request.text(commands.AFFECTED_SOP_INSTANCE_UID)
            or request.text(commands.REQUESTED_SOP_INSTANCE_UID)
            or None
        ),
        commands.EVENT_TYPE_ID: request.number(commands.EVENT_TYPE_ID),
        commands.ACTION_TYPE_ID: request.number(commands.ACTION_TYPE_ID),
    }


def _fitting(values: dict[int, int | str | None]) -> dict[int, int | str | None]:
    """Without the counters that are too large for 16 bits (PS3.7 leaves no other way)."""
    return {
        element: None if isinstance(value, int) and value > 0xFFFF else value
        for element, value in values.items()
    }
