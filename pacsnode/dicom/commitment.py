"""What is said in Storage Commitment, Push Model (PS3.4 J.3): which instances are to be kept safe
(the information of an N-ACTION), and which of them are (that of an N-EVENT-REPORT)."""

import struct
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from io import BytesIO
from typing import NamedTuple

from pacsnode.dicom import status
from pacsnode.dicom.elements import (
    UNDEFINED,
    Element,
    Form,
    Walker,
    Window,
    forms_of,
    is_deflated,
    open_window,
    parse,
)
from pacsnode.dicom.encode import deflated, form_of, header
from pacsnode.dicom.text import decode_uid
from pacsnode.errors import UnreadableDataset, UnusableUID

STORAGE_COMMITMENT_PUSH_MODEL = "1.2.840.10008.1.20.1"
STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE = "1.2.840.10008.1.20.1.1"  # the one that everybody means

REQUEST_STORAGE_COMMITMENT = 1  # the action type
ALL_COMMITTED, FAILURES_EXIST = 1, 2  # the event types

_REFERENCED_SOP_CLASS_UID = 0x00081150
_REFERENCED_SOP_INSTANCE_UID = 0x00081155
_TRANSACTION_UID = 0x00081195
_FAILURE_REASON = 0x00081197
_FAILED_SOP_SEQUENCE = 0x00081198
_REFERENCED_SOP_SEQUENCE = 0x00081199
_WANTED = frozenset({_TRANSACTION_UID, _FAILED_SOP_SEQUENCE, _REFERENCED_SOP_SEQUENCE})

_KEYWORDS = {
    _REFERENCED_SOP_CLASS_UID: "ReferencedSOPClassUID",
    _REFERENCED_SOP_INSTANCE_UID: "ReferencedSOPInstanceUID",
    _TRANSACTION_UID: "TransactionUID",
}

# Of one transaction: as many as fit, unless they are made to be many. Each takes 250 bytes here and
# can be sent in 28.
MOST_REFERENCES = 250_000

_MAX_UID = 128  # bytes, as of the instances themselves
_LONGEST = 1024  # bytes of a value of an item that is looked at
_ITEM = 0xFFFEE000
_SEQUENCE_DELIMITATION = 0xFFFEE0DD

_Elements = Mapping[int, Element]


class Reference(NamedTuple):
    """An instance by what a peer says of it: untrusted text."""

    sop_class_uid: str
    sop_instance_uid: str


class Failure(NamedTuple):
    """An instance that is not committed, and why: one of the codes of PS3.3 C.14.1.1."""

    reference: Reference
    reason: int


class CommitmentRequest(NamedTuple):
    """What an N-ACTION asks for. Each reference is there once."""

    transaction_uid: str
    references: tuple[Reference, ...]


class CommitmentReport(NamedTuple):
    """What an N-EVENT-REPORT tells: every reference of its request is in one of the two."""

    transaction_uid: str
    committed: tuple[Reference, ...]
    failed: tuple[Failure, ...] = ()

    @property
    def event_type(self) -> int:
        return FAILURES_EXIST if self.failed else ALL_COMMITTED


def parse_request(information: bytes, transfer_syntax_uid: str) -> CommitmentRequest:
    """Raises UnusableUID where a UID is missing, UnreadableDataset where the bytes make no sense or
    there is no reference: a request is never understood in part."""
    elements = _elements(information, transfer_syntax_uid)
    transaction_uid = _uid(elements, _TRANSACTION_UID)
    references = tuple(dict.fromkeys(_references(elements.get(_REFERENCED_SOP_SEQUENCE))))
    if not references:
        raise UnreadableDataset("ReferencedSOPSequence is missing or empty")
    return CommitmentRequest(transaction_uid, references)


def parse_report(information: bytes, transfer_syntax_uid: str) -> CommitmentReport:
    """Raises what parse_request raises, but a report without any reference is one. A failure
    without a reason has a reason all the same: 0110, processing failure."""
    elements = _elements(information, transfer_syntax_uid)
    return CommitmentReport(
        _uid(elements, _TRANSACTION_UID),
        tuple(_references(elements.get(_REFERENCED_SOP_SEQUENCE))),
        tuple(_failures(elements.get(_FAILED_SOP_SEQUENCE))),
    )


def _elements(information: bytes, transfer_syntax_uid: str) -> _Elements:
    window = open_window(BytesIO(information), transfer_syntax_uid)
    faults: list[UnreadableDataset] = []
    for form in forms_of(transfer_syntax_uid, window.at(0, 8)):
        try:
            return _first(Walker(window, form).walk(_WANTED, longest=UNDEFINED))
        except UnreadableDataset as fault:
            faults.append(fault)
    raise faults[0]


def _first(elements: Iterable[Element]) -> _Elements:
    """By tag; of two with the same the first."""
    found: dict[int, Element] = {}
    for element in elements:
        found.setdefault(element.tag, element)
    return found


