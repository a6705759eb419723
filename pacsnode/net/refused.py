"""Which SOP classes a peer offered and did not get, and why, in words for the log."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pacsnode.dicom.uid import name_of
from pacsnode.net.associate import AnsweredContext, ProposedContext
from pacsnode.net.contexts import Service, service_of

MOST_NAMED = 8  # SOP classes; some peers offer all that there are
MOST_SYNTAXES = 5


class Refused(NamedTuple):
    """`is_harmful`: the peer has good reason to expect that it gets them."""

    text: str
    is_harmful: bool


def refused(
    proposed: Iterable[ProposedContext], answered: Sequence[AnsweredContext]
) -> Refused | None:
    """None where the peer got every SOP class, in one transfer syntax at least."""
    accepted = {context.context_id for context in answered if context.result == 0}
    offered: dict[str, list[str]] = {}
    given = set()
    for number, uid, transfer_syntaxes in proposed:
        offered.setdefault(uid, []).extend(transfer_syntaxes)
        if number in accepted:
            given.add(uid)
    missing = {uid: syntaxes for uid, syntaxes in offered.items() if uid not in given}
    if not missing:
        return None
    parts = [_why(uid, syntaxes) for uid, syntaxes in list(missing.items())[:MOST_NAMED]]
    if len(missing) > MOST_NAMED:
        parts.append(f"and {len(missing) - MOST_NAMED} more")
    is_harmful = not given or any(service_of(uid) is not None for uid in missing)
    return Refused("; ".join(parts), is_harmful)


def _why(sop_class_uid: str, transfer_syntaxes: Sequence[str]) -> str:
    name = name_of(sop_class_uid)
    service = service_of(sop_class_uid)
    if service is None:
        return f"{name}: no service of this node"
    known = "that are known" if service is Service.STORE else "that are not compressed"
    return f"{name}: not offered in transfer syntaxes {known}, but in {_named(transfer_syntaxes)}"


def _named(uids: Sequence[str]) -> str:
    names = [name_of(uid) for uid in dict.fromkeys(uids)]
    more = f" and {len(names) - MOST_SYNTAXES} more" if len(names) > MOST_SYNTAXES else ""
    return (", ".join(names[:MOST_SYNTAXES]) or "none") + more
