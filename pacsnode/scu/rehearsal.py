"""What a sending would be like: which presentation contexts it would propose, which the peer
accepts, and what would go in which of them. Nothing is sent."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from pacsnode.dicom.message import Connect, Context, Peer
from pacsnode.errors import NetworkError, NoPresentationContext, PacsnodeError
from pacsnode.scu import plan
from pacsnode.scu.sendable import Sendable, kind_of


@dataclass
class Tally:
    """Instances of one kind, and the bytes of their datasets as they are stored."""

    instances: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Foreseen:
    """What is to be expected of the instances of one kind: proposed in these transfer syntaxes,
    they go in `goes_as`; None where they do not, or the peer was not asked, and `why`."""

    kind: plan.Kind
    tally: Tally
    proposed: tuple[str, ...]
    goes_as: str | None = None
    why: str = ""


@dataclass
class Census:
    """Counts instances by kind. `unreadable` are those that could not be opened, and why."""

    kinds: dict[plan.Kind, Tally] = field(default_factory=dict)
    unreadable: list[tuple[Sendable, str]] = field(default_factory=list)

    def count(self, sendable: Sendable) -> None:
        try:
            with sendable.open() as source:
                length = source.length
        except (PacsnodeError, OSError) as error:
            self.unreadable.append((sendable, str(error)))
            return
        tally = self.kinds.setdefault(kind_of(sendable), Tally())
        tally.instances += 1
        tally.bytes += length


def propose(peer: Peer, census: Census) -> list[Foreseen]:
    """Without asking the peer."""
    wishes = plan.wishes_of(peer)
    return [_foreseen(kind, census, wishes) for kind in sorted(census.kinds)]


def negotiate(connect: Connect, peer: Peer, census: Census) -> list[Foreseen]:
    """Over as many associations as a sending opens one after the other, each released at once.
    Raises NetworkError where there can be none."""
    wishes = plan.wishes_of(peer)
    found: list[Foreseen] = []
    for group in plan.group(census.kinds, wishes):
        accepted = _accepted(connect, peer, group)
        found += (_judged(kind, census, wishes, accepted) for kind in group.kinds)
    return sorted(found, key=lambda one: one.kind)


def _accepted(connect: Connect, peer: Peer, group: plan.Group) -> Iterable[Context]:
    if not group.contexts:
        return ()
    try:
        channel = connect(peer, plan.widen(group.contexts, ()))
    except NoPresentationContext:
        return ()
    contexts = tuple(channel.contexts)
    channel.release()
    return contexts


def _foreseen(kind: plan.Kind, census: Census, wishes: plan.Wishes) -> Foreseen:
    proposed = plan.sendable_as(
        kind.transfer_syntax_uid, wishes.transfer_syntaxes, may_lose=wishes.may_lose
    )
    if not plan.contexts_of(kind, wishes):
        return Foreseen(kind, census.kinds[kind], (), why=plan.why_unproposable(kind, wishes))
    return Foreseen(kind, census.kinds[kind], proposed)


def _judged(
    kind: plan.Kind, census: Census, wishes: plan.Wishes, accepted: Iterable[Context]
) -> Foreseen:
    foreseen = _foreseen(kind, census, wishes)
    if foreseen.why:
        return foreseen
    try:
        first, *_ = plan.choose(tuple(accepted), kind, wishes)
    except NetworkError as error:
        return Foreseen(kind, foreseen.tally, foreseen.proposed, why=str(error))
    return Foreseen(kind, foreseen.tally, foreseen.proposed, first.transfer_syntax)
