"""Storage Commitment's information: there and back in every transfer syntax, as others write it,
and as nobody should."""

import struct
import zlib
from io import BytesIO

import pytest
from pydicom import Dataset, dcmread
from pydicom.filewriter import dcmwrite

from pacsnode.dicom import commitment
from pacsnode.dicom.commitment import (
    ALL_COMMITTED,
    FAILURES_EXIST,
    CommitmentReport,
    CommitmentRequest,
    Failure,
    Reference,
    encode_report,
    encode_request,
    parse_report,
    parse_request,
)
from pacsnode.errors import UnreadableDataset, UnusableUID
from tests.dicom.raw import (
    BIG_ENDIAN,
    CT,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    SYNTAXES,
    UNDEFINED,
    delimiter,
    element,
    implicit,
)

FIRST, SECOND = Reference(CT, "1.2.3"), Reference(CT, "1.2.3.4")
REQUEST = CommitmentRequest("1.2.9", (FIRST, SECOND))
REPORT = CommitmentReport("1.2.9", (FIRST,), (Failure(SECOND, 0x0112),))

TRANSACTION = element(0x00081195, "UI", b"1.2.9\0")
INNER = element(0x00081150, "UI", CT.encode() + b"\0") + element(0x00081155, "UI", b"1.2.3\0")
ITEM = delimiter(0xE000, len(INNER)) + INNER


def sequence(content: bytes, tag: int = 0x00081199, length: int | None = None) -> bytes:
    return element(tag, "SQ", content, length)


def as_pydicom(request: CommitmentRequest, syntax: str, *, undefined: bool = False) -> bytes:
    dataset = Dataset()
    dataset.TransactionUID = request.transaction_uid
    dataset.ReferencedSOPSequence = []
    for reference in request.references:
        item = Dataset()
        item.ReferencedSOPClassUID = reference.sop_class_uid
        item.ReferencedSOPInstanceUID = reference.sop_instance_uid
        item.is_undefined_length_sequence_item = undefined
        dataset.ReferencedSOPSequence.append(item)
    dataset["ReferencedSOPSequence"].is_undefined_length = undefined
    file = BytesIO()
    dcmwrite(
        file,
        dataset,
        implicit_vr=syntax == IMPLICIT,
        little_endian=syntax != BIG_ENDIAN,
        enforce_file_format=False,
    )
    return file.getvalue()


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_request_goes_there_and_back(syntax: str) -> None:
    assert parse_request(encode_request(REQUEST, syntax), syntax) == REQUEST


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize(
    "report", [REPORT, REPORT._replace(failed=()), REPORT._replace(committed=())]
)
def test_a_report_goes_there_and_back(report: CommitmentReport, syntax: str) -> None:
    assert parse_report(encode_report(report, syntax), syntax) == report


def test_the_event_type_says_whether_there_are_failures() -> None:
    assert REPORT.event_type == FAILURES_EXIST
    assert REPORT._replace(failed=()).event_type == ALL_COMMITTED


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG_ENDIAN])
@pytest.mark.parametrize("undefined", [False, True])
def test_requests_written_by_others_are_read(syntax: str, undefined: bool) -> None:
    assert parse_request(as_pydicom(REQUEST, syntax, undefined=undefined), syntax) == REQUEST


def test_others_read_what_is_written_here() -> None:
    written = dcmread(BytesIO(encode_report(REPORT, IMPLICIT)), force=True)
    assert written.TransactionUID == "1.2.9"
    assert [item.ReferencedSOPInstanceUID for item in written.ReferencedSOPSequence] == ["1.2.3"]
    (failed,) = written.FailedSOPSequence
    assert (failed.ReferencedSOPClassUID, failed.ReferencedSOPInstanceUID) == SECOND
    assert failed.FailureReason == 0x0112


def test_a_sequence_that_would_be_empty_is_left_out() -> None:
    written = dcmread(BytesIO(encode_report(REPORT._replace(failed=()), IMPLICIT)), force=True)
    assert "FailedSOPSequence" not in written


def test_what_is_asked_twice_is_there_once() -> None:
    information = TRANSACTION + sequence(ITEM + ITEM)
    assert parse_request(information, EXPLICIT).references == (FIRST,)


def test_a_sequence_that_hides_in_un_is_read() -> None:
    inner = implicit(0x00081150, CT.encode() + b"\0") + implicit(0x00081155, b"1.2.3\0")
    hidden = delimiter(0xE000, len(inner)) + inner
    assert parse_request(TRANSACTION + element(0x00081199, "UN", hidden), EXPLICIT).references
    assert parse_request(TRANSACTION + element(0x00081199, "UN", ITEM), EXPLICIT).references


