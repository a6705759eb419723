"""What is answered to the user information of an A-ASSOCIATE-RQ."""

import logging
import struct
from collections.abc import Callable, Iterator

import pytest
from pynetdicom import AE
from pynetdicom.pdu_primitives import SOPClassExtendedNegotiation, UserIdentityNegotiation

from pacsnode.dicom.message import Extensions, FindRequest, GetRequest
from pacsnode.net import extensions
from pacsnode.net.contexts import Service
from pacsnode.net.listener import Listener
from tests.net import raw
from tests.net.conftest import ScriptedHandler
from tests.net.raw import CT, IMPLICIT, STUDY_FIND, STUDY_GET, VERIFICATION, RawPeer
from tests.net.test_acceptor import wait_until_nobody_is_served

Serve = Callable[..., Listener]
Dial = Callable[[Listener], RawPeer]

ECHO_CONTEXT = (1, VERIFICATION, [IMPLICIT])
CT_CONTEXT = (1, CT, [IMPLICIT])
STUDY_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
AGREED_TO = {
    service: bytes(bool(field) for field in fields) for service, fields in extensions.FIELDS.items()
}


def test_role_selection_is_granted_to_storage_only(serve: Serve, dial: Dial) -> None:
    peer = dial(serve())
    answer = peer.associate(
        CT_CONTEXT,
        user_items=raw.role(CT, 0, 1) + raw.role(VERIFICATION, 1, 1) + raw.role("9.9", 1, 1),
    )
    assert raw.role(CT, 0, 1) in answer
    assert raw.role(VERIFICATION, 1, 0) in answer


def test_asynchronous_operations_are_answered_one_to_one(serve: Serve, dial: Dial) -> None:
    peer = dial(serve())
    answer = peer.associate(ECHO_CONTEXT, user_items=raw.item(0x53, b"\0\0\0\0"))
    assert raw.item(0x53, b"\0\x01\0\x01") in answer


def extended(uid: str, information: bytes) -> bytes:
    """A SOP Class Extended Negotiation sub-item (PS3.7 D.3.3.5)."""
    return raw.item(0x56, struct.pack(">H", len(uid)) + uid.encode() + information)


@pytest.mark.parametrize(
    ("uid", "service"),
    [(STUDY_FIND, Service.FIND), (STUDY_MOVE, Service.MOVE), (STUDY_GET, Service.GET)],
)
@pytest.mark.parametrize("length", range(1, 9))
def test_of_what_is_asked_for_each_byte_that_is_understood_is_answered(
    serve: Serve, dial: Dial, uid: str, service: Service, length: int
) -> None:
    """One byte for one, which is all that old peers expect (PS3.4 C.5.1.1)."""
    peer = dial(serve())
    answer = peer.associate((1, uid, [IMPLICIT]), user_items=extended(uid, b"\x01" * length))
    assert extended(uid, AGREED_TO[service][:length]) in answer


def test_what_is_turned_down_by_the_requestor_is_not_agreed_to(serve: Serve, dial: Dial) -> None:
    peer = dial(serve())
    answer = peer.associate(
        (1, STUDY_FIND, [IMPLICIT]), user_items=extended(STUDY_FIND, b"\0\x02\0\xff\0")
    )
    assert extended(STUDY_FIND, bytes(5)) in answer


@pytest.mark.parametrize(
    ("uid", "information"),
    [(CT, b"\x02\0\x01\0"), ("1.2.840.10008.5.1.4.31", b"\x01\x01\x01"), (STUDY_FIND, b"")],
    ids=["storage", "a worklist", "no bytes"],
)
def test_what_is_not_understood_is_not_answered(
    serve: Serve, dial: Dial, uid: str, information: bytes
) -> None:
    answer = dial(serve()).associate(CT_CONTEXT, user_items=extended(uid, information))
    assert b"\x56\0" not in answer[68:]


def test_requests_know_what_was_agreed_on_for_their_sop_class(
    serve: Serve, dial: Dial, handler: ScriptedHandler
) -> None:
    peer = dial(serve())
    peer.associate(
        (1, STUDY_FIND, [IMPLICIT]),
        (3, STUDY_GET, [IMPLICIT]),
        user_items=extended(STUDY_FIND, b"\x01\x01\x01\x01\x01"),
    )
    peer.send(raw.find_rq(1))
    peer.response()
    peer.send(raw.get_rq(2, context_id=3))
    peer.response()
    find, get = handler.requests
    assert isinstance(find, FindRequest)
    assert find.context.extensions == Extensions(
        **{field: True for field in extensions.FIELDS[Service.FIND] if field}
    )
    assert isinstance(get, GetRequest)
    assert get.context.extensions == Extensions(), "nothing was asked for"


