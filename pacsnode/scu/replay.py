"""A recorded requestor asks again: the same associations and requests, in the same order, one at a
time; its answers are compared with those recorded."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from pydicom.uid import generate_uid

from pacsnode.dicom import status
from pacsnode.dicom.encode import decode_dataset, encode_dataset
from pacsnode.dicom.message import Peer
from pacsnode.errors import NetworkError, UnreadableDataset
from pacsnode.net import associate
from pacsnode.net import command as commands
from pacsnode.net.negotiation import Negotiation
from pacsnode.net.replaying import ReplayedAssociation, Reply
from pacsnode.net.transcript import Said, Transcript
from pacsnode.scu.synthetic import Place, stand_in

_NAMES = {
    commands.C_ECHO_RQ: "C-ECHO",
    commands.C_STORE_RQ: "C-STORE",
    commands.C_FIND_RQ: "C-FIND",
    commands.C_MOVE_RQ: "C-MOVE",
    commands.C_GET_RQ: "C-GET",
    commands.N_ACTION_RQ: "N-ACTION",
    commands.N_EVENT_REPORT_RQ: "N-EVENT-REPORT",
}
_RETRIEVES = (commands.C_MOVE_RQ, commands.C_GET_RQ)
_COUNTERS = (commands.COMPLETED, commands.FAILED, commands.WARNING)

Open = Callable[[Peer, bytes], ReplayedAssociation]


class Comparison(NamedTuple):
    """What was answered then and now. `now` is None for what was not asked again; `note` says
    why."""

    what: str
    then: str
    now: str | None
    note: str = ""

    @property
    def is_different(self) -> bool:
        return self.now is not None and self.now != self.then


@dataclass(slots=True)
class _Step:
    """A request of the requestor's with its answers; `cancelled_after` so many of them."""

    request: Said
    answers: list[Said] = field(default_factory=list)
    cancelled_after: int | None = None


def replay(
    transcript: Transcript, peer: Peer, opened: Open, *, with_stores: bool
) -> Iterator[Comparison]:
    """One association asked again of `peer`. What the network raises while it stands is told as an
    answer. Raises PeerUnreachable."""
    then = _negotiated(transcript.answer, transcript.rejection)
    association = opened(peer, transcript.request_pdu)
    try:
        yield Comparison(
            "association", then, _negotiated(association.answer, association.rejection)
        )
        if association.answer is None:
            return
        place = Place(generate_uid(None), generate_uid(None))
        for step in _steps(transcript):
            yield _asked(transcript, association, step, place if with_stores else None)
        _end(transcript, association)
    finally:
        association.close()


def _end(transcript: Transcript, association: ReplayedAssociation) -> None:
    by_requestor = transcript.abort is not None and (
        transcript.abort[0] != transcript.begin.is_incoming
    )
    if by_requestor:
        association.abort()
    else:
        association.release()


def _negotiated(answer: Negotiation | None, rejection: associate.Rejection | None) -> str:
    if rejection is not None:
        return f"rejected {rejection.result}/{rejection.source}/{rejection.reason}"
    if answer is None:
        return "aborted"
    contexts = [
        f"{one.context_id}:{one.transfer_syntax if one.result == 0 else f'refused {one.result}'}"
        for one in answer.answered
    ]
    return f"accepted, contexts {' '.join(sorted(contexts))}"


def _steps(transcript: Transcript) -> list[_Step]:
    """The requestor's requests, each with what belongs to it by its message ID."""
    by_node = not transcript.begin.is_incoming
    steps: list[_Step] = []
    under_way: dict[int | None, _Step] = {}
    for said in transcript.messages:
        step = under_way.get(said.message_id)
        if said.command is None:
            continue
        if said.is_sent != by_node:
            if step is not None and said.field == step.request.field | commands.RESPONSE:
                step.answers.append(said)
        elif said.field == commands.C_CANCEL_RQ:
            if step is not None:
                step.cancelled_after = len(step.answers)
        elif not said.is_response:
            under_way[said.message_id] = _Step(said)
            steps.append(under_way[said.message_id])
    return steps


