"""A-ASSOCIATE PDUs as real peers send them, made fit for pynetdicom's decoder (PS3.8 9.3.2).

Presentation contexts of a request pass it by: clients propose 128 of them for each association, and
an object and several regular expressions for each UID took ten times what all the rest takes."""

import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import NamedTuple

_ITEM = struct.Struct(">BxH")
_LENGTH = struct.Struct(">L")
_IDENTITY = struct.Struct(">BBH")  # type, whether a response is wanted, length of what follows

VERSION = slice(6, 8)
TITLES = slice(10, 42)  # called, then calling, 16 bytes each
RESERVED = slice(10, 74)  # what an A-ASSOCIATE-AC gives back as it came
FIRST_ITEM = 74

APPLICATION_CONTEXT, PROPOSED_CONTEXT, ANSWERED_CONTEXT = 0x10, 0x20, 0x21
ABSTRACT_SYNTAX, TRANSFER_SYNTAX = 0x30, 0x40
USER_INFORMATION, ROLES, VERSION_NAME, USER_IDENTITY = 0x50, 0x54, 0x55, 0x58
ITEMS = frozenset({APPLICATION_CONTEXT, ANSWERED_CONTEXT, USER_INFORMATION})
# Passcodes, tickets and tokens are kept from everything that decodes, remembers or prints items.
SUB_ITEMS = frozenset(range(0x51, 0x5A)) - {USER_IDENTITY}

USERNAME, USERNAME_AND_PASSCODE = 1, 2
_IDENTITY_KINDS = {3: "Kerberos ticket", 4: "SAML assertion", 5: "JSON Web Token"}
_LONGEST_USERNAME = 64  # characters that the log gets

# Stands in for the titles, which are taken from the PDU: pynetdicom refuses blank ones.
_STAND_IN = b"PEER".ljust(16) * 2
_VERSION_1 = b"\0\x01"
# Stands in for rejections, of which pynetdicom refuses those with codes that it does not know.
PLAIN_REJECTION = b"\x03\0\0\0\0\x04\0\x01\x01\x01"


class ProposedContext(NamedTuple):
    """A presentation context of an A-ASSOCIATE-RQ. UIDs are as sent, less padding; what is no ASCII
    is empty."""

    context_id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


class AnsweredContext(NamedTuple):
    """One of an A-ASSOCIATE-AC: result of PS3.8 9.3.3.2, and the transfer syntax chosen."""

    context_id: int
    result: int
    transfer_syntax: str


class Rejection(NamedTuple):
    """The codes of an A-ASSOCIATE-RJ (PS3.8 9.3.4)."""

    result: int
    source: int
    reason: int


def rejection(pdu: bytes) -> Rejection:
    """Raises ValueError where the PDU is cut off."""
    if len(pdu) != len(PLAIN_REJECTION):
        raise ValueError(f"an A-ASSOCIATE-RJ of {len(pdu)} bytes")
    return Rejection(*pdu[7:10])


class UserIdentity(NamedTuple):
    """Whom the requestor of an association claims to speak for (PS3.7 D.3.3.7.1). `name` is the
    username, or says what else there was: never a passcode, a ticket or a token."""

    kind: int
    name: str
    wants_response: bool

    @property
    def is_username(self) -> bool:
        return self.kind in (USERNAME, USERNAME_AND_PASSCODE)


def user_identity(pdu: bytes) -> UserIdentity | None:
    """The one of an A-ASSOCIATE-RQ; None where there is none, or its lengths lie: an association
    does not depend on it."""
    with suppress(ValueError):
        for kind, content in items_in(pdu, FIRST_ITEM, len(pdu)):
            if kind != USER_INFORMATION:
                continue
            for sub_kind, sub_content in items_in(content, 0, len(content)):
                if sub_kind == USER_IDENTITY:
                    return _user_identity(sub_content)
    return None


def _user_identity(content: bytes) -> UserIdentity | None:
    if len(content) < _IDENTITY.size:
        return None
    kind, wants_response, length = _IDENTITY.unpack_from(content)
    primary = content[_IDENTITY.size : _IDENTITY.size + length]
    name = _IDENTITY_KINDS.get(kind, f"identity of the type {kind}")
    if kind in (USERNAME, USERNAME_AND_PASSCODE):
        text = primary.decode("utf-8", "replace").strip(" \0")[:_LONGEST_USERNAME]
        name = "".join(character if character.isprintable() else "?" for character in text)
    return UserIdentity(kind, name, wants_response == 1)


def is_version_1(pdu: bytes) -> bool:
    """Whether an A-ASSOCIATE-RQ offers version 1, perhaps among others: bit 0 alone is tested
    (PS3.8 9.3.2)."""
    return bool(pdu[VERSION][1] & 1)


