"""Whether the conformance statement is true: each of its tables of contexts, limits, rights, keys
and statuses is put to a running node. What it proposes itself: test_conformance_proposals.py."""

import socket
import ssl
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from typing import Any

import pynetdicom  # noqa: F401  registers UIDs that pydicom does not know yet
import pytest
from pydicom import DataElement, Dataset
from pydicom._uid_dict import UID_dictionary
from pydicom.config import IGNORE
from pydicom.uid import generate_uid

from tests.authority import Authority
from tests.conftest import (
    CT_IMAGE_STORAGE,
    PATIENCE,
    RunningNode,
    StartNode,
    new_dataset,
    running_node,
)
from tests.interface.conftest import free_port_number, store_all
from tests.interface.peer import (
    CT,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    PATIENT_FIND,
    STUDY_FIND,
    STUDY_GET,
    STUDY_MOVE,
    VERIFICATION,
    Association,
    Rejected,
    Response,
    encoded,
    keys,
)
from tests.interface.statement import (
    Context,
    Statement,
    listed,
    negotiate,
    results,
    statement_of,
)
from tests.net.raw import item, role

MR = "1.2.840.10008.5.1.4.1.1.4"
ACCEPTED, UNKNOWN_CLASS, NO_SYNTAX = 0, 3, 4

CONFIG = """
listen: {{port: 0, max_associations: 6, max_pdu: 40960, workers: 1}}
storage: {{fsync: false, min_free: 1}}
access: {{unknown_callers: all}}
modalities:
  SINK: {{host: 127.0.0.1, port: {port}}}
  PICKY: {{host: 127.0.0.1, port: {port}, transfer_syntaxes: [ExplicitVRBigEndian, RLELossless]}}
"""


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    config = CONFIG.format(port=free_port_number())
    with running_node(tmp_path_factory.mktemp("node"), config) as running:
        yield running


@pytest.fixture(scope="module")
def statement(node: RunningNode) -> Statement:
    return statement_of(node)


def services(statement: Statement) -> dict[str, list[str]]:
    """SOP classes that the node is SCP of, by what stands after `Network Services: `."""
    marked = "Network Services: "
    return {
        title.removeprefix(marked): [
            row["SOP Class UID"] for row in statement.rows(title) if row["SCP"] == "Yes"
        ]
        for title in statement.tables
        if title.startswith(marked)
    }


def storage_syntaxes(statement: Statement) -> list[str]:
    return statement.column("Accepted Transfer Syntaxes of Storage SOP Classes", "UID")


def test_every_storage_class_is_accepted_in_every_transfer_syntax_listed(
    node: RunningNode, statement: Statement
) -> None:
    classes, syntaxes = services(statement)["Storage"], storage_syntaxes(statement)
    assert len(classes) > 150
    assert len(syntaxes) > 40
    pairs = [Context(uid, (syntax,)) for uid, syntax in product(classes, syntaxes)]
    for context, result, chosen in results(node, pairs):
        assert (result, chosen) == (ACCEPTED, context.transfer_syntaxes[0]), context


def test_every_other_context_is_accepted_as_listed(node: RunningNode, statement: Statement) -> None:
    rows = statement.rows("Accepted Presentation Contexts: All but Storage")
    assert {row["UID"] for row in rows} == {
        uid for name, uids in services(statement).items() if name != "Storage" for uid in uids
    }
    for row in rows:
        takes = listed(row["Transfer Syntax UIDs"])
        others = [uid for uid in storage_syntaxes(statement) if uid not in takes]
        assert len(others) > 30
        proposed = [Context(row["UID"], (uid,)) for uid in (*takes, *others)]
        taken = [
            context.transfer_syntaxes[0]
            for context, result, _ in results(node, proposed)
            if result == ACCEPTED
        ]
        assert taken == takes, row


def test_what_is_not_listed_is_not_accepted(node: RunningNode, statement: Statement) -> None:
    takes = {uid for uids in services(statement).values() for uid in uids}
    unlisted = [
        uid
        for uid, (_, kind, *_) in UID_dictionary.items()
        if kind in ("SOP Class", "Meta SOP Class") and uid not in takes
    ]
    assert {"1.2.840.10008.5.1.4.31", "1.2.840.10008.3.1.2.3.3"} <= set(unlisted)
    contexts = [Context(uid, (IMPLICIT,)) for uid in unlisted]
    assert {result for _, result, _ in results(node, contexts)} == {UNKNOWN_CLASS}
    # Every transfer syntax of the standard is listed: one that it does not have is not taken.
    assert set(storage_syntaxes(statement)) == {
        uid for uid, (_, kind, *_) in UID_dictionary.items() if kind == "Transfer Syntax"
    }
    made_up = Context(CT, ("1.2.840.10008.1.2.4.999",))
    assert negotiate(node, [made_up]).results == [NO_SYNTAX]


