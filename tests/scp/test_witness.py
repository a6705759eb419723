"""What callers do is told in the audit trail's words."""

from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from pacsnode.archive import Kind
from pacsnode.archive import Outcome as Taken
from pacsnode.audit import Event, Party, Study, Tally, events
from pacsnode.dicom.instance import Instance, StoredInstance
from pacsnode.dicom.message import Answer, Caller, Context, FindRequest, Rejection, StoreRequest
from pacsnode.errors import IndexFailure
from pacsnode.scp import Access, Dispatcher
from pacsnode.scp.access import Rights
from pacsnode.scp.witness import ACTIONS, UNSEEN, Witness, describe
from tests.scp.conftest import STUDY_FIND, FakeArchive, Requester, stored
from tests.scp.test_access import settings
from tests.scu.scripted import CT, EXPLICIT, MR, ScriptedPeer

CALLER = Caller("WORKSTATION \0", "PACSNODE", "192.0.2.3", 42)
KNOWN = Rights(frozenset(), "ws")


class Listening:
    """A trail that keeps what it is told."""

    is_on = True
    node = Party("PACSNODE", "archive.example")

    def __init__(self) -> None:
        self.told: list[Event] = []

    def record(self, event: Event) -> None:
        self.told.append(event)

    def tally(self, tell: Any) -> Any:
        return Tally(tell)

    def close(self) -> None:
        """Nothing waits."""

    @property
    def names(self) -> list[str]:
        return [(event.type_code or event.code).meaning for event in self.told]


class StudyArchive(FakeArchive):
    """One whose index knows studies."""

    def study(self, uid: str) -> dict[str, str]:
        return {"PatientID": f"ID of {uid}", "PatientName": "DOE^JOHN", "AccessionNumber": "A1"}


@pytest.fixture
def trail() -> Listening:
    return Listening()


@pytest.fixture
def witness(trail: Listening) -> Witness:
    return Witness(trail, StudyArchive())  # type: ignore[arg-type]


def taken(kind: Kind, sop_class: str = CT) -> Taken:
    row: StoredInstance = stored(1, sop_class)
    values = {"PatientID": ("ID1",), "PatientName": ("DOE^JANE",)}
    return Taken(kind, row, Instance(row.uids, sop_class, values, {}))


def test_associations_open_and_close(trail: Listening, witness: Witness) -> None:
    witness.decided(CALLER, KNOWN, None)
    witness.ended(CALLER, KNOWN)
    assert trail.names == ["Login", "Logout"]
    caller, _ = trail.told[0].participants
    assert (caller.user_id, caller.ae_titles, caller.host) == ("ws", ("WORKSTATION",), "192.0.2.3")


def test_the_subject_of_a_certificate_is_told(trail: Listening, witness: Witness) -> None:
    shown = (("CN", "ct1"), ("O", "A, B"))
    caller = Caller("CT1", "PACSNODE", "192.0.2.3", 1, is_tls=True, certificate_subject=shown)
    witness.decided(caller, KNOWN, None)
    assert trail.told[0].participants[0].user_name == "CN=ct1,O=A\\, B"


def test_the_user_that_a_caller_names_takes_part_in_the_association(
    trail: Listening, witness: Witness
) -> None:
    witness.decided(replace(CALLER, user="nurse"), KNOWN, None)
    caller, user, node = trail.told[0].participants
    assert (caller.user_id, caller.is_requestor) == ("ws", False)
    assert (user.user_id, user.is_requestor, user.host) == ("nurse", True, "192.0.2.3")
    assert node.ae_titles == ("PACSNODE",)


def test_a_rejection_is_told_with_its_text(trail: Listening, witness: Witness) -> None:
    witness.decided(CALLER, Rights(frozenset()), Rejection(1, 1, 3, "nobody knows it"))
    assert trail.names == ["Node Authentication"]
    assert trail.told[0].description == "nobody knows it"


def test_instances_are_told_at_the_end_by_what_became_of_them(
    trail: Listening, witness: Witness
) -> None:
    receiving = witness.receiving(CALLER, KNOWN)
    assert receiving is not None
    assert witness.receiving(CALLER, KNOWN) is receiving
    for kind in (Kind.STORED, Kind.STORED, Kind.ALREADY_HERE, Kind.REPLACED, Kind.CONFLICT):
        receiving.taken(taken(kind))
    receiving.taken(taken(Kind.STORED, MR))
    assert not trail.told
    witness.ended(CALLER, KNOWN)
    transfers = [event for event in trail.told if event.code == events.INSTANCES_TRANSFERRED]
    found = {
        (event.action, int(event.outcome)): event.objects[0].sop_classes for event in transfers
    }
    assert found == {
        ("C", 0): ((CT, 2), (MR, 1)),
        ("R", 0): ((CT, 1),),
        ("U", 0): ((CT, 1),),
        ("R", 4): ((CT, 1),),
    }
    assert {event.objects[1].name for event in transfers} == {"DOE^JANE"}
    assert trail.names[-1] == "Logout"


def test_every_kind_has_its_action() -> None:
    assert set(ACTIONS) == set(Kind)


