"""A peer that speaks the upper layer by hand, so that it can also misspeak."""

import socket
import struct
from typing import Any

IMPLICIT = "1.2.840.10008.1.2"
VERIFICATION = "1.2.840.10008.1.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
STUDY_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
STUDY_GET = "1.2.840.10008.5.1.4.1.2.2.3"
COMMITMENT = "1.2.840.10008.1.20.1"
COMMITMENT_INSTANCE = "1.2.840.10008.1.20.1.1"
APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"

RQ, AC, RJ, P_DATA, RELEASE_RQ, RELEASE_RP, ABORT = range(1, 8)


def item(kind: int, content: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(content)) + content


def pdu(kind: int, content: bytes = b"\0\0\0\0") -> bytes:
    return struct.pack(">BxL", kind, len(content)) + content


def title(text: str | bytes) -> bytes:
    data = text if isinstance(text, bytes) else text.encode("ascii")
    return data.ljust(16)


def associate_rq(
    contexts: list[tuple[int, str, list[str]]],
    *,
    called: str | bytes = "PACSNODE",
    calling: str | bytes = "RAW",
    application_context: str = APPLICATION_CONTEXT,
    max_pdu: int = 16384,
    user_items: bytes = b"",
    more_items: bytes = b"",
    version: int = 1,
) -> bytes:
    items = item(0x10, application_context.encode())
    for number, abstract_syntax, transfer_syntaxes in contexts:
        content = bytes([number, 0, 0, 0]) + item(0x30, abstract_syntax.encode())
        content += b"".join(item(0x40, uid.encode()) for uid in transfer_syntaxes)
        items += item(0x20, content)
    user = item(0x51, struct.pack(">L", max_pdu)) + item(0x52, b"1.2.3") + user_items
    items += item(0x50, user) + more_items
    fixed = struct.pack(">HH", version, 0) + title(called) + title(calling) + bytes(32)
    return pdu(RQ, fixed + items)


def role(uid: str, scu: int, scp: int) -> bytes:
    """An SCP/SCU Role Selection sub-item (PS3.7 D.3.3.4)."""
    return item(0x54, struct.pack(">H", len(uid)) + uid.encode() + bytes([scu, scp]))


def command(**elements: Any) -> bytes:
    """A command set; keys are `x` and the element number in hexadecimal."""
    body = b""
    for key, value in elements.items():
        data = struct.pack("<H", value) if isinstance(value, int) else value.encode()
        data += b"\0" * (len(data) % 2)
        body += struct.pack("<HHL", 0, int(key[1:], 16), len(data)) + data
    return struct.pack("<HHLL", 0, 0, 4, len(body)) + body


def pdv(context_id: int, control: int, content: bytes) -> bytes:
    return struct.pack(">LBB", len(content) + 2, context_id, control) + content


def echo_rq(message_id: int = 1, context_id: int = 1) -> bytes:
    data = command(x0002=VERIFICATION, x0100=0x30, x0110=message_id, x0800=0x0101)
    return pdu(P_DATA, pdv(context_id, 3, data))


def store_rq(context_id: int = 1, uid: str = "1.2.3", message_id: int = 1) -> bytes:
    data = command(x0002=CT, x0100=1, x0110=message_id, x0700=0, x0800=1, x1000=uid)
    return pdu(P_DATA, pdv(context_id, 3, data))


def find_rq(message_id: int, identifier: bytes = b"", context_id: int = 1) -> bytes:
    data = command(x0002=STUDY_FIND, x0100=0x20, x0110=message_id, x0700=0, x0800=1)
    return pdu(P_DATA, pdv(context_id, 3, data)) + pdu(P_DATA, pdv(context_id, 2, identifier))


def get_rq(message_id: int, identifier: bytes = b"", context_id: int = 1) -> bytes:
    data = command(x0002=STUDY_GET, x0100=0x10, x0110=message_id, x0700=0, x0800=1)
    return pdu(P_DATA, pdv(context_id, 3, data)) + pdu(P_DATA, pdv(context_id, 2, identifier))


def action_rq(
    message_id: int, information: bytes = b"", context_id: int = 1, action_type: int = 1
) -> bytes:
    data = command(
        x0003=COMMITMENT,
        x0100=0x130,
        x0110=message_id,
        x0800=1,
        x1001=COMMITMENT_INSTANCE,
        x1008=action_type,
    )
    return pdu(P_DATA, pdv(context_id, 3, data)) + pdu(P_DATA, pdv(context_id, 2, information))


