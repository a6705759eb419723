"""Which presentation contexts the node accepts and with which roles (PS3.8 9.3.3.2, PS3.7 D.3.3.4):
answered from the request alone, whatever the number of SOP classes there are."""

from collections.abc import Iterable, Mapping
from enum import Enum
from functools import cache
from typing import NamedTuple

from pydicom._uid_dict import UID_dictionary
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

VERIFICATION = "1.2.840.10008.1.1"
STORAGE_COMMITMENT_PUSH_MODEL = "1.2.840.10008.1.20.1"
DICOM_ROOT = "1.2.840.10008."

UNCOMPRESSED = (
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
)


class Service(Enum):
    """The services that the node answers."""

    ECHO = "echo"
    STORE = "store"
    FIND = "find"
    MOVE = "move"
    GET = "get"
    COMMIT = "commit"


_BY_SOP_CLASS = {
    VERIFICATION: Service.ECHO,
    STORAGE_COMMITMENT_PUSH_MODEL: Service.COMMIT,
    "1.2.840.10008.5.1.4.1.2.1.1": Service.FIND,
    "1.2.840.10008.5.1.4.1.2.1.2": Service.MOVE,
    "1.2.840.10008.5.1.4.1.2.1.3": Service.GET,
    "1.2.840.10008.5.1.4.1.2.2.1": Service.FIND,
    "1.2.840.10008.5.1.4.1.2.2.2": Service.MOVE,
    "1.2.840.10008.5.1.4.1.2.2.3": Service.GET,
    "1.2.840.10008.5.1.4.1.2.3.1": Service.FIND,
    "1.2.840.10008.5.1.4.1.2.3.2": Service.MOVE,
    "1.2.840.10008.5.1.4.1.2.3.3": Service.GET,
}

# Composite objects that are of no patient: they have no study to be filed under.
_NOT_OF_A_PATIENT = frozenset(
    {
        "1.2.840.10008.1.3.10",  # Media Storage Directory
        "1.2.840.10008.5.1.4.1.1.200.1",  # CT Defined Procedure Protocol
        "1.2.840.10008.5.1.4.1.1.200.3",  # Protocol Approval
        "1.2.840.10008.5.1.4.1.1.200.7",  # XA Defined Procedure Protocol
        "1.2.840.10008.5.1.4.1.1.201.1",  # Inventory
        "1.2.840.10008.5.1.4.38.1",  # Hanging Protocol
        "1.2.840.10008.5.1.4.39.1",  # Color Palette
        "1.2.840.10008.5.1.4.43.1",  # Generic Implant Template
        "1.2.840.10008.5.1.4.44.1",  # Implant Assembly Template
        "1.2.840.10008.5.1.4.45.1",  # Implant Template Group
    }
)


@cache
def _standard_storage() -> frozenset[str]:
    return frozenset(
        uid
        for uid, (name, kind, *_) in UID_dictionary.items()
        if kind == "SOP Class"
        and "Storage" in name
        and "Commitment" not in name
        and uid not in _NOT_OF_A_PATIENT
    )


@cache
def _standard_transfer_syntaxes() -> frozenset[str]:
    return frozenset(
        uid for uid, (_, kind, *_) in UID_dictionary.items() if kind == "Transfer Syntax"
    )


def service_of(abstract_syntax: str) -> Service | None:
    """The service behind a SOP class. Storage are the standard's storage classes of patients'
    objects, retired ones too, private classes, and such as are newer than this program."""
    service = _BY_SOP_CLASS.get(abstract_syntax)
    if service is not None:
        return service
    if abstract_syntax in _standard_storage():
        return Service.STORE
    if abstract_syntax in UID_dictionary or abstract_syntax in _NOT_OF_A_PATIENT:
        return None
    if abstract_syntax.startswith(DICOM_ROOT):
        is_storage = abstract_syntax.startswith("1.2.840.10008.5.1.4.1.1.")
        return Service.STORE if is_storage else None
    return Service.STORE if abstract_syntax else None


def choose_transfer_syntax(service: Service, proposed: Iterable[str]) -> str | None:
    """The requestor's first that the node takes: any known or private one for storage."""
    for uid in proposed:
        if service is not Service.STORE:
            if uid in UNCOMPRESSED:
                return uid
            continue
        if uid in _standard_transfer_syntaxes() or (uid and not uid.startswith(DICOM_ROOT)):
            return uid
    return None


_OF_BOTH_SIDES = (Service.STORE, Service.COMMIT)


class Roles(NamedTuple):
    """The roles of the association's requestor for one SOP class."""

    scu: bool
    scp: bool


def choose_roles(proposed: Mapping[str, Roles]) -> dict[str, Roles]:
    """What to answer to role selection: the requestor may be the SCP of storage (C-GET) and of
    storage commitment (PS3.4 J.3.3: its reports come on an association of its own). Where no role
    is left there is no answer, and the default roles hold."""
    answers = {}
    for uid, roles in proposed.items():
        service = service_of(uid)
        agreed = Roles(roles.scu, roles.scp and service in _OF_BOTH_SIDES)
        if service is not None and any(agreed):
            answers[uid] = agreed
    return answers