def test_what_is_proposed_takes_no_more_bytes_than_it_needs() -> None:
    assert extensions.proposal(STUDY_FIND, Extensions()) == b""
    assert extensions.proposal(STUDY_FIND, Extensions(relational=True)) == b"\x01"
    assert extensions.proposal(CT, Extensions(relational=True)) == b""


def identity(
    kind: int, primary: bytes, secondary: bytes = b"", *, wants_response: int = 1
) -> bytes:
    """A User Identity sub-item (PS3.7 D.3.3.7.1)."""
    content = struct.pack(">BBH", kind, wants_response, len(primary)) + primary
    return raw.item(0x58, content + struct.pack(">H", len(secondary)) + secondary)


POSITIVE = raw.item(0x59, b"\0\0")


@pytest.mark.parametrize(
    ("item", "user", "is_confirmed"),
    [
        (identity(1, "JÜRGEN".encode()), "JÜRGEN", True),
        (identity(2, b"nurse", b"secret"), "nurse", True),
        (identity(2, b"nurse", b"secret", wants_response=0), "nurse", False),
        (identity(1, b" nurse \0"), "nurse", True),
        (identity(1, b""), "", True),
        (identity(1, b"a\x1b[2J\nb\xff"), "a?[2J?b\ufffd", True),
        (identity(1, b"x" * 5000), "x" * 64, True),
        (identity(3, b"a ticket"), "Kerberos ticket", False),
        (identity(4, b"<Assertion/>"), "SAML assertion", False),
        (identity(5, b"e30.e30.e30"), "JSON Web Token", False),
        (identity(77, b"new"), "identity of the type 77", False),
        (raw.item(0x58, b"\x01\x01"), None, False),
        (raw.item(0x58, b"\x01\x01\xff\xffname"), "name", True),
    ],
    ids=[
        "username", "username and passcode", "no response wanted", "padded", "empty",
        "control characters", "very long", "Kerberos", "SAML", "JWT", "unknown", "cut off",
        "a length that lies",
    ],
)  # fmt: skip
def test_a_users_identity_is_taken_down_and_confirmed_where_it_can_be(
    serve: Serve,
    dial: Dial,
    handler: ScriptedHandler,
    item: bytes,
    user: str | None,
    is_confirmed: bool,
) -> None:
    peer = dial(serve())
    answer = peer.associate(ECHO_CONTEXT, user_items=item)
    assert (POSITIVE in answer) == is_confirmed
    assert handler.callers[0].user == user


def test_the_log_has_the_user_and_never_what_proves_it(
    serve: Serve, dial: Dial, handler: ScriptedHandler, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    listener = serve()
    peer = dial(listener)
    peer.associate(ECHO_CONTEXT, user_items=identity(2, b"nurse", b"secret"))
    peer.close()
    wait_until_nobody_is_served(listener)
    lines = [record.getMessage() for record in caplog.records]
    assert any(line.startswith("RAW (user nurse) from 127.0.0.1, called") for line in lines)
    assert "secret" not in " ".join(lines) + repr(handler.callers)


@pytest.fixture
def requestor() -> Iterator[AE]:
    ae = AE("PYNETDICOM")
    yield ae
    ae.shutdown()


def test_pynetdicom_reads_what_is_answered(serve: Serve, requestor: AE) -> None:
    user = UserIdentityNegotiation()
    user.user_identity_type = 2
    user.positive_response_requested = True
    user.primary_field, user.secondary_field = b"nurse", b"secret"
    asked = SOPClassExtendedNegotiation()
    asked.sop_class_uid = STUDY_FIND
    asked.service_class_application_information = b"\x01\x01\x01\x01\x01"
    requestor.add_requested_context(STUDY_FIND, IMPLICIT)
    association = requestor.associate(*serve().address, ext_neg=[user, asked])
    try:
        assert association.is_established
        answered = association.acceptor.user_identity
        assert answered is not None
        assert answered.server_response == b""
        extension = association.acceptor.sop_class_extended
        assert extension == {STUDY_FIND: AGREED_TO[Service.FIND]}
    finally:
        association.release()
