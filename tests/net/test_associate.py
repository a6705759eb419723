"""A-ASSOCIATE PDUs made fit for the decoder."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom.pdu import A_ASSOCIATE_RQ

from pacsnode.net import associate
from tests.net import raw

CONTEXTS = [(1, raw.VERIFICATION, [raw.IMPLICIT])]


def test_a_plain_request_keeps_its_items() -> None:
    data = raw.associate_rq(CONTEXTS)
    decoded = A_ASSOCIATE_RQ()
    decoded.decode(associate.tidy(data))
    assert [cx.abstract_syntax for cx in decoded.presentation_context] == [raw.VERIFICATION]
    assert associate.titles(data) == ("PACSNODE", "RAW")


def test_unknown_items_go_and_lengths_follow() -> None:
    unknown = raw.item(0x99, b"?" * 7)
    data = raw.associate_rq(CONTEXTS, user_items=unknown, more_items=unknown)
    assert associate.tidy(data) == associate.tidy(raw.associate_rq(CONTEXTS))


@pytest.mark.parametrize(
    "data", [b"", bytes(73), bytes(74) + b"\x10\0\0", bytes(74) + b"\x10\0\0\x05abc"]
)
def test_lengths_that_lie_are_an_error(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"PDU|item"):
        associate.tidy(data)


@given(st.binary(min_size=74, max_size=300))
def test_any_bytes_are_tidied_or_an_error(data: bytes) -> None:
    try:
        tidied = associate.tidy(data)
    except ValueError:
        return
    assert associate.tidy(tidied) == tidied
