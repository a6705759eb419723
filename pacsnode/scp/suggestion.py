"""What to add to the configuration so that a stranger is one no more: a line of YAML to paste."""

import json
import re
import threading
from collections.abc import Iterable, Mapping

from pacsnode.config.model import Modality

REMEMBERED = 1000  # strangers that were told of

USUAL_PORTS = "104 or 11112 with most, its configuration says it"


class Suggestions:
    """Each stranger is worth one line: who asks every second does not fill the log. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._told: dict[tuple[str, str, tuple[str, ...]], None] = {}

    def for_stranger(
        self,
        ae_title: str,
        host: str,
        modalities: Mapping[str, Modality],
        services: Iterable[str] = (),
    ) -> str:
        """The entry that makes `ae_title` known, at `host` as far as one can guess, and allows it
        `services` (none: all); nothing where that has been said before, or no configuration could
        have this title."""
        allowed = tuple(services)
        entry = modality_entry(ae_title, host, modalities, allowed)
        if not entry or not self._is_new((ae_title, host, allowed)):
            return ""
        same = [name for name, known in modalities.items() if known.host == host]
        beside = f"; {', '.join(same[:3])} has this host already" if same else ""
        return f"{entry} (the port is {USUAL_PORTS}{beside})"

    def _is_new(self, stranger: tuple[str, str, tuple[str, ...]]) -> bool:
        with self._lock:
            if stranger in self._told:
                return False
            while len(self._told) >= REMEMBERED:
                del self._told[next(iter(self._told))]
            self._told[stranger] = None
            return True


def modality_entry(
    ae_title: str, host: str, modalities: Mapping[str, Modality], services: Iterable[str] = ()
) -> str:
    """As YAML in one line: JSON strings are YAML's too. Empty for a title that none may have."""
    title = ae_title.strip(" \0")
    try:
        Modality.model_validate({"ae_title": title, "host": host})
    except ValueError:
        return ""
    allowed = ", ".join(services)
    allow = f", allow: [{allowed}]" if allowed else ""
    values = f"ae_title: {json.dumps(title)}, host: {json.dumps(host)}, port: 104{allow}"
    return f"{json.dumps(_free_name(title, modalities))}: {{{values}}}"


def _free_name(title: str, modalities: Mapping[str, Modality]) -> str:
    base = re.sub(r"[^a-z0-9]+", "_", title.lower()).strip("_") or "modality"
    name, number = base, 2
    while name in modalities:
        name, number = f"{base}_{number}", number + 1
    return name