def test_failures_are_told_with_their_status(trail: Listening, witness: Witness) -> None:
    receiving = witness.receiving(CALLER, KNOWN)
    assert receiving is not None
    request = StoreRequest(
        caller=CALLER,
        context=Context(1, CT, EXPLICIT),
        message_id=1,
        sop_class_uid=CT,
        sop_instance_uid="1.2",
    )
    for _ in range(3):
        receiving.failed(request, Answer(0xA700, "Archive is full"))
    witness.ended(CALLER, KNOWN)
    failed, _ = trail.told
    assert failed.description == "A700 Archive is full"
    assert failed.objects[0].sop_classes == ((CT, 3),)


def find_request() -> FindRequest:
    return FindRequest(
        caller=CALLER,
        context=Context(1, STUDY_FIND, EXPLICIT),
        message_id=1,
        sop_class_uid=STUDY_FIND,
        identifier=b"asked",
        cancelled=lambda: False,
        send=lambda answer: None,
    )


@pytest.mark.parametrize(
    ("answers", "failure"),
    [
        ([Answer(0xFF00), Answer(0)], ""),
        ([Answer(0xFF01), Answer(0xFE00)], ""),
        ([Answer(0xA900, "Level is missing")], "A900 Level is missing"),
        ([Answer(0xFF00)], "broken off"),
        ([], "broken off"),
    ],
)
def test_a_query_is_told_when_it_is_over(
    answers: list[Answer], failure: str, trail: Listening, witness: Witness
) -> None:
    assert list(witness.querying(find_request(), KNOWN, iter(answers))) == answers
    (event,) = trail.told
    assert event.objects[0].query == b"asked"
    assert event.description == failure


def test_a_query_that_is_left_is_told(trail: Listening, witness: Witness) -> None:
    def answers() -> Iterator[Answer]:
        while True:
            yield Answer(0xFF00)

    asked = witness.querying(find_request(), KNOWN, answers())
    next(asked)
    asked.close()  # type: ignore[attr-defined]
    assert [event.description for event in trail.told] == ["broken off"]


def moving(trail: Listening, archive: Any, peer: Any = None) -> list[Answer]:
    rules = {"unknown_callers": frozenset({"move", "get"})}
    access = Access(settings(rules, STORE={"ae_title": "STORE"}))
    dispatcher = Dispatcher(archive, access, peer or ScriptedPeer(), trail=trail)
    requester = Requester()
    request = requester.move()
    assert dispatcher.admit(request.caller) is None
    return list(dispatcher.handle(request))


def test_a_retrieve_is_told_before_and_after(trail: Listening) -> None:
    archive = StudyArchive([stored(1), stored(2), stored(3, MR)])
    (final,) = moving(trail, archive)
    assert final.status == 0
    assert trail.names == [
        "Login",
        "Begin Transferring DICOM Instances",
        "DICOM Instances Transferred",
    ]
    for event in trail.told[1:]:
        assert event.objects[0].sop_classes == ((CT, 2), (MR, 1))
        assert event.objects[1].name == "DOE^JOHN"
        assert [each.user_id for each in event.participants[1:]] == ["STORE", "WORKSTATION"]


def test_what_is_not_sent_is_told_apart(trail: Listening) -> None:
    archive = StudyArchive([stored(1), stored(2), stored(3)])
    archive.missing = {"1.2.3.2"}
    moving(trail, archive, ScriptedPeer(verdicts={"1.2.3.3": [0xC001]}))
    told = {event.description: event.objects[0].sop_classes for event in trail.told[2:]}
    assert told == {"": ((CT, 1),), "not sent": ((CT, 1),), "C001": ((CT, 1),)}


def test_nothing_that_matches_is_nothing_to_tell(trail: Listening) -> None:
    moving(trail, StudyArchive())
    assert trail.names == ["Login"]


def test_a_study_is_described_by_its_uid_where_the_index_fails() -> None:
    def study(_: str) -> dict[str, str]:
        raise IndexFailure("locked")

    archive: Any = SimpleNamespace(study=study)
    assert describe(archive, "1.2") == Study("1.2")


def test_a_refused_service_is_told_once_for_each_association(
    trail: Listening, witness: Witness
) -> None:
    for _ in range(3):
        witness.refused(CALLER, KNOWN, "store", "may not store")
    witness.refused(CALLER, KNOWN, "find", "may not find")
    assert trail.names == ["Use of Restricted Function"] * 2
    witness.ended(CALLER, KNOWN)
    witness.refused(CALLER, KNOWN, "store", "may not store")
    assert trail.names.count("Use of Restricted Function") == 3


def test_where_nobody_is_told_nothing_is_counted() -> None:
    from pacsnode.audit import Silent

    class Asked(Silent):
        def record(self, event: Event) -> None:
            pytest.fail("told")

    witness = Witness(Asked(), FakeArchive())  # type: ignore[arg-type]
    witness.decided(CALLER, KNOWN, None)
    witness.turned_away("192.0.2.1", "why")
    witness.refused(CALLER, KNOWN, "store", "why")
    assert witness.receiving(CALLER, KNOWN) is None
    answers = iter([Answer(0)])
    assert witness.querying(find_request(), KNOWN, answers) is answers
    assert witness.sending(find_request(), KNOWN, None) is UNSEEN
    witness.ended(CALLER, KNOWN)
