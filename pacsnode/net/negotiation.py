"""What an association's beginning and end say (PS3.8 9.3, PS3.7 D.3.3), as values: for those who
look at PDUs that have passed. Whatever the lengths in them say, only ValueError is raised."""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pacsnode.net import associate
from pacsnode.net.associate import (
    AnsweredContext,
    ProposedContext,
    UserIdentity,
    item_of,
    items_in,
)

MAXIMUM_LENGTH, IMPLEMENTATION_CLASS, OPERATIONS_WINDOW = 0x51, 0x52, 0x53
EXTENDED, IDENTITY_ANSWER = 0x56, 0x59
RELEASE_RQ, RELEASE_RP, ABORT = 0x05, 0x06, 0x07

_LENGTH = struct.Struct(">H")
_MAXIMUM = struct.Struct(">L")
_WINDOW = struct.Struct(">HH")


class Role(NamedTuple):
    """Roles of the association's requestor for one SOP class (PS3.7 D.3.3.4)."""

    sop_class_uid: str
    scu: bool
    scp: bool


class Extended(NamedTuple):
    """SOP Class Extended Negotiation (PS3.7 D.3.3.5)."""

    sop_class_uid: str
    information: bytes


class Abort(NamedTuple):
    """Source and reason of an A-ABORT (PS3.8 9.3.8)."""

    source: int
    reason: int


@dataclass(frozen=True, slots=True)
class Negotiation:
    """An A-ASSOCIATE-RQ, which proposes contexts, or an A-ASSOCIATE-AC, which answers them.
    `operations` are those invoked and performed at once, 0 being any number."""

    called_ae_title: str
    calling_ae_title: str
    application_context: str = ""
    proposed: Sequence[ProposedContext] = ()
    answered: Sequence[AnsweredContext] = ()
    maximum_length: int | None = None
    implementation_class_uid: str = ""
    implementation_version_name: str = ""
    operations: tuple[int, int] | None = None
    roles: Sequence[Role] = ()
    extended: Sequence[Extended] = ()
    user: UserIdentity | None = None

    @property
    def transfer_syntaxes(self) -> Mapping[int, str]:
        """Those of the accepted contexts."""
        return {one.context_id: one.transfer_syntax for one in self.answered if one.result == 0}


def read_negotiation(pdu: bytes) -> Negotiation:
    """Of an A-ASSOCIATE-RQ or -AC. Raises ValueError."""
    if len(pdu) < associate.FIRST_ITEM:
        raise ValueError(f"an A-ASSOCIATE PDU of {len(pdu)} bytes")
    called, calling = associate.titles(pdu)
    answered, application_context, user_items = [], "", []
    for kind, content in items_in(pdu, associate.FIRST_ITEM, len(pdu)):
        if kind == associate.APPLICATION_CONTEXT:
            application_context = _text(content)
        elif kind == associate.ANSWERED_CONTEXT:
            answered.append(_answered_context(content))
        elif kind == associate.USER_INFORMATION:
            user_items += list(items_in(content, 0, len(content)))
    of_kind: dict[int, list[bytes]] = {}
    for kind, content in user_items:
        of_kind.setdefault(kind, []).append(content)
    return Negotiation(
        called,
        calling,
        application_context,
        proposed=associate.proposed_contexts(pdu),
        answered=answered,
        maximum_length=_number(of_kind.get(MAXIMUM_LENGTH, [])),
        implementation_class_uid=_text(*of_kind.get(IMPLEMENTATION_CLASS, [b""])[:1]),
        implementation_version_name=_text(*of_kind.get(associate.VERSION_NAME, [b""])[:1]),
        operations=_window(of_kind.get(OPERATIONS_WINDOW, [])),
        roles=[_role(content) for content in of_kind.get(associate.ROLES, [])],
        extended=[_extended(content) for content in of_kind.get(EXTENDED, [])],
        user=associate.user_identity(pdu) if associate.USER_IDENTITY in of_kind else None,
    )


def read_abort(pdu: bytes) -> Abort:
    """Raises ValueError."""
    if len(pdu) != 10:
        raise ValueError(f"an A-ABORT of {len(pdu)} bytes")
    return Abort(pdu[8], pdu[9])


def without_secrets(pdu: bytes) -> bytes:
    """An A-ASSOCIATE-RQ or -AC less passcodes, tickets and tokens (PS3.7 D.3.3.7), others as they
    are. One whose lengths lie keeps nothing but its titles."""
    if pdu[:1] not in (b"\x01", b"\x02"):
        return pdu
    try:
        parts = []
        for kind, content in items_in(pdu, associate.FIRST_ITEM, len(pdu)):
            if kind == associate.USER_INFORMATION:
                content = b"".join(
                    item_of(sub_kind, _without_secret(sub_kind, sub_content))
                    for sub_kind, sub_content in items_in(content, 0, len(content))
                )
            parts.append(item_of(kind, content))
    except ValueError:
        parts = []
    head = pdu[6 : associate.FIRST_ITEM]
    body = b"".join(parts)
    return pdu[:2] + _MAXIMUM.pack(len(head) + len(body)) + head + body


def _without_secret(kind: int, content: bytes) -> bytes:
    if kind == IDENTITY_ANSWER:
        return _LENGTH.pack(0)
    if kind != associate.USER_IDENTITY:
        return content
    if len(content) < 4 or content[0] not in (
        associate.USERNAME,
        associate.USERNAME_AND_PASSCODE,
    ):  # a ticket, an assertion, a token: who has it can be that user
        return content[:2].ljust(2, b"\0") + bytes(4)
    end = 4 + _LENGTH.unpack_from(content, 2)[0]
    return content[:end] + bytes(2)


def _answered_context(content: bytes) -> AnsweredContext:
    if len(content) < 4:
        raise ValueError(f"an answered presentation context of {len(content)} bytes")
    names = [name for kind, name in items_in(content, 4, len(content))]
    return AnsweredContext(content[0], content[2], _text(*names[:1]))


def _role(content: bytes) -> Role:
    uid, flags = _named(content, "a role")
    if len(flags) != 2:
        raise ValueError(f"a role with {len(flags)} bytes after its UID")
    return Role(uid, flags[0] == 1, flags[1] == 1)


def _extended(content: bytes) -> Extended:
    return Extended(*_named(content, "an extended negotiation"))


def _named(content: bytes, what: str) -> tuple[str, bytes]:
    """A UID with its length, and what follows."""
    if len(content) < _LENGTH.size:
        raise ValueError(f"{what} of {len(content)} bytes")
    end = _LENGTH.size + _LENGTH.unpack_from(content)[0]
    return _text(content[_LENGTH.size : end]), content[end:]


def _number(contents: Sequence[bytes]) -> int | None:
    if not contents or len(contents[0]) != _MAXIMUM.size:
        return None
    number: int = _MAXIMUM.unpack(contents[0])[0]
    return number


def _window(contents: Sequence[bytes]) -> tuple[int, int] | None:
    if not contents or len(contents[0]) != _WINDOW.size:
        return None
    invoked, performed = _WINDOW.unpack(contents[0])
    return invoked, performed


def _text(content: bytes = b"") -> str:
    return content.decode("latin-1").strip("\0 ")
