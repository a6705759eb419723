import logging
from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock

import pytest

from pacsnode.dicom.commitment import (
    STORAGE_COMMITMENT_PUSH_MODEL,
    STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE,
)
from pacsnode.dicom.message import (
    Answer,
    Caller,
    Context,
    EchoRequest,
    EventReportRequest,
    FindRequest,
    RefusingSink,
    Request,
    StoreRequest,
)
from pacsnode.scp import SERVICES, Access, Dispatcher
from tests.scp.conftest import STUDY_FIND, FakeArchive, Requester, stored
from tests.scp.test_access import settings
from tests.scu.scripted import CT, EXPLICIT, ScriptedPeer

CALLER = Caller("WORKSTATION", "PACSNODE", "192.0.2.3", 42)


def dispatcher(*services: str, archive: Any = None) -> Dispatcher:
    access = Access(settings({"unknown_callers": frozenset(services)}, STORE={}))
    made = Dispatcher(archive or FakeArchive(), access, ScriptedPeer())
    assert made.admit(CALLER) is None
    return made


def echo() -> EchoRequest:
    return EchoRequest(
        caller=CALLER, context=Context(1, "1.2.840.10008.1.1", EXPLICIT), message_id=1
    )


def store_request() -> StoreRequest:
    return StoreRequest(
        caller=CALLER,
        context=Context(1, CT, EXPLICIT),
        message_id=1,
        sop_class_uid=CT,
        sop_instance_uid="1.2.3",
    )


def every_request() -> Iterator[Request]:
    requester = Requester()
    yield echo()
    yield requester.move()
    yield requester.get(ScriptedPeer())
    yield FindRequest(
        caller=CALLER,
        context=Context(1, STUDY_FIND, EXPLICIT),
        message_id=1,
        sop_class_uid=STUDY_FIND,
        identifier=b"",
        cancelled=lambda: False,
        send=lambda answer: None,
    )


def test_an_echo_is_answered() -> None:
    assert list(dispatcher("echo").handle(echo())) == [Answer(0)]


def test_a_service_that_is_not_allowed_is_answered_0124_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    made = dispatcher("commit")
    for request in every_request():
        caplog.clear()
        (answer,) = made.handle(request)
        assert answer.status == 0x0124
        assert SERVICES[type(request)] in answer.comment
        assert "access.unknown_callers" in caplog.text
        if not isinstance(request, EchoRequest):
            allowed = f"allow: [echo, {SERVICES[type(request)]}]"
            assert '"workstation": {ae_title: "WORKSTATION", host: "192.0.2.3"' in caplog.text
            assert allowed in caplog.text, "what to paste below modalities"


def test_a_store_that_is_not_allowed_drains_and_is_answered_0124() -> None:
    sink = dispatcher("echo").begin_store(store_request())
    assert isinstance(sink, RefusingSink)
    sink.write(memoryview(b"x"))
    assert sink.finish().status == 0x0124
    sink.discard()


def test_a_move_goes_through_to_its_destination() -> None:
    made = dispatcher("move", archive=FakeArchive([stored(1)]))
    (answer,) = made.handle(Requester().move())
    assert answer.status == 0


def test_each_operation_has_one_line_with_its_numbers(caplog: pytest.LogCaptureFixture) -> None:
    archive = FakeArchive([stored(1), stored(2)])
    with caplog.at_level(logging.INFO):
        list(dispatcher("move", archive=archive).handle(Requester().move()))
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 1
    assert "move from 'WORKSTATION': 0000, 2 completed, 0 failed" in lines[0]


def test_a_report_on_commitment_is_no_operation_with_answers_to_count(
    caplog: pytest.LogCaptureFixture,
) -> None:
    request = EventReportRequest(
        caller=CALLER,
        context=Context(1, STORAGE_COMMITMENT_PUSH_MODEL, EXPLICIT),
        message_id=1,
        sop_class_uid=STORAGE_COMMITMENT_PUSH_MODEL,
        sop_instance_uid=STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE,
        event_type=3,
        information=b"",
    )
    with caplog.at_level(logging.INFO):
        list(dispatcher("commit", archive=Mock()).handle(request))
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("commit from 'WORKSTATION': 0113 Event types are 1 and 2, 0.0")


def test_the_end_of_an_association_gives_back_its_place() -> None:
    made = dispatcher("echo")
    made.ended(CALLER)
    (answer,) = made.handle(echo())
    assert answer.status == 0x0124


def test_no_patient_stands_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    made = dispatcher("move", archive=FakeArchive([stored(1)]))
    with caplog.at_level(logging.INFO):
        list(made.handle(Requester().move(PatientID="SECRET7", StudyInstanceUID="1.2")))
    assert "SECRET7" not in caplog.text
