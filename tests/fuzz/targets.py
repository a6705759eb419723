"""What is fed, one function each: it takes any bytes, calls the node's code with them as the node
does, and asserts what that code promises. An exception out of it is a find."""

import atexit
import io
import json
import posixpath
import struct
import tempfile
from collections.abc import Callable, Sequence
from functools import cache, partial
from random import Random
from typing import NamedTuple

from pacsnode.dicom import part10
from pacsnode.dicom.character_set import CharacterSet, character_set
from pacsnode.dicom.elements import Element, Form
from pacsnode.dicom.encode import decode_dataset, encode_dataset, read_dataset
from pacsnode.dicom.instance import InstanceUIDs, read_instance
from pacsnode.dicom.json import dataset_from_json, dataset_to_json, dumps, value_to_json
from pacsnode.dicom.keys import identifier
from pacsnode.dicom.level import Level
from pacsnode.dicom.match import matcher, normal_number
from pacsnode.dicom.message import DatasetSource, no_tick
from pacsnode.dicom.query import Key, Model, Query, parse_query
from pacsnode.dicom.template import Slot, Template
from pacsnode.dicom.text import fold_name, trimmed
from pacsnode.dicom.transcode import COMPRESSED, ENCODINGS, LOSSLESS, transcode
from pacsnode.dicom.values import NUMBER_FORMATS, values_of
from pacsnode.errors import (
    DicomError,
    TranscodingError,
    UnreadableDataset,
    UnreadableIdentifier,
    UsageError,
)
from pacsnode.index.conditions import attribute_matcher
from pacsnode.log import printable
from pacsnode.net import command
from pacsnode.scu.codecs import Codecs, Conversion
from pacsnode.scu.preparing import needs_codec
from pacsnode.storage import paths
from tests.dicom import raw
from tests.fuzz import grammar, upper_layer

Run = Callable[[bytes], None]


class Target(NamedTuple):
    """`run` is fed with `seeds()`, with what `generate` makes, and with both mutated."""

    run: Run
    seeds: Callable[[], Sequence[bytes]]
    generate: Callable[[Random], bytes]


def _choice(data: bytes, count: int) -> tuple[int, bytes]:
    """The first byte says which of `count`; the rest is what is fed."""
    return (data[0] % count if data else 0), data[1:]


def header(data: bytes) -> None:
    """The header of an instance to store, and where it would stand."""
    chosen, data = _choice(data, len(grammar.SYNTAXES))
    try:
        instance = read_instance(io.BytesIO(data), grammar.SYNTAXES[chosen], None, raw.CT)
    except UnreadableDataset:
        return
    assert all(0 < len(uid) <= 128 for uid in instance.uids)
    _stays_in_the_tree(instance.uids)
    for keyword, values in instance.values.items():
        assert values, keyword
        for value in values:
            value.encode()  # no half of a surrogate pair: SQLite takes none
            fold_name(value)
    for text in instance.others.values():
        assert dataset_to_json(dataset_from_json(text)).keys() == json.loads(text).keys()


def file(data: bytes) -> None:
    """A file to import, and one of the node's own."""
    for read in (part10.read_file_meta, part10.read_meta):
        try:
            meta = read(io.BytesIO(data))
        except UnreadableDataset:
            continue
        assert meta.dataset_offset >= 0
        read_dataset(_at(data, meta.dataset_offset), meta.transfer_syntax_uid)


def _at(data: bytes, offset: int) -> io.BytesIO:
    stream = io.BytesIO(data)
    stream.seek(offset)
    return stream


def dataset(data: bytes) -> None:
    """A dataset at hand: what could be read of it can be written and read again, and shown."""
    chosen, data = _choice(data, len(raw.SYNTAXES))
    syntax = raw.SYNTAXES[chosen]
    try:
        found = decode_dataset(data, syntax)
    except UnreadableDataset:
        return
    shown = json.loads(json.dumps(dataset_to_json(found), allow_nan=False))
    try:
        again = decode_dataset(encode_dataset(found, syntax), syntax)
    except UnicodeEncodeError:
        raise AssertionError("no character set holds the text") from None
    assert set(again.keys()) ^ set(found.keys()) <= {0x00080005}
    once = dataset_to_json(dataset_from_json(shown))
    assert dataset_to_json(dataset_from_json(json.loads(json.dumps(once)))) == once


