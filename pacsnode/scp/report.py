"""N-EVENT-REPORT: what a peer says of the instances that it was asked to commit to (PS3.4 J.3.3).
A running node takes it among everything else, a command that waits for it takes nothing besides."""

import logging
from collections.abc import Callable, Iterator

from pacsnode.dicom.commitment import CommitmentReport
from pacsnode.dicom.message import Answer, EventReportRequest, Request
from pacsnode.scp.access import Access
from pacsnode.scp.stand_in import StandIn, unauthorised
from pacsnode.scu.commit import answer_report

log = logging.getLogger(__name__)

Note = Callable[[CommitmentReport, str], bool]


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


class ReportsOnly(StandIn):
    """For a command that waits for reports where no node runs."""

    takes = "reports alone are"

    def __init__(self, access: Access, note: Note) -> None:
        super().__init__(access)
        self._note = note

    def handle(self, request: Request) -> Iterator[Answer]:
        if not isinstance(request, EventReportRequest):
            yield from super().handle(request)
        elif self.may(request, "commit"):
            yield from report(request, self._note)
        else:
            yield unauthorised("commit")