@pytest.mark.parametrize(
    "information",
    [
        sequence(ITEM),
        element(0x00081195, "UI", b"") + sequence(ITEM),
        element(0x00081195, "UI", b"1" * 130) + sequence(ITEM),
        TRANSACTION + sequence(delimiter(0xE000, 0)),
        TRANSACTION + sequence(delimiter(0xE000, 14) + element(0x00081155, "UI", b"1.2.3\0")),
    ],
)
def test_a_request_without_its_uids_is_refused(information: bytes) -> None:
    with pytest.raises(UnusableUID):
        parse_request(information, EXPLICIT)


@pytest.mark.parametrize(
    "information",
    [
        TRANSACTION,
        TRANSACTION + sequence(b""),
        TRANSACTION + sequence(ITEM + ITEM[:-1]),
        TRANSACTION + sequence(ITEM + b"\0\0"),
        TRANSACTION + sequence(ITEM + INNER),
        TRANSACTION + sequence(ITEM, length=UNDEFINED),
        TRANSACTION + sequence(ITEM, length=1 << 30),
        TRANSACTION + sequence(delimiter(0xE000, UNDEFINED) + INNER),
        TRANSACTION + sequence(delimiter(0xE000, 1 << 30) + INNER),
        TRANSACTION + sequence(ITEM)[:-3],
    ],
)
def test_a_request_is_never_understood_in_part(information: bytes) -> None:
    with pytest.raises(UnreadableDataset):
        parse_request(information, EXPLICIT)


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("information", [b"", b"\0", b"\0" * 64, b"\xff" * 4096, b"DICM" * 999])
def test_noise_is_unreadable(information: bytes, syntax: str) -> None:
    for parse in (parse_request, parse_report):
        with pytest.raises(UnreadableDataset):
            parse(information, syntax)


def test_a_deflate_bomb_is_bounded() -> None:
    bomb = zlib.compress(TRANSACTION + sequence(ITEM * (1 << 19)), wbits=-15)
    assert len(bomb) < 1 << 20
    with pytest.raises(UnreadableDataset):
        parse_request(bomb, DEFLATED)


def test_sequences_in_sequences_do_not_end_the_stack() -> None:
    deep = element(0x00081199, "SQ", b"", UNDEFINED) + delimiter(0xE000, UNDEFINED)
    with pytest.raises(UnreadableDataset):
        parse_request(TRANSACTION + deep * 20_000, EXPLICIT)


@pytest.mark.parametrize(
    "reason", [b"", element(0x00081197, "US", b""), element(0x00081197, "US", b"\x12\x01\0\0")]
)
def test_a_failure_without_a_reason_is_a_failure(reason: bytes) -> None:
    inner = INNER + reason
    failed = sequence(delimiter(0xE000, len(inner)) + inner, tag=0x00081198)
    (failure,) = parse_report(TRANSACTION + failed, EXPLICIT).failed
    assert failure == Failure(FIRST, 0x0110)


def test_uids_that_are_none_come_back_as_they_came() -> None:
    odd = Reference("no class", "1.2\\../\xe9 \x1b[31m")
    request = CommitmentRequest("x y", (odd,))
    assert parse_request(encode_request(request, EXPLICIT), EXPLICIT) == request


def test_references_that_are_made_to_be_many_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A million fit into the longest request, and took 300 MB each time."""
    request = CommitmentRequest("1.9", tuple(Reference("1", str(number)) for number in range(3)))
    monkeypatch.setattr(commitment, "MOST_REFERENCES", 3)
    assert parse_request(encode_request(request, EXPLICIT), EXPLICIT) == request
    monkeypatch.setattr(commitment, "MOST_REFERENCES", 2)
    with pytest.raises(UnreadableDataset, match="over 2 instances: ask in parts"):
        parse_request(encode_request(request, EXPLICIT), EXPLICIT)


def test_a_hundred_thousand_references_go_there_and_back() -> None:
    many = tuple(Reference(CT, f"1.2.840.99999.{number}") for number in range(100_000))
    report = CommitmentReport("1.2.9", many[::2], tuple(Failure(it, 0x0119) for it in many[1::2]))
    encoded = encode_report(report, IMPLICIT)
    assert struct.unpack_from("<HH", encoded) == (0x0008, 0x1195)
    assert parse_report(encoded, IMPLICIT) == report
