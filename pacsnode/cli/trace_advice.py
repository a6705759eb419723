"""What to do about what went wrong on a recorded association, where its cause can be seen."""

from collections.abc import Iterator, Mapping

from pacsnode.dicom import status
from pacsnode.net import command as commands
from pacsnode.net.contexts import Service, service_of
from pacsnode.net.transcript import Said, Transcript

# (source, reason) of PS3.8 9.3.4, by who rejected: the node, or the peer.
_REJECTED_BY_NODE = {
    (1, 3): "the node takes nothing from this AE title: enter it in modalities, or the service in "
    "access.unknown_callers; the log names the setting",
    (1, 7): "access.check_called_ae_title is set: the peer must call the node {own}",
    (3, 2): "all places are taken: listen.max_associations, max_associations of the modality, or "
    "access.max_unknown_associations",
}
_REJECTED_BY_PEER = {
    (1, 3): "at the peer, enter the AE title {calling}, with this node's host and port",
    (1, 7): "the peer has another AE title than {called}: correct ae_title in modalities",
    (3, 1): "the peer is busy: try again later",
    (3, 2): "the peer takes no more associations: try later, or lower `associations` in modalities",
}


def advice(transcript: Transcript) -> Iterator[str]:
    """One sentence for each cause."""
    yield from _of_rejection(transcript)
    yield from _of_contexts(transcript)
    said = set()
    destinations: dict[int | None, str] = {}  # of the last C-MOVE with each message ID
    for message in transcript.messages:
        if message.field == commands.C_MOVE_RQ:
            destinations[message.message_id] = message.text(commands.MOVE_DESTINATION)
        for sentence in _of_message(message, destinations):
            if sentence not in said:
                said.add(sentence)
                yield sentence
    yield from _of_the_end(transcript)


def _of_rejection(transcript: Transcript) -> Iterator[str]:
    if transcript.rejection is None:
        return
    begin = transcript.begin
    table = _REJECTED_BY_NODE if begin.is_incoming else _REJECTED_BY_PEER
    text = table.get((transcript.rejection.source, transcript.rejection.reason))
    if text is not None:
        yield text.format(
            own="by its own title, not " + begin.called_ae_title,
            calling=begin.calling_ae_title,
            called=begin.called_ae_title,
        )


def _of_contexts(transcript: Transcript) -> Iterator[str]:
    if transcript.answer is None or transcript.request is None:
        return
    refused = [one for one in transcript.answer.answered if one.result]
    if refused and len(refused) == len(transcript.answer.answered):
        yield "no presentation context was accepted: nothing can be asked on this association"
    elif any(one.result == 4 for one in refused) and not transcript.begin.is_incoming:
        yield (
            "the peer refused transfer syntaxes: `pacsnode check PEER` shows what it takes; "
            "transfer_syntaxes in modalities says what it is offered"
        )
    gets = [
        one
        for one in transcript.request.proposed
        if service_of(one.abstract_syntax) is Service.GET
        and transcript.transfer_syntax(one.context_id)
    ]
    if gets and not any(role.scp for role in transcript.request.roles):
        yield (
            "C-GET was proposed without the SCP role for any storage SOP class: nothing can come "
            "back on this association; the requestor has to select that role"
        )


def _of_message(said: Said, destinations: Mapping[int | None, str]) -> Iterator[str]:
    if not said.is_response or said.status is None:
        return
    field, code = said.field & ~commands.RESPONSE, said.status
    if code == status.MOVE_DESTINATION_UNKNOWN:
        yield _of_destination(said, destinations.get(said.message_id, "?"))
    elif code == status.NOT_AUTHORISED and said.is_sent:
        yield (
            "the caller may not use this service: `allow` of its modality, or "
            "access.unknown_callers where it is none"
        )
    elif code == status.OUT_OF_RESOURCES and field == commands.C_STORE_RQ and said.is_sent:
        yield "the node could not store: see its log, and storage.min_free"
    elif code == status.CANNOT_PERFORM_SUBOPERATIONS and field == commands.C_MOVE_RQ:
        yield (
            "no instance reached the destination: `pacsnode check DESTINATION` at the node that "
            "sends says why"
        )
    elif code == status.SUCCESS and field in (commands.C_MOVE_RQ, commands.C_GET_RQ):
        counted = said.number(commands.COMPLETED), said.number(commands.WARNING) or 0
        if counted == (0, 0):
            yield "nothing matched, so nothing was sent: ask with C-FIND for the same keys first"


def _of_destination(said: Said, title: str) -> str:
    if said.is_sent:
        return (
            f"{title} is no AE title of modalities: enter it there, with its host and port, or ask "
            "for a title that is"
        )
    return f"at the peer, enter the destination {title}, with its host and port"


def _of_the_end(transcript: Transcript) -> Iterator[str]:
    reason = transcript.end.reason if transcript.end is not None else ""
    if transcript.is_released or transcript.rejection is not None:
        return
    if reason.startswith("idle for"):
        yield "the peer neither asked for anything nor released: timeouts.idle says how long it may"
    elif "broke the protocol" in reason:
        yield "the peer sent what DICOM does not allow: this recording is for its manufacturer"
    elif transcript.abort is not None and not transcript.abort[0] and transcript.messages:
        last = transcript.messages[-1]
        if not last.is_response:
            yield "aborted while an answer was awaited: one side has a shorter time-out"
