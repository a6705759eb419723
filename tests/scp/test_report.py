"""Reports of peers: taken by those who may commit, and by a command nothing else."""

import logging
from typing import Any

import pytest

from pacsnode.config.model import Access as Rules
from pacsnode.config.model import Modality
from pacsnode.dicom import status
from pacsnode.dicom.commitment import CommitmentReport, Failure, Reference, encode_report
from pacsnode.dicom.message import (
    Caller,
    Context,
    EchoRequest,
    EventReportRequest,
    FindRequest,
    Request,
    StoreRequest,
)
from pacsnode.scp.access import Access, Settings
from pacsnode.scp.report import ReportsOnly, report
from tests.scu.scripted import CT, EXPLICIT

COMMITMENT, INSTANCE = "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1"
CALLER = Caller("ARCHIVE", "PACSNODE", "192.0.2.9", 3)
REPORT = CommitmentReport(
    "1.2", (Reference(CT, "1.2.3"),), (Failure(Reference(CT, "1.2.4"), 0x0112),)
)


def common(sop_class: str) -> dict[str, Any]:
    return {"caller": CALLER, "context": Context(1, sop_class, EXPLICIT), "message_id": 1}


def report_request() -> EventReportRequest:
    return EventReportRequest(
        **common(COMMITMENT),
        sop_class_uid=COMMITMENT,
        sop_instance_uid=INSTANCE,
        event_type=2,
        information=encode_report(REPORT, EXPLICIT),
    )


class Notes:
    """Keeps reports, unless it is full."""

    def __init__(self, *, is_full: bool = False) -> None:
        self.kept: list[tuple[CommitmentReport, str]] = []
        self._is_full = is_full

    def note(self, told: CommitmentReport, ae_title: str) -> bool:
        if not self._is_full:
            self.kept.append((told, ae_title))
        return not self._is_full


def access(services: frozenset[str]) -> Access:
    settings = Settings(
        ae_title="PACSNODE",
        rules=Rules(),
        modalities={"ARCHIVE": Modality(ae_title="ARCHIVE", host="192.0.2.9", allow=services)},
        max_associations=10,
    )
    return Access(settings)


def admitted(notes: Notes, *services: str) -> ReportsOnly:
    handler = ReportsOnly(access(frozenset(services)), notes.note)
    assert handler.admit(CALLER) is None
    return handler


def status_of(handler: ReportsOnly, request: Request) -> int:
    (answer,) = handler.handle(request)
    return answer.status


def test_a_report_is_kept_and_told_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    notes = Notes()
    (answer,) = report(report_request(), notes.note)
    assert answer.status == status.SUCCESS
    assert notes.kept == [(REPORT, "ARCHIVE")]
    assert caplog.messages == [
        "storage commitment 1.2: 'ARCHIVE' is committed to 1 instances and not to 1"
    ]


def test_a_report_that_finds_no_room_is_refused_and_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    (answer,) = report(report_request(), Notes(is_full=True).note)
    assert answer.status == status.RESOURCE_LIMITATION
    assert "not kept" in caplog.text


def test_a_command_takes_reports_and_echoes_by_the_callers_rights() -> None:
    notes = Notes()
    echo = EchoRequest(**common("1.2.840.10008.1.1"))
    handler = admitted(notes, "echo")
    assert status_of(handler, echo) == status.SUCCESS
    assert status_of(handler, report_request()) == status.NOT_AUTHORISED
    assert notes.kept == []
    handler = admitted(notes, "commit")
    assert status_of(handler, report_request()) == status.SUCCESS
    assert status_of(handler, echo) == status.OUT_OF_RESOURCES
    assert len(notes.kept) == 1


def test_a_command_refuses_everything_else_for_now() -> None:
    notes = Notes()
    handler = admitted(notes, "echo", "store", "find", "commit")
    find = FindRequest(
        **common("1.2.840.10008.5.1.4.1.2.2.1"),
        sop_class_uid="1.2.840.10008.5.1.4.1.2.2.1",
        identifier=b"",
        cancelled=lambda: False,
        send=lambda answer: None,
    )
    assert status_of(handler, find) == status.OUT_OF_RESOURCES
    sink = handler.begin_store(
        StoreRequest(**common(CT), sop_class_uid=CT, sop_instance_uid="1.2.3")
    )
    assert sink.finish().status == status.OUT_OF_RESOURCES


def test_a_place_is_given_back() -> None:
    rules = access(frozenset({"commit"}))
    handler = ReportsOnly(rules, Notes().note)
    assert handler.admit(CALLER) is None
    assert rules.count() == 1
    handler.ended(CALLER)
    assert rules.count() == 0
    assert handler.welcomes("192.0.2.9")
