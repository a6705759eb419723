"""What the schema of PS3.15 A.5.1.1 demands of an audit message, and A.5.3 of each event's parts,
as rules of our own: the standard library does not read RELAX NG."""

import base64
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

DATE_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
CODE = {"csd-code": ".+", "codeSystemName": ".+", "originalText": ".+"}


class Rule(NamedTuple):
    """Attributes that must and that may be there, each with a pattern; children in their order,
    each with the least and the most of them."""

    required: Mapping[str, str] = {}
    optional: Mapping[str, str] = {}
    children: Sequence[tuple[str, int, int]] = ()
    text: str | None = None


MANY = 10**6
CODED = Rule(CODE, {"displayName": ".+"})
RULES = {
    "AuditMessage": Rule(
        children=[
            ("EventIdentification", 1, 1),
            ("ActiveParticipant", 1, MANY),
            ("AuditSourceIdentification", 1, 1),
            ("ParticipantObjectIdentification", 0, MANY),
        ]
    ),
    "EventIdentification": Rule(
        {"EventDateTime": DATE_TIME.pattern, "EventOutcomeIndicator": "0|4|8|12"},
        {"EventActionCode": "[CRUDE]"},
        [("EventID", 1, 1), ("EventTypeCode", 0, MANY), ("EventOutcomeDescription", 0, 1)],
    ),
    "EventID": CODED,
    "EventTypeCode": CODED,
    "EventOutcomeDescription": Rule(text=".+"),
    "ActiveParticipant": Rule(
        {"UserID": ".+", "UserIsRequestor": "true|false"},
        {
            "AlternativeUserID": ".+",
            "UserName": ".+",
            "NetworkAccessPointID": ".+",
            "NetworkAccessPointTypeCode": "[1-5]",
        },
        [("RoleIDCode", 0, MANY), ("MediaIdentifier", 0, 1)],
    ),
    "RoleIDCode": CODED,
    "MediaIdentifier": Rule(children=[("MediaType", 1, 1)]),
    "MediaType": CODED,
    "AuditSourceIdentification": Rule(
        {"AuditSourceID": ".+"},
        {"AuditEnterpriseSiteID": ".+"},
        [("AuditSourceTypeCode", 0, MANY)],
    ),
    "AuditSourceTypeCode": Rule({"csd-code": "[1-9]"}),
    "ParticipantObjectIdentification": Rule(
        {"ParticipantObjectID": ".+"},
        {
            "ParticipantObjectTypeCode": "[1-4]",
            "ParticipantObjectTypeCodeRole": r"1\d|2[0-6]|[1-9]",
            "ParticipantObjectDataLifeCycle": r"1[0-5]|[1-9]",
            "ParticipantObjectSensitivity": ".+",
        },
        [
            ("ParticipantObjectIDTypeCode", 1, 1),
            ("ParticipantObjectName", 0, 1),
            ("ParticipantObjectQuery", 0, 1),
            ("ParticipantObjectDetail", 0, MANY),
            ("ParticipantObjectDescription", 0, MANY),
        ],
    ),
    "ParticipantObjectIDTypeCode": CODED,
    "ParticipantObjectName": Rule(text=".*"),
    "ParticipantObjectQuery": Rule(text="[A-Za-z0-9+/=]*"),
    "ParticipantObjectDetail": Rule({"type": ".+", "value": "[A-Za-z0-9+/=]*"}),
    "ParticipantObjectDescription": Rule(
        children=[
            ("MPPS", 0, MANY),
            ("Accession", 0, MANY),
            ("SOPClass", 0, MANY),
            ("ParticipantObjectContainsStudy", 0, 1),
            ("Encrypted", 0, 1),
            ("Anonymized", 0, 1),
        ]
    ),
    "Accession": Rule({"Number": ".+"}),
    "SOPClass": Rule({"NumberOfInstances": r"\d+"}, {"UID": ".+"}),
}

SOURCE, DESTINATION, APPLICATION, LAUNCHER, MEDIA = "110153", "110152", "110150", "110151", "110155"
STUDY, PATIENT, SOP_CLASS, NODE = "110180", "2", "110181", "110182"


