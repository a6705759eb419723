"""What a retrieve could not deliver as it is stored, said once at its end: which contexts the other
side did not accept, what went in another transfer syntax, what did not go for want of a context."""

import logging
import shlex
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from pacsnode.dicom.message import (
    Answer,
    Channel,
    Connect,
    Context,
    EventReportRequest,
    Peer,
    ProposedContext,
    Sink,
    StoreRequest,
    Tick,
    no_tick,
)
from pacsnode.dicom.uid import name_of
from pacsnode.errors import NetworkError, NoPresentationContext
from pacsnode.scu.sendable import Outcome

log = logging.getLogger(__name__)

MOST_NAMED = 5  # kinds in a line
UNREACHED = frozenset({"name", "tcp", "tls", "association"})  # steps of a NetworkError


class Summary:
    """Of one retrieve. `recipient` is who gets the instances; `advice` says what to do where it
    takes none of some SOP class."""

    def __init__(self, recipient: str, advice: str) -> None:
        self._recipient = recipient
        self._advice = advice
        self._recoded: Counter[tuple[str, str]] = Counter()
        self._stranded: Counter[tuple[str, str]] = Counter()

    def take(self, outcome: Outcome) -> None:
        """What became of an instance."""
        stored_in = outcome.sendable.transfer_syntax_uid
        if outcome.sent_as not in (None, stored_in) and not outcome.is_failure:
            self._recoded[stored_in, outcome.sent_as or ""] += 1
        elif isinstance(outcome.error, NoPresentationContext):
            self._stranded[outcome.sendable.sop_class_uid, stored_in] += 1

    def log(self) -> None:
        """Nothing is said where everything went as it is stored."""
        if self._recoded:
            ways = {
                f"{name_of(stored_in)} to {name_of(sent_as)}": count
                for (stored_in, sent_as), count in self._recoded.items()
            }
            log.info(
                "%s: %d instances went in another transfer syntax than they are stored in: %s",
                self._recipient,
                self._recoded.total(),
                _counted(ways),
            )
        if self._stranded:
            kinds = {
                f"{name_of(sop_class)} in {name_of(stored_in)}": count
                for (sop_class, stored_in), count in self._stranded.items()
            }
            log.warning(
                "%s: %d instances did not go, as no presentation context was accepted for them: "
                "%s; %s",
                self._recipient,
                self._stranded.total(),
                _counted(kinds),
                self._advice,
            )


class Offers(Summary):
    """Of a C-MOVE: a Connect, too, that remembers what its destination did not accept. For many
    threads."""

    def __init__(self, connect: Connect, destination: Peer) -> None:
        setting = f"modalities.{destination.name}.transfer_syntaxes"
        super().__init__(
            str(destination),
            f"it has to be enabled there; {setting} says in which transfer syntaxes it is offered",
        )
        self._setting = setting
        self._connect = connect
        self._lock = threading.Lock()
        self._refused: dict[str, dict[str, None]] = {}
        self._name = destination.name
        self._is_unreached = False

    def __call__(
        self,
        peer: Peer,
        contexts: Sequence[ProposedContext],
        on_store: Callable[[StoreRequest], Sink] | None = None,
        tick: Tick = no_tick,
        on_event: Callable[[EventReportRequest], Answer] | None = None,
    ) -> Channel:
        try:
            channel = self._connect(peer, contexts, on_store, tick, on_event)
        except NoPresentationContext:
            self._note(contexts, ())
            raise
        self._note(contexts, channel.contexts)
        return channel

    def _note(self, proposed: Iterable[ProposedContext], accepted: Iterable[Context]) -> None:
        given = {(context.abstract_syntax, context.transfer_syntax) for context in accepted}
        with self._lock:
            for context in proposed:
                for uid in context.transfer_syntaxes:
                    if (context.abstract_syntax, uid) not in given:
                        self._refused.setdefault(context.abstract_syntax, {})[uid] = None

    def take(self, outcome: Outcome) -> None:
        super().take(outcome)
        error = outcome.error
        is_accepted = not isinstance(error, NoPresentationContext)
        if isinstance(error, NetworkError) and is_accepted and error.step in UNREACHED:
            self._is_unreached = True

    def log(self) -> None:
        super().log()
        if self._is_unreached:
            log.warning(
                "%s could not be reached: pacsnode check %s says why, and what to change",
                self._recipient,
                shlex.quote(self._name),
            )
        if self._refused and (self._recoded or self._stranded):
            log.info(
                "%s did not accept: %s (offered as %s says)",
                self._recipient,
                _cut([_in_syntaxes(*each) for each in self._refused.items()]),
                self._setting,
            )


def _in_syntaxes(sop_class_uid: str, transfer_syntaxes: Mapping[str, None]) -> str:
    return f"{name_of(sop_class_uid)} in {', '.join(map(name_of, transfer_syntaxes))}"


def _counted(kinds: Mapping[str, int]) -> str:
    return _cut([f"{count} of {kind}" for kind, count in kinds.items()])


def _cut(parts: Sequence[str]) -> str:
    more = [f"and {len(parts) - MOST_NAMED} more"] if len(parts) > MOST_NAMED else []
    return "; ".join([*parts[:MOST_NAMED], *more])
