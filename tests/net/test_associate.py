"""A-ASSOCIATE PDUs made fit for the decoder."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ

from pacsnode.net import associate
from tests.net import raw

CONTEXTS = [(1, raw.VERIFICATION, [raw.IMPLICIT])]


def test_a_plain_request_is_one_to_the_decoder_but_for_its_contexts() -> None:
    data = raw.associate_rq(CONTEXTS)
    decoded = A_ASSOCIATE_RQ()
    decoded.decode(associate.tidy(data))
    assert decoded.application_context_name == raw.APPLICATION_CONTEXT
    assert decoded.user_information.maximum_length == 16384  # type: ignore[union-attr]
    assert decoded.presentation_context == []
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


def test_proposed_contexts_are_taken_as_sent_less_padding() -> None:
    data = raw.associate_rq(
        [
            (1, raw.VERIFICATION, [raw.IMPLICIT]),
            (255, raw.CT + "\0", ["1.2.3 ", raw.IMPLICIT + "\0", ""]),
            (3, "", []),
        ]
    )
    assert associate.proposed_contexts(data) == [
        (1, raw.VERIFICATION, (raw.IMPLICIT,)),
        (255, raw.CT, ("1.2.3", raw.IMPLICIT, "")),
        (3, "", ()),
    ]


def test_what_is_no_text_is_no_uid() -> None:
    names = raw.item(0x30, b"1.2\xe4") + raw.item(0x40, b"\xff") + raw.item(0x77, b"?")
    data = raw.associate_rq([], more_items=raw.item(0x20, b"\5\0\0\0" + names))
    assert associate.proposed_contexts(data) == [(5, "", ("",))]


def test_of_contexts_with_one_number_the_last_counts() -> None:
    data = raw.associate_rq([(1, raw.CT, []), (3, raw.CT, []), (1, raw.VERIFICATION, [])])
    assert associate.proposed_contexts(data) == [(1, raw.VERIFICATION, ()), (3, raw.CT, ())]


@pytest.mark.parametrize(
    "content",
    [b"", b"\0\0\0\0", b"\2\0\0\0", b"\1\0\0\0\x30\0\0\x09abc", b"\1\0\0\0\x30\0"],
    ids=["empty", "number 0", "even number", "overrun", "cut off"],
)
def test_contexts_that_break_the_protocol_are_an_error(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"context|item"):
        associate.proposed_contexts(raw.associate_rq([], more_items=raw.item(0x20, content)))


@given(st.binary(min_size=74, max_size=300))
def test_any_bytes_are_contexts_or_an_error(data: bytes) -> None:
    try:
        contexts = associate.proposed_contexts(data)
    except ValueError:
        return
    assert all(context.context_id % 2 for context in contexts)
    assert len({context.context_id for context in contexts}) == len(contexts)


def test_an_answer_has_the_contexts_after_the_application_context() -> None:
    items = raw.item(0x10, raw.APPLICATION_CONTEXT.encode()) + raw.item(0x50, b"")
    accepted = raw.pdu(raw.AC, b"\0\1\0\0" + bytes(64) + items)
    request = raw.associate_rq(CONTEXTS, called="NODE", calling=b"\xfcber")
    answered = [
        associate.AnsweredContext(1, 0, raw.IMPLICIT),
        associate.AnsweredContext(3, 4, "1.2.3"),
    ]
    made = associate.answer(accepted, request, answered)
    decoded = A_ASSOCIATE_AC()
    decoded.decode(made)
    assert [
        (context.context_id, context.result, context.transfer_syntax)
        for context in decoded.presentation_context
    ] == answered
    assert made[10:74] == request[10:74]
    assert int.from_bytes(made[2:6], "big") == len(made) - 6
    assert [item.item_type for item in decoded.variable_items] == [0x10, 0x21, 0x21, 0x50]


@given(st.binary(max_size=60))
def test_an_identity_of_any_bytes_is_one_or_none(content: bytes) -> None:
    data = raw.associate_rq(CONTEXTS, user_items=raw.item(0x58, content))
    found = associate.user_identity(data)
    assert found is None or found.name.isprintable()
    assert associate.user_identity(data[:-1]) is None, "lengths that lie"
