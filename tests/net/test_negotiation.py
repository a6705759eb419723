"""Association PDUs as values, and without secrets."""

import struct
from contextlib import suppress

import pytest

from pacsnode.net.associate import AnsweredContext, ProposedContext
from pacsnode.net.negotiation import Extended, Role, read_abort, read_negotiation, without_secrets
from tests.net import raw
from tests.net.raw import CT, IMPLICIT, STUDY_FIND, VERIFICATION

EXPLICIT = "1.2.840.10008.1.2.1"


def identity(kind: int, primary: bytes, secondary: bytes = b"") -> bytes:
    content = struct.pack(">BBH", kind, 1, len(primary)) + primary
    return raw.item(0x58, content + struct.pack(">H", len(secondary)) + secondary)


def extended(uid: str, information: bytes) -> bytes:
    return raw.item(0x56, struct.pack(">H", len(uid)) + uid.encode() + information)


def request(user_items: bytes = b"") -> bytes:
    contexts = [(1, VERIFICATION, [IMPLICIT]), (5, CT, [EXPLICIT, IMPLICIT])]
    return raw.associate_rq(contexts, calling=b"R\xd6NTGEN", user_items=user_items)


def test_a_request_is_read_whole() -> None:
    items = raw.role(CT, 0, 1) + extended(STUDY_FIND, b"\1\0\1")
    items += raw.item(0x53, struct.pack(">HH", 0, 5)) + raw.item(0x55, b"MODALITY_1")
    read = read_negotiation(request(items + identity(2, b"nurse", b"secret")))
    assert read.calling_ae_title == "RÖNTGEN"
    assert read.called_ae_title == "PACSNODE"
    assert read.proposed == [
        ProposedContext(1, VERIFICATION, (IMPLICIT,)),
        ProposedContext(5, CT, (EXPLICIT, IMPLICIT)),
    ]
    assert read.maximum_length == 16384
    assert read.implementation_class_uid == "1.2.3"
    assert read.implementation_version_name == "MODALITY_1"
    assert read.operations == (0, 5)
    assert read.roles == [Role(CT, False, True)]
    assert read.extended == [Extended(STUDY_FIND, b"\1\0\1")]
    assert read.user is not None
    assert read.user.name == "nurse"


def test_an_answer_is_read_whole() -> None:
    contexts = b"".join(
        raw.item(0x21, bytes([number, 0, result, 0]) + raw.item(0x40, IMPLICIT.encode()))
        for number, result in ((1, 0), (3, 3))
    )
    head = struct.pack(">HH", 1, 0) + raw.title("PACSNODE") + raw.title("CT1") + bytes(32)
    read = read_negotiation(raw.pdu(raw.AC, head + contexts))
    assert read.answered == [AnsweredContext(1, 0, IMPLICIT), AnsweredContext(3, 3, IMPLICIT)]
    assert read.transfer_syntaxes == {1: IMPLICIT}


@pytest.mark.parametrize("length", range(0, 300, 7))
def test_what_is_cut_off_raises_nothing_else(length: int) -> None:
    data = request(raw.role(CT, 0, 1) + extended(STUDY_FIND, b"\1") + identity(1, b"nurse"))
    with suppress(ValueError):
        read_negotiation(data[:length])
    assert len(without_secrets(data[:length])) <= len(data)


@pytest.mark.parametrize("kind", [2, 3, 4, 5, 9])
def test_secrets_go_and_names_stay(kind: int) -> None:
    primary, secondary = (b"nurse", b"s3cret") if kind == 2 else (b"s3cret", b"")
    data = without_secrets(request(raw.role(CT, 0, 1) + identity(kind, primary, secondary)))
    assert b"s3cret" not in data
    read = read_negotiation(data)
    assert read.roles == [Role(CT, False, True)]
    assert (read.user is not None and read.user.name == "nurse") == (kind == 2)
    assert struct.unpack(">L", data[2:6])[0] == len(data) - 6


def test_an_answer_to_an_identity_is_no_matter_of_a_file() -> None:
    answer = raw.pdu(raw.AC, request(raw.item(0x59, b"\0\6ticket"))[6:])
    assert b"ticket" in answer
    assert b"ticket" not in without_secrets(answer)


def test_other_pdus_and_requests_without_secrets_stay_as_they_are() -> None:
    for data in (request(identity(1, b"nurse")), raw.pdu(raw.ABORT), b""):
        assert without_secrets(data) == data


def test_a_pdu_whose_lengths_lie_keeps_its_titles_alone() -> None:
    data = bytearray(request(identity(2, b"nurse", b"s3cret")))
    data[76] = 0xFF
    found = without_secrets(bytes(data))
    assert b"s3cret" not in found
    assert read_negotiation(found).called_ae_title == "PACSNODE"


def test_an_abort_is_read() -> None:
    assert read_abort(raw.pdu(raw.ABORT, b"\0\0\2\5")) == (2, 5)
    with pytest.raises(ValueError, match="9 bytes"):
        read_abort(bytes(9))
