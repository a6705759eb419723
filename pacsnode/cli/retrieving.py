"""What move and get have in common: the peer's answers, followed to the last one."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pacsnode.cli.output import complain, say
from pacsnode.cli.progress import bar

if TYPE_CHECKING:
    from pacsnode.scu.models import Progress


def follow(answers: "Iterator[Progress]") -> bool:
    """Show how a C-MOVE or C-GET goes and how it ended; whether everything was delivered."""
    last = None
    with bar() as shown:
        for last in answers:
            if (counters := last.counters) is not None:
                done = counters.completed + counters.failed + counters.warning
                # The last answer has no Remaining: nothing is left then.
                left = 0 if last.is_last else counters.remaining
                shown.at(done, None if left is None else done + left)
    if last is None:
        complain("the peer ended without an answer")
        return False
    _tell(last)
    return last.is_success


def _tell(last: "Progress") -> None:
    from pacsnode.dicom.status import text

    if last.counters is not None:
        say(
            f"{last.counters.completed} completed, {last.counters.failed} failed, "
            f"{last.counters.warning} with warning"
        )
    for uid in last.failed:
        complain(f"{uid}: failed")
    if not last.is_success:
        complain(f"the peer answered {text(last.status)} {last.comment}".rstrip())