class Parts(NamedTuple):
    """What A.5.3 has an event made of: its actions, its types, the roles of its participants, and
    what its objects are identified by."""

    actions: str
    types: Sequence[str]
    roles: Sequence[str]
    objects: Sequence[str]


EVENTS = {
    "110100": Parts("E", ["110120", "110121"], [APPLICATION], []),
    "110102": Parts("E", [], [SOURCE, DESTINATION], [STUDY, PATIENT]),
    "110103": Parts("CRUD", [], [], [STUDY, PATIENT]),
    "110104": Parts("CRU", [], [SOURCE, DESTINATION], [STUDY, PATIENT]),
    "110105": Parts("D", [], [], [STUDY, PATIENT]),
    "110107": Parts("C", [], [DESTINATION, MEDIA], [STUDY, PATIENT]),
    "110112": Parts("E", [], [SOURCE, DESTINATION], [SOP_CLASS]),
    "110113": Parts("E", ["110126", "110132", "110134"], [], [NODE]),
    "110114": Parts("E", ["110122", "110123"], [], []),
}
KINDS = {STUDY: ("2", "3"), PATIENT: ("1", "1"), SOP_CLASS: ("2", "3"), NODE: ("2", "13")}


def parsed(xml: str | bytes) -> Element:
    """A message that is as it must be."""
    message = ElementTree.fromstring(xml)
    assert message.tag == "AuditMessage"
    check_element(message)
    check_event(message)
    return message


def check_element(element: Element) -> None:
    rule = RULES[element.tag]
    allowed = {**rule.optional, **rule.required}
    for name, value in element.attrib.items():
        assert re.fullmatch(allowed[name], value), f"{element.tag}: {name}={value!r}"
    assert rule.required.keys() <= element.attrib.keys(), element.attrib
    order = [name for name, _, _ in rule.children]
    places = [order.index(child.tag) for child in element]
    assert places == sorted(places), f"{element.tag}: {[child.tag for child in element]}"
    for name, least, most in rule.children:
        assert least <= len(element.findall(name)) <= most, f"{element.tag}: {name}"
    text = element.text or ""
    assert re.fullmatch(rule.text or "", text, re.DOTALL), f"{element.tag}: {text!r}"
    if element.tag == "ParticipantObjectIdentification":
        either = {"ParticipantObjectName", "ParticipantObjectQuery"}
        assert len([child for child in element if child.tag in either]) == 1
    for child in element:
        check_element(child)


def check_event(message: Element) -> None:
    identification = message.find("EventIdentification")
    assert identification is not None
    parts = EVENTS[code_of(identification, "EventID")]
    assert identification.get("EventActionCode", "") in parts.actions
    types = [code.get("csd-code") for code in identification.findall("EventTypeCode")]
    assert len(types) == bool(parts.types)
    assert set(types) <= set(parts.types)
    participants = message.findall("ActiveParticipant")
    roles = [code_of(participant, "RoleIDCode") for participant in participants]
    for role in parts.roles:
        assert role in roles, f"{role} is missing in {roles}"
    assert sum(each.get("UserIsRequestor") == "true" for each in participants) <= 1
    objects = message.findall("ParticipantObjectIdentification")
    assert [code_of(each, "ParticipantObjectIDTypeCode") for each in objects] == parts.objects
    for thing in objects:
        kind = KINDS[code_of(thing, "ParticipantObjectIDTypeCode")]
        found = thing.get("ParticipantObjectTypeCode"), thing.get("ParticipantObjectTypeCodeRole")
        assert found == kind
    if NODE in parts.objects:
        assert "Alert Description" in details_of(objects[0])
    if SOP_CLASS in parts.objects:
        assert "TransferSyntax" in details_of(objects[0])


def code_of(element: Element, name: str) -> str:
    code = element.find(name)
    return code.get("csd-code", "") if code is not None else ""


def details_of(thing: Element) -> dict[str, str]:
    return {
        detail.get("type", ""): base64.b64decode(detail.get("value", "")).decode()
        for detail in thing.findall("ParticipantObjectDetail")
    }
