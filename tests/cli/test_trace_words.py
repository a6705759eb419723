"""A recorded association in words, and what to do about it."""

import struct
from collections.abc import Sequence

import pytest

from pacsnode.cli.trace_words import describe, ending, lines
from pacsnode.dicom.recording import PDU, Begin, CommandSet, DatasetPassed, End, Record
from pacsnode.dicom.status_words import words
from pacsnode.net.transcript import Transcript, transcripts
from tests.net import raw
from tests.net.raw import CT, IMPLICIT, STUDY_FIND, STUDY_GET

STUDY_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
REQUEST = raw.associate_rq(
    [(1, STUDY_FIND, [IMPLICIT]), (3, STUDY_GET, [IMPLICIT]), (5, CT, [IMPLICIT])]
)


def answer(*results: int) -> bytes:
    contexts = b"".join(
        raw.item(0x21, bytes([2 * place + 1, 0, result, 0]) + raw.item(0x40, IMPLICIT.encode()))
        for place, result in enumerate(results)
    )
    head = struct.pack(">HH", 1, 0) + raw.title("PACSNODE") + raw.title("CT1") + bytes(32)
    return raw.pdu(raw.AC, head + contexts)


def transcript(*records: Record, reason: str = "", is_incoming: bool = True) -> Transcript:
    begin = Begin("a", 100.0, is_incoming, "CT1", "PACSNODE", "192.0.2.1", None, False)
    (found,) = transcripts([begin, *records, End("a", 109.5, reason, 0)])
    return found


def pdu(data: bytes, *, is_sent: bool = False) -> PDU:
    return PDU("a", 101.0, is_sent, data)


def said(*, is_sent: bool = False, context_id: int = 1, **elements: object) -> CommandSet:
    return CommandSet("a", 102.0, is_sent, context_id, raw.command(**elements))


def text(found: Transcript, *, full: bool = False) -> str:
    return "\n".join(lines(found, 1, full=full))


def advice(found: Transcript) -> Sequence[str]:
    return [line[4:] for line in lines(found, 1, full=False) if line.startswith("  ! ")]


def test_contexts_are_told_by_name_with_why_they_were_refused() -> None:
    found = text(transcript(pdu(REQUEST), pdu(answer(0, 3, 4), is_sent=True)))
    assert "FIND: accepted, Implicit VR Little Endian" in found
    assert "GET: refused: the SOP class is not supported; proposed with Implicit" in found
    assert "CT Image Storage: refused: none of the transfer syntaxes is supported" in found


def test_where_nothing_was_accepted_that_is_told() -> None:
    found = transcript(pdu(REQUEST), pdu(answer(3, 3, 3), is_sent=True))
    assert advice(found) == [
        "no presentation context was accepted: nothing can be asked on this association"
    ]


def test_a_c_get_without_the_role_for_what_comes_back_is_told() -> None:
    without = transcript(pdu(REQUEST), pdu(answer(0, 0, 0), is_sent=True))
    assert "SCP role" in advice(without)[0]
    request = raw.associate_rq([(3, STUDY_GET, [IMPLICIT])], user_items=raw.role(CT, 0, 1))
    assert not advice(transcript(pdu(request), pdu(answer(0, 0), is_sent=True)))


def test_an_abort_after_idling_names_the_setting() -> None:
    aborted = pdu(raw.pdu(raw.ABORT), is_sent=True)
    found = transcript(pdu(REQUEST), aborted, reason="idle for 5 s")
    assert ending(found) == "aborted by the node: idle for 5 s after 9.50 s"
    assert "timeouts.idle" in advice(found)[0]


@pytest.mark.parametrize(
    ("is_sent", "sentence"),
    [
        (True, "NOWHERE is no AE title of modalities"),
        (False, "at the peer, enter the destination NOWHERE"),
    ],
)
def test_an_unknown_destination_is_told_to_whoever_can_enter_it(
    is_sent: bool, sentence: str
) -> None:
    asked = said(
        is_sent=not is_sent, x0002=STUDY_MOVE, x0100=0x21, x0110=7, x0600="NOWHERE", x0800=1
    )
    answered = said(is_sent=is_sent, x0100=0x8021, x0120=7, x0800=0x0101, x0900=0xA801)
    assert advice(transcript(asked, answered))[0].startswith(sentence)


def test_message_ids_are_used_again_and_each_answer_is_for_the_last_request() -> None:
    moves = [
        message
        for title in ("ONE", "TWO")
        for message in (
            said(x0002=STUDY_MOVE, x0100=0x21, x0110=7, x0600=title, x0800=1),
            said(is_sent=True, x0100=0x8021, x0120=7, x0800=0x0101, x0900=0xA801),
        )
    ]
    assert [sentence.split()[0] for sentence in advice(transcript(*moves))] == ["ONE", "TWO"]


def test_a_rejection_by_a_peer_says_what_to_correct() -> None:
    rejection = raw.pdu(raw.RJ, b"\0\1\1\7")
    found = transcript(pdu(REQUEST, is_sent=True), pdu(rejection), is_incoming=False)
    assert ending(found).startswith("rejected for good, 1/1/7")
    assert advice(found) == [
        "the peer has another AE title than PACSNODE: correct ae_title in modalities"
    ]


def test_of_many_matches_the_first_are_shown() -> None:
    match = [
        said(is_sent=True, x0100=0x8020, x0120=1, x0800=1, x0900=0xFF00),
        DatasetPassed("a", 103.0, True, 1, 4, None),
    ]
    found = transcript(pdu(REQUEST), pdu(answer(0), is_sent=True), *match * 10)
    assert "and 7 more matches" in text(found)
    assert text(found).count("FF00") == 3
    assert text(found, full=True).count("FF00") == 10


def test_counters_comments_and_what_cannot_be_read() -> None:
    counted = said(
        x0100=0x8021, x0120=7, x0800=0x0101, x0900=0xB000, x0902="why ",
        x1021=3, x1022=1, x1023=0,
    )  # fmt: skip
    broken = CommandSet("a", 102.0, False, 1, b"\1\0")
    messages = transcript(counted, broken).messages
    assert describe(messages[0]) == (
        "C-MOVE 7 answered: B000, complete, but some sub-operations have failed "
        '(3 completed, 1 failed, 0 with warnings), "why"'
    )
    assert describe(messages[1]) == "a command set that cannot be read"


def test_a_dataset_that_broke_off_and_pdus_that_lie_are_told() -> None:
    stored = said(x0002=CT, x0100=1, x0110=1, x0800=1, x1000="1.2.3")
    found = text(transcript(pdu(REQUEST[:-3]), stored, reason="the peer closed the connection"))
    assert "its dataset did not come whole" in found
    assert "a PDU cannot be read" in found
    assert "the peer closed the connection after 9.50 s" in found


@pytest.mark.parametrize(
    ("code", "meaning"),
    [(0x0000, "success"), (0xA7FF, "out of resources"), (0xC123, "cannot understand or process it"),
     (0xB123, "warning"), (0x1234, "failure")],
)  # fmt: skip
def test_every_status_has_words(code: int, meaning: str) -> None:
    assert words(code) == meaning
