"""A DICOM peer that shares no code with pacsnode: PDUs by hand, datasets by pydicom, every element
of a response in sight. What DCMTK's tools do not show or cannot do is done with it."""

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Self

from pydicom import DataElement, Dataset, dcmread
from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import UID

from tests.net.raw import (
    ABORT,
    AC,
    P_DATA,
    RELEASE_RP,
    RELEASE_RQ,
    RJ,
    VERIFICATION,
    RawPeer,
    associate_rq,
    item,
    pdu,
    pdv,
    read_command,
)

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
BIG_ENDIAN = "1.2.840.10008.1.2.2"

CT = "1.2.840.10008.5.1.4.1.1.2"
PATIENT_FIND, PATIENT_MOVE, PATIENT_GET = (f"1.2.840.10008.5.1.4.1.2.1.{n}" for n in (1, 2, 3))
STUDY_FIND, STUDY_MOVE, STUDY_GET = (f"1.2.840.10008.5.1.4.1.2.2.{n}" for n in (1, 2, 3))
ONLY_FIND, ONLY_MOVE, ONLY_GET = (f"1.2.840.10008.5.1.4.1.2.3.{n}" for n in (1, 2, 3))

STORE_RQ, FIND_RQ, GET_RQ, MOVE_RQ, ECHO_RQ, CANCEL_RQ = 1, 0x20, 0x10, 0x21, 0x30, 0xFFF
NO_DATASET = 0x0101
FRAGMENT = 60_000


@dataclass(frozen=True)
class Response:
    """One message of the node."""

    command: Mapping[int, bytes]
    dataset: bytes
    transfer_syntax: str

    def number(self, element: int) -> int | None:
        value = self.command.get(element)
        return struct.unpack("<H", value)[0] if value else None

    @property
    def status(self) -> int:
        number = self.number(0x0900)
        assert number is not None, "a response without status"
        return number

    @property
    def comment(self) -> str:
        """The Error Comment; anything but ASCII is an error."""
        return self.command.get(0x0902, b"").decode("ascii").rstrip(" ")

    @property
    def counters(self) -> tuple[int | None, ...]:
        """Remaining, completed, failed, warning."""
        return tuple(self.number(element) for element in (0x1020, 0x1021, 0x1022, 0x1023))

    @property
    def identifier(self) -> Dataset:
        return decoded(self.dataset, self.transfer_syntax)

    @property
    def failed(self) -> list[str]:
        """The Failed SOP Instance UID List."""
        value = self.identifier.get("FailedSOPInstanceUIDList") if self.dataset else None
        return [] if not value else [value] if isinstance(value, str) else list(value)


class Rejected(Exception):
    """A-ASSOCIATE-RJ: result, source and reason."""

    @property
    def codes(self) -> tuple[int, int, int]:
        return self.args[0], self.args[1], self.args[2]


class Ended(AssertionError):
    """The node ended the connection, perhaps by an A-ABORT, where it had something to say."""


def encoded(ds: Dataset, transfer_syntax: str = EXPLICIT) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_implicit_VR = transfer_syntax == IMPLICIT
    buffer.is_little_endian = transfer_syntax != BIG_ENDIAN
    write_dataset(buffer, ds)
    return buffer.getvalue()


def decoded(data: bytes, transfer_syntax: str) -> Dataset:
    """A dataset of an answer: `data` behind a file meta group for pydicom."""
    meta = b"\2\0\x10\0UI" + struct.pack("<H", len(transfer_syntax) + len(transfer_syntax) % 2)
    meta += transfer_syntax.encode() + b"\0" * (len(transfer_syntax) % 2)
    return dcmread(BytesIO(bytes(128) + b"DICM" + meta + data), force=True)


def keys(level: str, **values: Any) -> Dataset:
    ds = Dataset()
    for keyword, value in {"QueryRetrieveLevel": level, **values}.items():
        tag = tag_for_keyword(keyword)
        assert tag is not None, keyword
        ds.add(DataElement(tag, dictionary_VR(tag), value, validation_mode=IGNORE))
    return ds


def command_set(**elements: int | str | bytes) -> bytes:
    """As tests.net.raw.command, with values as bytes too, in the order of their tags."""
    body = b""
    for key in sorted(elements):
        value = elements[key]
        if isinstance(value, int):
            data = struct.pack("<H", value)
        else:
            data = value if isinstance(value, bytes) else value.encode()
        data += b"\0" * (len(data) % 2)
        body += struct.pack("<HHL", 0, int(key[1:], 16), len(data)) + data
    return struct.pack("<HHLL", 0, 0, 4, len(body)) + body


