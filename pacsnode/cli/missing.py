"""--missing of get and move: what the peer has and we have not, and how it is brought."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pacsnode.cli import options
from pacsnode.cli.held import Held
from pacsnode.cli.output import complain, say
from pacsnode.cli.progress import Bar, bar
from pacsnode.cli.run import Run

if TYPE_CHECKING:
    from pydicom import Dataset

    from pacsnode.dicom.message import Peer
    from pacsnode.dicom.query import Model
    from pacsnode.scu.missing import Retrieve
    from pacsnode.scu.models import Progress

Ask = Callable[["Dataset"], "Iterator[Progress]"]


@dataclass
class Lacking:
    """What the peer has and we have not. `sop_classes` are those of what is missing."""

    at_peer: int = 0
    series: int = 0
    retrieves: "list[Retrieve]" = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    sop_classes: set[str] = field(default_factory=set)


def compare(
    run: Run, target: "Peer", model: "Model", level_name: str, identifier: "Dataset", held: Held
) -> Lacking:
    """Ask the peer what it has, and say how much of that is missing here. Raises NetworkError."""
    from pacsnode.node.build import build_connect
    from pacsnode.scu.missing import missing_of, retrieves, series_of
    from pacsnode.scu.models import Service, ending, proposal

    lacking = Lacking()
    connect = build_connect(run.configuration)
    with ending(connect(target, [proposal(Service.FIND, model)])) as channel:
        for series in series_of(channel, model, options.level_of(level_name), identifier):
            missing = missing_of(series, held)
            lacking.at_peer += len(series.instances)
            lacking.series += 1
            lacking.missing += missing
            lacking.sop_classes |= {series.instances[uid] for uid in missing}
            if missing:
                lacking.retrieves += retrieves(series, missing)
    lacking.sop_classes.discard("")
    say(
        f"{target.name} has {lacking.at_peer} instances in {lacking.series} series; "
        f"{len(lacking.missing)} are missing here"
    )
    return lacking


def bring(lacking: Lacking, ask: Ask, held: Held) -> int:
    """Ask for what is missing; the exit code: 0 where nothing is missing then. Lists are for peers
    that take them; others are asked for one instance after the other. Raises NetworkError."""
    bringing = _Bringing(ask, held)
    with bar() as shown:
        shown.expect(len(lacking.missing))
        for retrieve in lacking.retrieves:
            bringing.bring(retrieve, shown)
    here = set(_held_of(lacking.missing, held))
    still = [uid for uid in lacking.missing if uid not in here]
    say(f"{len(lacking.missing) - len(still)} have come, {len(still)} are still missing")
    complain(*(f"{uid}: still missing" for uid in still))
    return 1 if still else 0


def _held_of(uids: list[str], held: Held) -> Iterator[str]:
    from pacsnode.scu.missing import LIST

    for start in range(0, len(uids), LIST):
        yield from held(uids[start : start + LIST])


class _Bringing:
    """Retrieves, one after the other. `_done` is how many instances have been dealt with."""

    def __init__(self, ask: Ask, held: Held) -> None:
        self._ask = ask
        self._held = held
        self._takes_lists = True
        self._done = 0

    def bring(self, retrieve: "Retrieve", shown: Bar) -> None:
        if len(retrieve.sop_instance_uids) <= 1 or self._takes_lists:
            dealt_with = self._one(retrieve, shown)
            if dealt_with >= retrieve.count or len(retrieve.sop_instance_uids) <= 1:
                self._done += retrieve.count
                return
            # It has understood one of them at most, or has refused them all.
            self._takes_lists = False
        here = self._held(retrieve.sop_instance_uids)
        for single in retrieve.one_by_one():
            if single.sop_instance_uids[0] not in here:
                self._one(single, shown)
            self._done += 1

    def _one(self, retrieve: "Retrieve", shown: Bar) -> int:
        """How many instances the peer has dealt with."""
        last, count = None, 0
        for last in self._ask(retrieve.identifier()):
            if last.counters is not None:
                count = last.counters.completed + last.counters.failed + last.counters.warning
                shown.at(self._done + count)
        if last is None or not last.is_success:
            self._complain(last, retrieve)
        return count

    def _complain(self, last: "Progress | None", retrieve: "Retrieve") -> None:
        from pacsnode.dicom.status import text

        what = retrieve.sop_instance_uids
        name = what[0] if len(what) == 1 else f"{retrieve.count} instances"
        if last is None:
            complain(f"{name}: the peer ended without an answer")
        else:
            complain(f"{name}: the peer answered {text(last.status)} {last.comment}".rstrip())
