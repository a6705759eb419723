"""One object comes in for a command in the node's place; who is turned away is told of, if it is
the peer."""

from typing import Any

import pytest

from pacsnode.config.model import Access as Rules
from pacsnode.config.model import Modality
from pacsnode.dicom import status
from pacsnode.dicom.message import Caller, Context, FindRequest, StoreRequest
from pacsnode.scp.access import Access, Settings
from pacsnode.scp.arrival import ArrivalOnly
from pacsnode.scu.doctor.arrivals import Arrival
from pacsnode.scu.doctor.steps import Cause
from tests.scu.scripted import CT, EXPLICIT

HOST, STRANGER = "192.0.2.9", "198.51.100.7"
UID = "1.2.3"
CALLER = Caller("ARCHIVE", "PACSNODE", HOST, 3)


def handler(
    most: int = 10, allow: object = "all", certificate_subject: str | None = None, **rules: Any
) -> ArrivalOnly:
    archive = Modality.model_validate(
        {
            "ae_title": "ARCHIVE",
            "host": HOST,
            "allow": allow,
            "certificate_subject": certificate_subject,
        }
    )
    settings = Settings(
        ae_title="PACSNODE",
        rules=Rules.model_validate(rules),
        modalities={"ARCHIVE": archive},
        max_associations=most,
    )
    return ArrivalOnly(Access(settings), UID, "ARCHIVE", {HOST})


def store(caller: Caller = CALLER, uid: str = UID) -> StoreRequest:
    context = Context(1, CT, EXPLICIT)
    return StoreRequest(
        caller=caller, context=context, message_id=1, sop_class_uid=CT, sop_instance_uid=uid
    )


def test_it_has_arrived_when_it_is_here_whole() -> None:
    desk = handler()
    assert desk.admit(CALLER) is None
    broken = desk.begin_store(store())
    broken.write(memoryview(b"some"))
    broken.discard()
    assert desk.arrival is None
    sink = desk.begin_store(store())
    sink.write(memoryview(b"all"))
    assert sink.finish().status == status.SUCCESS
    assert desk.arrival == Arrival("ARCHIVE", HOST, "this command, as no node runs,")
    assert desk.turned_away == []


def test_nothing_else_is_taken() -> None:
    desk = handler()
    assert desk.admit(CALLER) is None
    assert desk.begin_store(store(uid="1.2.4")).finish().status == status.OUT_OF_RESOURCES
    find = FindRequest(
        caller=CALLER,
        context=Context(1, CT, EXPLICIT),
        message_id=1,
        sop_class_uid=CT,
        identifier=b"",
        cancelled=lambda: False,
        send=lambda _: None,
    )
    (answer,) = desk.handle(find)
    assert answer.status == status.OUT_OF_RESOURCES
    assert "does not run" in answer.comment
    assert desk.arrival is None


@pytest.mark.parametrize(
    ("rules", "caller", "cause"),
    [
        ({"unknown_callers": []}, Caller("OTHER", "PACSNODE", HOST, 1), Cause.OWN_RIGHTS),
        ({"allow": []}, CALLER, Cause.OWN_RIGHTS),
        ({"check_called_ae_title": True}, Caller("ARCHIVE", "X", HOST, 1), Cause.OWN_TITLE),
        (
            {"check_host": True, "unknown_callers": []},
            Caller("ARCHIVE", "PACSNODE", STRANGER, 1),
            Cause.OWN_HOST,
        ),
    ],
)
def test_who_is_rejected_is_told_of_with_the_cause(
    rules: dict[str, Any], caller: Caller, cause: Cause
) -> None:
    desk = handler(**rules)
    assert desk.admit(caller) is not None
    (found,) = desk.turned_away
    assert found.cause is cause
    assert (found.details["ae_title"], found.details["host"]) == (caller.ae_title, caller.host)


def test_what_is_changed_for_a_known_caller_is_its_row_and_takes_no_right_away() -> None:
    desk = handler(allow=["find", "move"])
    assert desk.admit(CALLER) is None
    assert desk.begin_store(store()).finish().status == status.NOT_AUTHORISED
    (found,) = desk.turned_away
    assert found.details["allow"] == ["echo", "find", "move", "store"]
    row = {"name": "ARCHIVE", "ae_title": "ARCHIVE", "host": HOST, "port": 104}
    assert found.details["modality"] == row


def test_a_caller_without_its_certificate_is_told_from_one_without_rights() -> None:
    desk = handler(certificate_subject="CN=archive")
    assert desk.admit(CALLER) is None
    assert desk.begin_store(store()).finish().status == status.NOT_AUTHORISED
    assert [found.cause for found in desk.turned_away] == [Cause.OWN_CERTIFICATE]


def test_who_finds_no_place_is_told_of() -> None:
    desk = handler(most=1)
    assert desk.admit(Caller("ARCHIVE", "PACSNODE", HOST, 1)) is None
    assert desk.admit(Caller("ARCHIVE", "PACSNODE", HOST, 2)) is not None
    (found,) = desk.turned_away
    assert found.cause is Cause.OWN_LIMITS
    assert "max_associations" in found.text


def test_who_may_not_store_is_told_of_once() -> None:
    desk = handler(allow=["echo", "find"])
    assert desk.admit(CALLER) is None
    for _ in range(3):
        assert desk.begin_store(store()).finish().status == status.NOT_AUTHORISED
    (found,) = desk.turned_away
    assert (found.cause, desk.arrival) == (Cause.OWN_RIGHTS, None)
    assert "modalities.ARCHIVE.allow" in found.text


def test_who_comes_from_another_network_is_told_of() -> None:
    desk = handler(networks=["10.0.0.0/8"])
    assert not desk.welcomes(HOST)
    (found,) = desk.turned_away
    assert found.cause is Cause.OWN_NETWORKS
    assert found.details["networks"] == ["10.0.0.0/8", f"{HOST}/32"]


def test_strangers_are_let_in_as_little_and_not_told_of() -> None:
    desk = handler(networks=["192.0.2.0/24"], unknown_callers=[])
    assert not desk.welcomes(STRANGER)
    assert desk.admit(Caller("SCANNER", "X", STRANGER, 1)) is not None
    assert desk.turned_away == []


def test_who_counts_as_unknown_and_may_store_all_the_same_is_remarked_on() -> None:
    desk = handler(check_host=True, unknown_callers="all")
    caller = Caller("ARCHIVE", "PACSNODE", STRANGER, 1)
    assert desk.admit(caller) is None
    assert desk.begin_store(store(caller)).finish().status == status.SUCCESS
    assert desk.arrival is not None
    assert "check_host" in desk.arrival.remark