class Association:
    """One association with the node as requestor. `contexts` are (abstract syntax, transfer
    syntaxes); in those of `as_scp` this side takes C-STOREs."""

    def __init__(
        self,
        address: tuple[str, int],
        *contexts: tuple[str, Sequence[str]],
        as_scp: Sequence[str] = (),
        **options: Any,
    ) -> None:
        self._peer = RawPeer(address)
        self._messages = 0
        self.accepted: dict[int, tuple[str, str]] = {}
        self.stored: list[tuple[str, str, bytes]] = []  # UID, transfer syntax, dataset
        self.store_status = 0
        try:
            self._associate(
                [(2 * n + 1, *context) for n, context in enumerate(contexts)], as_scp, options
            )
        except BaseException:
            self._peer.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._peer.close()

    def release(self) -> None:
        self._peer.send(pdu(RELEASE_RQ))
        answer = self._peer.receive()
        if answer is None or answer[0] == ABORT:
            raise Ended("instead of a release")
        assert answer[0] == RELEASE_RP

    def close(self) -> None:
        """Without a release: the cable is pulled."""
        self._peer.close()

    def _associate(
        self, contexts: list[Any], as_scp: Sequence[str], options: dict[str, Any]
    ) -> None:
        roles = b"".join(
            item(0x54, struct.pack(">H", len(uid)) + uid.encode() + b"\0\1") for uid in as_scp
        )
        self._peer.send(associate_rq(contexts, user_items=roles, **{"max_pdu": 0, **options}))
        answer = self._peer.receive()
        if answer is None:
            raise Ended("before it answered the request for an association")
        if answer[0] == RJ:
            raise Rejected(*answer[1][1:4])
        assert answer[0] == AC
        abstract = {number: uid for number, uid, _ in contexts}
        for kind, content in _items(answer[1][68:]):
            if kind == 0x21 and content[2] == 0:
                transfer_syntax = content[8:].decode()
                self.accepted[content[0]] = (abstract[content[0]], transfer_syntax)

    def context_of(self, abstract_syntax: str, transfer_syntax: str | None = None) -> int:
        for number, (abstract, syntax) in self.accepted.items():
            if abstract == abstract_syntax and transfer_syntax in (None, syntax):
                return number
        raise AssertionError(f"{abstract_syntax} in {transfer_syntax} was not accepted")

    def _send(self, context: int, command: bytes, dataset: bytes | None = None) -> None:
        self._peer.send(_stream(context, command, dataset))

    def receive(self) -> tuple[int, Response]:
        """The next whole message and its context."""
        command, dataset, context = b"", b"", 0
        while True:
            answer = self._peer.receive()
            if answer is None or answer[0] == ABORT:
                raise Ended("instead of a message")
            assert answer[0] == P_DATA, f"PDU type {answer[0]} instead of a message"
            for number, control, content in _values(answer[1]):
                context = number
                if control & 1:
                    command += content
                else:
                    dataset += content
                if control & 2 and (
                    not control & 1 or read_command(command)[0x0800] == b"\x01\x01"
                ):
                    message = read_command(command)
                    return context, Response(message, dataset, self.accepted[context][1])

    def _next_id(self) -> int:
        self._messages += 1
        return self._messages

    def echo(self) -> Response:
        command = command_set(
            x0002=VERIFICATION, x0100=ECHO_RQ, x0110=self._next_id(), x0800=NO_DATASET
        )
        self._send(self.context_of(VERIFICATION), command)
        return self.receive()[1]

    def store(
        self,
        sop_class_uid: str,
        sop_instance_uid: str | bytes,
        dataset: bytes,
        transfer_syntax: str | None = None,
    ) -> Response:
        command = command_set(
            x0002=sop_class_uid,
            x0100=STORE_RQ,
            x0110=self._next_id(),
            x0700=0,
            x0800=1,
            x1000=sop_instance_uid,
        )
        self._send(self.context_of(sop_class_uid, transfer_syntax), command, dataset)
        return self.receive()[1]

    def store_dataset(self, ds: Dataset, transfer_syntax: str = EXPLICIT) -> Response:
        data = encoded(ds, transfer_syntax)
        return self.store(ds.SOPClassUID, ds.SOPInstanceUID, data, transfer_syntax)

    def _request(
        self, kind: int, abstract_syntax: str, identifier: Dataset | bytes, **more: Any
    ) -> Iterator[Response]:
        """Send it; every response, while C-STOREs that come between are taken and answered."""
        self.ask(kind, abstract_syntax, identifier, **more)
        yield from self.responses()

    def responses(self) -> Iterator[Response]:
        """Those to what was asked last."""
        while True:
            where, message = self.receive()
            if message.number(0x0100) == STORE_RQ:
                self._take(where, message)
                continue
            yield message
            if message.status not in (0xFF00, 0xFF01):
                return

    def _take(self, context: int, message: Response) -> None:
        uid = message.command[0x1000].rstrip(b"\0")
        self.stored.append((uid.decode(), message.transfer_syntax, message.dataset))
        command = command_set(
            x0002=message.command[0x0002],
            x0100=0x8001,
            x0120=message.number(0x0110) or 0,
            x0800=NO_DATASET,
            x0900=self.store_status,
            x1000=uid,
        )
        self._send(context, command)

    def find(self, abstract_syntax: str, identifier: Dataset | bytes) -> list[Response]:
        return list(self._request(FIND_RQ, abstract_syntax, identifier))

    def move(
        self, abstract_syntax: str, identifier: Dataset | bytes, destination: str
    ) -> list[Response]:
        return list(self._request(MOVE_RQ, abstract_syntax, identifier, x0600=destination))

    def get(self, abstract_syntax: str, identifier: Dataset | bytes) -> list[Response]:
        return list(self._request(GET_RQ, abstract_syntax, identifier))

    def ask(
        self,
        kind: int,
        abstract_syntax: str,
        identifier: Dataset | bytes,
        *,
        and_cancel: bool = False,
        **more: Any,
    ) -> None:
        """Send a request; with `and_cancel` its C-CANCEL follows in the same write."""
        context = self.context_of(abstract_syntax)
        if isinstance(identifier, Dataset):
            identifier = encoded(identifier, self.accepted[context][1])
        fields = {"x0002": abstract_syntax, "x0100": kind, "x0110": self._next_id()}
        command = command_set(**fields, x0700=0, x0800=1, **more)
        stream = _stream(context, command, identifier)
        if and_cancel:
            stream += _stream(context, self._cancel_command())
        self._peer.send(stream)

    def cancel(self, abstract_syntax: str) -> None:
        """Cancel what was asked for last."""
        self._send(self.context_of(abstract_syntax), self._cancel_command())

    def _cancel_command(self) -> bytes:
        return command_set(x0100=CANCEL_RQ, x0120=self._messages, x0800=NO_DATASET)


