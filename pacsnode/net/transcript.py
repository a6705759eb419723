"""A recording as associations: each with its negotiation, its messages and its end."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from pacsnode.dicom.recording import PDU, Begin, CommandSet, DatasetPassed, End, Record
from pacsnode.errors import RecordingDamaged
from pacsnode.net import associate
from pacsnode.net import command as commands
from pacsnode.net.command import Command, MalformedCommand
from pacsnode.net.negotiation import (
    ABORT,
    RELEASE_RP,
    RELEASE_RQ,
    Abort,
    Negotiation,
    read_abort,
    read_negotiation,
)
from pacsnode.net.transport import ASSOCIATE_AC, ASSOCIATE_RJ, ASSOCIATE_RQ


@dataclass(slots=True)
class Said:
    """One message. `command` is None where it is no command set; `length` is None where no dataset
    has come whole, `data` is None where it was not kept."""

    at: float
    is_sent: bool
    context_id: int
    raw: bytes
    command: Command | None
    length: int | None = None
    data: bytes | None = None

    @property
    def field(self) -> int:
        """The Command Field, 0 where there is none."""
        return self._number(commands.COMMAND_FIELD) or 0

    @property
    def is_response(self) -> bool:
        return bool(self.field & commands.RESPONSE)

    @property
    def status(self) -> int | None:
        return self._number(commands.STATUS)

    @property
    def message_id(self) -> int | None:
        """Its own, or that of the request which it is about."""
        return self._number(commands.MESSAGE_ID) or self._number(
            commands.MESSAGE_ID_BEING_RESPONDED_TO
        )

    @property
    def has_dataset(self) -> bool:
        return self._number(commands.COMMAND_DATA_SET_TYPE) != commands.NO_DATASET

    def text(self, element: int) -> str:
        return self.command.text(element) if self.command is not None else ""

    def number(self, element: int) -> int | None:
        return self._number(element)

    def _number(self, element: int) -> int | None:
        try:
            return self.command.number(element) if self.command is not None else None
        except MalformedCommand:
            return None


@dataclass(slots=True)
class Transcript:
    """One association, or the attempt at one. Flags of PDUs say whether the node sent them;
    `damaged` are PDUs that could not be read."""

    begin: Begin
    request: Negotiation | None = None
    request_pdu: bytes = b""
    answer: Negotiation | None = None
    rejection: associate.Rejection | None = None
    messages: list[Said] = field(default_factory=list)
    release_asked: bool | None = None
    is_released: bool = False
    abort: tuple[bool, Abort] | None = None
    damaged: list[str] = field(default_factory=list)
    last_at: float = 0.0
    end: End | None = None

    def transfer_syntax(self, context_id: int) -> str:
        """That of an accepted context, else ""."""
        answer = self.answer
        return answer.transfer_syntaxes.get(context_id, "") if answer is not None else ""

    def abstract_syntax(self, context_id: int) -> str:
        proposed = self.request.proposed if self.request is not None else ()
        found = (one.abstract_syntax for one in proposed if one.context_id == context_id)
        return next(found, "")

    def add(self, record: Record) -> None:
        self.last_at = record.at
        if isinstance(record, PDU):
            try:
                self._take(record)
            except ValueError as error:
                self.damaged.append(str(error))
        elif isinstance(record, CommandSet):
            self.messages.append(_said(record))
        elif isinstance(record, DatasetPassed):
            self._complete(record)
        elif isinstance(record, End):
            self.end = record

    def _take(self, record: PDU) -> None:
        kind = record.data[0] if record.data else 0
        if kind == ASSOCIATE_RQ:
            self.request_pdu = record.data
            self.request = read_negotiation(record.data)
        elif kind == ASSOCIATE_AC:
            self.answer = read_negotiation(record.data)
        elif kind == ASSOCIATE_RJ:
            self.rejection = associate.rejection(record.data)
        elif kind == RELEASE_RQ and self.release_asked is None:
            self.release_asked = record.is_sent
        elif kind == RELEASE_RP:
            self.is_released = True
        elif kind == ABORT and self.abort is None:
            self.abort = record.is_sent, read_abort(record.data)

    def _complete(self, record: DatasetPassed) -> None:
        for said in reversed(self.messages):
            if said.is_sent == record.is_sent and said.has_dataset:
                said.length, said.data = record.length, record.data
                return


def _said(record: CommandSet) -> Said:
    try:
        command = commands.decode(record.data)
    except MalformedCommand:
        command = None
    return Said(record.at, record.is_sent, record.context_id, record.data, command)


def transcripts(records: Iterable[Record]) -> Iterator[Transcript]:
    """Associations in the order in which they ended; then those whose end was not recorded, also
    where the recording is damaged. Raises RecordingDamaged, after these."""
    under_way: dict[str, Transcript] = {}
    damage = None
    iterator = iter(records)
    while True:
        try:
            record = next(iterator)
        except StopIteration:
            break
        except RecordingDamaged as error:
            damage = error
            break
        if isinstance(record, Begin):
            under_way[record.association] = Transcript(record, last_at=record.at)
        elif record.association in under_way:
            under_way[record.association].add(record)
            if isinstance(record, End):
                yield under_way.pop(record.association)
    yield from under_way.values()
    if damage is not None:
        raise damage
