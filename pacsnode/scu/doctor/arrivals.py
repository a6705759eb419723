"""Where the test object comes back in: a seam that `node` fills."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from pacsnode.scu.doctor.steps import Cause


class Arrival(NamedTuple):
    """Who brought it. `taken_by`: the running node, or this command in its place; `remark`: what
    else was noticed."""

    ae_title: str
    host: str
    taken_by: str
    remark: str = ""


@dataclass(frozen=True, slots=True)
class TurnedAway:
    """Somebody came and was not let in, for this cause; `text` names the setting."""

    cause: Cause
    text: str
    details: Mapping[str, Any] = field(default_factory=dict)


class Arrivals(Protocol):
    """Of one object. Its methods raise IndexFailure, StorageError, ConfigurationError."""

    def arrived(self) -> Arrival | None:
        """Who brought it, once it is here."""

    def turned_away(self) -> Sequence[TurnedAway]:
        """Who did not get in meanwhile, as far as that can be known."""

    def remove(self) -> int:
        """Remove it; how many instances that were."""
