"""What happened on one association, for its line in the log."""

from collections import Counter

from pacsnode.dicom import status
from pacsnode.dicom.message import Answer

_NAMES = {
    "echo": "C-ECHO",
    "store": "C-STORE",
    "find": "C-FIND",
    "move": "C-MOVE",
    "get": "C-GET",
    "commit": "N-ACTION",
    "report": "N-EVENT-REPORT",
}


class Tally:
    """Counts final answers by service, failures among them, and matches of queries. Of what never
    came to a final answer it counts that it was broken off."""

    def __init__(self) -> None:
        self._done: Counter[str] = Counter()
        self._failed: Counter[str] = Counter()
        self._broken_off: Counter[str] = Counter()
        self._matches = 0

    def count(self, service: str, answer: Answer) -> None:
        if status.is_pending(answer.status):
            self._matches += service == "find"
            return
        self._done[service] += 1
        if not (status.is_success(answer.status) or status.is_warning(answer.status)):
            self._failed[service] += 1

    def break_off(self, service: str) -> None:
        self._broken_off[service] += 1

    def __str__(self) -> str:
        parts = []
        for service, done in self._done.items():
            text = f"{done} {_NAMES.get(service, service)}"
            if service == "find":
                text += f" with {self._matches} matches"
            if self._failed[service]:
                text += f", {self._failed[service]} failed"
            parts.append(text)
        parts += [
            f"{broken} {_NAMES.get(service, service)} broken off"
            for service, broken in self._broken_off.items()
        ]
        return "; ".join(parts) or "nothing asked"