def test_of_several_transfer_syntaxes_the_requestors_first_is_taken(node: RunningNode) -> None:
    private = "1.2.826.0.1.3680043.9.1"
    contexts = [
        Context(CT, (DEFLATED, IMPLICIT)),
        Context(CT, ("1.2.840.10008.1.2.4.999", private, IMPLICIT)),
        Context("1.2.826.0.1.3680043.9.2", (EXPLICIT,)),
    ]
    answer = negotiate(node, contexts)
    assert answer.results == [ACCEPTED] * 3
    assert answer.chosen == [DEFLATED, private, EXPLICIT]


def test_roles_are_negotiated_as_listed(node: RunningNode, statement: Statement) -> None:
    rows = statement.rows("Accepted Presentation Contexts: All but Storage")
    stated = {row["UID"]: "SCU" in row["Role"] for row in rows}
    stated |= dict.fromkeys(services(statement)["Storage"][:100], True)
    assert set(stated.values()) == {True, False}
    asked = b"".join(role(uid, 1, 1) for uid in stated)
    answer = negotiate(node, [Context(uid, (IMPLICIT,)) for uid in stated], asked)
    assert answer.roles == {uid: (True, as_scp) for uid, as_scp in stated.items()}


def test_extended_negotiation_is_answered_as_listed(
    node: RunningNode, statement: Statement
) -> None:
    rows = statement.rows("SOP Class Extended Negotiation")
    assert len(rows) == 9
    asked = b"".join(
        item(0x56, struct.pack(">H", len(row["SOP Class UID"])) + row["SOP Class UID"].encode()
             + bytes([1] * 16))
        for row in rows
    )  # fmt: skip
    contexts = [Context(row["SOP Class UID"], (IMPLICIT,)) for row in rows]
    answer = negotiate(node, contexts, asked)
    stated = {
        row["SOP Class UID"]: bytes.fromhex(row["Service Class Application Information"])
        for row in rows
    }
    assert answer.extended == stated
    assert all(value[:1] == b"\x01" for value in stated.values())


def test_the_node_names_itself_and_its_limits_as_listed(
    node: RunningNode, statement: Statement
) -> None:
    window = item(0x53, struct.pack(">HH", 0, 0))
    answer = negotiate(node, [Context(VERIFICATION, (IMPLICIT,))], window)
    general, named = "General Association Policies", "Implementation Identifying Information"
    assert f"{answer.max_pdu} bytes" == statement.value(general, "Maximum length of PDUs received")
    assert answer.max_pdu == 40960
    assert answer.implementation_class == statement.value(named, "Implementation Class UID")
    assert answer.implementation_version == statement.value(named, "Implementation Version Name")
    outstanding = statement.value("Asynchronous Nature", "Outstanding asynchronous transactions")
    assert answer.window == (int(outstanding), int(outstanding))


def test_as_many_associations_are_taken_as_listed_and_one_more_is_rejected_as_listed(
    node: RunningNode, statement: Statement
) -> None:
    title = "Number of Associations"
    everybody = "As acceptor, of all callers that are no remote AE of the configuration"
    most, most_unknown = (
        int(statement.value(title, name)) for name in ("As acceptor, in all", everybody)
    )
    assert (most, most_unknown) == (6, 6)
    rejections = {
        (int(row["Result"][0]), int(row["Source"]), int(row["Reason"]))
        for row in statement.rows("Association Rejections")
    }
    contexts = (VERIFICATION, [IMPLICIT])
    with ExitStack() as open_ones:
        address = node.host, node.port
        for _ in range(most):
            open_ones.enter_context(Association(address, contexts))
        with pytest.raises(Rejected) as rejected:
            Association(address, contexts)
    assert rejected.value.codes in rejections
    assert rejected.value.codes == (2, 3, 2)
    node.wait_for_log("rejected 2/3/2")


