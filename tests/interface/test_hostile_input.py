"""What no honest peer sends, to a node that serves others meanwhile: each is taken as it is or
refused by its status, on an association that lives on; nothing else of the node notices."""

import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydicom.uid import generate_uid

from tests.benchmarks.processes import held_by_tree, tree
from tests.conftest import RunningNode, new_dataset, running_node
from tests.dicom import raw as datasets
from tests.fuzz.grammar import nested
from tests.interface.conftest import OPEN, Dial
from tests.interface.peer import (
    CT,
    DEFLATED,
    EXPLICIT,
    STUDY_FIND,
    STUDY_GET,
    Association,
    encoded,
    keys,
)
from tests.net import raw
from tests.net.raw import P_DATA, VERIFICATION, RawPeer, command, pdu, pdv
from tests.scu.test_codecs import CRASHING, JPEG_LS

ECHO = (VERIFICATION, [datasets.IMPLICIT])
STORE = (CT, [EXPLICIT])
FIND = (STUDY_FIND, [EXPLICIT])

GROWTH = 150_000_000  # bytes of memory that one hostile request may cost
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    with running_node(tmp_path_factory.mktemp("hostile"), OPEN) as started:
        yield started
        assert "unexpected fault" not in started.log


@pytest.fixture
def bystander(node: RunningNode, dial: Dial) -> Iterator[Association]:
    """Somebody else, who is served throughout, by the same processes."""
    association = dial(node, ECHO)
    pids = tree(node.process.pid)
    yield association
    assert association.echo().status == 0
    assert tree(node.process.pid) == pids


def level(*more: bytes) -> bytes:
    return b"".join((datasets.element(0x00080052, "CS", b"STUDY "), *more))


@pytest.mark.usefixtures("bystander")
@pytest.mark.parametrize("depth", [1000, 100_000])
@pytest.mark.parametrize("is_undefined", [True, False])
def test_sequences_in_sequences_are_stored_as_they_are(
    node: RunningNode, dial: Dial, depth: int, is_undefined: bool
) -> None:
    ds = new_dataset()
    data = encoded(ds) + nested(depth, is_undefined=is_undefined)
    assert dial(node, STORE).store(CT, ds.SOPInstanceUID, data).status == 0
    association = dial(node, STORE, (STUDY_GET, [EXPLICIT]), as_scp=[CT])
    final = association.get(STUDY_GET, keys("IMAGE", SOPInstanceUID=ds.SOPInstanceUID))[-1]
    assert final.status == 0
    assert association.stored == [(ds.SOPInstanceUID, EXPLICIT, data)]


def _long_lists() -> Iterator[tuple[str, bytes, int]]:
    """Names, identifiers and the status of the last answer."""
    for is_undefined in (True, False):
        for depth in (1000, 100_000):
            deep = nested(depth, is_undefined=is_undefined)
            yield f"{depth} deep, {is_undefined}", level(deep), 0xC000
    uids = b"\\".join(b"1.2.826.0.1.3680043.8.498.%d" % (10**20 + n) for n in range(250_000))
    yield "250,000 UIDs", level(datasets.element(0x0020000D, "UN", uids)), 0
    private = b"".join(
        datasets.element((0x0009 + 2 * (n >> 12)) << 16 | 0x1000 | n & 0xFFF, "LO", b"AB")
        for n in range(100_000)
    )
    yield "100,000 keys", level(private), 0
    same = datasets.element(0x00100010, "PN", b"*a*b")
    yield "100,000 times one key", level(same * 100_000), 0
    names = b"\\".join(b"*%d*" % n for n in range(1000))
    yield "1,000 patterns", level(datasets.element(0x00100010, "UN", names)), 0
    yield "1,001 patterns", level(datasets.element(0x00100010, "UN", names + b"\\*x*")), 0xA900
    pattern = b"*a" * 2000 + b"b "
    yield "one long pattern", level(datasets.element(0x00081030, "LO", pattern)), 0
    dates = b"\\".join([b"99999999-00000000", b"-", b"--", b"2024-01-31", b"\xff"] * 100)
    yield "dates that are none", level(datasets.element(0x00080020, "UN", dates)), 0
    accents = "\u0301\u0316".encode() * 2_000_000
    name = datasets.element(0x00100010, "UN", b"e" + accents + b" ")
    yield "accents", level(datasets.element(0x00080005, "CS", b"ISO_IR 192"), name), 0xA900
    yield "a length that lies", level(datasets.element(0x00100010, "PN", b"A ", 0xFFFE)), 0xC000
    long_lie = datasets.element(0x00100010, "UN", b"A ", 0xFFFFFFFE)
    yield "a longer length that lies", level(long_lie), 0xC000


