"""The conformance statement as a document: complete against the code that it speaks of, and of the
configuration that it is given. tests/interface/test_conformance.py holds it against a node."""

import ast
from collections.abc import Callable, Iterator
from datetime import date
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml

from pacsnode.audit import events
from pacsnode.audit.event import Code
from pacsnode.config.load import load
from pacsnode.config.model import Configuration
from pacsnode.config.model import Section as ConfigurationSection
from pacsnode.dicom import status
from pacsnode.dicom.level import COLUMNS, COMPUTED, OTHERS, Level
from pacsnode.dicom.message import Extensions
from pacsnode.dicom.query import Model
from pacsnode.dicom.transcode import can_transcode
from pacsnode.net.contexts import Service
from pacsnode.node.build import changed_keys
from pacsnode.node.conformance import (
    keys,
    negotiation,
    recoding,
    security,
    settings,
    statement,
    statuses,
)
from pacsnode.node.conformance.document import Block, Document, Items, Paragraph, Section, Table

PACKAGE = Path(__file__).parents[2] / "pacsnode"
DAY = date(2026, 11, 21)

Configure = Callable[..., Configuration]


@pytest.fixture
def configured(tmp_path: Path) -> Configure:
    """The configuration of a file with these settings."""

    def configure(**values: Any) -> Configuration:
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(values), "utf-8")
        return load(path)

    return configure


def document_of(configuration: Configuration) -> Document:
    return statement(configuration, DAY)


def texts_of(document: Document) -> str:
    """All that it says, a line each."""

    def lines(blocks: tuple[Block, ...]) -> Iterator[str]:
        for block in blocks:
            if isinstance(block, Paragraph):
                yield block.text
            elif isinstance(block, Items):
                yield from block.texts
            elif isinstance(block, Table):
                yield from (" | ".join(row) for row in block.rows)

    def of_section(section: Section) -> Iterator[str]:
        yield section.title
        yield from lines(section.blocks)
        for below in section.sections:
            yield from of_section(below)

    return "\n".join([*lines(document.cover), *(line for one in document.sections
                                               for line in of_section(one))])  # fmt: skip


def statuses_named_in(*paths: str, function: str | None = None) -> set[int]:
    """Every status that these modules, or one function of theirs, name."""
    found = set()
    for path in paths:
        tree: ast.AST = ast.parse((PACKAGE / path).read_text("utf-8"))
        if function is not None:
            tree = next(
                node
                for node in ast.walk(tree)
                if isinstance(node, ast.FunctionDef) and node.name == function
            )
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr.isupper():
                is_status = isinstance(node.value, ast.Name) and node.value.id == "status"
                found |= {int(getattr(status, node.attr))} if is_status else set()
    return found


def codes_of(table: Table, column: str = "Status Code") -> set[int]:
    codes = table.column(column)
    assert len(set(codes)) == len(codes)
    return {int(code, 16) for code in codes}


@pytest.mark.parametrize(
    ("service", "paths"),
    [
        (Service.ECHO, ["scp/echo.py"]),
        (Service.STORE, ["scp/store.py"]),
        (Service.FIND, ["scp/find.py"]),
        (Service.MOVE, ["scp/move.py", "scp/retrieve.py", "scp/access.py"]),
        (Service.GET, ["scp/get.py", "scp/retrieve.py"]),
        (Service.COMMIT, ["scp/commit.py"]),
    ],
)
def test_each_service_lists_the_statuses_that_its_code_names(
    service: Service, paths: list[str]
) -> None:
    named = statuses_named_in(*paths) - statuses.OF_ALL.keys()
    assert codes_of(statuses.status_table(service)) == named


def test_the_statuses_of_every_service_are_those_of_whoever_serves_them() -> None:
    named = statuses_named_in("net/serving.py", "scp/__init__.py", "scp/access.py")
    own = {status.CANCELLED, status.MOVE_DESTINATION_UNKNOWN}
    assert codes_of(statuses.common_table()) == named - own


def test_reports_are_answered_as_listed() -> None:
    named = statuses_named_in("scu/commit.py", function="answer_report")
    assert codes_of(statuses.report_table()) == named