def test_callers_have_the_rights_that_are_listed(start_node: StartNode) -> None:
    node = start_node(
        "access: {unknown_callers: [echo, find], check_called_ae_title: true}\n"
        "modalities:\n"
        "  CT1: {host: 127.0.0.1, allow: [store], move_destinations: []}\n"
        "  WS1: {host: 127.0.0.1, ae_title: READER}\n"
    )
    statement = statement_of(node)
    rights = {row["AE Title"]: row["Services"] for row in statement.rows("Rights of Callers")}
    assert set(rights) == {"CT1", "READER", "any"}
    contexts = [(uid, [EXPLICIT]) for uid in (VERIFICATION, CT, STUDY_FIND, STUDY_MOVE, STUDY_GET)]
    query = keys("STUDY", StudyInstanceUID="1.2.3")
    for title, stated in rights.items():
        with Association((node.host, node.port), *contexts, calling=title) as peer:
            answers = {
                "echo": peer.echo().status,
                "store": peer.store_dataset(new_dataset()).status,
                "find": peer.find(STUDY_FIND, query)[-1].status,
                "move": peer.move(STUDY_MOVE, query, "READER")[-1].status,
                "get": peer.get(STUDY_GET, query)[-1].status,
            }
        allowed = {name for name, status in answers.items() if status != 0x0124}
        expected = set(answers) if stated == "all" else set(stated.split(", "))
        assert allowed == expected, (title, answers)
    codes = {tuple(row[name][0] for name in ("Result", "Source", "Reason"))
             for row in statement.rows("Association Rejections")}  # fmt: skip
    with pytest.raises(Rejected) as rejected:
        Association((node.host, node.port), contexts[0], called="NOBODY")
    assert tuple(map(str, rejected.value.codes)) in codes


VALUES: dict[str, tuple[Any, Any]] = {
    # What is stored, and what is asked for in vain.
    "AE": ("TITLE1", "TITLE2"),
    "AS": ("041Y", "042Y"),
    "CS": ("WORD1", "WORD2"),
    "DA": ("20240131", "20240201"),
    "DS": ("1.5", "2.5"),
    "DT": ("20240131101530", "20240131101531"),
    "FD": (1.5, 2.5),
    "FL": (1.5, 2.5),
    "IS": ("7", "8"),
    "LO": ("text one", "text two"),
    "LT": ("text one", "text two"),
    "PN": ("Name^One", "Name^Two"),
    "SH": ("text one", "text two"),
    "ST": ("text one", "text two"),
    "TM": ("101530", "101531"),
    "UC": ("text one", "text two"),
    "UI": ("1.2.3.4.1", "1.2.3.4.2"),
    "UR": ("http://one", "http://two"),
    "US": (7, 8),
    "UT": ("text one", "text two"),
}
LEVELS = ("PATIENT", "STUDY", "SERIES", "IMAGE")


def tag_of(row: dict[str, str]) -> int:
    return int(row["Tag"][1:5] + row["Tag"][6:10], 16)


def element(tag: int, vr: str, which: int) -> DataElement:
    """An element with the value that is stored (0) or another (1)."""
    if vr == "SQ":
        inner = Dataset()
        inner.add(DataElement(0x00080100, "SH", VALUES["SH"][which]))  # Code Value
        inner.add(DataElement(0x00400009, "SH", VALUES["SH"][which]))  # Scheduled Step ID
        return DataElement(tag, "SQ", [inner])
    return DataElement(tag, vr, VALUES[vr][which], validation_mode=IGNORE)


def queried(level: str, *elements: DataElement) -> Dataset:
    ds = keys(level)
    for one in elements:
        ds.add(one)
    return ds


@pytest.fixture(scope="module")
def full(node: RunningNode, statement: Statement) -> Dataset:
    """An instance with a value for every key that is listed; beside it the archive has one with
    none but UIDs."""
    ds = Dataset()
    for level in LEVELS:
        for row in statement.rows(f"Keys of the {level} Level"):
            if row["Where from"] != "computed":
                ds.add(element(tag_of(row), row["VR"], 0))
    ds.SOPClassUID = CT_IMAGE_STORAGE
    bare = Dataset()
    bare.SOPClassUID, bare.PatientID = MR, "ANOTHER"
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        setattr(ds, keyword, generate_uid())
        setattr(bare, keyword, generate_uid())
    store_all(node, [ds, bare])
    return ds


@pytest.mark.parametrize("level", LEVELS)
def test_each_key_is_matched_as_it_is_listed(
    node: RunningNode, statement: Statement, full: Dataset, level: str
) -> None:
    rows = statement.rows(f"Keys of the {level} Level")
    assert len(rows) >= 9
    with Association((node.host, node.port), (PATIENT_FIND, [EXPLICIT])) as peer:

        def found(*elements: DataElement) -> int:
            *matches, last = peer.find(PATIENT_FIND, queried(level, *elements))
            assert last.status == 0
            assert {match.status for match in matches} <= {0xFF00}
            return len(matches)

        for row in rows:
            tag, vr = tag_of(row), row["VR"]
            everything = found(DataElement(tag, vr, None))
            assert everything == 2, row
            if row["Matching"] == "returned only":
                assert found(DataElement(tag, vr, 12 if vr == "IS" else "1.2")) == 2, row
                continue
            right, wrong = wanted(full, tag, vr)
            assert found(right) == 1, row
            assert found(wrong) == 0, row
            for kind in row["Matching"].split(", "):
                assert found(by_kind(kind, right)) == 1, (row, kind)


