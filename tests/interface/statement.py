"""What it takes to hold a conformance statement against a node: its tables out of the Markdown that
was printed, negotiation by hand, and a line on which requests for associations are taken down."""

import re
import select
import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.conftest import PATIENCE, RunningNode
from tests.net.raw import AC, RQ, RawPeer, associate_rq

Row = dict[str, str]
_EDGE = re.compile(r"(?<!\\)\|")
_ESCAPE = re.compile(r"\\(.)")

MOST_CONTEXTS = 128
SCU, SCP = "SCU", "SCP"


class Statement:
    """The tables of a printed statement, by title."""

    def __init__(self, markdown: str) -> None:
        self.text = markdown
        self.tables: dict[str, list[Row]] = {}
        found = re.finditer(r"^\*\*Table \d+: (.+)\*\*\n\n((?:\|.*\n)+)", markdown, re.MULTILINE)
        for table in found:
            titles, _, *rows = [_cells(line) for line in table[2].splitlines()]
            self.tables[_ESCAPE.sub(r"\1", table[1])] = [
                dict(zip(titles, row, strict=True)) for row in rows
            ]

    def rows(self, title: str) -> list[Row]:
        return self.tables[title]

    def column(self, title: str, name: str) -> list[str]:
        return [row[name] for row in self.tables[title]]

    def value(self, title: str, item: str) -> str:
        """Of a table of items and values."""
        return next(row["Value"] for row in self.tables[title] if row["Item"] == item)


def _cells(line: str) -> list[str]:
    return [_ESCAPE.sub(r"\1", cell.strip()) for cell in _EDGE.split(line)[1:-1]]


def statement_of(node: RunningNode) -> Statement:
    """What `pacsnode conformance` prints with a node's own configuration."""
    done = node.command("conformance")
    assert done.returncode == 0, done.stderr
    return Statement(done.stdout)


def listed(cell: str) -> list[str]:
    """The entries of a cell that has several."""
    return [part for part in cell.split(", ") if part]


class Context(NamedTuple):
    """A proposed presentation context."""

    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass
class Negotiated:
    """One side of a negotiation. `results` and `chosen` are those of an A-ASSOCIATE-AC, by the
    place of the context; roles are (SCU, SCP) of the requestor."""

    contexts: list[Context] = field(default_factory=list)
    results: list[int] = field(default_factory=list)
    chosen: list[str] = field(default_factory=list)
    roles: dict[str, tuple[bool, bool]] = field(default_factory=dict)
    extended: dict[str, bytes] = field(default_factory=dict)
    max_pdu: int | None = None
    implementation_class: str = ""
    implementation_version: str = ""
    window: tuple[int, int] | None = None
    calling: str = ""


def read(content: bytes) -> Negotiated:
    """An A-ASSOCIATE-RQ or -AC."""
    found = Negotiated(calling=content[20:36].decode("ascii").strip())
    for kind, item in _items(content[68:]):
        if kind == 0x20:
            syntaxes = [(one, value.decode()) for one, value in _items(item[4:])]
            abstract = next(uid for one, uid in syntaxes if one == 0x30)
            proposed = tuple(uid for one, uid in syntaxes if one == 0x40)
            found.contexts.append(Context(abstract, proposed))
        elif kind == 0x21:
            found.results.append(item[2])
            found.chosen.append(item[8:].decode())
        elif kind == 0x50:
            for one, value in _items(item):
                _read_user_item(found, one, value)
    return found


def _read_user_item(found: Negotiated, kind: int, value: bytes) -> None:
    if kind == 0x51:
        found.max_pdu = int.from_bytes(value, "big")
    elif kind == 0x52:
        found.implementation_class = value.decode()
    elif kind == 0x53:
        found.window = struct.unpack(">HH", value)
    elif kind == 0x54:
        length = int.from_bytes(value[:2], "big")
        found.roles[value[2 : 2 + length].decode()] = bool(value[-2]), bool(value[-1])
    elif kind == 0x55:
        found.implementation_version = value.decode()
    elif kind == 0x56:
        length = int.from_bytes(value[:2], "big")
        found.extended[value[2 : 2 + length].decode()] = value[2 + length :]


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position < len(data):
        kind, length = struct.unpack_from(">BxH", data, position)
        yield kind, data[position + 4 : position + 4 + length]
        position += 4 + length


def negotiate(
    node: RunningNode, contexts: Sequence[Context], user_items: bytes = b""
) -> Negotiated:
    """What the node answers to these contexts, on one association, which ends."""
    assert len(contexts) <= MOST_CONTEXTS
    numbered = [(2 * n + 1, one.abstract_syntax, [*one.transfer_syntaxes])
                for n, one in enumerate(contexts)]  # fmt: skip
    peer = RawPeer((node.host, node.port))
    try:
        peer.send(associate_rq(numbered, user_items=user_items))
        answer = peer.receive()
    finally:
        peer.close()
    assert answer is not None
    assert answer[0] == AC
    return read(answer[1])


def results(
    node: RunningNode, contexts: Sequence[Context], user_items: bytes = b""
) -> list[tuple[Context, int, str]]:
    """Each context with the result and the transfer syntax that the node answers, over as many
    associations as it takes."""
    answers = []
    for first in range(0, len(contexts), MOST_CONTEXTS):
        part = contexts[first : first + MOST_CONTEXTS]
        answer = negotiate(node, part, user_items)
        answers += list(zip(part, answer.results, answer.chosen, strict=True))
    return answers


@dataclass
class Line:
    """A TCP port behind which another one is, the `target`; `requests` are the A-ASSOCIATE-RQs that
    passed."""

    port: int
    target: int
    requests: list[Negotiated]

    def proposed(self) -> list[Context]:
        """All contexts of all requests, in order."""
        return [context for request in self.requests for context in request.contexts]


@contextmanager
def line_to(port: int) -> Iterator[Line]:
    """A line to `port` of this machine, until this is left."""
    listening = socket.create_server(("127.0.0.1", 0))
    ended, end = socket.socketpair()
    line = Line(listening.getsockname()[1], port, [])
    threads: list[threading.Thread] = []

    def accept() -> None:
        while ended not in select.select([listening, ended], [], [])[0]:
            client = listening.accept()[0]
            thread = threading.Thread(target=_carry, args=(client, line, ended))
            threads.append(thread)
            thread.start()

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield line
    finally:
        end.close()
        for thread in (accepting, *threads):
            thread.join(PATIENCE)
        listening.close()
        ended.close()


def _carry(client: socket.socket, line: Line, ended: socket.socket) -> None:
    """Both ways, until one side closes."""
    with client, socket.create_connection(("127.0.0.1", line.target)) as server:
        first = RawPeer.over(client).receive()
        if first is None:
            return
        assert first[0] == RQ
        line.requests.append(read(first[1]))
        server.sendall(struct.pack(">BxL", RQ, len(first[1])) + first[1])
        other = {client: server, server: client}
        while True:
            ready = select.select([client, server, ended], [], [])[0]
            if ended in ready:
                return
            for side in ready:
                data = _received(side)
                if not data:
                    return
                other[side].sendall(data)


def _received(side: socket.socket) -> bytes:
    try:
        return side.recv(65536)
    except ConnectionResetError:
        return b""