def titles(pdu: bytes) -> tuple[str, str]:
    """Called and calling AE title of an A-ASSOCIATE-RQ, trimmed of spaces and NULs. Bytes outside
    ASCII are kept as Latin-1 has them."""
    text = pdu[TITLES].decode("latin-1")
    return text[:16].strip(" \0"), text[16:].strip(" \0")


def proposed_contexts(pdu: bytes) -> list[ProposedContext]:
    """Those of an A-ASSOCIATE-RQ. Raises ValueError where the lengths lie, and for even numbers
    (PS3.8 9.3.2.2)."""
    contexts = {}
    for kind, content in items_in(pdu, FIRST_ITEM, len(pdu)):
        if kind == PROPOSED_CONTEXT:
            context = _proposed_context(content)
            contexts[context.context_id] = context
    return list(contexts.values())


def _proposed_context(content: bytes) -> ProposedContext:
    number = content[0] if content else 0
    if not number % 2:
        raise ValueError(f"a presentation context with the number {number}")
    abstract_syntax, transfer_syntaxes = "", []
    for kind, name in items_in(content, 4, len(content)):
        uid = name.strip(b"\0 ").decode("ascii") if name.isascii() else ""
        if kind == ABSTRACT_SYNTAX:
            abstract_syntax = uid
        elif kind == TRANSFER_SYNTAX:
            transfer_syntaxes.append(uid)
    return ProposedContext(number, abstract_syntax, tuple(transfer_syntaxes))


def answer(accepted: bytes, request: bytes, contexts: Iterable[AnsweredContext]) -> bytes:
    """The A-ASSOCIATE-AC with these presentation contexts, and what it gives back as it came in
    the A-ASSOCIATE-RQ."""
    items = []
    for kind, content in items_in(accepted, FIRST_ITEM, len(accepted)):
        items.append(item_of(kind, content))
        if kind == APPLICATION_CONTEXT:
            items += [_answered_context(context) for context in contexts]
    body = b"".join(items)
    length = _LENGTH.pack(FIRST_ITEM - 6 + len(body))
    return accepted[:2] + length + accepted[6:10] + request[RESERVED] + body


def _answered_context(context: AnsweredContext) -> bytes:
    head = bytes((context.context_id, 0, context.result, 0))
    return item_of(
        ANSWERED_CONTEXT, head + item_of(TRANSFER_SYNTAX, context.transfer_syntax.encode("ascii"))
    )


def tidy(pdu: bytes) -> bytes:
    """The PDU with plain titles, of version 1, without the contexts that a request proposes and
    without items of unknown types, which shall be ignored (PS3.8 9.3.1). Raises ValueError where
    the lengths lie."""
    if len(pdu) < FIRST_ITEM:
        raise ValueError(f"an A-ASSOCIATE PDU of {len(pdu)} bytes")
    items = []
    for kind, content in items_in(pdu, FIRST_ITEM, len(pdu)):
        if kind == USER_INFORMATION:
            content = b"".join(
                item_of(sub_kind, _readable(sub_kind, sub_content))
                for sub_kind, sub_content in items_in(content, 0, len(content))
                if sub_kind in SUB_ITEMS
            )
        if kind in ITEMS:
            items.append(item_of(kind, content))
    body = b"".join(items)
    length = FIRST_ITEM - 6 + len(body)
    head = pdu[:2] + _LENGTH.pack(length) + _VERSION_1 + pdu[8:10] + _STAND_IN + pdu[42:FIRST_ITEM]
    return head + body


def _readable(kind: int, content: bytes) -> bytes:
    """A user information sub-item as pynetdicom takes it: version names are ASCII, roles 0 or 1."""
    if kind == VERSION_NAME:
        return content.decode("latin-1").encode("ascii", "replace")
    if kind == ROLES and len(content) > 2:
        return content[:-2] + bytes(int(role == 1) for role in content[-2:])
    return content


def items_in(data: bytes, position: int, end: int) -> Iterator[tuple[int, bytes]]:
    """Kinds and contents of the items, or sub-items, between two places. Raises ValueError where
    the lengths lie."""
    while position < end:
        if end - position < _ITEM.size:
            raise ValueError("an item's header is cut off")
        kind, length = _ITEM.unpack_from(data, position)
        position += _ITEM.size
        if length > end - position:
            raise ValueError(f"item {kind:02X} overruns its PDU")
        yield kind, data[position : position + length]
        position += length


def item_of(kind: int, content: bytes) -> bytes:
    """An item, or sub-item, with its header."""
    return _ITEM.pack(kind, len(content)) + content