def _uid(elements: _Elements, tag: int) -> str:
    element = elements.get(tag)
    uid = decode_uid(element.raw) if element is not None else ""
    if not 0 < len(uid) <= _MAX_UID:
        raise UnusableUID(f"{_KEYWORDS[tag]} is missing or longer than {_MAX_UID} bytes")
    return uid


def _references(sequence: Element | None) -> Iterator[Reference]:
    return map(_reference, _items(sequence))


def _failures(sequence: Element | None) -> Iterator[Failure]:
    for item in _items(sequence):
        yield Failure(_reference(item), _reason(item.get(_FAILURE_REASON)))


def _reference(item: _Elements) -> Reference:
    return Reference(
        _uid(item, _REFERENCED_SOP_CLASS_UID), _uid(item, _REFERENCED_SOP_INSTANCE_UID)
    )


def _reason(element: Element | None) -> int:
    if element is None or len(element.raw) != 2:
        return status.CANNOT_PROCESS
    return int.from_bytes(element.raw, "little" if element.form.is_little else "big")


def _items(sequence: Element | None) -> Iterator[_Elements]:
    """All items, or UnreadableDataset: `elements.items_of` leaves out what it cannot read, and an
    instance that nobody answers for must not be."""
    if sequence is None:
        return
    raw = sequence.raw
    # UN holds implicit VR, unless its writer put UN where SQ should be (PS3.5 6.2.2).
    form = sequence.form if sequence.vr != "UN" else forms_of("", raw[8:16])[0]
    read = struct.Struct("<HHL" if form.is_little else ">HHL").unpack_from
    walker = Walker(Window(BytesIO(raw)), form)
    position = count = 0
    while position + 8 <= len(raw):
        group, number, length = read(raw, position)
        position += 8
        tag = group << 16 | number
        if tag == _SEQUENCE_DELIMITATION:
            return
        if tag != _ITEM:
            raise UnreadableDataset(f"({tag:08X}) where an item should begin")
        count += 1
        if count > MOST_REFERENCES:
            raise UnreadableDataset(f"over {MOST_REFERENCES:,} instances: ask in parts")
        end = walker.end_of(position, is_item=True) if length == UNDEFINED else position + length
        yield _first(parse(raw[position:end], form, _LONGEST))
        position = end
    if position != len(raw):
        raise UnreadableDataset("the last item of a sequence is not whole")


def encode_request(request: CommitmentRequest, transfer_syntax_uid: str) -> bytes:
    """The information of an N-ACTION (PS3.4 table J.3-1)."""
    write = _Writer(form_of(transfer_syntax_uid))
    encoded = write.uid(_TRANSACTION_UID, request.transaction_uid)
    encoded += write.sequence(_REFERENCED_SOP_SEQUENCE, map(write.reference, request.references))
    return deflated(encoded) if is_deflated(transfer_syntax_uid) else encoded


def encode_report(report: CommitmentReport, transfer_syntax_uid: str) -> bytes:
    """The information of an N-EVENT-REPORT (PS3.4 table J.3-2): a sequence that would be empty is
    left out."""
    write = _Writer(form_of(transfer_syntax_uid))
    encoded = write.uid(_TRANSACTION_UID, report.transaction_uid)
    if report.failed:
        encoded += write.sequence(_FAILED_SOP_SEQUENCE, map(write.failure, report.failed))
    if report.committed:
        encoded += write.sequence(_REFERENCED_SOP_SEQUENCE, map(write.reference, report.committed))
    return deflated(encoded) if is_deflated(transfer_syntax_uid) else encoded


class _Writer:
    """Elements in one form. There may be a hundred thousand references, of few SOP classes."""

    def __init__(self, form: Form) -> None:
        self._form = form
        self._order = "<" if form.is_little else ">"
        self._item = struct.Struct(f"{self._order}HHL").pack
        self._class_element = lru_cache(maxsize=1024)(
            lambda uid: self.uid(_REFERENCED_SOP_CLASS_UID, uid)
        )

    def uid(self, tag: int, uid: str) -> bytes:
        value = uid.encode("latin_1", "replace")
        value += b"\0" * (len(value) % 2)
        return header(tag, "UI", len(value), self._form) + value

    def reference(self, reference: Reference) -> bytes:
        return self._class_element(reference.sop_class_uid) + self.uid(
            _REFERENCED_SOP_INSTANCE_UID, reference.sop_instance_uid
        )

    def failure(self, failure: Failure) -> bytes:
        reason = struct.pack(f"{self._order}H", failure.reason)
        return (
            self.reference(failure.reference)
            + header(_FAILURE_REASON, "US", len(reason), self._form)
            + reason
        )

    def sequence(self, tag: int, items: Iterable[bytes]) -> bytes:
        content = b"".join([self._item(0xFFFE, 0xE000, len(item)) + item for item in items])
        return header(tag, "SQ", len(content), self._form) + content