def query(data: bytes) -> None:
    """The identifier of a C-FIND, C-MOVE or C-GET, and its keys matched."""
    chosen, data = _choice(data, len(raw.SYNTAXES) * len(Model) * 2)
    syntax = raw.SYNTAXES[chosen % len(raw.SYNTAXES)]
    model = list(Model)[chosen // len(raw.SYNTAXES) % len(Model)]
    retrieve = chosen >= len(raw.SYNTAXES) * len(Model)
    try:
        found = parse_query(data, syntax, model, retrieve=retrieve)
    except DicomError:
        return
    _can_be_asked(found)
    slots = [Slot(key.tag, key.vr) for key in found.returned if key.vr != "SQ"]
    slots = sorted({slot.tag: slot for slot in slots}.values())
    if any(slot.tag >> 16 == 0xFFFE for slot in slots):
        raise AssertionError("a delimiter became a key")
    values = ["Ä^B\\3" for _ in slots]
    answer = Template(slots, syntax, found.character_set).encode(values)
    again = decode_dataset(answer, syntax)
    assert {slot.tag for slot in slots} <= set(again.keys()) | {0x00080005}


def _can_be_asked(found: Query) -> None:
    assert found.level in found.model.levels
    for key in found.matching:
        assert not key.is_universal
        assert key.level <= found.level
        if key.items:
            attribute_matcher(key)({"vr": "SQ", "Value": [{"00400009": {"vr": "SH"}}]})
        else:
            meets = matcher(key)
            for value in ("DOE^JOHN", "20240131", "1.2.3", "", "x" * 1000, "Ä" * 100, "101530.5"):
                meets((value,))


def match(data: bytes) -> None:
    """A key's value against an attribute's, whatever the VR."""
    vrs = ("LO", "PN", "DA", "TM", "DT", "IS", "DS", "UI", "CS", "UT", "AT", "US")
    chosen, data = _choice(data, len(vrs))
    one, _, other = data.partition(b"\xff\xff")
    text = trimmed(other.decode("utf-8", "replace"))
    if not (wanted := trimmed(one.decode("utf-8", "replace"))[:4096]):
        return
    key = Key(0x00100020, "", vrs[chosen], Level.STUDY, (wanted,))
    meets = matcher(key)
    meets((text, wanted))
    if wanted.isascii() and wanted.isalnum() and vrs[chosen] != "DT":
        assert meets((wanted,)), "a plain value meets itself"


def characters(data: bytes) -> None:
    """Any bytes in any Specific Character Set are some text, which one set or the other holds."""
    chosen, data = _choice(data, len(grammar._SETS) * 3)
    vr = ("PN", "LO", "UT")[chosen // len(grammar._SETS)]
    terms, _, encoded = data.partition(b"\xff\xff")
    declared = terms if chosen % len(grammar._SETS) == 0 else grammar._SETS[chosen % 13]
    found = character_set(declared.decode("latin-1").split("\\"))
    decoded = found.decode(encoded, vr)
    assert len(decoded) <= len(encoded)
    text = trimmed(decoded)
    fold_name(text)
    _round_trip(found, text, vr)


def _round_trip(found: CharacterSet, text: str, vr: str) -> None:
    if "\x1b" in text:
        return
    try:
        encoded = found.encode(text, vr)
    except UnicodeEncodeError:
        return
    if found.numbers == ("192",) or text.isascii():
        assert found.decode(encoded, vr) == text


def numbers(data: bytes) -> None:
    """Values of each VR; numbers in text, as JSON and as what they mean."""
    vrs = (*NUMBER_FORMATS, "AT", "IS", "DS", "OB", "UN", "PN", "DT")
    chosen, data = _choice(data, len(vrs) * 2)
    vr, form = vrs[chosen // 2], Form(is_explicit=True, is_little=bool(chosen % 2))
    values = values_of(Element(0x00100020, vr, data, form), vr, CharacterSet(("192",)))
    json.dumps(value_to_json(vr, values), allow_nan=False)
    dumps({"00100020": value_to_json(vr, values, numbers_as_text=True)})
    for value in values:
        if isinstance(value, str):
            normal = normal_number(value)
            assert normal_number(normal) == normal


def document(data: bytes) -> None:
    """DICOM JSON."""
    try:
        found = dataset_from_json(data.decode("utf-8", "replace"))
    except UnreadableDataset:
        return
    json.dumps(dataset_to_json(found), allow_nan=False)


def uids(data: bytes) -> None:
    """UIDs to a path and back."""
    parts = [part.decode("latin-1") for part in data.split(b"\xff\xff")[:3]]
    study, series, sop = (*parts, "1", "1", "1")[:3]
    if study and series and sop:
        _stays_in_the_tree(InstanceUIDs(study, series, sop))


def _stays_in_the_tree(found: InstanceUIDs) -> None:
    place = paths.place(found)
    assert posixpath.normpath(f"/tree/{place}") == f"/tree/{place}"
    assert paths.is_place(place)
    assert all(0 < len(part) <= 255 and part.isascii() for part in place.split("/"))
    assert not paths.RESERVED & set(place.split("/"))
    assert paths.uids_of(place) in (None, found)
    assert paths.place_of(paths.temporary(found, "12-3")) == place
    assert "/" not in paths.conflict_name(found, bytes(32))


_SOURCES = (*ENCODINGS, *sorted(COMPRESSED))
_TARGETS = (raw.IMPLICIT, raw.EXPLICIT, raw.BIG_ENDIAN, *LOSSLESS)


def transcoding(data: bytes) -> None:
    """From one transfer syntax to another; what came out passes again unchanged, or can be read at
    least where it is compressed."""
    chosen, data = _choice(data, len(_SOURCES) * len(_TARGETS))
    source, target = _SOURCES[chosen // len(_TARGETS)], _TARGETS[chosen % len(_TARGETS)]
    if source == target:  # stays the same, whatever it is
        return
    try:
        once = _transcoded(data, source, target)
    except TranscodingError:
        return
    if target in LOSSLESS:
        _transcoded(once, target, raw.EXPLICIT)
    elif target == raw.EXPLICIT:  # in implicit VR a wrong VR would be the dictionary's again
        there = _transcoded(once, raw.EXPLICIT, raw.BIG_ENDIAN)
        assert _transcoded(there, raw.BIG_ENDIAN, raw.EXPLICIT) == once


def _transcoded(data: bytes, source: str, target: str) -> bytes:
    dataset_source = DatasetSource(io.BytesIO(data), len(data))
    if not needs_codec(source, target):
        found = transcode(dataset_source, source, target, io.BytesIO())
        return found.file.read(found.length)
    with tempfile.TemporaryFile() as spool:
        conversion = Conversion(source, target)
        found = _codecs().transcode(dataset_source, conversion, spool, no_tick)
        return found.file.read(found.length)


@cache
def _codecs() -> Codecs:
    made = Codecs()
    atexit.register(made.close)
    return made


def commands(data: bytes) -> None:
    """A command set."""
    try:
        found = command.decode(data)
        numbers = {
            element: found.number(element) or 0
            for element in (command.MESSAGE_ID, command.PRIORITY, command.STATUS)
        }
        texts = {
            element: found.text(element)
            for element in (command.AFFECTED_SOP_INSTANCE_UID, command.MOVE_DESTINATION)
        }
        _ = found.field, found.has_dataset
    except command.MalformedCommand:
        return
    again = command.decode(command.encode({**numbers, **texts}))
    for element, number in numbers.items():
        assert again.number(element) == (number or 0)
    for element, text in texts.items():
        assert again.text(element) == text


def command_line(data: bytes) -> None:
    """KEY=VALUE of the command line, as an identifier that the node can read."""
    keys = data.decode("utf-8", "surrogateescape").split("\n")[:8]
    try:
        found = identifier(Level.STUDY, keys)
    except UsageError:
        return
    encoded = encode_dataset(found, raw.EXPLICIT)
    try:
        parse_query(encoded, raw.EXPLICIT, Model.STUDY_ROOT)
    except UnreadableIdentifier as error:
        raise AssertionError("our own identifier cannot be read") from error
    except DicomError:
        return


def shown(data: bytes) -> None:
    """Text on its way to a terminal or a log."""
    chosen, data = _choice(data, 3)
    codec, errors = (("utf-8", "surrogateescape"), ("utf-8", "replace"), ("latin-1", ""))[chosen]
    text = printable(data.decode(codec, errors))
    assert text.isprintable() or not any(ord(one) < 32 or 127 <= ord(one) < 160 for one in text)
    assert len(text.splitlines()) <= 1
    text.encode()


@cache
def _bundled() -> tuple[tuple[str, bytes], ...]:
    """The bundled datasets that are small, with their transfer syntax."""
    found = []
    for _, stream, meta in raw.opened():
        data = stream.read(20_001)
        if len(data) <= 20_000:
            found.append((meta.transfer_syntax_uid, data))
    return tuple(found)


def _seeds_in(syntaxes: Sequence[str], factor: int = 1) -> list[bytes]:
    return [
        bytes([syntaxes.index(syntax) * factor]) + data
        for syntax, data in _bundled()
        if syntax in syntaxes
    ]


def _files() -> list[bytes]:
    found = [path.read_bytes() for path in raw.BUNDLED if path.stat().st_size <= 20_000]
    own = part10.encode_meta(raw.CT, "1.2.3", raw.EXPLICIT, "PEER", "NODE")
    return [*found, own + raw.dataset()]


def _none() -> list[bytes]:
    return []


def _chosen_dataset(make: Callable[[Random, str], bytes], repeat: int, random: Random) -> bytes:
    chosen = random.randrange(len(raw.SYNTAXES) * repeat)
    return bytes([chosen]) + make(random, raw.SYNTAXES[chosen % len(raw.SYNTAXES)])


def _to_store(random: Random) -> bytes:
    chosen = random.randrange(len(grammar.SYNTAXES))
    return bytes([chosen]) + grammar.instance(random, grammar.SYNTAXES[chosen])


def _to_transcode(random: Random) -> bytes:
    chosen = random.randrange(len(_SOURCES) * len(_TARGETS))
    syntax = _SOURCES[chosen // len(_TARGETS)]
    return bytes([chosen]) + grammar.instance(
        random, syntax if syntax in ENCODINGS else raw.EXPLICIT
    )


def _to_import(random: Random) -> bytes:
    syntax = random.choice(grammar.SYNTAXES)
    make = part10.encode_meta if random.random() < 0.5 else None
    meta = (
        make(raw.CT, "1.2.3.4", syntax, "PEER", "NODE")
        if make
        else part10.encode_plain_meta(raw.CT, "1.2.3.4", syntax)
    )
    return meta + grammar.instance(random, syntax)


def _texts(random: Random, parts: int = 2) -> bytes:
    chosen = bytes([random.randrange(256)])
    return chosen + b"\xff\xff".join(grammar.text(random) for _ in range(parts))


def _command_set(random: Random) -> bytes:
    values: dict[int, int | str | None] = {
        0x0002: raw.CT, 0x0100: random.choice((1, 0x20, 0x21, 0x10, 0x30, 0xFFF, 0x130, 0x8001)),
        0x0110: random.randrange(0x10000), 0x0800: random.choice((1, 0x0101)), 0x1000: "1.2.3.4",
        0x0600: "SOMEWHERE",
    }  # fmt: skip
    return command.encode(values)


def _keys(random: Random) -> bytes:
    names = (
        b"PatientName", b"0010,0020", b"(0008,0061)", b"RequestAttributesSequence", b"7FE00010",
        b"ScheduledProcedureStepSequence.Modality", b"Rows", b"PixelData", b"0009,1001",
    )  # fmt: skip
    return b"\n".join(
        random.choice(names) + random.choice((b"", b"=")) + grammar.text(random)
        for _ in range(random.randint(1, 4))
    )


def _document(random: Random) -> bytes:
    data = grammar.dataset(random, raw.EXPLICIT)
    try:
        return json.dumps(dataset_to_json(decode_dataset(data, raw.EXPLICIT))).encode()
    except UnreadableDataset:
        return b'{"00100010": {"vr": "PN", "Value": [{"Alphabetic": "A"}]}}'


def _packed(random: Random) -> bytes:
    number = struct.pack("<d", random.choice((0.0, -0.0, 1e308, float("nan"), float("inf"))))
    return bytes([random.randrange(256)]) + random.choice((number, grammar.text(random)))


TARGETS: dict[str, Target] = {
    "header": Target(header, lambda: _seeds_in(grammar.SYNTAXES), _to_store),
    "file": Target(file, _files, _to_import),
    "dataset": Target(
        dataset, lambda: _seeds_in(raw.SYNTAXES), partial(_chosen_dataset, grammar.instance, 1)
    ),
    "query": Target(query, _none, partial(_chosen_dataset, grammar.identifier, 6)),
    "match": Target(match, _none, _texts),
    "characters": Target(characters, _none, _texts),
    "numbers": Target(numbers, _none, _packed),
    "document": Target(document, _none, _document),
    "uids": Target(uids, _none, partial(_texts, parts=3)),
    "transcoding": Target(transcoding, lambda: _seeds_in(_SOURCES, len(_TARGETS)), _to_transcode),
    "commands": Target(commands, _none, _command_set),
    "command_line": Target(command_line, _none, _keys),
    "shown": Target(shown, _none, _texts),
    "acceptor": Target(upper_layer.acceptor, _none, upper_layer.association_stream),
    "requestor": Target(upper_layer.requestor, _none, upper_layer.answering_stream),
}
