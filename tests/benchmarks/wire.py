"""The bytes of associations and messages (PS3.8 9.3, PS3.7 9.3), made without a toolkit: what the
light client sends costs it next to nothing while a peer is measured."""

import struct
from collections.abc import Iterable, Iterator, Sequence

from tests.benchmarks.data import Instance

VERIFICATION = "1.2.840.10008.1.1"
STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
STUDY_ROOT_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
IMPLEMENTATION_CLASS_UID = "1.2.826.0.1.3680043.10.99.1"

ASSOCIATE_AC, P_DATA, RELEASE_RP = 2, 4, 6
RELEASE_RQ = bytes((5, 0, 0, 0, 0, 4, 0, 0, 0, 0))
ABORT = bytes((7, 0, 0, 0, 0, 4, 0, 0, 0, 0))

PDU_HEAD = struct.Struct(">BxL")
PDV_HEAD = struct.Struct(">LBB")
ELEMENT_HEAD = struct.Struct("<HHL")  # Implicit VR, as command sets are
NO_DATASET = 0x0101
SUCCESS = 0x0000
PENDING = (0xFF00, 0xFF01)


def associate_request(
    called: str, contexts: Iterable[str], *, calling: str = "BENCHMARK", max_pdu: int = 131072
) -> bytes:
    """An A-ASSOCIATE-RQ PDU; presentation contexts get the IDs 1, 3, 5 …"""
    syntax = _item(0x40, EXPLICIT_VR_LITTLE_ENDIAN.encode())
    proposed = b"".join(
        _item(0x20, bytes((number * 2 + 1, 0, 0, 0)) + _item(0x30, sop_class.encode()) + syntax)
        for number, sop_class in enumerate(contexts)
    )
    user = _item(0x51, struct.pack(">L", max_pdu)) + _item(0x52, IMPLEMENTATION_CLASS_UID.encode())
    titles = called.ljust(16).encode() + calling.ljust(16).encode()
    body = struct.pack(">HH", 1, 0) + titles + bytes(32)
    body += _item(0x10, APPLICATION_CONTEXT.encode()) + proposed + _item(0x50, user)
    return PDU_HEAD.pack(1, len(body)) + body


def _item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(value)) + value


def accepted(body: bytes) -> tuple[list[int], int]:
    """Of an A-ASSOCIATE-AC's body: the IDs of accepted contexts and the peer's maximum length."""
    ids, max_pdu = [], 0
    for kind, value in _items(body[68:]):
        if kind == 0x21 and value[2] == 0:
            ids.append(value[0])
        elif kind == 0x50:
            max_pdu = next(
                (struct.unpack(">L", inner)[0] for kind, inner in _items(value) if kind == 0x51), 0
            )
    return ids, max_pdu


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position < len(data):
        kind, length = struct.unpack_from(">BxH", data, position)
        yield kind, data[position + 4 : position + 4 + length]
        position += 4 + length


def command(**elements: str | int) -> bytes:
    """A command set of the elements of PS3.7 E.1 that are used here, by keyword."""
    encoded = b"".join(
        _element(tag, kind, elements[keyword])
        for keyword, (tag, kind) in _COMMAND_ELEMENTS.items()
        if keyword in elements
    )
    return ELEMENT_HEAD.pack(0, 0, 4) + struct.pack("<L", len(encoded)) + encoded


# In the order of their tags.
_COMMAND_ELEMENTS = {
    "AffectedSOPClassUID": (0x0002, "UI"),
    "CommandField": (0x0100, "US"),
    "MessageID": (0x0110, "US"),
    "MoveDestination": (0x0600, "AE"),
    "Priority": (0x0700, "US"),
    "CommandDataSetType": (0x0800, "US"),
    "AffectedSOPInstanceUID": (0x1000, "UI"),
}


def _element(tag: int, kind: str, value: str | int) -> bytes:
    if isinstance(value, int):
        data = struct.pack("<H", value)
    else:
        data = value.encode()
        data += (b"\0" if kind == "UI" else b" ") * (len(data) % 2)
    return ELEMENT_HEAD.pack(0, tag, len(data)) + data


def store_request(instance: Instance, message_id: int = 1) -> bytes:
    return command(
        AffectedSOPClassUID=instance.sop_class_uid,
        CommandField=0x0001,
        MessageID=message_id,
        Priority=0,
        CommandDataSetType=0x0001,
        AffectedSOPInstanceUID=instance.sop_instance_uid,
    )


def echo_request(message_id: int = 1) -> bytes:
    return command(
        AffectedSOPClassUID=VERIFICATION,
        CommandField=0x0030,
        MessageID=message_id,
        CommandDataSetType=NO_DATASET,
    )


def find_request(message_id: int) -> bytes:
    return command(
        AffectedSOPClassUID=STUDY_ROOT_FIND,
        CommandField=0x0020,
        MessageID=message_id,
        Priority=0,
        CommandDataSetType=0x0001,
    )


def move_request(destination: str, message_id: int) -> bytes:
    return command(
        AffectedSOPClassUID=STUDY_ROOT_MOVE,
        CommandField=0x0021,
        MessageID=message_id,
        MoveDestination=destination,
        Priority=0,
        CommandDataSetType=0x0001,
    )


def fragments(
    context_id: int, data: bytes, *, is_command: bool, is_last: bool = True, max_pdu: int
) -> Iterator[tuple[bytes, memoryview]]:
    """P-DATA-TF PDUs as DCMTK writes them: heads of PDU and PDV in one write, the rest in
    another, which is what Nagle's algorithm holds up."""
    size = max_pdu - PDV_HEAD.size
    view = memoryview(data)
    for start in range(0, len(data), size):
        body = view[start : start + size]
        control = int(is_command) | 2 * int(is_last and start + size >= len(data))
        head = PDU_HEAD.pack(P_DATA, len(body) + PDV_HEAD.size)
        yield head + PDV_HEAD.pack(len(body) + 2, context_id, control), body


def values(body: bytes) -> Iterator[tuple[bool, bool, bytes]]:
    """Of a P-DATA-TF's body: is it of a command, is it the last, and the fragment."""
    position = 0
    while position < len(body):
        length, _, control = PDV_HEAD.unpack_from(body, position)
        end = position + 4 + length
        yield bool(control & 1), bool(control & 2), body[position + 6 : end]
        position = end


def number_of(command_set: bytes, tag: int) -> int | None:
    """The value of a US element of a command set; None where it has none."""
    position = 0
    while position < len(command_set):
        _, element, length = ELEMENT_HEAD.unpack_from(command_set, position)
        position += ELEMENT_HEAD.size + length
        if element == tag:
            return int.from_bytes(command_set[position - length : position], "little")
    return None


def status_of(response: bytes) -> int:
    status = number_of(response, 0x0900)
    return 0xFFFF if status is None else status


def has_dataset(command_set: bytes) -> bool:
    return number_of(command_set, 0x0800) != NO_DATASET


def conversation(called: str, sop_class: str, *messages: bytes) -> Sequence[Sequence[bytes]]:
    """A whole association with one request, as writes; each group of them gets one PDU in
    answer. `messages`: the command set and, where there is one, the dataset."""
    request: list[bytes] = []
    for number, data in enumerate(messages):
        for head, body in fragments(1, data, is_command=number == 0, max_pdu=16384):
            request += (head, bytes(body))
    return [associate_request(called, [sop_class])], request, [RELEASE_RQ]
