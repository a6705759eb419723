"""Audit messages are what PS3.15 A.5 says, whatever is told."""

import base64
from xml.etree.ElementTree import Element

import pytest

from pacsnode.audit import events
from pacsnode.audit.event import Party, Study
from pacsnode.audit.message import to_xml
from tests.audit.samples import CALLER, EXPLICIT, FIND, HOSTILE, NODE, everything
from tests.audit.schema import details_of, parsed

EVERY = sorted(everything())
LIMIT = 32_768  # bytes that every server takes (PS3.15 A.6)


def message(name: str) -> Element:
    return parsed(to_xml(everything()[name], "PACSNODE"))


def participant(element: Element, user_id: str) -> Element:
    (found,) = (each for each in element.iter("ActiveParticipant") if each.get("UserID") == user_id)
    return found


@pytest.mark.parametrize("name", EVERY)
def test_every_event_follows_the_schema(name: str) -> None:
    found = message(name)
    source = found.find("AuditSourceIdentification")
    assert source is not None
    assert source.get("AuditSourceID") == "PACSNODE"


@pytest.mark.parametrize("name", EVERY)
def test_hostile_texts_break_no_message(name: str) -> None:
    party = Party(HOSTILE, HOSTILE, HOSTILE, HOSTILE)
    event = everything(party, party, Study(*[HOSTILE] * 4), HOSTILE)[name]
    xml = to_xml(event, HOSTILE)
    parsed(xml)
    parsed(xml.encode("utf-8"))
    assert "\n" not in xml
    assert "\x1b" not in xml


@pytest.mark.parametrize("name", EVERY)
def test_no_message_is_longer_than_every_server_takes(name: str) -> None:
    long = "\U0001f600&" * 100_000
    party = Party(long, long, long, long)
    event = everything(party, party, Study(*[long] * 4), long)[name]
    xml = to_xml(event, long)
    parsed(xml)
    assert len(xml.encode()) < LIMIT


def test_a_long_query_is_cut_and_says_so() -> None:
    identifier = bytes(range(256)) * 4000
    xml = to_xml(events.query(NODE, CALLER, FIND, EXPLICIT, identifier), "PACSNODE")
    assert len(xml) < LIMIT - 2_000
    found = parsed(xml)
    query = found.findtext(".//ParticipantObjectQuery") or ""
    assert base64.b64decode(query) == identifier[: events.LONGEST_QUERY]
    (thing,) = found.iter("ParticipantObjectIdentification")
    assert details_of(thing)["LengthBeforeTruncation"] == str(len(identifier))


def test_a_query_holds_the_identifier_and_its_transfer_syntax() -> None:
    (thing,) = message("query").iter("ParticipantObjectIdentification")
    assert thing.get("ParticipantObjectID") == FIND
    query = thing.findtext("ParticipantObjectQuery") or ""
    assert base64.b64decode(query) == b"\x08\0\x52\0CS\x06\0STUDY "
    assert details_of(thing) == {"TransferSyntax": EXPLICIT}


def test_a_transfer_names_study_patient_and_numbers() -> None:
    study, patient = message("received").iter("ParticipantObjectIdentification")
    assert study.get("ParticipantObjectID") == "1.2.3"
    accession = study.find(".//Accession")
    assert accession is not None
    assert accession.get("Number") == "A1"
    assert {each.get("UID"): each.get("NumberOfInstances") for each in study.iter("SOPClass")} == {
        "1.2.840.10008.5.1.4.1.1.2": "12",
        "1.2.840.10008.5.1.4.1.1.7": "1",
        "why": "3",
    }
    assert patient.get("ParticipantObjectID") == "ID1"
    assert patient.findtext("ParticipantObjectName") == "DOE^JOHN"


def test_a_caller_is_told_by_name_title_address_and_certificate() -> None:
    caller = participant(message("opened"), "ct")
    assert caller.get("AlternativeUserID") == "AETITLES=CT1"
    assert caller.get("NetworkAccessPointID") == "192.0.2.1"
    assert caller.get("NetworkAccessPointTypeCode") == "2"
    assert caller.get("UserName") == "CN=ct1,O=Hospital"
    assert caller.get("UserIsRequestor") == "true"


def test_a_name_and_an_address_are_told_apart() -> None:
    sent = message("sent")
    types = {
        each.get("NetworkAccessPointID"): each.get("NetworkAccessPointTypeCode")
        for each in sent.iter("ActiveParticipant")
    }
    assert types == {"archive.example": "1", "192.0.2.1": "2", "2001:db8::5": "2"}


def test_who_asked_for_a_transfer_is_its_requestor() -> None:
    assert participant(message("sent"), "ct").get("UserIsRequestor") == "true"
    assert participant(message("sent"), "WORKSTATION").get("UserIsRequestor") == "false"
    fetched = message("fetched")
    assert participant(fetched, "ct").get("UserIsRequestor") == "true"
    assert len(fetched.findall("ActiveParticipant")) == 2


def test_a_refusal_says_why_and_its_culprit_is_no_requestor() -> None:
    refused = message("association refused")
    (thing,) = refused.iter("ParticipantObjectIdentification")
    assert thing.get("ParticipantObjectID") == "192.0.2.1"
    assert details_of(thing) == {"Alert Description": "why"}
    assert participant(refused, "ct").get("UserIsRequestor") == "false"
    identification = refused.find("EventIdentification")
    assert identification is not None
    assert identification.get("EventOutcomeIndicator") == "4"
    assert refused.findtext(".//EventOutcomeDescription") == "why"
