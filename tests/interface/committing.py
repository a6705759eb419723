"""A peer that commits to instances, by pynetdicom: which share no code with pacsnode's own wire."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from pydicom import Dataset
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import AE, build_role, evt
from pynetdicom.association import Association

COMMITMENT, INSTANCE = "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1"
PATIENCE = 30.0


def report_on(request: Dataset, failures: dict[str, int]) -> tuple[int, Dataset]:
    """Event type and information of the report on a request: all is well but for `failures`, reason
    by SOP Instance UID."""
    report = Dataset()
    report.TransactionUID = request.TransactionUID
    committed, failed = [], []
    for item in request.ReferencedSOPSequence:
        reference = Dataset()
        reference.ReferencedSOPClassUID = item.ReferencedSOPClassUID
        reference.ReferencedSOPInstanceUID = item.ReferencedSOPInstanceUID
        if item.ReferencedSOPInstanceUID in failures:
            reference.FailureReason = failures[item.ReferencedSOPInstanceUID]
            failed.append(reference)
        else:
            committed.append(reference)
    if committed:
        report.ReferencedSOPSequence = committed
    if failed:
        report.FailedSOPSequence = failed
    return (2 if failed else 1), report


@dataclass
class CommittingPeer:
    """A Storage Commitment SCP titled COMMITTER. `how` reports on a request: on its association
    (`same`), on one to `report_to` (`new`), or not at all (`never`)."""

    how: str = "same"
    report_to: int = 0
    report_title: str = "PACSNODE"
    answer: int = 0x0000
    proposes_role: bool = True
    failures: dict[str, int] = field(default_factory=dict)
    port: int = 0
    requests: list[Dataset] = field(default_factory=list)
    asked: threading.Event = field(default_factory=threading.Event)
    answers: list[int | None] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)

    def take(self, event: evt.Event) -> tuple[int, None]:
        """The handler of N-ACTION."""
        request = event.action_information
        self.requests.append(request)
        self.asked.set()
        report: dict[str, Callable[[], None]] = {
            "same": lambda: self._report(event.assoc, request),
            "new": lambda: self.report(request),
        }
        if self.how in report and self.answer == 0x0000:
            thread = threading.Thread(target=report[self.how])
            self.threads.append(thread)
            thread.start()
        return self.answer, None

    def report(self, request: Dataset) -> None:
        """On an association of its own."""
        ae = AE("COMMITTER")
        ae.add_requested_context(COMMITMENT, ImplicitVRLittleEndian)
        roles = [build_role(COMMITMENT, scu_role=False, scp_role=True)]
        association = ae.associate(
            "127.0.0.1",
            self.report_to,
            ae_title=self.report_title,
            ext_neg=roles if self.proposes_role else [],
        )
        assert association.is_established
        if not self.proposes_role:  # as peers do that know nothing of roles
            for context in association.accepted_contexts:
                context._as_scp = True
        self._report(association, request)
        association.release()

    def _report(self, association: Association, request: Dataset) -> None:
        kind, information = report_on(request, self.failures)
        answer, _ = association.send_n_event_report(information, kind, COMMITMENT, INSTANCE)
        self.answers.append(answer.get("Status"))


@contextmanager
def committing(peer: CommittingPeer) -> Iterator[CommittingPeer]:
    """While this is entered, the peer takes associations on its `port`."""
    ae = AE("COMMITTER")
    ae.add_supported_context(COMMITMENT)
    server = ae.start_server(
        ("127.0.0.1", peer.port), block=False, evt_handlers=[(evt.EVT_N_ACTION, peer.take)]
    )
    assert server is not None
    peer.port = server.server_address[1]
    try:
        yield peer
    finally:
        server.shutdown()
        for thread in peer.threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()