def _asked(
    transcript: Transcript, association: ReplayedAssociation, step: _Step, place: Place | None
) -> Comparison:
    request = step.request
    what = f"{_NAMES.get(request.field, f'{request.field:04X}')} {request.message_id}"
    then = _answered(request.field, [_Outcome.of(answer) for answer in step.answers])
    agreed = association.answer.transfer_syntaxes if association.answer is not None else {}
    syntax = agreed.get(request.context_id)
    if syntax is None:
        return Comparison(what, then, f"context {request.context_id} is not accepted")
    dataset = None
    if request.has_dataset:
        dataset = _dataset(transcript, request, syntax, place)
        if dataset is None:
            return Comparison(what, then, None, _why_not(request))
    try:
        association.send(request.context_id, request.raw, dataset)
        outcomes = list(_outcomes(association, step))
    except NetworkError as error:
        return Comparison(what, then, str(error))
    return Comparison(what, then, _answered(request.field, outcomes))


def _why_not(request: Said) -> str:
    if request.field == commands.C_STORE_RQ:
        return "instances are not recorded; --with-stores sends stand-ins"
    return "its dataset was not recorded"


def _dataset(
    transcript: Transcript, request: Said, syntax: str, place: Place | None
) -> bytes | None:
    """What goes out with a request, in the transfer syntax agreed on now."""
    if request.field == commands.C_STORE_RQ:
        if place is None or request.length is None:
            return None
        uids = (
            request.text(commands.AFFECTED_SOP_CLASS_UID),
            request.text(commands.AFFECTED_SOP_INSTANCE_UID),
        )
        return stand_in(*uids, request.length, syntax, place)
    before = transcript.transfer_syntax(request.context_id)
    if request.data is None or syntax == before:
        return request.data
    try:
        return encode_dataset(decode_dataset(request.data, before), syntax)
    except UnreadableDataset:
        return request.data


class _Outcome(NamedTuple):
    """An answer's status, and its counters."""

    status: int | None
    counters: tuple[int | None, ...]

    @classmethod
    def of(cls, answer: Said) -> "_Outcome":
        return cls(answer.status, tuple(answer.number(element) for element in _COUNTERS))

    @classmethod
    def of_reply(cls, reply: Reply) -> "_Outcome":
        number = reply.command.number
        return cls(number(commands.STATUS), tuple(number(element) for element in _COUNTERS))

    @property
    def is_pending(self) -> bool:
        return self.status is not None and status.is_pending(self.status)


def _outcomes(association: ReplayedAssociation, step: _Step) -> Iterator[_Outcome]:
    """The answers that come, up to the final one; meanwhile every request of the peer's is granted.
    Raises NetworkError."""
    count = 0
    left = step.cancelled_after
    while True:
        if left is not None and count >= left:
            left = None
            association.send(step.request.context_id, _cancel(step.request))
        reply = association.receive()
        if not reply.is_response:
            if reply.command.field != commands.C_CANCEL_RQ:
                association.accept(reply)
            continue
        outcome = _Outcome.of_reply(reply)
        yield outcome
        count += 1
        if not outcome.is_pending:
            return


def _cancel(request: Said) -> bytes:
    return commands.encode(
        {
            commands.COMMAND_FIELD: commands.C_CANCEL_RQ,
            commands.MESSAGE_ID_BEING_RESPONDED_TO: request.message_id,
            commands.COMMAND_DATA_SET_TYPE: commands.NO_DATASET,
        }
    )


def _answered(asked: int, outcomes: list[_Outcome]) -> str:
    """The answers to one request. How many FF00 a retrieve has is a matter of time."""
    pending = Counter(outcome.status for outcome in outcomes if outcome.is_pending)
    final = next((outcome for outcome in outcomes if not outcome.is_pending), None)
    parts = []
    if asked not in _RETRIEVES:
        parts = [f"{count} × {code or 0:04X}" for code, count in sorted(pending.items(), key=str)]
    if final is None:
        return ", ".join([*parts, "no final answer"])
    parts.append(f"{final.status:04X}" if final.status is not None else "no status")
    if any(counter is not None for counter in final.counters):
        completed, failed, warning = (counter or 0 for counter in final.counters)
        parts.append(f"{completed} completed, {failed} failed, {warning} with warnings")
    return ", ".join(parts)
