"""Instances that pass by the thousand, told of by the study."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from pacsnode.audit.event import Study

# What a crash may lose, and what memory holds at most.
OLDEST = 30.0  # seconds until an instance is told of
MOST_STUDIES = 100
MOST_SOP_CLASSES = 50  # of one study: an archive has some ten

Kind = TypeVar("Kind", bound=Hashable)
Tell = Callable[[Kind, Study, Sequence[tuple[str, int]]], None]


@dataclass(slots=True)
class _Entry:
    study: Study
    sop_classes: Counter[str] = field(default_factory=Counter)


class Tally(Generic[Kind]):
    """Counts by study, kind and SOP class, and has them told: from time to time, when there are
    many, and at the end. `tell` is called outside the lock, from the thread that counts or from
    the trail's. Thread-safe."""

    def __init__(self, tell: Tell[Kind], clock: Callable[[], float] = time.monotonic) -> None:
        self._tell = tell
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: dict[tuple[str, Kind], _Entry] = {}
        self._began = 0.0

    def add(
        self,
        study_instance_uid: str,
        sop_class_uid: str,
        describe: Callable[[], Study],
        kind: Kind,
    ) -> None:
        """Count one instance. `kind` tells those apart that are told of separately; `describe` is
        asked for the first instance of each."""
        with self._lock:
            key = study_instance_uid, kind
            entry = self._entries.get(key)
            if entry is None:
                if not self._entries:
                    self._began = self._clock()
                entry = self._entries[key] = _Entry(describe())
            entry.sop_classes[sop_class_uid] += 1
            is_due = (
                len(self._entries) > MOST_STUDIES
                or len(entry.sop_classes) > MOST_SOP_CLASSES
                or self._is_due()
            )
        if is_due:
            self.flush()

    def flush(self) -> None:
        """Tell what is counted."""
        with self._lock:
            entries, self._entries = self._entries, {}
        for (_, kind), entry in entries.items():
            self._tell(kind, entry.study, sorted(entry.sop_classes.items()))

    def flush_if_due(self) -> None:
        """The same where it has waited long enough."""
        with self._lock:
            is_due = self._is_due()
        if is_due:
            self.flush()

    def _is_due(self) -> bool:
        return bool(self._entries) and self._clock() - self._began >= OLDEST