def _stream(context: int, command: bytes, dataset: bytes | None = None) -> bytes:
    """The PDUs of a message."""
    stream = [pdu(P_DATA, pdv(context, 3, command))]
    if dataset is not None:
        pieces = [dataset[at : at + FRAGMENT] for at in range(0, len(dataset), FRAGMENT)]
        stream += [pdu(P_DATA, pdv(context, 0, piece)) for piece in pieces[:-1]]
        stream.append(pdu(P_DATA, pdv(context, 2, pieces[-1] if pieces else b"")))
    return b"".join(stream)


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position + 4 <= len(data):
        kind, length = struct.unpack_from(">BxH", data, position)
        yield kind, data[position + 4 : position + 4 + length]
        position += 4 + length


def _values(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """The presentation data values of a P-DATA-TF."""
    position = 0
    while position < len(data):
        length, context, control = struct.unpack_from(">LBB", data, position)
        yield context, control, data[position + 6 : position + 4 + length]
        position += 4 + length


@dataclass(frozen=True)
class File:
    """A DICOM file taken apart by hand."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax: str
    dataset: bytes


def read_file(data: bytes) -> File:
    """Preamble, file meta group, and the dataset's bytes as they are."""
    assert data[128:132] == b"DICM"
    position, meta = 132, {}
    while data[position : position + 2] == b"\2\0":
        vr = data[position + 4 : position + 6]
        if vr in (b"OB", b"UN", b"OW", b"UT", b"SQ"):
            length, head = struct.unpack_from("<L", data, position + 8)[0], 12
        else:
            length, head = struct.unpack_from("<H", data, position + 6)[0], 8
        element = struct.unpack_from("<H", data, position + 2)[0]
        meta[element] = data[position + head : position + head + length]
        position += head + length
    texts = {element: value.rstrip(b"\0 ").decode("latin-1") for element, value in meta.items()}
    return File(texts.get(2, ""), texts.get(3, ""), UID(texts.get(0x10, "")), data[position:])
