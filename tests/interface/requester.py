"""A modality that asks for storage commitment and takes the reports, by pynetdicom: which shares no
code with pacsnode's own wire."""

import queue
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.transport import ThreadedAssociationServer

from tests.conftest import CT_IMAGE_STORAGE, PATIENCE, RunningNode

COMMITMENT, INSTANCE = "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1"


class Report(NamedTuple):
    """An N-EVENT-REPORT as it came. `is_new`: on an association that the node opened, calling
    itself `ae_title` and proposing `roles` (SCU, SCP)."""

    event_type: int
    transaction_uid: str
    committed: list[str]
    failed: dict[str, int]
    is_new: bool
    ae_title: str
    roles: tuple[bool, bool] | None


@dataclass
class Requester:
    """`answer` is what it answers to reports; `takes_roles`: whether it knows role selection."""

    ae_title: str = "CT1"
    port: int = 0
    answer: int | Callable[[Report], int] = 0x0000
    takes_roles: bool = True
    reports: "queue.Queue[Report]" = field(default_factory=queue.Queue)
    server: ThreadedAssociationServer | None = None

    def listen(self) -> None:
        """Take associations on `port`."""
        ae = AE(self.ae_title)
        roles = {"scu_role": True, "scp_role": True} if self.takes_roles else {}
        ae.add_supported_context(COMMITMENT, **roles)  # type: ignore[arg-type]
        server = ae.start_server(
            ("127.0.0.1", self.port), block=False, evt_handlers=self._handlers(is_new=True)
        )
        assert isinstance(server, ThreadedAssociationServer)
        self.server = server

    def close(self) -> None:
        if self.server is not None:
            self.server.shutdown()
            self.server = None

    def _handlers(self, *, is_new: bool) -> list[Any]:
        def take(event: evt.Event) -> tuple[int, None]:
            report = _report(event, is_new)
            status = self.answer(report) if callable(self.answer) else self.answer
            self.reports.put(report)
            return status, None

        return [(evt.EVT_N_EVENT_REPORT, take)]

    @contextmanager
    def associated(self, node: RunningNode) -> Iterator[Association]:
        ae = AE(self.ae_title)
        ae.add_requested_context(CT_IMAGE_STORAGE, ExplicitVRLittleEndian)
        ae.add_requested_context(COMMITMENT, ImplicitVRLittleEndian)
        association = ae.associate(node.host, node.port, evt_handlers=self._handlers(is_new=False))
        assert association.is_established, node.log
        try:
            yield association
        finally:
            if association.is_established:
                association.release()

    def ask(self, node: RunningNode, *uids: str, transaction: str = "") -> str:
        """Ask on an association of its own, for CT images; the transaction UID."""
        with self.associated(node) as association:
            transaction, status = ask_on(association, uids, transaction)
        assert status == 0x0000, node.log
        return transaction

    def report(self) -> Report:
        """The next that comes."""
        return self.reports.get(timeout=PATIENCE)


def _report(event: evt.Event, is_new: bool) -> Report:
    information = event.event_information
    role = event.assoc.requestor.role_selection.get(COMMITMENT)
    return Report(
        event.event_type,
        str(information.TransactionUID),
        [
            str(item.ReferencedSOPInstanceUID)
            for item in information.get("ReferencedSOPSequence", [])
        ],
        {
            str(item.ReferencedSOPInstanceUID): item.FailureReason
            for item in information.get("FailedSOPSequence", [])
        },
        is_new,
        event.assoc.requestor.ae_title,
        (role.scu_role, role.scp_role) if role is not None else None,
    )


def information(
    uids: Sequence[str], transaction: str = "", sop_class: str = CT_IMAGE_STORAGE
) -> Dataset:
    """What an N-ACTION asks for."""
    ds = Dataset()
    ds.TransactionUID = transaction or generate_uid()
    ds.ReferencedSOPSequence = []
    for uid in uids:
        item = Dataset()
        item.ReferencedSOPClassUID = sop_class
        item.ReferencedSOPInstanceUID = uid
        ds.ReferencedSOPSequence.append(item)
    return ds


def ask_on(association: Association, uids: Sequence[str], transaction: str = "") -> tuple[str, int]:
    """Transaction UID, and the status of the answer."""
    asked = information(uids, transaction)
    pause(association)
    status, _ = association.send_n_action(asked, 1, COMMITMENT, INSTANCE)
    return str(asked.TransactionUID), status.get("Status", -1)


def pause(association: Association) -> None:
    """Before a request: pynetdicom's own thread takes its answer away, unless it really waits."""
    checkpoint = association._reactor_checkpoint
    checkpoint.clear()
    deadline = time.monotonic() + PATIENCE
    while not checkpoint._cond._waiters:  # type: ignore[attr-defined]
        assert time.monotonic() < deadline
        time.sleep(0.001)


def store_on(association: Association, ds: Dataset) -> None:
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    pause(association)
    assert association.send_c_store(ds).Status == 0x0000


@contextmanager
def requesting(requester: Requester, *, listening: bool = True) -> Iterator[Requester]:
    """While this is entered, it takes associations, unless `listening` is put off."""
    try:
        if listening:
            requester.listen()
        yield requester
    finally:
        requester.close()