_LISTS = tuple(_long_lists())


@pytest.mark.usefixtures("bystander")
@pytest.mark.parametrize(
    ("identifier", "status"),
    [(identifier, status) for _, identifier, status in _LISTS],
    ids=[name for name, _, _ in _LISTS],
)
def test_a_query_that_is_too_much_is_answered_or_refused(
    node: RunningNode, dial: Dial, identifier: bytes, status: int
) -> None:
    association = dial(node, FIND, STORE, ECHO)
    name = "a" * 60
    association.store_dataset(new_dataset(PatientName=name, StudyDescription=name))
    before = held_by_tree(node.process.pid).pss
    final = association.find(STUDY_FIND, identifier)[-1]
    assert final.status == status, final.comment
    assert held_by_tree(node.process.pid).pss - before < GROWTH
    assert association.echo().status == 0


def deflate_bomb(head: bytes, mebibytes: int) -> bytes:
    """`head`, then an element of zeros."""
    deflate = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    head += struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OB", 0, mebibytes << 20)
    begun = deflate.compress(head) + deflate.flush(zlib.Z_FULL_FLUSH)
    zeros = deflate.compress(bytes(1 << 20)) + deflate.flush(zlib.Z_FULL_FLUSH)
    return begun + zeros * mebibytes + deflate.flush()


@pytest.mark.usefixtures("bystander")
def test_a_deflate_bomb_is_stored_as_it_is_and_never_comes_apart(
    node: RunningNode, dial: Dial
) -> None:
    ds = new_dataset()
    bomb = deflate_bomb(encoded(ds), 2048)
    association = dial(node, (CT, [DEFLATED]), (STUDY_FIND, [DEFLATED]))
    assert association.store(CT, ds.SOPInstanceUID, bomb, DEFLATED).status == 0
    assert association.find(STUDY_FIND, bomb)[-1].status == 0xC000
    before = held_by_tree(node.process.pid).pss
    explicit = dial(node, STORE, (STUDY_GET, [EXPLICIT]), ECHO, as_scp=[CT])
    final = explicit.get(STUDY_GET, keys("IMAGE", SOPInstanceUID=ds.SOPInstanceUID))[-1]
    assert (final.status, final.failed) == (0xA702, [ds.SOPInstanceUID])
    assert held_by_tree(node.process.pid).pss - before < GROWTH
    assert "the dataset inflates to over 1024 MiB" in node.log
    assert explicit.echo().status == 0


