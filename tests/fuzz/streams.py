"""Whole associations as one peer sends them, from the A-ASSOCIATE-RQ on, made wrong on every level:
the order of PDUs, what is in them, and the bytes as they go out. The same seed and number make the
same stream."""

import struct
from collections.abc import Callable, Sequence
from random import Random
from typing import NamedTuple

from tests.dicom import raw as datasets
from tests.fuzz import grammar
from tests.fuzz.mutation import NUMBERS, mutated
from tests.net import raw
from tests.net.raw import P_DATA, pdu, pdv

MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
PATIENT_FIND = "1.2.840.10008.5.1.4.1.2.1.1"
COMMITMENT = "1.2.840.10008.1.20.1"
COMMITMENT_INSTANCE = "1.2.840.10008.1.20.1.1"
JPEG = "1.2.840.10008.1.2.4.50"
PRIVATE = "1.2.826.0.1.3680043.9.9999.1"

LONGEST = 96 << 10  # bytes of a stream: it goes out at once, however little the node takes

# What the peers of the fuzz run propose: number, abstract syntax, transfer syntaxes.
CONTEXTS: Sequence[tuple[int, str, list[str]]] = (
    (1, raw.VERIFICATION, [datasets.IMPLICIT]),
    (3, datasets.CT, [datasets.EXPLICIT]),
    (5, datasets.CT, [datasets.IMPLICIT]),
    (7, datasets.CT, [datasets.DEFLATED]),
    (9, datasets.CT, [datasets.BIG_ENDIAN]),
    (11, PRIVATE, [JPEG]),
    (13, raw.STUDY_FIND, [datasets.EXPLICIT]),
    (15, PATIENT_FIND, [datasets.IMPLICIT]),
    (17, raw.STUDY_FIND, [datasets.DEFLATED]),
    (19, raw.STUDY_GET, [datasets.EXPLICIT]),
    (21, MOVE, [datasets.EXPLICIT]),
    (23, COMMITMENT, [datasets.EXPLICIT]),
)
_SYNTAX_OF = {number: syntaxes[0] for number, _, syntaxes in CONTEXTS}
_CLASS_OF = {number: uid for number, uid, _ in CONTEXTS}

INSTANCES = 500  # SOP Instance UIDs that streams store under
ROOT = "1.2.826.0.1.3680043.9.9999.2"


class Stream(NamedTuple):
    """`pieces` go out one after the other; with `is_closed_at_once` the sending half is closed
    behind them, else the answers, or silence, are awaited."""

    pieces: list[bytes]
    is_closed_at_once: bool


def stream(seed: int, number: int, titles: Sequence[str]) -> Stream:
    """The stream of this number, called by one of `titles`."""
    random = Random(f"{seed}-{number}")
    title = random.choice(titles)
    pdus = session(random, title)
    _disorder(random, pdus, title)
    data = bytearray(b"".join(pdus))
    if random.random() < 0.45:
        # What follows the request, mostly: a request made wrong ends an association early.
        start = 0 if random.random() < 0.2 else len(pdus[0])
        data[start:] = mutated(random, bytes(data[start:]), pdus)
    sent = bytes(data[:LONGEST])
    if random.random() < 0.1:
        cut = random.randrange(len(sent) + 1)
        return Stream([sent[:cut], sent[cut:]], random.random() < 0.7)
    return Stream([sent], random.random() < 0.7)


def session(random: Random, title: str = "FUZZ") -> list[bytes]:
    """The PDUs of one association: a request, messages, an end or none."""
    pdus = [_request(random, title)]
    for message_id in range(1, 1 + random.choice((0, 1, 1, 2, 2, 3, 4, 6))):
        pdus += random.choice(MESSAGES)(random, message_id)
    ending = random.random()
    if ending < 0.5:
        pdus.append(pdu(raw.RELEASE_RQ))
    elif ending < 0.7:
        pdus.append(pdu(raw.ABORT, bytes((0, 0, random.randrange(4), random.randrange(8)))))
    return pdus


def _request(random: Random, title: str) -> bytes:
    user_items = raw.role(datasets.CT, 1, 1) if random.random() < 0.3 else b""
    if random.random() < 0.1:
        user_items += random.choice(_USER_ITEMS)(random)
    contexts = list(CONTEXTS)
    if random.random() < 0.2:
        contexts = random.sample(contexts, random.randint(0, len(contexts)))
    max_pdu = 16384 if random.random() < 0.9 else random.choice(NUMBERS)
    return raw.associate_rq(contexts, calling=title, user_items=user_items, max_pdu=max_pdu)


_USER_ITEMS: Sequence[Callable[[Random], bytes]] = (
    lambda random: raw.item(0x53, struct.pack(">HH", random.choice(NUMBERS) & 0xFFFF, 0)),
    lambda random: raw.item(0x56, struct.pack(">H", 17) + b"1.2.840.10008.1.1" + b"\1"),
    lambda random: raw.item(0x57, struct.pack(">H", 999) + b"1.2.840"),
    lambda random: raw.item(0x58, b"\2\1" + struct.pack(">H", 4) + b"user" + b"\0\4pass"),
    lambda random: raw.item(0x54, random.randbytes(random.randint(0, 30))),
    lambda random: raw.item(0x55, random.randbytes(random.randint(0, 30))),
    lambda random: raw.item(random.randrange(256), random.randbytes(random.randint(0, 30))),
    lambda random: raw.role("1.2.3", random.randrange(256), random.randrange(256)) * 50,
)