def wanted(full: Dataset, tag: int, vr: str) -> tuple[DataElement, DataElement]:
    """A key that the full instance meets, and one that none does."""
    if tag == 0x00080061:  # Modalities in Study
        return DataElement(tag, vr, full.Modality), DataElement(tag, vr, "XX")
    if vr == "UI":
        return DataElement(tag, vr, full[tag].value), DataElement(tag, vr, "1.9.9")
    return element(tag, vr, 0), element(tag, vr, 1)


def by_kind(kind: str, right: DataElement) -> DataElement:
    """The same key in each of the ways that are listed for it."""
    if kind == "wild card":
        text = str(right.value)
        return DataElement(right.tag, right.VR, f"?{text[1:-2]}*", validation_mode=IGNORE)
    if kind == "range":
        return DataElement(
            right.tag, right.VR, f"{right.value}-{right.value}", validation_mode=IGNORE
        )
    if kind == "list of UID":
        return DataElement(right.tag, right.VR, ["1.9.9", right.value])
    assert kind in ("single value", "sequence")
    return right


def test_keys_of_every_level_are_returned_and_not_matched(
    node: RunningNode, statement: Statement, full: Dataset
) -> None:
    rows = statement.rows("Keys of Every Level")
    assert [row["Matching"] for row in rows] == ["returned only"] * 2
    with Association((node.host, node.port), (PATIENT_FIND, [EXPLICIT])) as peer:
        for level, row in product(LEVELS, rows):
            key = DataElement(tag_of(row), row["VR"], "NOTHING")
            unique = DataElement(0x0020000D, "UI", full.StudyInstanceUID)
            asked = [key, unique] if level != "PATIENT" else [key]
            *matches, _ = peer.find(PATIENT_FIND, queried(level, *asked))
            assert matches
            assert matches[0].identifier[tag_of(row)].value in ("PACSNODE", "ONLINE")


def statuses(statement: Statement, service: str) -> set[int]:
    own = statement.column(f"{service}: Response Statuses", "Status Code")
    common = statement.column("All Services: Further Response Statuses", "Status Code")
    return {int(code, 16) for code in (*own, *common)}


def test_statuses_that_the_node_answers_are_listed(
    node: RunningNode, statement: Statement, full: Dataset
) -> None:
    contexts = [VERIFICATION, CT, PATIENT_FIND, STUDY_FIND, STUDY_MOVE, STUDY_GET]
    unreadable = b"\x08\0\x18\0UI\xff\xff"
    other = new_dataset()
    this = keys("STUDY", StudyInstanceUID=full.StudyInstanceUID)
    unmatched = keys("IMAGE", StudyInstanceUID="", WindowCenter="1")
    address = node.host, node.port
    with Association(address, *((uid, [EXPLICIT]) for uid in contexts)) as peer:
        answered = {
            "C-ECHO": [peer.echo()],
            "C-STORE": [
                peer.store_dataset(other),
                peer.store(CT, "1.2.3.4", encoded(other)),
                peer.store(CT, "1.2.3.4", unreadable),
            ],
            "C-FIND": [
                *peer.find(PATIENT_FIND, keys("PATIENT", PatientID="")),
                *peer.find(STUDY_FIND, unmatched),
                *peer.find(STUDY_FIND, keys("PLANET")),
                *peer.find(STUDY_FIND, unreadable),
            ],
            "C-MOVE": [
                *peer.move(STUDY_MOVE, this, "NOBODY"),
                *peer.move(STUDY_MOVE, this, "SINK"),
                *peer.move(STUDY_MOVE, keys("STUDY", StudyInstanceUID="1.2.9"), "SINK"),
                *peer.move(STUDY_MOVE, keys("STUDY"), "SINK"),
            ],
            "C-GET": [*peer.get(STUDY_GET, this), *peer.get(STUDY_GET, unreadable)],
        }
    seen = {service: {one.status for one in answers} for service, answers in answered.items()}
    assert seen["C-STORE"] == {0x0000, 0xA900, 0xC000}
    assert seen["C-FIND"] == {0x0000, 0xFF00, 0xFF01, 0xA900, 0xC000}
    assert {0x0000, 0xA702, 0xA801, 0xA900} <= seen["C-MOVE"]
    assert {0xA702, 0xC000} <= seen["C-GET"]
    for service, codes in seen.items():
        assert codes <= statuses(statement, service), service
    comments = statement.column("C-STORE: Error Comments", "Error Comment")
    assert {one.comment for one in answered["C-STORE"] if one.status} <= set(comments)


