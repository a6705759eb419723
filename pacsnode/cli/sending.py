"""How a sending goes and what has become of it: counted, complained of, and kept in a list."""

from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard

from pacsnode.cli.output import complain
from pacsnode.cli.run import Run
from pacsnode.errors import (
    AssociationLost,
    AssociationRejected,
    NetworkError,
    PeerTimeout,
    PeerUnreachable,
)

if TYPE_CHECKING:
    from pacsnode.dicom.message import Peer
    from pacsnode.scu.acknowledged import Acknowledged
    from pacsnode.scu.sendable import Outcome, Sendable


class Sending:
    """Counts what becomes of instances and names those that fail. What is on the list of those
    `acknowledged` is left out, and what is acknowledged now put on it."""

    def __init__(self, acknowledged: "Acknowledged | None" = None) -> None:
        self._acknowledged = acknowledged
        self._sent = self._warned = self._failed = 0
        self.before = 0

    def run(
        self, run: Run, target: "Peer", sendables: "Iterable[Sendable]", priority: int
    ) -> Iterator[int]:
        """Send; yields how many have been dealt with. Raises NetworkError where the peer cannot be
        had at all."""
        from pacsnode.node.build import build_connect
        from pacsnode.scu.store import send

        connect = build_connect(run.configuration)
        rest = self.left_of(sendables)
        with closing(send(connect, target, rest, priority=priority)) as outcomes:
            for outcome in outcomes:
                self._take(outcome)
                yield self.before + self._sent + self._warned + self._failed

    def left_of(self, sendables: "Iterable[Sendable]") -> "Iterator[Sendable]":
        """Those that have not been acknowledged before."""
        for sendable in sendables:
            listed = self._acknowledged
            if listed is not None and listed.has(sendable.sop_instance_uid, _file(sendable)):
                self.before += 1
            else:
                yield sendable

    def _take(self, outcome: "Outcome") -> None:
        sendable = outcome.sendable
        if self._acknowledged is not None and not outcome.is_failure:
            # A warning too: the peer has stored it (PS3.4 B.2.3).
            self._acknowledged.add(sendable.sop_instance_uid, _file(sendable))
        if outcome.is_success:
            self._sent += 1
            return
        if not (self._sent or self._warned or self._failed) and _is_no_peer(outcome.error):
            raise outcome.error
        complain(f"{name(sendable)}: {outcome.text}")
        if outcome.is_warning:
            self._warned += 1
        else:
            self._failed += 1

    def code(self, unread: int = 0) -> int:
        """The exit code: 0 where there was something to send and all of it has arrived, but for
        the `unread`, of which complaints have been made."""
        if self._failed or unread:
            return 1
        if not (self._sent or self._warned or self.before):
            complain("nothing to send: no instance was found")
            return 1
        return 0

    def __str__(self) -> str:
        text = f"{self._sent} sent, {self._warned} with warning, {self._failed} failed"
        return f"{text}, {self.before} acknowledged before" if self.before else text


def _is_no_peer(error: object) -> TypeGuard[NetworkError]:
    """Whether it fails for everything that might be sent."""
    if isinstance(error, PeerUnreachable | AssociationRejected):
        return True
    return isinstance(error, AssociationLost | PeerTimeout) and error.step == "association"


def name(sendable: "Sendable") -> str:
    return str(_file(sendable) or sendable.sop_instance_uid)


def _file(sendable: "Sendable") -> Path | None:
    path: Path | None = getattr(sendable, "path", None)
    return path
