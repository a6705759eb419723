"""Associations taken down: the records of a recording and their form in a file, one JSON object a
line; and what `net` knows of whoever takes them down.

Bytes are in base64: PDUs of the association's beginning and end (PS3.8 9.3), command sets (PS3.7
6.3) and identifiers as they passed. A reader passes over records and fields that it does not know.
"""

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, NamedTuple, Protocol

from pacsnode.errors import RecordingDamaged, UsageError

VERSION = 1
_MARK = "pacsnode-trace"
_LONGEST_LINE = 64 << 20  # bytes
_NUMBERS = range(1 << 48)  # times, lengths, counts: beyond these nobody can print a time
LONGEST_IDENTIFIER = 1 << 20  # bytes of a dataset that is kept; of longer ones the length is


class Opening(NamedTuple):
    """An association, or the attempt at one, at its beginning. `host` and `port` are the peer's;
    of a peer that connected only the host counts."""

    is_incoming: bool
    calling_ae_title: str
    called_ae_title: str
    host: str
    port: int | None = None
    is_tls: bool = False

    @property
    def peer_ae_title(self) -> str:
        return self.calling_ae_title if self.is_incoming else self.called_ae_title


class Recorder(Protocol):
    """Takes down one association. No method raises, or waits for more than a moment."""

    def pdu(self, is_sent: bool, data: bytes) -> None:
        """A PDU of the association's beginning or end has come, or goes out."""

    def command(self, is_sent: bool, context_id: int, data: bytes) -> None:
        """A command set has come, or goes out."""

    def dataset(self, is_sent: bool, context_id: int, length: int, data: bytes | None) -> None:
        """The dataset after it has come, or gone out, whole; `data` is None for an instance's."""

    def end(self, reason: str) -> None:
        """It is over; `reason` is empty where its PDUs say all."""


class Recorders(Protocol):
    """Who may want to have an association recorded."""

    def begin(self, opening: Opening) -> Recorder | None:
        """None where nobody wants this one. Never raises."""


class NobodyRecords:
    """Recorders where nothing is recorded."""

    def begin(self, opening: Opening) -> Recorder | None:
        return None


class Header(NamedTuple):
    """The first line of a file. `of` is whose associations are in it, "" for everybody's; `at` is
    Unix time in seconds, as in all records."""

    program: str
    ae_title: str
    of: str
    at: float
    names_replaced: bool
    version: int = VERSION


class Begin(NamedTuple):
    """An association begins. `association` is the same in all its records, and no other's."""

    association: str
    at: float
    is_incoming: bool
    calling_ae_title: str
    called_ae_title: str
    host: str
    port: int | None
    is_tls: bool

    @property
    def opening(self) -> Opening:
        return Opening(*self[2:])


class PDU(NamedTuple):
    """A PDU of an association's beginning or end, less passcodes. `is_sent`: by the node."""

    association: str
    at: float
    is_sent: bool
    data: bytes


class CommandSet(NamedTuple):
    """The command set of a message."""

    association: str
    at: float
    is_sent: bool
    context_id: int
    data: bytes


class DatasetPassed(NamedTuple):
    """The dataset of a message, `length` bytes, has passed whole. `data` is None where it is an
    instance's, too long, or could not be read to replace names in it."""

    association: str
    at: float
    is_sent: bool
    context_id: int
    length: int
    data: bytes | None


class End(NamedTuple):
    """An association has ended. `lost` records are missing: whoever writes them was too slow."""

    association: str
    at: float
    reason: str
    lost: int


Record = Begin | PDU | CommandSet | DatasetPassed | End

_KINDS: Mapping[str, type[Record]] = {
    "begin": Begin,
    "pdu": PDU,
    "command": CommandSet,
    "dataset": DatasetPassed,
    "end": End,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}
_TYPES: Mapping[str, tuple[type, ...]] = {
    "association": (str,),
    "at": (int, float),
    "is_incoming": (bool,),
    "calling_ae_title": (str,),
    "called_ae_title": (str,),
    "host": (str,),
    "port": (int, type(None)),
    "is_tls": (bool,),
    "is_sent": (bool,),
    "data": (str, type(None)),
    "context_id": (int,),
    "length": (int,),
    "reason": (str,),
    "lost": (int,),
    "program": (str,),
    "ae_title": (str,),
    "of": (str,),
    "names_replaced": (bool,),
}


def header_line(header: Header) -> bytes:
    fields = header._asdict()
    return _line({_MARK: fields.pop("version"), **fields})


def to_line(record: Record) -> bytes:
    fields: dict[str, Any] = record._asdict()
    if isinstance(fields.get("data"), bytes):
        fields["data"] = base64.b64encode(fields["data"]).decode("ascii")
    return _line({"record": _NAMES[type(record)], **fields})


def _line(fields: Mapping[str, Any]) -> bytes:
    return json.dumps(fields).encode("ascii") + b"\n"


def from_line(line: bytes) -> Record | None:
    """None for a kind of record that this version does not know. Raises ValueError."""
    fields = _fields(line)
    kind = _KINDS.get(str(fields.get("record")))
    if kind is None:
        if not isinstance(fields.get("record"), str):
            raise ValueError("it says not what it is")
        return None
    values = _checked(fields, kind._fields)
    if "data" in values and (kind is not DatasetPassed or values["data"] is not None):
        values["data"] = _bytes(values["data"])
    return kind(**values)


def _fields(line: bytes) -> dict[str, Any]:
    if not line.endswith(b"\n"):
        raise ValueError("it is cut off")
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError("it is no JSON") from error
    if not isinstance(fields, dict):
        raise ValueError("it is no JSON object")  # noqa: TRY004 a fault of the file
    return fields


def _checked(fields: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    for name in names:
        value = fields.get(name)
        is_flag = isinstance(value, bool)
        if not isinstance(value, _TYPES[name]) or is_flag != (_TYPES[name] == (bool,)):
            raise ValueError(f"{name} is missing or none")
        if isinstance(value, int | float) and not _NUMBERS.start <= value < _NUMBERS.stop:
            raise ValueError(f"{name} is out of range")
    return {name: fields[name] for name in names}


def _bytes(text: str | None) -> bytes:
    try:
        return base64.b64decode(text or "", validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("data is no base64") from error


def read_recording(file: BinaryIO, name: str) -> tuple[Header, Iterator[Record]]:
    """What a file holds, from its beginning. Raises UsageError where it is no recording, or one of
    a newer form; the iterator RecordingDamaged, with the line, for what is cut off or altered."""
    line = file.readline(_LONGEST_LINE)
    try:
        fields = _fields(line)
        version = fields[_MARK]
        if not isinstance(version, int):
            raise ValueError("its form has no number")  # noqa: TRY004 a fault of the file
        if version > VERSION:
            raise UsageError(
                f"{name}: a recording of form {version}, by {fields.get('program')}; this version "
                f"reads form {VERSION} and older ones"
            )
        header = Header(**_checked(fields, Header._fields[:-1]), version=version)
    except (ValueError, KeyError) as error:
        raise UsageError(f"{name}: no recording of `pacsnode trace`: {_why(error)}") from error
    return header, _records(file, name)


def _why(error: Exception) -> str:
    return "its first line is none's" if isinstance(error, KeyError) else f"line 1: {error}"


def _records(file: BinaryIO, name: str) -> Iterator[Record]:
    number = 1
    while line := file.readline(_LONGEST_LINE):
        number += 1
        try:
            record = from_line(line)
        except ValueError as error:
            raise RecordingDamaged(
                f"{name}, line {number}: {error}; what comes before is whole"
            ) from error
        if record is not None:
            yield record