def _disorder(random: Random, pdus: list[bytes], title: str) -> None:
    """Now and then a PDU twice, at a wrong place, missing, or out of another association of the
    same caller."""
    while random.random() < 0.2:
        index = random.randrange(len(pdus))
        act = random.randrange(5)
        if act == 0:
            pdus.insert(random.randrange(len(pdus) + 1), pdus[index])
        elif act == 1 and len(pdus) > 1:
            del pdus[index]
        elif act == 2:
            pdus.append(pdus.pop(index))
        elif act == 3:
            pdus.insert(index, random.choice(session(random, title)))
        else:
            kind = random.choice((raw.AC, raw.RJ, raw.RELEASE_RP, 0, 8, 0xFF, raw.RQ))
            pdus.insert(index, pdu(kind, random.randbytes(random.choice((0, 4, 68, 200)))))


def _message(
    random: Random, context_id: int, command: bytes, dataset: bytes | None = None
) -> list[bytes]:
    """P-DATA PDUs of a message, cut anywhere; either part may be mutated, and its header still be
    right."""
    if random.random() < 0.06:
        command = mutated(random, command)
    parts = [(1, command)]
    if dataset is not None:
        parts.append((0, mutated(random, dataset) if random.random() < 0.25 else dataset))
    values = []
    for kind, data in parts:
        pieces = _pieces(random, data)
        for index, piece in enumerate(pieces):
            last = 2 if index == len(pieces) - 1 else 0
            number = context_id if random.random() < 0.997 else random.randrange(256)
            values.append(pdv(number, kind | last, piece))
    if random.random() < 0.3:
        return [pdu(P_DATA, b"".join(values))]
    return [pdu(P_DATA, value) for value in values]


def _pieces(random: Random, data: bytes) -> list[bytes]:
    if random.random() < 0.85 or len(data) < 2:
        return [data]
    if random.random() < 0.05:
        return [data[at : at + 1] for at in range(min(len(data), 500))]
    cut = random.randrange(len(data))
    return [data[:cut], data[cut:]]


def _echo(random: Random, message_id: int) -> list[bytes]:
    command = raw.command(x0002=raw.VERIFICATION, x0100=0x30, x0110=message_id, x0800=0x0101)
    return _message(random, 1, command)


def _store(random: Random, message_id: int) -> list[bytes]:
    context = random.choice((3, 3, 5, 7, 9, 11))
    uid = f"{ROOT}.{random.randrange(INSTANCES)}"
    if random.random() < 0.03:
        uid = random.choice(("../../../x", "/etc/passwd", "..", "1" * 129, "\x1b[2J", "a\nb"))
    command = raw.command(
        x0002=_CLASS_OF[context], x0100=1, x0110=message_id, x0700=0, x0800=1, x1000=uid
    )
    dataset = grammar.dataset(
        random,
        _SYNTAX_OF[context],
        (
            (0x00080016, _CLASS_OF[context].encode()),
            (0x00080018, uid.encode()),
            (0x0020000D, f"{ROOT}.1.{random.randrange(20)}".encode()),
            (0x0020000E, f"{ROOT}.2.{random.randrange(40)}".encode()),
        ),
    )
    return _message(random, context, command, dataset)


def _query(field: int, contexts: Sequence[int]) -> Callable[[Random, int], list[bytes]]:
    def make(random: Random, message_id: int) -> list[bytes]:
        context = random.choice(contexts)
        elements: dict[str, int | str] = {
            "x0002": _CLASS_OF[context], "x0100": field, "x0110": message_id, "x0700": 0,
            "x0800": 1,
        }  # fmt: skip
        if field == 0x21:
            elements["x0600"] = random.choice(("NOWHERE", "FUZZ", "", "\x1b[31m", "X" * 300))
        identifier = grammar.identifier(random, _SYNTAX_OF[context])
        pdus = _message(random, context, raw.command(**elements), identifier)
        if random.random() < 0.1:
            pdus += [raw.cancel_rq(message_id, context)]
        return pdus

    return make


def _action(random: Random, message_id: int) -> list[bytes]:
    command = raw.command(
        x0003=COMMITMENT, x0100=0x130, x0110=message_id, x0800=1, x1001=COMMITMENT_INSTANCE,
        x1008=random.choice((1, 1, 1, 2, 0)),
    )  # fmt: skip
    items = b""
    for _ in range(random.choice((0, 1, 1, 3))):
        uid = f"{ROOT}.{random.randrange(INSTANCES)}".encode()
        inner = datasets.element(0x00081150, "UI", datasets.CT.encode() + b"\0")
        inner += datasets.element(0x00081155, "UI", uid + b"\0" * (len(uid) % 2))
        items += datasets.delimiter(0xE000, len(inner)) + inner
    transaction = f"{ROOT}.3.{random.randrange(10**9)}".encode()
    dataset = datasets.element(0x00081195, "UI", transaction + b"\0" * (len(transaction) % 2))
    dataset += datasets.element(0x00081199, "SQ", items)
    return _message(random, 23, command, dataset)


def _odd(random: Random, message_id: int) -> list[bytes]:
    """Requests that nobody answers here, responses that nobody waits for, cancels."""
    field = random.choice((0x8001, 0x8030, 0xFFF, 0x100, 0x110, 0x120, 0x140, 0x150, 0xFFFF, 0))
    command = raw.command(
        x0002=datasets.CT, x0100=field, x0110=message_id, x0120=message_id, x0800=0x0101,
        x0900=random.choice((0, 0xFF00, 0xB000)),
    )  # fmt: skip
    return _message(random, random.choice(CONTEXTS)[0], command)


MESSAGES: Sequence[Callable[[Random, int], list[bytes]]] = (
    _echo, _store, _store, _store, _query(0x20, (13, 15, 17)), _query(0x20, (13, 15, 17)),
    _query(0x10, (19,)), _query(0x21, (21,)), _action, _odd,
)  # fmt: skip
