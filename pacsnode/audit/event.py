"""What the audit trail tells of: an event, who took part in it, what it was done to. The values of
PS3.15 A.5.1; texts may be whatever strangers said, and are made fit where they are written."""

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple


class Code(NamedTuple):
    """A coded value (PS3.16, context groups 400 to 405), or one of RFC 3881."""

    value: str
    meaning: str
    system: str = "DCM"


class Outcome(IntEnum):
    """EventOutcomeIndicator. A failure that was dealt with is a minor one."""

    SUCCESS = 0
    MINOR_FAILURE = 4
    SERIOUS_FAILURE = 8


@dataclass(frozen=True, slots=True)
class Participant:
    """An ActiveParticipant. `host` is an IP address or a machine's name."""

    user_id: str
    is_requestor: bool
    ae_titles: tuple[str, ...] = ()
    user_name: str = ""
    role: Code | None = None
    host: str = ""
    media_type: Code | None = None


@dataclass(frozen=True, slots=True)
class Object:
    """A ParticipantObjectIdentification. `kind` and `role` are the numbers of PS3.15 A.5.1.2;
    `sop_classes` are UIDs with the number of instances; `details` are read by machines only."""

    identifier: str
    id_type: Code
    kind: str
    role: str
    name: str = ""
    query: bytes | None = None
    details: tuple[tuple[str, bytes], ...] = ()
    accession_number: str = ""
    sop_classes: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Event:
    """One audit message. `action` is C, R, U, D or E; `at` is Unix time in seconds."""

    code: Code
    action: str
    at: float
    participants: tuple[Participant, ...]
    objects: tuple[Object, ...] = ()
    type_code: Code | None = None
    outcome: Outcome = Outcome.SUCCESS
    description: str = ""


@dataclass(frozen=True, slots=True)
class Party:
    """An application entity or a person, as seen from here. `name` is what this node knows it by,
    `certificate` the subject that it showed, `user` whom it says that it speaks for."""

    ae_title: str
    host: str
    name: str = ""
    certificate: str = ""
    user: str = ""


@dataclass(frozen=True, slots=True)
class Study:
    """What is told of a study."""

    study_instance_uid: str
    patient_id: str = ""
    patient_name: str = ""
    accession_number: str = ""
