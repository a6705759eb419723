"""What was said on a recorded association, in plain words, and what to do about it."""

import time
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from pacsnode.cli.trace_advice import advice
from pacsnode.dicom import status
from pacsnode.dicom.status_words import words
from pacsnode.dicom.uid import word_of
from pacsnode.net import command as commands
from pacsnode.net.transcript import Said, Transcript

if TYPE_CHECKING:
    from pydicom import Dataset

    from pacsnode.net.associate import AnsweredContext, ProposedContext
    from pacsnode.net.negotiation import Negotiation

NAMES = {
    commands.C_STORE_RQ: "C-STORE",
    commands.C_GET_RQ: "C-GET",
    commands.C_FIND_RQ: "C-FIND",
    commands.C_MOVE_RQ: "C-MOVE",
    commands.C_ECHO_RQ: "C-ECHO",
    commands.N_EVENT_REPORT_RQ: "N-EVENT-REPORT",
    commands.N_GET_RQ: "N-GET",
    commands.N_SET_RQ: "N-SET",
    commands.N_ACTION_RQ: "N-ACTION",
    commands.N_CREATE_RQ: "N-CREATE",
    commands.N_DELETE_RQ: "N-DELETE",
    commands.C_CANCEL_RQ: "C-CANCEL",
}
RESULTS = {  # PS3.8 9.3.3.2
    1: "refused by the user",
    2: "refused, no reason given",
    3: "refused: the SOP class is not supported",
    4: "refused: none of the transfer syntaxes is supported",
}
_FLAGS = ("relational", "combined date and time", "fuzzy names", "timezone")  # PS3.4 C.5.1.1
_COUNTERS = (
    (commands.REMAINING, "remaining"),
    (commands.COMPLETED, "completed"),
    (commands.FAILED, "failed"),
    (commands.WARNING, "with warnings"),
)
_MATCHES_SHOWN = 3
_LONGEST_VALUE = 200  # characters
_MAX_DEPTH = 8


def lines(transcript: Transcript, number: int, *, full: bool) -> Iterator[str]:
    """One association. Unless `full`, of many matches only the first few are told."""
    yield _title(transcript, number)
    if transcript.request is not None:
        yield from _negotiation(transcript, transcript.request)
    yield from (f"  a PDU cannot be read: {fault}" for fault in transcript.damaged)
    for alike in _runs(transcript.messages):
        shown = alike if full else alike[:_MATCHES_SHOWN]
        for said in shown:
            yield from _message(transcript, said)
        if len(shown) < len(alike):
            yield f"{_INDENT}and {len(alike) - len(shown)} more matches: --full shows them"
    yield f"  {ending(transcript)}"
    if transcript.end is not None and transcript.end.lost:
        yield f"  {transcript.end.lost} records are missing: they came faster than they were taken"
    yield from (f"  ! {sentence}" for sentence in advice(transcript))


def _runs(messages: Sequence[Said]) -> Iterator[Sequence[Said]]:
    """Matches that follow each other, together; every other message for itself."""
    for is_match, alike in groupby(messages, _is_match):
        if is_match:
            yield list(alike)
        else:
            yield from ([said] for said in alike)


def _is_match(said: Said) -> bool:
    return said.is_response and status.is_pending(said.status or 0) and said.has_dataset


def _title(transcript: Transcript, number: int) -> str:
    begin = transcript.begin
    where = begin.host if begin.port is None else f"{begin.host}:{begin.port}"
    calling, called = begin.calling_ae_title, begin.called_ae_title
    tls = ", over TLS" if begin.is_tls else ""
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(begin.at))
    if begin.is_incoming:
        return f"{number}. {at}  {calling} from {where}{tls} calls {called}"
    return f"{number}. {at}  {calling} calls {called} at {where}{tls}"


def _negotiation(transcript: Transcript, request: "Negotiation") -> Iterator[str]:
    yield f"  {_implementation('the requestor', request)}"
    if request.user is not None:
        yield f"  user identity: {request.user.name}"
    if request.operations is not None:
        invoked, performed = request.operations
        yield f"  asynchronous operations asked for: {invoked}/{performed} (0 is any number)"
    answered = {one.context_id: one for one in (transcript.answer or request).answered}
    for proposed in request.proposed:
        yield from _context(proposed, answered.get(proposed.context_id))
    for who, side in (("asked for", request), ("agreed", transcript.answer)):
        if side is not None:
            yield from _options(who, side)
    if transcript.answer is not None:
        yield f"  {_implementation('the acceptor', transcript.answer)}"


def _implementation(who: str, side: "Negotiation") -> str:
    name = side.implementation_version_name or "without a version name"
    length = side.maximum_length
    pdus = f"{length} bytes" if length else "any length"
    return f"{who}: {name} ({side.implementation_class_uid}), takes PDUs of {pdus}"


def _context(proposed: "ProposedContext", answer: "AnsweredContext | None") -> Iterator[str]:
    name = word_of(proposed.abstract_syntax)
    head = f"  context {proposed.context_id:>3}  {name}: "
    if answer is None:
        yield f"{head}proposed with {_names(proposed.transfer_syntaxes)}"
    elif answer.result == 0:
        yield f"{head}accepted, {word_of(answer.transfer_syntax)}"
    else:
        result = RESULTS.get(answer.result, f"refused, result {answer.result}")
        yield f"{head}{result}; proposed with {_names(proposed.transfer_syntaxes)}"


def _names(uids: tuple[str, ...]) -> str:
    return ", ".join(word_of(uid) for uid in uids) or "no transfer syntax"