@pytest.mark.usefixtures("bystander")
def test_pixel_data_that_crashes_the_codec_fails_by_itself(node: RunningNode, dial: Dial) -> None:
    study, series, uid = (generate_uid() for _ in range(3))
    start = CRASHING.index(b"\x28\0\x02\0US")
    head = b"".join(
        datasets.element(tag, "UI", value.encode() + b"\0" * (len(value) % 2))
        for tag, value in (
            (0x00080016, SECONDARY_CAPTURE),
            (0x00080018, uid),
            (0x0020000D, study),
            (0x0020000E, series),
        )
    )
    whole = new_dataset(StudyInstanceUID=study)
    association = dial(node, (SECONDARY_CAPTURE, [JPEG_LS]), STORE, (STUDY_GET, [EXPLICIT]))
    stored = association.store(SECONDARY_CAPTURE, uid, head + CRASHING[start:], JPEG_LS)
    assert stored.status == 0
    assert association.store_dataset(whole).status == 0
    wanted = dial(
        node, (SECONDARY_CAPTURE, [EXPLICIT]), STORE, (STUDY_GET, [EXPLICIT]),
        as_scp=[SECONDARY_CAPTURE, CT],
    )  # fmt: skip
    final = wanted.get(STUDY_GET, keys("STUDY", StudyInstanceUID=study))[-1]
    assert (final.status, final.failed) == (0xB000, [uid])
    assert [each[0] for each in wanted.stored] == [whole.SOPInstanceUID]
    assert "the codec has crashed at the pixel data" in node.log


@pytest.mark.usefixtures("bystander")
def test_a_dataset_in_pieces_of_one_byte_is_whole(node: RunningNode) -> None:
    ds = new_dataset(ImageComments="x" * 10_000)
    data = encoded(ds)
    head = command(
        x0002=CT, x0100=1, x0110=1, x0700=0, x0800=1, x1000=str(ds.SOPInstanceUID)
    )  # fmt: skip
    values = [pdv(1, 3, head), pdv(1, 0, b"")]
    values += [pdv(1, 0, data[at : at + 1]) for at in range(len(data))]
    values += [pdv(1, 0, b"")] * 1000 + [pdv(1, 2, b"")]
    peer = RawPeer((node.host, node.port))
    try:
        peer.associate((1, CT, [EXPLICIT]), max_pdu=16384)
        for start in range(0, len(values), 5000):
            peer.send(pdu(P_DATA, b"".join(values[start : start + 5000])))
        assert peer.response()[0] == 0
    finally:
        peer.close()


def _requests() -> Iterator[tuple[str, dict[str, object]]]:
    """Names, and options of associate_rq, beside a context for C-ECHO."""
    many = [(2 * n + 1, f"1.2.{n}." + "9" * 7000, [EXPLICIT]) for n in range(1, 128)]
    yield "128 contexts with long names", {"contexts": many}
    yield "1,000 roles", {"user_items": raw.role(CT, 1, 1) * 1000}
    roles = b"".join(raw.role(f"1.2.{n}", 1, 1) for n in range(4000))
    yield "4,000 different roles", {"user_items": roles}
    unknown = raw.item(0x99, b"x" * 100) * 300
    yield "items nobody knows", {"user_items": unknown, "more_items": unknown}
    extended = raw.item(0x56, struct.pack(">H", 17) + b"1.2.840.10008.1.1" + b"\1" * 500)
    yield "extended negotiation", {"user_items": extended * 100}


_REQUESTS = tuple(_requests())


@pytest.mark.usefixtures("bystander")
@pytest.mark.parametrize(
    "options", [options for _, options in _REQUESTS], ids=[name for name, _ in _REQUESTS]
)
def test_a_request_for_too_much_is_answered_all_the_same(
    node: RunningNode, options: dict[str, object]
) -> None:
    more = list(options.pop("contexts", ())) if "contexts" in options else []  # type: ignore[call-overload]
    peer = RawPeer((node.host, node.port))
    try:
        peer.associate((1, VERIFICATION, [datasets.IMPLICIT]), *more, **options)  # type: ignore[arg-type]
        peer.send(raw.echo_rq())
        assert peer.response()[0] == 0
    finally:
        peer.close()


LIES: dict[str, Callable[[], bytes]] = {
    "a user item longer than its item": lambda: raw.item(0x52, b"1.2")[:-2],
    "a role longer than its item": lambda: raw.item(0x54, b"\xff\xff1.2\0\1"),
    "a role without roles": lambda: raw.item(0x54, struct.pack(">H", 3) + b"1.2"),
    "an identity cut off": lambda: raw.item(0x58, b"\2\1\xff\xffuser"),
    "an empty maximum length": lambda: raw.item(0x51, b""),
}


