"""The records of a recording, and what becomes of files that are damaged."""

from io import BytesIO

import pytest

from pacsnode.dicom.recording import (
    PDU,
    Begin,
    CommandSet,
    DatasetPassed,
    End,
    Header,
    Record,
    from_line,
    header_line,
    read_recording,
    to_line,
)
from pacsnode.errors import RecordingDamaged, UsageError

HEADER = Header("pacsnode 1", "PACSNODE", "CT1", 1.5, True)
RECORDS: list[Record] = [
    Begin("a", 1.0, True, "R\xd6NTGEN", "PACSNODE", "127.0.0.1", None, False),
    Begin("b", 1.0, False, "PACSNODE", "WS", "ws.example", 104, True),
    PDU("a", 2.0, False, b"\1\0\xff"),
    CommandSet("a", 3.0, True, 255, b""),
    DatasetPassed("a", 4.0, True, 1, 9, b"123456789"),
    DatasetPassed("a", 4.0, False, 1, 9_000_000, None),
    End("a", 5.0, "idle for 3 s", 2),
]


def recording(*lines: bytes) -> BytesIO:
    return BytesIO(header_line(HEADER) + b"".join(lines))


@pytest.mark.parametrize("record", RECORDS, ids=str)
def test_a_record_comes_back_as_it_was(record: Record) -> None:
    assert from_line(to_line(record)) == record


def test_a_recording_comes_back_as_it_was() -> None:
    header, records = read_recording(recording(*map(to_line, RECORDS)), "file")
    assert header == HEADER
    assert list(records) == RECORDS


def test_lines_are_ascii_and_one_each() -> None:
    line = to_line(RECORDS[0])
    assert line.isascii()
    assert line.count(b"\n") == 1


def test_what_a_later_version_adds_is_passed_over() -> None:
    added = to_line(RECORDS[-1]).replace(b'"lost"', b'"new": [1], "lost"')
    unknown = b'{"record": "weather", "is": "fine"}\n'
    assert list(read_recording(recording(unknown, added), "file")[1]) == [RECORDS[-1]]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (to_line(RECORDS[2])[:-1], "cut off"),
        (b"\xff\n", "no JSON"),
        (b"[]\n", "no JSON object"),
        (b"[" * 100_000 + b"\n", "no JSON"),
        (b'{"record": 1}\n', "says not what it is"),
        (b'{"record": "end", "association": "a"}\n', "at is missing"),
        (to_line(RECORDS[-1]).replace(b"2}", b"true}"), "lost is missing"),
        (to_line(RECORDS[-1]).replace(b"5.0", b"NaN"), "at is out of range"),
        (to_line(RECORDS[-1]).replace(b"5.0", b"1e30"), "at is out of range"),
        (to_line(RECORDS[-1]).replace(b"5.0", b"9" * 400), "at is out of range"),
        (to_line(RECORDS[4]).replace(b": 9,", b": -9,"), "length is out of range"),
        (to_line(RECORDS[2]).replace(b"AQD/", b"A?D/"), "no base64"),
        (to_line(RECORDS[2]).replace(b'"AQD/"', b"null"), ""),
    ],
)
def test_damage_is_named_with_its_line(line: bytes, fault: str) -> None:
    _, records = read_recording(recording(to_line(RECORDS[0]), line), "a.trace")
    assert next(records) == RECORDS[0]
    if fault:
        with pytest.raises(RecordingDamaged, match=rf"a\.trace, line 3: .*{fault}"):
            list(records)
    else:
        assert list(records) == [RECORDS[2]._replace(data=b"")]


@pytest.mark.parametrize("data", [b"", b"\0\1\2", b"{}\n", b'{"pacsnode-trace": 1}\n', b"hello\n"])
def test_what_is_no_recording_is_refused(data: bytes) -> None:
    with pytest.raises(UsageError, match=r"a\.trace: no recording"):
        read_recording(BytesIO(data), "a.trace")


def test_a_form_is_a_number() -> None:
    strange = header_line(HEADER).replace(b'-trace": 1', b'-trace": "1"')
    with pytest.raises(UsageError, match=r"a\.trace: no recording .*form has no number"):
        read_recording(BytesIO(strange), "a.trace")


def test_a_newer_form_is_named() -> None:
    newer = header_line(HEADER._replace(version=2, program="pacsnode 9"))
    with pytest.raises(UsageError, match="form 2, by pacsnode 9"):
        read_recording(BytesIO(newer), "a.trace")
