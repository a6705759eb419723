"""send --dry-run: a table of what would go in which presentation context."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from pacsnode.cli.output import Title, complain, show_json, show_table
from pacsnode.cli.run import Run
from pacsnode.cli.sending import Sending, name
from pacsnode.errors import NetworkError

if TYPE_CHECKING:
    from pacsnode.dicom.message import Peer
    from pacsnode.scu.rehearsal import Foreseen
    from pacsnode.scu.sendable import Sendable

TITLES = (
    Title("SOP class", is_foldable=True),
    Title("Stored in", is_foldable=True),
    Title("Proposed", is_foldable=True),
    Title("Goes as", is_foldable=True),
    Title("Instances"),
    Title("Bytes"),
)
NOT_ASKED = "?"


def rehearse(
    run: Run, target: "Peer", sending: Sending, sendables: "Iterable[Sendable]", form: str
) -> int:
    """The exit code: 0 where all can go that has not been acknowledged, 1 where not, or there is
    nothing. Raises NetworkError where the peer cannot be asked, after showing what it would be."""
    from pacsnode.node.build import build_connect
    from pacsnode.scu.rehearsal import Census, negotiate, propose

    census = Census()
    for sendable in sending.left_of(sendables):
        census.count(sendable)
    for sendable, why in census.unreadable:
        complain(f"{name(sendable)}: {why}")
    if sending.before:
        complain(f"{sending.before} acknowledged before are left out")
    elif not census.kinds:
        complain("nothing to send: no instance was found")
        return 1
    try:
        foreseen = negotiate(build_connect(run.configuration), target, census)
    except NetworkError:
        _show(propose(target, census), form, is_asked=False)
        raise
    _show(foreseen, form, is_asked=True)
    return 1 if census.unreadable or any(one.why for one in foreseen) else 0


def _show(foreseen: "Sequence[Foreseen]", form: str, *, is_asked: bool) -> None:
    if form == "json":
        show_json([_as_json(one) for one in foreseen])
    else:
        show_table(TITLES, (_row(one, is_asked=is_asked) for one in foreseen))
    complain(*dict.fromkeys(one.why for one in foreseen if one.why))


def _row(one: "Foreseen", *, is_asked: bool) -> tuple[str, ...]:
    from pacsnode.dicom.uid import short_name

    goes_as = short_name(one.goes_as) if one.goes_as else "not at all"
    return (
        short_name(one.kind.sop_class_uid),
        short_name(one.kind.transfer_syntax_uid),
        ", ".join(map(short_name, one.proposed)) or "nothing",
        goes_as if is_asked or one.why else NOT_ASKED,
        f"{one.tally.instances:,}",
        f"{one.tally.bytes:,}",
    )


def _as_json(one: "Foreseen") -> dict[str, object]:
    return {
        "sop_class": one.kind.sop_class_uid,
        "stored_in": one.kind.transfer_syntax_uid,
        "proposed": list(one.proposed),
        "goes_as": one.goes_as,
        "why_not": one.why or None,
        "instances": one.tally.instances,
        "bytes": one.tally.bytes,
    }
