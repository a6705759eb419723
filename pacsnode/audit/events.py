"""Which audit message tells of what (PS3.15 A.5.3): from what happened to an Event.

the node starts, stops          Application Activity, Application Start or Stop
an association opens, ends      User Authentication, Login or Logout: the standard has no event of
                                its own for it
an association is refused       Security Alert, Node Authentication
a service is refused            Security Alert, Use of Restricted Function
instances come in               DICOM Instances Transferred; Import where they come from files
a query                         Query
instances go out                Begin Transferring DICOM Instances, DICOM Instances Transferred
instances are deleted           DICOM Study Deleted; DICOM Instances Accessed where some are left
conflicts are settled           DICOM Instances Accessed
audit messages were lost        Security Alert, Audit Recording Started
"""

import os
import time
from collections.abc import Sequence
from dataclasses import replace

from pacsnode.audit.event import Code, Event, Object, Outcome, Participant, Party, Study
from pacsnode.audit.text import LONGEST_DESCRIPTION, fit

APPLICATION_ACTIVITY = Code("110100", "Application Activity")
BEGIN_TRANSFERRING = Code("110102", "Begin Transferring DICOM Instances")
INSTANCES_ACCESSED = Code("110103", "DICOM Instances Accessed")
INSTANCES_TRANSFERRED = Code("110104", "DICOM Instances Transferred")
STUDY_DELETED = Code("110105", "DICOM Study Deleted")
IMPORT = Code("110107", "Import")
QUERY = Code("110112", "Query")
SECURITY_ALERT = Code("110113", "Security Alert")
USER_AUTHENTICATION = Code("110114", "User Authentication")

APPLICATION_START = Code("110120", "Application Start")
APPLICATION_STOP = Code("110121", "Application Stop")
LOGIN = Code("110122", "Login")
LOGOUT = Code("110123", "Logout")
NODE_AUTHENTICATION = Code("110126", "Node Authentication")
RESTRICTED_FUNCTION = Code("110132", "Use of Restricted Function")
AUDIT_RECORDING_STARTED = Code("110134", "Audit Recording Started")

APPLICATION = Code("110150", "Application")
APPLICATION_LAUNCHER = Code("110151", "Application Launcher")
DESTINATION = Code("110152", "Destination Role ID")
SOURCE = Code("110153", "Source Role ID")
SOURCE_MEDIA = Code("110155", "Source Media")
URI = Code("110037", "URI")

STUDY_INSTANCE_UID = Code("110180", "Study Instance UID")
SOP_CLASS_UID = Code("110181", "SOP Class UID")
NODE_ID = Code("110182", "Node ID")
PATIENT_NUMBER = Code("2", "Patient Number", "RFC-3881")

PERSON, SYSTEM = "1", "2"  # ParticipantObjectTypeCode
PATIENT, REPORT, SECURITY_RESOURCE = "1", "3", "13"  # ParticipantObjectTypeCodeRole

CREATE, READ, UPDATE, DELETE, EXECUTE = "C", "R", "U", "D", "E"

UNKNOWN = "unknown"  # where the standard wants an identifier that nobody has

# Of an identifier: its message then has less than the 32 KB that every server takes (PS3.15 A.6).
LONGEST_QUERY = 12 << 10  # bytes


def started(node: Party, user: str) -> Event:
    return _activity(APPLICATION_START, node, user)


def stopped(node: Party, user: str) -> Event:
    return _activity(APPLICATION_STOP, node, user)


def opened(node: Party, caller: Party) -> Event:
    return _authentication(LOGIN, node, caller)


def closed(node: Party, caller: Party) -> Event:
    return _authentication(LOGOUT, node, caller)


def association_refused(node: Party, caller: Party, reason: str) -> Event:
    """`reason` is for people."""
    return _alert(NODE_AUTHENTICATION, node, caller, reason)


def service_refused(node: Party, caller: Party, reason: str) -> Event:
    """`reason` is for people."""
    return _alert(RESTRICTED_FUNCTION, node, caller, reason)


def lost(node: Party, count: int, why: str) -> Event:
    """Told when messages can be sent again."""
    text = f"{count} audit messages were lost: {why}"
    event = _alert(AUDIT_RECORDING_STARTED, node, None, text)
    return replace(event, outcome=Outcome.SERIOUS_FAILURE)


def query(
    node: Party,
    caller: Party,
    sop_class_uid: str,
    transfer_syntax_uid: str,
    identifier: bytes,
    failure: str = "",
) -> Event:
    """`failure` says why it was not answered, where it was not."""
    details = [("TransferSyntax", fit(transfer_syntax_uid).encode())]
    if len(identifier) > LONGEST_QUERY:
        details.append(("LengthBeforeTruncation", str(len(identifier)).encode()))
    asked = Object(
        sop_class_uid,
        SOP_CLASS_UID,
        SYSTEM,
        REPORT,
        query=identifier[:LONGEST_QUERY],
        details=tuple(details),
    )
    participants = (
        _participant(caller, is_requestor=True, role=SOURCE),
        _own(node, role=DESTINATION),
    )
    return _event(QUERY, EXECUTE, participants, (asked,), failure=failure)


def received(
    node: Party,
    caller: Party,
    study: Study,
    sop_classes: Sequence[tuple[str, int]],
    action: str = CREATE,
    failure: str = "",
) -> Event:
    """`action`: CREATE, READ where they were here already, UPDATE where they took others' place."""
    participants = (
        _participant(caller, is_requestor=True, role=SOURCE),
        _own(node, role=DESTINATION),
    )
    objects = _study_and_patient(study, sop_classes)
    return _event(INSTANCES_TRANSFERRED, action, participants, objects, failure=failure)


