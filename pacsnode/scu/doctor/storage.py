"""The steps of the connection doctor that ask what may be stored: what the peer takes from us, and
what it would send us on an association of ours (C-GET). Nothing is stored."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pacsnode.dicom.message import Channel, Connect, Context, Peer, ProposedContext, accepted
from pacsnode.dicom.uid import short_name
from pacsnode.errors import NetworkError, NoPresentationContext
from pacsnode.scu.doctor.classes import TRANSFER_SYNTAXES
from pacsnode.scu.doctor.steps import Cause, Step, failed, ok, skipped
from pacsnode.scu.doctor.talk import lost, root_of
from pacsnode.scu.models import UNCOMPRESSED, Service, ending, sop_class_uid
from pacsnode.scu.plan import MOST_CONTEXTS


class Accepted(NamedTuple):
    """SOP classes that are taken in the same transfer syntaxes."""

    transfer_syntaxes: tuple[str, ...]
    sop_classes: tuple[str, ...]


def storage(peer: Peer, connect: Connect, classes: Sequence[str]) -> Step:
    """Each SOP class in each transfer syntax, over as many associations as that takes."""
    wanted = peer.transfer_syntaxes or ()
    syntaxes = tuple(dict.fromkeys([*TRANSFER_SYNTAXES, *wanted]))
    pairs = [(uid, syntax) for uid in classes for syntax in syntaxes]
    taken: set[tuple[str, str]] = set()
    associations = 0
    try:
        for batch in _batches(pairs):
            associations += 1
            contexts = [ProposedContext(uid, (syntax,)) for uid, syntax in batch]
            agreed = [one for one in _agreed(connect, peer, contexts) if one.as_scu]
            taken |= {(one.abstract_syntax, one.transfer_syntax) for one in agreed}
    except NetworkError as error:
        return lost("storage", error)
    groups = group(classes, syntaxes, taken)
    count = sum(len(one.sop_classes) for one in groups if one.transfer_syntaxes)
    text = f"it takes {count} of the {len(classes)} SOP classes asked for"
    if wanted and count and not any(syntax in wanted for _, syntax in taken):
        text += ", but none in the transfer syntaxes that it is to be sent"
        possible = [uid for uid in syntaxes if any(uid == syntax for _, syntax in taken)]
        return failed(
            "storage", Cause.OWN_SYNTAXES, text, **_details(groups), transfer_syntax_uids=possible
        )
    return ok("storage", text, **_details(groups), associations=associations)


def _batches(pairs: Sequence[tuple[str, str]]) -> Iterator[Sequence[tuple[str, str]]]:
    for start in range(0, len(pairs), MOST_CONTEXTS):
        yield pairs[start : start + MOST_CONTEXTS]


def _agreed(connect: Connect, peer: Peer, contexts: Sequence[ProposedContext]) -> Sequence[Context]:
    try:
        with ending(connect(peer, contexts)) as channel:
            return channel.contexts
    except NoPresentationContext:
        return ()


def group(
    classes: Sequence[str], syntaxes: Sequence[str], taken: set[tuple[str, str]]
) -> list[Accepted]:
    """Classes with the same transfer syntaxes together; those with the most syntaxes first, those
    that are not taken at all last."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for uid in classes:
        agreed = tuple(syntax for syntax in syntaxes if (uid, syntax) in taken)
        groups.setdefault(agreed, []).append(uid)
    ordered = sorted(groups.items(), key=lambda one: -len(one[0]))
    return [Accepted(agreed, tuple(uids)) for agreed, uids in ordered]


def _details(groups: Sequence[Accepted]) -> dict[str, list[dict[str, list[str]]]]:
    return {
        "accepted": [
            {
                "transfer_syntaxes": [short_name(uid) for uid in one.transfer_syntaxes],
                "transfer_syntax_uids": list(one.transfer_syntaxes),
                "sop_classes": [short_name(uid) for uid in one.sop_classes],
                "sop_class_uids": list(one.sop_classes),
            }
            for one in groups
        ]
    }


def get(peer: Peer, connect: Connect, channel: Channel, classes: Sequence[str]) -> Step:
    """Whether C-GET would bring anything: the peer must agree to be the SCU of storage on an
    association of ours (PS3.4 C.5.3)."""
    model = root_of(channel, Service.GET)
    if model is None:
        return skipped("C-GET", "it does not do C-GET")
    service = ProposedContext(sop_class_uid(Service.GET, model), UNCOMPRESSED)
    asked = classes[: MOST_CONTEXTS - 1]
    roles = [ProposedContext(uid, UNCOMPRESSED, as_scu=False, as_scp=True) for uid in asked]
    try:
        agreed = _agreed(connect, peer, [service, *roles])
    except NetworkError as error:
        return lost("C-GET", error)
    sent = [one.abstract_syntax for one in agreed if one.as_scp]
    if accepted(agreed, service.abstract_syntax) is None or not sent:
        return skipped("C-GET", "it does C-GET, but agrees to send us no SOP class that way")
    left_out = [short_name(uid) for uid in asked if uid not in sent]
    text = f"it would send us {len(sent)} of {len(asked)} SOP classes"
    return ok("C-GET", text, sop_class_uids=sent, not_sent=left_out)
