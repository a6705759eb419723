"""N-EVENT-REPORT: what a peer says of the instances that it was asked to commit to (PS3.4 J.3.3).
A running node takes it among everything else, a command that waits for it takes nothing besides."""

import logging
from collections.abc import Callable, Iterator

from pacsnode.dicom import status
from pacsnode.dicom.commitment import CommitmentReport
from pacsnode.dicom.message import (
    Answer,
    Caller,
    EchoRequest,
    EventReportRequest,
    RefusingSink,
    Rejection,
    Request,
    Sink,
    StoreRequest,
)
from pacsnode.scp.access import Access
from pacsnode.scp.echo import echo
from pacsnode.scu.commit import answer_report

log = logging.getLogger(__name__)

Note = Callable[[CommitmentReport, str], bool]

# To be tried again when the node runs.
_ABSENT = Answer(status.OUT_OF_RESOURCES, "The node does not run; reports alone are taken")


def report(request: EventReportRequest, note: Note) -> Iterator[Answer]:
    """0000 when `note` has kept the report; 0113, 0115, 0110, 0213."""

    def keep(told: CommitmentReport, ae_title: str) -> bool:
        is_noted = note(told, ae_title)
        log.info(
            "storage commitment %s: %r is committed to %d instances and not to %d%s",
            told.transaction_uid,
            ae_title,
            len(told.committed),
            len(told.failed),
            "" if is_noted else "; not kept, there are too many reports",
        )
        return is_noted

    yield answer_report(request, keep)


class ReportsOnly:
    """The message.Handler of a command that waits for reports where no node runs: by the node's
    rules, C-ECHO and reports."""

    def __init__(self, access: Access, note: Note) -> None:
        self._access = access
        self._note = note

    def welcomes(self, host: str) -> bool:
        return self._access.welcomes(host)

    def admit(self, caller: Caller) -> Rejection | None:
        return self._access.admit(caller)

    def ended(self, caller: Caller) -> None:
        self._access.ended(caller)

    def begin_store(self, request: StoreRequest) -> Sink:
        return RefusingSink(_ABSENT)

    def handle(self, request: Request) -> Iterator[Answer]:
        services = self._access.rights(request.caller).services
        if isinstance(request, EchoRequest) and "echo" in services:
            yield from echo(request)
        elif not isinstance(request, EventReportRequest):
            yield _ABSENT
        elif "commit" in services:
            yield from report(request, self._note)
        else:
            yield Answer(status.NOT_AUTHORISED, "Not authorised for this service: commit")