def test_the_reasons_against_a_commitment_are_those_of_the_archive() -> None:
    named = statuses_named_in("archive/commit.py") - {status.SUCCESS}
    assert codes_of(statuses.reason_table(), "Failure Reason") == named


def test_every_status_says_when_it_comes() -> None:
    document = document_of(Configuration())
    tables = [table for table in document.tables() if table.columns == statuses.COLUMNS]
    assert len(tables) == 8
    for table in tables:
        for kind, code, meaning, when in table.rows:
            assert kind in ("Success", "Pending", "Warning", "Cancel", "Failure"), code
            assert meaning, (table.title, code)
            assert when, (table.title, code)


def test_every_audit_message_has_its_moment() -> None:
    codes = {code for code in vars(events).values() if isinstance(code, Code)}
    assert set(security.MOMENTS) == {
        code for code in codes if code.system == "DCM" and code.value < "110120"
        and code.value > "110099"
    }  # fmt: skip


@pytest.mark.parametrize("level", Level)
def test_each_key_of_a_level_is_listed_once(level: Level) -> None:
    names = keys.key_table(level).column("Attribute")
    keywords = (*COLUMNS[level], *COMPUTED[level], *OTHERS[level])
    assert names == tuple(keys.name_of(keyword) for keyword in keywords)


@pytest.mark.parametrize(
    ("keyword", "level", "kinds"),
    [
        ("PatientID", Level.PATIENT, "URU"),
        ("PatientName", Level.PATIENT, "RRR"),
        ("PatientSex", Level.PATIENT, "OOO"),
        ("StudyInstanceUID", Level.STUDY, "UUU"),
        ("AccessionNumber", Level.STUDY, "RRR"),
        ("ModalitiesInStudy", Level.STUDY, "OOO"),
        ("SeriesNumber", Level.SERIES, "RR-"),
        ("SOPInstanceUID", Level.IMAGE, "UU-"),
        ("Rows", Level.IMAGE, "OO-"),
    ],
)
def test_keys_are_of_the_kinds_that_the_standard_gives_them(
    keyword: str, level: Level, kinds: str
) -> None:
    models = (Model.PATIENT_ROOT, Model.STUDY_ROOT, Model.PATIENT_STUDY_ONLY)
    assert "".join(keys.kind_of(keyword, level, model) for model in models) == kinds


def test_no_two_tables_have_one_title_and_all_rows_their_cells() -> None:
    tables = list(document_of(Configuration()).tables())
    assert len({table.title for table in tables}) == len(tables)
    for table in tables:
        assert all(len(row) == len(table.columns) for row in table.rows), table.title


CT1 = {"host": "10.0.0.7", "port": 4242}


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"ae_title": "ANOTHER"}, "ae_title | ANOTHER | "),
        ({"listen": {"port": 104}}, "PACSNODE | 127.0.0.1 | 104 | none"),
        ({"listen": {"max_associations": 17}}, "As acceptor, in all | 17"),
        ({"listen": {"max_pdu": 32768}}, "Maximum length of PDUs received | 32768 bytes"),
        ({"timeouts": {"idle": 90}}, "An association between two messages | 90 s"),
        ({"storage": {"on_duplicate": "reject"}}, "answered 0111; the first stays in place"),
        ({"storage": {"fsync": False}}, "handed to the operating system"),
        ({"storage": {"min_free": "2GiB"}}, "less than 2,147,483,648 bytes"),
        ({"access": {"unknown_callers": ["store"]}}, "all other callers | any | store | "),
        ({"access": {"check_called_ae_title": True}}, "Called AE title: must be PACSNODE"),
        ({"access": {"check_called_ae_title": True}}, "1 (rejected-permanent) | 1 | 7 | "),
        ({"access": {"networks": ["10.0.0.0/8"]}}, "Networks: 10.0.0.0/8 alone"),
        ({"commit": {"retry_hours": 5}}, "for 5 hours"),
        ({"audit": {"file": "audit.log"}}, "as JSON lines to a file"),
        ({"modalities": {"CT1": CT1}}, "CT1 | CT1 | 10.0.0.7:4242 | none | PACSNODE | 1 | "),
        ({"modalities": {"CT1": {**CT1, "allow": ["echo", "store"]}}}, "| echo, store |"),
        ({"modalities": {"CT1": {**CT1, "character_set": "ISO_IR 144"}}}, "| ISO_IR 144 |"),
        ({"modalities": {"CT1": {**CT1, "tls": True}}}, "Opened over TLS: associations to CT1."),
        (
            {"modalities": {"CT1": {**CT1, "transfer_syntaxes": ["ImplicitVRLittleEndian"]}}},
            "ASCII | Implicit VR Little Endian",
        ),
        (
            {"modalities": {"CT1": {**CT1, "certificate_subject": "CN=ct1"}}},
            "AE title, certificate CN=ct1",
        ),
        (
            {"modalities": {"CT1": {**CT1, "lossy_compression": "allowed"}}},
            "To CT1 copies may be sent that were compressed with losses",
        ),
    ],
)
def test_what_is_configured_is_what_is_stated(
    configured: Configure, values: dict[str, Any], says: str
) -> None:
    assert says not in texts_of(document_of(configured(access={"unknown_callers": "all"})))
    assert says in texts_of(document_of(configured(**values)))