def _options(who: str, side: "Negotiation") -> Iterator[str]:
    for role in side.roles:
        kinds = " and ".join(kind for kind, has in (("SCU", role.scu), ("SCP", role.scp)) if has)
        uid = word_of(role.sop_class_uid)
        yield f"  role {who}: the requestor is {kinds or 'neither'} of {uid}"
    for extended in side.extended:
        flags = [
            name for name, byte in zip(_FLAGS, extended.information, strict=False) if byte == 1
        ]
        words_of_it = ", ".join(flags) or extended.information.hex(" ") or "nothing"
        yield f"  extension {who}: {word_of(extended.sop_class_uid)}: {words_of_it}"


def _message(transcript: Transcript, said: Said) -> Iterator[str]:
    seconds = said.at - transcript.begin.at
    sender = "node" if said.is_sent else "peer"
    yield f"  +{seconds:.3f} s  {sender}: {describe(said)}"
    if said.length is not None and said.field == commands.C_STORE_RQ:
        syntax = word_of(transcript.transfer_syntax(said.context_id))
        yield f"{_INDENT}dataset of {said.length:,} bytes, {syntax}"
    elif said.data is not None:
        yield from (f"{_INDENT}{line}" for line in _identifier(transcript, said, said.data))
    elif said.length is not None:
        yield f"{_INDENT}dataset of {said.length:,} bytes, not kept"
    elif said.has_dataset and said.command is not None:
        yield f"{_INDENT}its dataset did not come whole"


_INDENT = " " * 12


def describe(said: Said) -> str:
    """The command in one line."""
    if said.command is None:
        return "a command set that cannot be read"
    kind = NAMES.get(said.field & ~commands.RESPONSE, f"operation {said.field:04X}")
    if not said.is_response:
        return f"{kind} {said.message_id}{''.join(_details(said))}"
    code = said.status
    meaning = f"{code:04X}, {words(code)}" if code is not None else "without a status"
    comment = said.text(commands.ERROR_COMMENT)
    counters = [
        f"{number} {name}"
        for element, name in _COUNTERS
        if (number := said.number(element)) is not None
    ]
    text = f"{kind} {said.message_id} answered: {meaning}"
    text += f" ({', '.join(counters)})" if counters else ""
    return f'{text}, "{comment}"' if comment else text


def _details(said: Said) -> Iterator[str]:
    if said.field == commands.C_CANCEL_RQ:
        return
    sop_class = said.text(commands.AFFECTED_SOP_CLASS_UID) or said.text(
        commands.REQUESTED_SOP_CLASS_UID
    )
    yield f", {word_of(sop_class)}"
    instance = said.text(commands.AFFECTED_SOP_INSTANCE_UID) or said.text(
        commands.REQUESTED_SOP_INSTANCE_UID
    )
    if instance:
        yield f", instance {instance}"
    if commands.MOVE_DESTINATION in (said.command.elements if said.command else ()):
        yield f", to {said.text(commands.MOVE_DESTINATION) or 'nobody'}"
    if originator := said.text(commands.MOVE_ORIGINATOR_AE_TITLE):
        number = said.number(commands.MOVE_ORIGINATOR_MESSAGE_ID)
        yield f", for C-MOVE {number} of {originator}"
    priority = {1: ", high priority", 2: ", low priority"}
    yield priority.get(said.number(commands.PRIORITY) or 0, "")


def _identifier(transcript: Transcript, said: Said, data: bytes) -> Iterator[str]:
    from pacsnode.dicom.encode import decode_dataset
    from pacsnode.errors import UnreadableDataset

    try:
        dataset = decode_dataset(data, transcript.transfer_syntax(said.context_id))
    except UnreadableDataset as error:
        yield f"{len(data):,} bytes that cannot be read: {error}"
        return
    yield from _elements(dataset, 0)


def _elements(dataset: "Dataset", depth: int) -> Iterator[str]:
    from pacsnode.dicom import dictionary
    from pacsnode.dicom.values import plain_values

    for element in dataset:
        tag = int(element.tag)
        name = dictionary.keyword_of(tag) or f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
        indent = "  " * depth
        if element.VR == "SQ":
            items = element.value or []
            yield f"{indent}{name}, {len(items)} items"
            for item in items if depth < _MAX_DEPTH else ():
                yield from _elements(item, depth + 1)
        else:
            yield f"{indent}{name} = {_value(plain_values(element))}"


def _value(values: tuple[Any, ...]) -> str:
    text = "\\".join(
        f"{len(value)} bytes" if isinstance(value, bytes) else str(value) for value in values
    )
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]} … ({len(text)})"


def ending(transcript: Transcript) -> str:
    """How it ended, and after how long."""
    begin, end = transcript.begin, transcript.end
    at = end.at if end is not None else transcript.last_at
    return f"{_how(transcript)} after {at - begin.at:.2f} s"


def _how(transcript: Transcript) -> str:
    reason = transcript.end.reason if transcript.end is not None else "the recording breaks off"
    if transcript.rejection is not None:
        result, source, code = transcript.rejection
        lasting = "for good" if result == 1 else "for now"
        return f"rejected {lasting}, {result}/{source}/{code}"
    if transcript.is_released:
        return "released"
    if transcript.abort is not None:
        is_sent, (source, _) = transcript.abort
        who = "node" if is_sent else "peer"
        layer = "" if source == 0 else " (by its upper layer)"
        return f"aborted by the {who}{layer}{f': {reason}' if is_sent and reason else ''}"
    if transcript.release_asked is not None:
        return "release asked for, and not answered"
    return reason or "the connection ended"
