"""Command sets (PS3.7 6.3, annex E): always Implicit VR Little Endian, group 0000. Read and
written without a Dataset, which would cost more than the rest of a small message."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass

C_STORE_RQ, C_GET_RQ, C_FIND_RQ, C_MOVE_RQ, C_ECHO_RQ = 0x0001, 0x0010, 0x0020, 0x0021, 0x0030
C_CANCEL_RQ = 0x0FFF
N_EVENT_REPORT_RQ, N_GET_RQ, N_SET_RQ = 0x0100, 0x0110, 0x0120
N_ACTION_RQ, N_CREATE_RQ, N_DELETE_RQ = 0x0130, 0x0140, 0x0150
DIMSE_N = range(N_EVENT_REPORT_RQ, N_DELETE_RQ + 1)  # PS3.7 10.1
RESPONSE = 0x8000

NO_DATASET = 0x0101
PRIORITIES = (0, 1, 2)  # medium, high, low

LONGEST_COMMAND = 64 << 10  # bytes; the longest real one has a few hundred

_ELEMENT = struct.Struct("<HHL")
_US = struct.Struct("<H")

AFFECTED_SOP_CLASS_UID = 0x0002
REQUESTED_SOP_CLASS_UID = 0x0003
COMMAND_FIELD = 0x0100
MESSAGE_ID = 0x0110
MESSAGE_ID_BEING_RESPONDED_TO = 0x0120
MOVE_DESTINATION = 0x0600
PRIORITY = 0x0700
COMMAND_DATA_SET_TYPE = 0x0800
STATUS = 0x0900
ERROR_COMMENT = 0x0902
AFFECTED_SOP_INSTANCE_UID = 0x1000
REQUESTED_SOP_INSTANCE_UID = 0x1001
EVENT_TYPE_ID = 0x1002
ACTION_TYPE_ID = 0x1008
REMAINING, COMPLETED, FAILED, WARNING = 0x1020, 0x1021, 0x1022, 0x1023
MOVE_ORIGINATOR_AE_TITLE = 0x1030
MOVE_ORIGINATOR_MESSAGE_ID = 0x1031

_UIDS = frozenset(
    {
        AFFECTED_SOP_CLASS_UID, REQUESTED_SOP_CLASS_UID,
        AFFECTED_SOP_INSTANCE_UID, REQUESTED_SOP_INSTANCE_UID,
    }
)  # fmt: skip


class MalformedCommand(ValueError):
    """A command set that PS3.7 does not allow. Never leaves this room."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command set: values as sent, by element number."""

    elements: Mapping[int, bytes]

    def number(self, element: int) -> int | None:
        """The value of a US element; None where it is missing or empty."""
        value = self.elements.get(element)
        if not value:
            return None
        if len(value) != _US.size:
            raise MalformedCommand(f"(0000,{element:04X}) has {len(value)} bytes instead of 2")
        number: int = _US.unpack(value)[0]
        return number

    def required(self, element: int) -> int:
        number = self.number(element)
        if number is None:
            raise MalformedCommand(f"(0000,{element:04X}) is missing")
        return number

    def text(self, element: int) -> str:
        """UID or title less NULs and spaces around it; "" where it is missing. Bytes outside ASCII
        are kept apart as Latin-1 keeps them."""
        return self.elements.get(element, b"").decode("latin-1").strip("\0 ")

    @property
    def field(self) -> int:
        return self.required(COMMAND_FIELD)

    @property
    def priority(self) -> int:
        """Medium (0) where it is missing or none there is: nothing but time depends on it."""
        value = int.from_bytes(self.elements.get(PRIORITY, b""), "little")
        return value if value in PRIORITIES else 0

    @property
    def has_dataset(self) -> bool:
        return self.required(COMMAND_DATA_SET_TYPE) != NO_DATASET


def decode(data: bytes | bytearray) -> Command:
    """Raises MalformedCommand for elements that overrun the set or stand outside group 0000."""
    data = bytes(data)
    elements: dict[int, bytes] = {}
    position, end = 0, len(data)
    while position < end:
        if end - position < _ELEMENT.size:
            raise MalformedCommand(f"{end - position} stray bytes at the end")
        group, element, length = _ELEMENT.unpack_from(data, position)
        position += _ELEMENT.size
        if group != 0:
            raise MalformedCommand(f"an element of group {group:04X}")
        if length > end - position:
            raise MalformedCommand(f"(0000,{element:04X}) overruns the set")
        elements[element] = data[position : position + length]
        position += length
    return Command(elements)


def encode(values: Mapping[int, int | str | None]) -> bytes:
    """`values` by element number; None is left out. Text goes out as Latin-1."""
    parts = []
    for element in sorted(values):
        value = values[element]
        if value is None:
            continue
        parts.append(_encode_element(element, value))
    body = b"".join(parts)
    return _ELEMENT.pack(0, 0, 4) + len(body).to_bytes(4, "little") + body


def _encode_element(element: int, value: int | str) -> bytes:
    if isinstance(value, int):
        return _ELEMENT.pack(0, element, 2) + _US.pack(value)
    data = value.encode("latin-1", "replace")
    if len(data) % 2:
        data += b"\0" if element in _UIDS else b" "
    return _ELEMENT.pack(0, element, len(data)) + data


def comment(text: str) -> str | None:
    """`text` as an Error Comment may be (LO: 64 characters, here ASCII); None for no text."""
    cleaned = "".join(c if " " <= c <= "~" and c != "\\" else "?" for c in text)
    return cleaned[:64].rstrip() or None