def test_each_extension_has_its_effect() -> None:
    assert set(negotiation.EXTENSIONS) == set(Extensions._fields)


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")  # of values that are none
def test_what_takes_a_restart_is_what_a_running_node_does_not_take_over(
    configured: Configure, tmp_path: Path
) -> None:
    (tmp_path / "node.pem").write_text("", "utf-8")
    tls = {"certificate": "node.pem", "require_client_certificate": False}
    running = configured(listen={"tls": tls}, audit={"syslog": {"host": "10.0.0.9"}})
    rows = settings.parameter_table(running).rows
    assert len(rows) > 35
    for key_path, _, _, takes_restart in rows:
        waiting = changed_keys(running, changed(running, key_path.split(".")))
        assert bool(waiting) == (takes_restart == "Yes"), (key_path, waiting)


def changed(section: ConfigurationSection, path: list[str]) -> Any:
    """The same with another value at a key path, valid or not."""
    name, *rest = path
    value = changed(getattr(section, name), rest) if rest else object()
    return section.model_copy(update={name: value})


def test_responses_are_taken_for_what_scu_takes_them() -> None:
    rows = {row[0]: row[1] for row in statuses.response_table().rows}
    assert rows == {
        "Success": "0000",
        "Pending": "FF00 to FF01",
        "Warning": "0001, 0107, 0116, B000 to BFFF",
        "Cancel": "FE00",
        "Failure": "all others",
    }


def test_what_can_be_recoded_is_read_and_made_as_listed() -> None:
    rows = recoding.recoding_table().rows
    uids = [row[1] for row in rows]
    assert len(uids) > 15
    for (_, source, is_read, *_), (_, target, _, is_made, lossy) in product(rows, rows):
        if source == target:
            continue
        assert can_transcode(source, target) == (is_read == is_made == "Yes"), (source, target)
        if lossy != "No":
            assert can_transcode(source, target, may_lose=True) == (is_read == "Yes")


def test_secrets_are_said_to_be_set_and_no_more(configured: Configure, tmp_path: Path) -> None:
    (tmp_path / "node.pem").write_text("", "utf-8")
    tls = {"certificate": "node.pem", "key_password": "Xyzzy-13",
           "require_client_certificate": False}  # fmt: skip
    said = texts_of(document_of(configured(listen={"tls": tls})))
    assert "Xyzzy" not in said
    assert "listen.tls.key_password | set, not told here" in said
    assert "TLS_AES_256_GCM_SHA384" in said


def test_a_remote_ae_with_wishes_has_a_table_of_what_it_is_sent(configured: Configure) -> None:
    wish = {**CT1, "transfer_syntaxes": ["ExplicitVRBigEndian"]}
    document = document_of(configured(modalities={"CT1": wish}))
    table = document.table("Proposed Transfer Syntaxes, Send Instances to CT1")
    by_uid = dict(zip(table.column("UID"), table.column("Transfer Syntax UIDs"), strict=True))
    assert by_uid["1.2.840.10008.1.2"] == "1.2.840.10008.1.2.2"
    assert by_uid["1.2.840.10008.1.2.4.100"] == ""
