"""What the node takes and proposes, found by asking the program itself about every UID that the
standard registers (PS3.6 annex A)."""

from functools import cache
from typing import NamedTuple

from pydicom._uid_dict import UID_dictionary

from pacsnode.net import internals
from pacsnode.net.contexts import (
    Roles,
    Service,
    choose_roles,
    choose_transfer_syntax,
    service_of,
)


class Registered(NamedTuple):
    """A UID and the name that PS3.6 gives it."""

    uid: str
    name: str
    is_retired: bool

    @property
    def text(self) -> str:
        return f"{self.name} (retired)" if self.is_retired else self.name


@cache
def registered(kind: str) -> tuple[Registered, ...]:
    """All of one kind, `SOP Class` or `Transfer Syntax`, ordered by their UIDs' numbers."""
    internals.configure()  # as in a running node: pynetdicom knows UIDs that pydicom does not yet
    found = [
        Registered(uid, name.removesuffix(" (Retired)").partition(":")[0], bool(retired))
        for uid, (name, type_, _, retired, *_) in UID_dictionary.items()
        if type_ in (kind, f"Meta {kind}")
    ]
    return tuple(sorted(found, key=lambda one: [int(arc) for arc in one.uid.split(".")]))


def sop_classes(service: Service) -> tuple[Registered, ...]:
    """Those by which the node answers this service."""
    return tuple(one for one in registered("SOP Class") if service_of(one.uid) is service)


def transfer_syntaxes(service: Service) -> tuple[Registered, ...]:
    """Those that it accepts for them."""
    return tuple(
        one for one in registered("Transfer Syntax") if choose_transfer_syntax(service, [one.uid])
    )


def requestor_roles(sop_class_uid: str) -> Roles:
    """What the requestor of an association gets that proposes to be both SCU and SCP."""
    agreed = choose_roles({sop_class_uid: Roles(scu=True, scp=True)})
    return agreed.get(sop_class_uid, Roles(scu=True, scp=False))


def name_of(uid: str) -> str:
    """The name of a UID, the UID itself where the standard does not know it."""
    entry = UID_dictionary.get(uid)
    return entry[0].partition(":")[0] if entry else uid


def names_of(uids: tuple[str, ...]) -> str:
    return ", ".join(name_of(uid) for uid in uids)