def begins_sending(
    node: Party,
    destination: Party,
    requestor: Party,
    study: Study,
    sop_classes: Sequence[tuple[str, int]],
) -> Event:
    participants = _sending(node, destination, requestor)
    objects = _study_and_patient(study, sop_classes)
    return _event(BEGIN_TRANSFERRING, EXECUTE, participants, objects)


def sent(
    node: Party,
    destination: Party,
    requestor: Party,
    study: Study,
    sop_classes: Sequence[tuple[str, int]],
    failure: str = "",
) -> Event:
    participants = _sending(node, destination, requestor)
    objects = _study_and_patient(study, sop_classes)
    return _event(INSTANCES_TRANSFERRED, READ, participants, objects, failure=failure)


def imported(
    node: Party,
    user: str,
    media: str,
    study: Study,
    sop_classes: Sequence[tuple[str, int]],
) -> Event:
    """`media` is the URI of where the files were."""
    participants = (
        Participant(user, is_requestor=True, role=DESTINATION),
        _own(node, role=DESTINATION),
        Participant(media, is_requestor=False, role=SOURCE_MEDIA, media_type=URI),
    )
    return _event(IMPORT, CREATE, participants, _study_and_patient(study, sop_classes))


def deleted(
    node: Party,
    user: str,
    study: Study,
    sop_classes: Sequence[tuple[str, int]],
    *,
    is_whole: bool,
) -> Event:
    """`is_whole`: nothing of the study is left."""
    code = STUDY_DELETED if is_whole else INSTANCES_ACCESSED
    participants = (Participant(user, is_requestor=True), _own(node))
    return _event(code, DELETE, participants, _study_and_patient(study, sop_classes))


def settled(node: Party, user: str, study: Study, action: str) -> Event:
    """Of two instances with one UID: the newcomer took the first's place (UPDATE), or was removed
    (DELETE)."""
    participants = (Participant(user, is_requestor=True), _own(node))
    return _event(INSTANCES_ACCESSED, action, participants, _study_and_patient(study, ()))


def _event(
    code: Code,
    action: str,
    participants: tuple[Participant, ...],
    objects: tuple[Object, ...] = (),
    type_code: Code | None = None,
    failure: str = "",
) -> Event:
    outcome = Outcome.MINOR_FAILURE if failure else Outcome.SUCCESS
    return Event(code, action, time.time(), participants, objects, type_code, outcome, failure)


def _activity(type_code: Code, node: Party, user: str) -> Event:
    launcher = Participant(user, is_requestor=True, role=APPLICATION_LAUNCHER)
    participants = (_own(node, role=APPLICATION), launcher)
    return _event(APPLICATION_ACTIVITY, EXECUTE, participants, type_code=type_code)


def _authentication(type_code: Code, node: Party, caller: Party) -> Event:
    """The user, where the caller named one, is a participant beside the application entity: its
    word for it is all that there is."""
    user = (Participant(caller.user, is_requestor=True, host=caller.host),) if caller.user else ()
    participants = (_participant(caller, is_requestor=not user), *user, _own(node))
    return _event(USER_AUTHENTICATION, EXECUTE, participants, type_code=type_code)


def _alert(type_code: Code, node: Party, caller: Party | None, text: str) -> Event:
    subject = caller or node
    alert = Object(
        subject.host or UNKNOWN,
        NODE_ID,
        SYSTEM,
        SECURITY_RESOURCE,
        name=subject.ae_title or UNKNOWN,
        details=(("Alert Description", fit(text, LONGEST_DESCRIPTION).encode()),),
    )
    performers = () if caller is None else (_participant(caller, is_requestor=False),)
    participants = (_own(node, is_requestor=caller is None), *performers)
    return _event(SECURITY_ALERT, EXECUTE, participants, (alert,), type_code, failure=text)


def _sending(node: Party, destination: Party, requestor: Party) -> tuple[Participant, ...]:
    """Of a C-GET the destination has asked for it, of a C-MOVE a third party."""
    is_same = destination == requestor
    others = () if is_same else (_participant(requestor, is_requestor=True),)
    return (
        _own(node, role=SOURCE),
        _participant(destination, is_requestor=is_same, role=DESTINATION),
        *others,
    )


def _own(node: Party, *, is_requestor: bool = False, role: Code | None = None) -> Participant:
    """This process, by the number that the system's logs know it by."""
    return Participant(
        str(os.getpid()), is_requestor, (node.ae_title,), "pacsnode", role, node.host
    )


def _participant(party: Party, *, is_requestor: bool, role: Code | None = None) -> Participant:
    user_id = party.name or party.ae_title or party.host or UNKNOWN
    return Participant(
        user_id, is_requestor, (party.ae_title,), party.certificate, role, party.host
    )


def _study_and_patient(
    study: Study, sop_classes: Sequence[tuple[str, int]]
) -> tuple[Object, Object]:
    uid = study.study_instance_uid or UNKNOWN
    return (
        Object(
            uid,
            STUDY_INSTANCE_UID,
            SYSTEM,
            REPORT,
            name=uid,  # one of name and query must be there
            accession_number=study.accession_number,
            sop_classes=tuple(sop_classes),
        ),
        Object(
            study.patient_id or UNKNOWN, PATIENT_NUMBER, PERSON, PATIENT, name=study.patient_name
        ),
    )
