"""pacsnode conflicts."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pacsnode.cli.delete import confirm
from pacsnode.cli.output import complain, say
from pacsnode.cli.run import Run
from pacsnode.errors import PacsnodeError, UsageError

if TYPE_CHECKING:
    from pacsnode.archive import Archive
    from pacsnode.index import Conflict

Command = TypeVar("Command", bound=Callable[..., Any])


@click.group("conflicts")
def command() -> None:
    """Settle what `pacsnode ls --conflicts` shows.

    A conflict is an instance that came again with other bytes than those stored: the first stayed
    in its place, the newcomer is in conflicts/ in the data folder. CONFLICT is its name there, or a
    SOP Instance UID, which stands for all conflicts of that instance. The node may be running
    meanwhile.
    """


def _chosen(function: Command) -> Command:
    """Which conflicts: an argument and an option of each action."""
    named = click.argument("which", metavar="CONFLICT…", nargs=-1)
    return named(click.option("--all", "every", is_flag=True, help="All of them.")(function))


@command.command("keep")
@_chosen
@click.pass_obj
def keep(run: Run, which: tuple[str, ...], every: bool) -> int:
    """Leave the first in its place.

    The newcomer's file stays, in conflicts/settled; sent again, the same bytes are no conflict any
    more.
    """
    return _settle(run, which, every, lambda archive, one: archive.keep(one), "first kept")


@command.command("adopt")
@_chosen
@click.pass_obj
def adopt(run: Run, which: tuple[str, ...], every: bool) -> int:
    """Put the newcomer in the first's place.

    The first's file stays, in conflicts/settled; sent again, it is no conflict. Of several
    conflicts of one instance, name the one.
    """
    from pacsnode.audit.events import UPDATE

    return _settle(run, which, every, _adopt, "newcomer adopted", tells=UPDATE, one_each=True)


@command.command("drop")
@_chosen
@click.option("--yes", is_flag=True, help="Do not ask first.")
@click.pass_obj
def drop(run: Run, which: tuple[str, ...], every: bool, yes: bool) -> int:
    """Remove the newcomer's file, for good."""
    from pacsnode.audit.events import DELETE

    return _settle(
        run,
        which,
        every,
        lambda archive, one: archive.drop(one),
        "newcomer dropped",
        tells=DELETE,
        question=None if yes else "Remove {} files for good?",
    )


def _adopt(archive: "Archive", conflict: "Conflict") -> None:
    archive.adopt(conflict)


def _settle(
    run: Run,
    which: tuple[str, ...],
    every: bool,
    action: "Callable[[Archive, Conflict], None]",
    done: str,
    *,
    tells: str | None = None,
    question: str | None = None,
    one_each: bool = False,
) -> int:
    """Carry out `action` for each that is meant; the exit code. `tells` is what it is in the audit
    trail."""
    from pacsnode.archive import chosen
    from pacsnode.cli.audited import opened, tell_settled
    from pacsnode.node.build import build_archive

    if bool(which) == every:
        raise click.UsageError("which ones? Names, SOP Instance UIDs, or --all")
    failed = 0
    configuration = run.existing()
    with opened(configuration) as trail, build_archive(configuration) as archive:
        found = list(archive.conflicts()) if every else chosen(archive.conflicts(), which)
        if one_each:
            _require_one_each(found)
        if found and question and not confirm(question.format(len(found))):
            say("nothing removed")
            return 1
        for conflict in found:
            try:
                action(archive, conflict)
            except PacsnodeError as error:
                failed += 1
                complain(f"{conflict.name}: {error}")
            else:
                say(f"{conflict.name}: {done}")
                tell_settled(trail, archive, conflict, tells)
    if not found:
        say("there are no conflicts")
    return 1 if failed else 0


def _require_one_each(found: "list[Conflict]") -> None:
    """Raises UsageError."""
    names: dict[str, list[str]] = {}
    for conflict in found:
        names.setdefault(conflict.uids.sop_instance_uid or conflict.name, []).append(conflict.name)
    for uid, several in names.items():
        if len(several) > 1:
            raise UsageError(f"{uid} has several conflicts, name one: {' '.join(several)}")