# A character beyond ASCII of each coded character set, by the end of its defined term.
SAMPLES = {
    "6": "A", "100": "Ä", "101": "Ł", "109": "Ĉ", "110": "Ķ", "126": "Δ", "127": "ق", "138": "ש",
    "144": "Л", "148": "Ş", "166": "ก", "203": "€", "13": "ﾔ", "192": "山", "GB18030": "王",
    "GBK": "王", "149": "김", "58": "张", "87": "山", "159": "龢",
}  # fmt: skip


def test_every_character_set_listed_is_understood(node: RunningNode, statement: Statement) -> None:
    terms = statement.column("Character Sets", "Defined Term")
    assert len(terms) > 30
    description = "Study Description of a character set"
    with Association((node.host, node.port), (CT, [EXPLICIT]), (STUDY_FIND, [EXPLICIT])) as peer:
        for term in terms:
            sample = SAMPLES[term.rpartition(" ")[2].removeprefix("ISO_IR ")]
            ds = new_dataset(StudyDescription=f"{description} {sample}")
            assert store_in(peer, ds, term).status == 0, term
            asked = keys("STUDY", StudyInstanceUID=ds.StudyInstanceUID)
            asked.SpecificCharacterSet = "ISO_IR 192"
            asked.StudyDescription = ds.StudyDescription
            match, last = peer.find(STUDY_FIND, asked)
            assert (match.status, last.status) == (0xFF00, 0), term
            assert match.identifier.StudyDescription == ds.StudyDescription, term


# What pydicom cannot write.
BY_HAND = {
    "ISO_IR 13": b"\xd4",
    "ISO 2022 IR 13": b"\xd4",
    "ISO_IR 203": b"\xa4",
    "ISO 2022 IR 203": b"\x1b-b\xa4",
}


def store_in(peer: Association, ds: Dataset, term: str) -> Response:
    """Store a dataset in this character set, with code extensions where it has some."""
    has_ascii = " IR " in term and not term.endswith(" 13")
    raw, known = BY_HAND.get(term, b""), term.replace("203", "100")
    ds.SpecificCharacterSet = ["", known] if has_ascii else known
    if not raw:
        return peer.store_dataset(ds)
    text = ds.StudyDescription
    ds.StudyDescription = text[:-1] + "#" * len(raw)
    data = encoded(ds).replace(b"#" * len(raw), raw).replace(b"IR 100", f"IR {term[-3:]}".encode())
    ds.StudyDescription = text
    return peer.store(CT, ds.SOPInstanceUID, data)


def test_the_cipher_suites_listed_are_agreed_on_and_no_others(
    start_node: StartNode, tmp_path: Path
) -> None:
    authority = Authority(tmp_path / "authority")
    node = start_node(
        f"listen: {{port: 0, tls: {{port: 0, certificate: {authority.issue()}, "
        "require_client_certificate: false}}\n"
    )
    rows = statement_of(node).rows("TLS Cipher Suites")
    assert {row["Protocol"] for row in rows} == {"TLSv1.2", "TLSv1.3"}
    stated = {row["Cipher Suite"]: row["IANA Number"] for row in rows}
    agreed = set()
    for cipher in ssl.create_default_context().get_ciphers():
        name = str(cipher["name"])
        if _agrees(node, authority, name, str(cipher["protocol"])):
            agreed.add(name)
            number = int(cipher["id"]) & 0xFFFF
            assert stated[name] == f"{number >> 8:02X},{number & 0xFF:02X}"
    # The node's certificate has a key of one kind; suites for the other kind cannot be tried.
    own = {name for name in stated if "RSA" not in name}
    assert agreed == own
    assert len(own) >= 5


def _agrees(node: RunningNode, authority: Authority, cipher: str, protocol: str) -> bool:
    """Whether a client that knows this cipher suite alone gets a TLS connection by it."""
    context = ssl.create_default_context(cafile=str(authority.file))
    if protocol == "TLSv1.3":  # they cannot be chosen from Python: one by one of what there is
        context.minimum_version = ssl.TLSVersion.TLSv1_3
    else:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(f"{cipher}:@SECLEVEL=0")
    with socket.create_connection((node.host, node.tls_port), PATIENCE) as plain:
        try:
            with context.wrap_socket(plain, server_hostname="localhost") as secure:
                chosen = secure.cipher()
        except OSError:
            return False
    return chosen is not None and (chosen[0] == cipher or protocol == "TLSv1.3")