def event_report_rq(
    message_id: int, information: bytes = b"", context_id: int = 1, event_type: int = 1
) -> bytes:
    data = command(
        x0002=COMMITMENT,
        x0100=0x100,
        x0110=message_id,
        x0800=1,
        x1000=COMMITMENT_INSTANCE,
        x1002=event_type,
    )
    return pdu(P_DATA, pdv(context_id, 3, data)) + pdu(P_DATA, pdv(context_id, 2, information))


def event_report_rsp(message_id: int, context_id: int = 1, status: int = 0) -> bytes:
    data = command(x0002=COMMITMENT, x0100=0x8100, x0120=message_id, x0800=0x0101, x0900=status)
    return pdu(P_DATA, pdv(context_id, 3, data))


def action_rsp(message_id: int, context_id: int = 1, status: int = 0) -> bytes:
    data = command(x0002=COMMITMENT, x0100=0x8130, x0120=message_id, x0800=0x0101, x0900=status)
    return pdu(P_DATA, pdv(context_id, 3, data))


def cancel_rq(message_id: int, context_id: int = 1) -> bytes:
    return pdu(P_DATA, pdv(context_id, 3, command(x0100=0xFFF, x0120=message_id, x0800=0x0101)))


class RawPeer:
    """A socket with PDUs in and out."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address, timeout=20)

    @classmethod
    def over(cls, connection: socket.socket) -> "RawPeer":
        """On a connection that is there."""
        peer = cls.__new__(cls)
        peer.socket = connection
        return peer

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def receive(self) -> tuple[int, bytes] | None:
        """Type and content of the next PDU; None where the connection has ended."""
        head = self._exactly(6)
        if head is None:
            return None
        kind, length = struct.unpack(">BxL", head)
        content = self._exactly(length)
        return None if content is None else (kind, content)

    def _exactly(self, size: int) -> bytes | None:
        data = b""
        while len(data) < size:
            try:
                more = self.socket.recv(size - len(data))
            except ConnectionResetError:
                return None
            if not more:
                return None
            data += more
        return data

    def associate(self, *contexts: tuple[int, str, list[str]], **options: Any) -> bytes:
        """Open an association; returns the A-ASSOCIATE-AC's content."""
        self.send(associate_rq(list(contexts), **options))
        answer = self.receive()
        assert answer is not None
        assert answer[0] == AC
        return answer[1]

    def response(self) -> tuple[int, bytes]:
        """Status and, where it has one, dataset of the next response."""
        elements, dataset = self.message()
        return struct.unpack("<H", elements[0x0900])[0], dataset

    def message(self) -> tuple[dict[int, bytes], bytes]:
        """Command set and, where it has one, dataset of the next message."""
        answer = self.receive()
        assert answer is not None, "the connection ended"
        assert answer[0] == P_DATA, f"PDU type {answer[0]}"
        elements = read_command(answer[1][6:])
        dataset = b""
        rest = answer[1][4 + struct.unpack(">L", answer[1][:4])[0] :]
        if elements[0x0800] != b"\x01\x01":
            if not rest:
                more = self.receive()
                assert more is not None
                rest = more[1]
            dataset = rest[6:]
        return elements, dataset

    def expect_abort(self) -> None:
        """Everything up to an A-ABORT, and the end of the connection after it."""
        while True:
            answer = self.receive()
            assert answer is not None, "the connection ended without an A-ABORT"
            if answer[0] == ABORT:
                break
        assert self.receive() is None

    def close(self) -> None:
        self.socket.close()


def read_command(data: bytes) -> dict[int, bytes]:
    elements, position = {}, 0
    while position + 8 <= len(data):
        group, element, length = struct.unpack_from("<HHL", data, position)
        if group:
            break
        elements[element] = data[position + 8 : position + 8 + length]
        position += 8 + length
    return elements


def until_closed(connection: socket.socket) -> None:
    try:
        while connection.recv(65536):
            continue
    except OSError:
        return


def accept(
    connection: socket.socket, number: int = 1, max_pdu: int = 16384, user_items: bytes = b""
) -> None:
    """Take the request, accept context `number`."""
    connection.recv(65536)
    items = item(0x10, APPLICATION_CONTEXT.encode())
    items += item(0x21, bytes([number, 0, 0, 0]) + item(0x40, IMPLICIT.encode()))
    user = item(0x51, struct.pack(">L", max_pdu)) + item(0x52, b"1.2") + user_items
    items += item(0x50, user)
    connection.sendall(pdu(AC, struct.pack(">HH", 1, 0) + bytes(64) + items))
