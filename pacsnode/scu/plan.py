"""Which presentation contexts a batch of instances needs (PS3.8 7.1.1.13): each SOP class with
each transfer syntax in a context of its own, so that the peer cannot choose the one for the other.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pacsnode.dicom.message import ProposedContext
from pacsnode.dicom.transcode import can_transcode

MOST_CONTEXTS = 128  # on one association (PS3.8 9.3.2.2: odd numbers up to 255)
LONGEST_UID = 64

# What every peer has to take (Implicit) or nearly every one does (Explicit VR Little Endian).
UNCOMPRESSED = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2")


class Kind(NamedTuple):
    """What two instances have in common that travel in the same presentation contexts."""

    sop_class_uid: str
    transfer_syntax_uid: str


@dataclass(frozen=True, slots=True)
class Group:
    """What fits into one association. There is no context that could be proposed for those kinds
    of it that are `unproposable`."""

    contexts: frozenset[ProposedContext]
    kinds: frozenset[Kind]
    unproposable: frozenset[Kind]


def sendable_as(transfer_syntax_uid: str, wanted: Sequence[str] | None = None) -> tuple[str, ...]:
    """The transfer syntaxes that an instance stored so can be sent in, best first: as stored, else
    uncompressed; or, of those that the peer is to be sent, all that the instance can be had in."""
    order = wanted if wanted is not None else (transfer_syntax_uid, *UNCOMPRESSED)
    unique = dict.fromkeys(order)
    possible = [uid for uid in unique if can_transcode(transfer_syntax_uid, uid)]
    return tuple(possible[:MOST_CONTEXTS])


def contexts_of(kind: Kind, wanted: Sequence[str] | None = None) -> frozenset[ProposedContext]:
    """The contexts that give an instance of this kind every chance. None at all where a UID is no
    UID: it would spoil the whole association."""
    if not _is_uid(kind.sop_class_uid):
        return frozenset()
    return frozenset(
        ProposedContext(kind.sop_class_uid, (uid,))
        for uid in sendable_as(kind.transfer_syntax_uid, wanted)
        if _is_uid(uid)
    )


def _is_uid(text: str) -> bool:
    return 0 < len(text) <= LONGEST_UID and set(text) <= set("0123456789.")


def group(kinds: Iterable[Kind], wanted: Sequence[str] | None = None) -> list[Group]:
    """As few groups as first fit gives; kinds of one SOP class stay together where they can, as
    they share their uncompressed contexts."""
    groups: list[Group] = []
    members: dict[Kind, frozenset[ProposedContext]] = {}
    contexts: frozenset[ProposedContext] = frozenset()
    for kind in sorted(set(kinds)):
        needed = contexts_of(kind, wanted)
        if members and len(contexts | needed) > MOST_CONTEXTS:
            groups.append(_group_of(members))
            contexts, members = frozenset(), {}
        contexts |= needed
        members[kind] = needed
    if members:
        groups.append(_group_of(members))
    return groups


def _group_of(members: Mapping[Kind, frozenset[ProposedContext]]) -> Group:
    return Group(
        frozenset().union(*members.values()),
        frozenset(members),
        frozenset(kind for kind, contexts in members.items() if not contexts),
    )


def widen(
    needed: frozenset[ProposedContext], earlier: Iterable[ProposedContext]
) -> tuple[ProposedContext, ...]:
    """`needed`, and as many of those proposed earlier as there is room for: what came once comes
    again. In a stable order."""
    room = MOST_CONTEXTS - len(needed)
    kept = [context for context in earlier if context not in needed][: max(room, 0)]
    ordered = sorted(needed, key=lambda context: (context.abstract_syntax, _rank(context)))
    return (*ordered, *kept)


def _rank(context: ProposedContext) -> tuple[bool, str]:
    """Compressed ones first: some peers answer the first context of a SOP class best."""
    uid = context.transfer_syntaxes[0]
    return uid in UNCOMPRESSED, uid