@pytest.mark.usefixtures("bystander")
@pytest.mark.parametrize("name", LIES)
def test_user_information_that_lies_ends_the_association_alone(
    node: RunningNode, name: str
) -> None:
    peer = RawPeer((node.host, node.port))
    try:
        contexts = [(1, VERIFICATION, [datasets.IMPLICIT])]
        peer.send(raw.associate_rq(contexts, user_items=LIES[name]()))
        answer = peer.receive()
        assert answer is None or answer[0] in (raw.ABORT, raw.RJ, raw.AC)
    finally:
        peer.close()


@pytest.mark.usefixtures("bystander")
def test_a_command_set_of_thousands_of_elements_is_one_command(node: RunningNode) -> None:
    head = command(x0002=VERIFICATION, x0100=0x30, x0110=1, x0800=0x0101)
    padding = b"".join(struct.pack("<HHL", 0, 0x2000 + n, 0) for n in range(6000))
    peer = RawPeer((node.host, node.port))
    try:
        peer.associate((1, VERIFICATION, [datasets.IMPLICIT]))
        peer.send(pdu(P_DATA, pdv(1, 3, head + padding)))
        assert peer.response()[0] == 0
    finally:
        peer.close()


def test_names_with_terminal_escapes_are_shown_as_escapes_and_kept_as_they_are(
    node: RunningNode, dial: Dial
) -> None:
    """C0 and C1 controls, a bell, a forged line, a change of writing direction."""
    name = "EVIL\x1b]0;owned\x07\x9b31m\u202etxt\r\n2026-01-01T00:00:00.000+00:00 INFO forged"
    patient = f"ESC{generate_uid()[-12:]}"
    ds = new_dataset(PatientID=patient, SpecificCharacterSet="ISO_IR 192")
    data = encoded(ds)
    value = name.encode()
    value += b" " * (len(value) % 2)
    john = data.index(b"\x10\0\x10\0PN")
    size = struct.unpack_from("<H", data, john + 6)[0]
    data = data[:john] + datasets.element(0x00100010, "PN", value) + data[john + 8 + size :]
    assert dial(node, STORE).store(CT, ds.SOPInstanceUID, data).status == 0
    association = dial(node, STORE, (STUDY_GET, [EXPLICIT]), as_scp=[CT], calling="E\x1b[2J\nX")
    for form in ("table", "csv"):
        shown = node.command("ls", "-k", f"PatientID={patient}", "--format", form)
        assert shown.returncode == 0
        assert "EVIL\\x1b]0;owned\\x07\\x9b31m\\u202etxt\\r\\n2026" in shown.stdout
        assert not {"\x1b", "\x07", "\x9b", "\u202e", "\r"} & set(shown.stdout)
    exact = node.command("ls", "-k", f"PatientID={patient}", "--format", "json").stdout
    assert exact.isascii()
    assert "EVIL\\u001b]0;owned\\u0007\\u009b31m\\u202etxt\\r\\n2026" in exact
    association.get(STUDY_GET, keys("IMAGE", SOPInstanceUID=ds.SOPInstanceUID))
    assert association.stored == [(ds.SOPInstanceUID, EXPLICIT, data)]
    association.release()
    log = node.wait_for_log("E\\x1b[2J\\nX from")
    assert not [line for line in log.split("\n") if line.startswith("2026-01-01")]
    assert "\x1b" not in log


def test_paths_of_the_command_line_are_shown_as_escapes(node: RunningNode, tmp_path: Path) -> None:
    path = tmp_path / "evil\x1b[2J\nname.dcm"
    path.write_bytes(b"no DICOM")
    said = node.command("import", path)
    assert said.returncode == 1
    assert "\x1b" not in said.stderr
    assert "evil\\x1b[2J\\nname.dcm: " in said.stderr
