"""An event as a DICOM audit message (PS3.15 A.5.1.1). Elements in the order of its schema."""

import base64
import ipaddress
from collections.abc import Iterator
from functools import cache
from xml.sax.saxutils import quoteattr

from pacsnode.audit.event import Code, Event, Object, Participant
from pacsnode.audit.text import LONGEST_DESCRIPTION, fit, utc

APPLICATION_SERVER = "4"  # AuditSourceTypeCode
MACHINE_NAME, IP_ADDRESS = "1", "2"  # NetworkAccessPointTypeCode


def to_xml(event: Event, source: str) -> str:
    """On one line, without a declaration. `source` is who reports it (AuditSourceID)."""
    return "".join(_message(event, source))


def _message(event: Event, source: str) -> Iterator[str]:
    yield "<AuditMessage>"
    yield from _identification(event)
    for participant in event.participants:
        yield from _participant(participant)
    yield _open("AuditSourceIdentification", AuditSourceID=source)
    yield _empty("AuditSourceTypeCode", **{"csd-code": APPLICATION_SERVER})
    yield "</AuditSourceIdentification>"
    for thing in event.objects:
        yield from _object(thing)
    yield "</AuditMessage>"


def _identification(event: Event) -> Iterator[str]:
    yield _open(
        "EventIdentification",
        EventActionCode=event.action,
        EventDateTime=utc(event.at),
        EventOutcomeIndicator=str(int(event.outcome)),
    )
    yield _code("EventID", event.code)
    if event.type_code is not None:
        yield _code("EventTypeCode", event.type_code)
    if event.description:
        text = fit(event.description, LONGEST_DESCRIPTION)
        yield f"<EventOutcomeDescription>{_escaped(text)}</EventOutcomeDescription>"
    yield "</EventIdentification>"


def _participant(participant: Participant) -> Iterator[str]:
    attributes = {"UserID": participant.user_id}
    if participant.ae_titles:
        attributes["AlternativeUserID"] = f"AETITLES={';'.join(participant.ae_titles)}"
    if participant.user_name:
        attributes["UserName"] = participant.user_name
    attributes["UserIsRequestor"] = "true" if participant.is_requestor else "false"
    if participant.host:
        attributes["NetworkAccessPointID"] = participant.host
        attributes["NetworkAccessPointTypeCode"] = _access_point_type(participant.host)
    yield _open("ActiveParticipant", **attributes)
    if participant.role is not None:
        yield _code("RoleIDCode", participant.role)
    if participant.media_type is not None:
        yield f"<MediaIdentifier>{_code('MediaType', participant.media_type)}</MediaIdentifier>"
    yield "</ActiveParticipant>"


def _object(thing: Object) -> Iterator[str]:
    yield _open(
        "ParticipantObjectIdentification",
        ParticipantObjectID=thing.identifier,
        ParticipantObjectTypeCode=thing.kind,
        ParticipantObjectTypeCodeRole=thing.role,
    )
    yield _code("ParticipantObjectIDTypeCode", thing.id_type)
    if thing.query is None:
        name = _escaped(fit(thing.name))
        yield f"<ParticipantObjectName>{name}</ParticipantObjectName>"
    else:
        query = base64.b64encode(thing.query).decode()
        yield f"<ParticipantObjectQuery>{query}</ParticipantObjectQuery>"
    for kind, value in thing.details:
        encoded = base64.b64encode(value).decode()
        yield _empty("ParticipantObjectDetail", type=kind, value=encoded)
    if thing.accession_number or thing.sop_classes:
        yield "<ParticipantObjectDescription>"
        if thing.accession_number:
            yield _empty("Accession", Number=thing.accession_number)
        for uid, count in thing.sop_classes:
            yield _empty("SOPClass", UID=uid, NumberOfInstances=str(count))
        yield "</ParticipantObjectDescription>"
    yield "</ParticipantObjectIdentification>"


def _access_point_type(host: str) -> str:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return MACHINE_NAME
    return IP_ADDRESS


@cache  # of a fixed set of codes
def _code(name: str, code: Code) -> str:
    attributes = {
        "csd-code": code.value,
        "codeSystemName": code.system,
        "originalText": code.meaning,
    }
    return _empty(name, **attributes)


def _open(name: str, **attributes: str) -> str:
    return f"<{name}{_attributes(attributes)}>"


def _empty(name: str, **attributes: str) -> str:
    return f"<{name}{_attributes(attributes)}/>"


def _attributes(attributes: dict[str, str]) -> str:
    return "".join(
        f" {name}={quoteattr(value if name == 'value' else fit(value))}"
        for name, value in attributes.items()
    )


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
