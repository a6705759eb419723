"""Which presentation contexts a batch of instances needs (PS3.8 7.1.1.13): each SOP class with
each transfer syntax in a context of its own, so that the peer cannot choose the one for the other;
and which of those accepted an instance goes in."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pydicom.uid import UID

from pacsnode.dicom.message import Context, Peer, ProposedContext, accepted
from pacsnode.dicom.transcode import can_transcode
from pacsnode.errors import NoPresentationContext

MOST_CONTEXTS = 128  # on one association (PS3.8 9.3.2.2: odd numbers up to 255)
LONGEST_UID = 64

# What every peer has to take (Implicit) or nearly every one does (Explicit VR Little Endian).
UNCOMPRESSED = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2")


class Kind(NamedTuple):
    """What two instances have in common that travel in the same presentation contexts."""

    sop_class_uid: str
    transfer_syntax_uid: str


class Wishes(NamedTuple):
    """How a peer is to be sent instances: in which transfer syntaxes, in order of preference (None:
    as stored, else uncompressed), and whether pixels may be compressed with losses for it. `name`
    is the peer's among `modalities`."""

    transfer_syntaxes: Sequence[str] | None = None
    may_lose: bool = False
    name: str = ""


ANY = Wishes()


def wishes_of(peer: Peer) -> Wishes:
    return Wishes(peer.transfer_syntaxes, peer.may_lose, peer.name)


@dataclass(frozen=True, slots=True)
class Group:
    """What fits into one association. There is no context that could be proposed for those kinds
    of it that are `unproposable`."""

    contexts: frozenset[ProposedContext]
    kinds: frozenset[Kind]
    unproposable: frozenset[Kind]


def sendable_as(
    transfer_syntax_uid: str, wanted: Sequence[str] | None = None, *, may_lose: bool = False
) -> tuple[str, ...]:
    """The transfer syntaxes that an instance stored so can be sent in, best first: as stored, else
    uncompressed; or, of those that the peer is to be sent, all that the instance can be had in, as
    it is stored, decompressed, or compressed, with losses only where that `may_lose`."""
    order = wanted if wanted is not None else (transfer_syntax_uid, *UNCOMPRESSED)
    possible = [
        uid
        for uid in dict.fromkeys(order)
        if can_transcode(transfer_syntax_uid, uid, may_lose=may_lose)
    ]
    return tuple(possible[:MOST_CONTEXTS])


def contexts_of(kind: Kind, wishes: Wishes = ANY) -> frozenset[ProposedContext]:
    """The contexts that give an instance of this kind every chance. None at all where a UID is no
    UID: it would spoil the whole association."""
    if not _is_uid(kind.sop_class_uid):
        return frozenset()
    return frozenset(
        ProposedContext(kind.sop_class_uid, (uid,))
        for uid in _sendable_as(kind, wishes)
        if _is_uid(uid)
    )


def _sendable_as(kind: Kind, wishes: Wishes) -> tuple[str, ...]:
    return sendable_as(kind.transfer_syntax_uid, wishes.transfer_syntaxes, may_lose=wishes.may_lose)


def _is_uid(text: str) -> bool:
    return 0 < len(text) <= LONGEST_UID and set(text) <= set("0123456789.")


def group(kinds: Iterable[Kind], wishes: Wishes = ANY) -> list[Group]:
    """As few groups as first fit gives; kinds of one SOP class stay together where they can, as
    they share their uncompressed contexts."""
    groups: list[Group] = []
    members: dict[Kind, frozenset[ProposedContext]] = {}
    contexts: frozenset[ProposedContext] = frozenset()
    for kind in sorted(set(kinds)):
        needed = contexts_of(kind, wishes)
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


def choose(contexts: Sequence[Context], kind: Kind, wishes: Wishes = ANY) -> Sequence[Context]:
    """The accepted contexts that an instance of this kind can be sent in, best first. Raises
    NoPresentationContext where there is none."""
    chosen = [
        context
        for uid in _sendable_as(kind, wishes)
        if (context := accepted(contexts, kind.sop_class_uid, uid)) is not None
    ]
    if not chosen:
        raise NoPresentationContext(_why_none(contexts, kind, wishes))
    return chosen


def _why_none(contexts: Sequence[Context], kind: Kind, wishes: Wishes) -> str:
    what = f"SOP class {kind.sop_class_uid}"
    of_class = [context for context in contexts if context.abstract_syntax == kind.sop_class_uid]
    possible = _sendable_as(kind, wishes)
    if not possible:
        return why_unproposable(kind, wishes)
    if of_class and not any(context.as_scu for context in of_class):
        return (
            f"{what} was agreed without the role that lets it be sent here (SCP/SCU role selection)"
        )
    if not of_class:
        return f"{what} was not accepted"
    if wishes.transfer_syntaxes is not None:
        return (
            f"{what} was not accepted in {_names(possible)}, which is what "
            f"{_setting(wishes)} leaves for an instance stored in {_names([kind[1]])}"
        )
    return (
        f"{what} was not accepted in transfer syntax {kind.transfer_syntax_uid}, "
        "nor in one that it can be brought into"
    )


def why_unproposable(kind: Kind, wishes: Wishes) -> str:
    """Why there is no context to propose for an instance of this kind."""
    if wishes.transfer_syntaxes is None or not _is_uid(kind.sop_class_uid):
        return (
            f"no presentation context can be proposed for SOP class {kind.sop_class_uid!r} in "
            f"transfer syntax {kind.transfer_syntax_uid!r}"
        )
    text = (
        f"an instance stored in {_names([kind.transfer_syntax_uid])} can be had in none of "
        f"{_setting(wishes)}: {_names(wishes.transfer_syntaxes)}"
    )
    if not wishes.may_lose and _sendable_as(kind, wishes._replace(may_lose=True)):
        text += f"; with modalities.{wishes.name}.lossy_compression: allowed it could be"
    return text


def _setting(wishes: Wishes) -> str:
    return f"modalities.{wishes.name}.transfer_syntaxes"


def _names(uids: Sequence[str]) -> str:
    """By their keywords, as the configuration has them."""
    return ", ".join(UID(uid).keyword or uid for uid in uids)
