"""Whether the node proposes what its conformance statement says: the requests for associations of
each activity, taken down on their way to a node that answers them."""

import struct
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from zlib import compressobj

import pytest
from pydicom import Dataset

from tests.conftest import CT_IMAGE_STORAGE, RunningNode, StartNode, new_dataset, running_node
from tests.interface.conftest import free_port_number, store_all
from tests.interface.peer import DEFLATED, EXPLICIT, encoded
from tests.interface.requester import COMMITMENT, Requester, requesting
from tests.interface.statement import Context, Line, Statement, line_to, listed, statement_of

CONFIG = """
listen: {{port: {own}, workers: 1}}
storage: {{fsync: false, min_free: 1}}
access: {{unknown_callers: all}}
modalities:
  SINK: {{host: 127.0.0.1, port: {line}, calling_ae_title: SENDER}}
  PICKY:
    host: 127.0.0.1
    port: {line}
    transfer_syntaxes: [RLELossless, ExplicitVRBigEndian]
"""

SEND = "Proposed Transfer Syntaxes, Send Instances"


@pytest.fixture(scope="module")
def line() -> Iterator[Line]:
    """A line to the node, which its own configuration names as SINK and PICKY."""
    with line_to(free_port_number()) as made:
        yield made


@pytest.fixture(scope="module")
def node(line: Line, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    config = CONFIG.format(own=line.target, line=line.port)
    with running_node(tmp_path_factory.mktemp("node"), config) as running:
        yield running


@pytest.fixture(scope="module")
def statement(node: RunningNode) -> Statement:
    return statement_of(node)


@pytest.fixture
def taken(line: Line) -> Line:
    """The line, with nothing taken down yet."""
    line.requests.clear()
    return line


def peer_on(line: Line) -> str:
    return f"PACSNODE@127.0.0.1:{line.port}"


def contexts_of(statement: Statement, title: str) -> list[Context]:
    return [
        Context(row["UID"], tuple(listed(row["Transfer Syntax UIDs"])))
        for row in statement.rows(title)
    ]


def file_in(folder: Path, ds: Dataset, transfer_syntax: str) -> Path:
    """A DICOM file, whose dataset need not be in more than the name of its transfer syntax."""
    data = encoded(ds, transfer_syntax)
    if transfer_syntax == DEFLATED:
        deflate = compressobj(wbits=-15)
        data = deflate.compress(encoded(ds, EXPLICIT)) + deflate.flush()
        data += b"\0" * (len(data) % 2)
    meta = b""
    for number, text in ((2, ds.SOPClassUID), (3, ds.SOPInstanceUID), (0x10, transfer_syntax)):
        value = text.encode() + b"\0" * (len(text) % 2)
        meta += struct.pack("<HH2sH", 2, number, b"UI", len(value)) + value
    path = folder / f"{transfer_syntax}.dcm"
    path.write_bytes(bytes(128) + b"DICM" + meta + data)
    return path


def test_an_echo_proposes_what_is_listed(
    node: RunningNode, statement: Statement, taken: Line
) -> None:
    assert node.command("echo", peer_on(taken)).returncode == 0
    assert taken.proposed() == contexts_of(statement, "Proposed Presentation Contexts, Verify")


def test_the_connection_doctor_proposes_what_is_listed(
    node: RunningNode, statement: Statement, taken: Line
) -> None:
    done = node.command("check", peer_on(taken))
    assert done.returncode == 0, done.stdout + done.stderr
    services, *storages, get = taken.requests
    title = "Check a Connection"
    assert services.contexts == contexts_of(statement, f"Proposed Presentation Contexts, {title}")
    classes = statement.column(f"Proposed Storage SOP Classes, {title}", "UID")
    syntaxes = statement.column(f"Proposed Storage Transfer Syntaxes, {title}", "UID")
    asked = [context for request in storages for context in request.contexts]
    assert asked == [Context(uid, (syntax,)) for uid in classes for syntax in syntaxes]
    assert get.roles == dict.fromkeys(classes, (False, True))
    assert not any(request.roles for request in storages)


def test_a_fuzzy_query_asks_for_what_is_told(
    node: RunningNode, statement: Statement, taken: Line
) -> None:
    done = node.command("find", peer_on(taken), "--fuzzy", "-k", "PatientName=nobody")
    assert done.returncode == 0, done.stderr
    (asked,) = taken.requests[0].extended.values()
    assert f"Service Class Application Information {asked.hex(' ').upper()}." in statement.text


@pytest.mark.parametrize(
    ("arguments", "activity"),
    [
        (("find",), "Query"),
        (("move", "--to", "SINK"), "Have Instances Moved"),
    ],
)
def test_queries_and_moves_propose_what_is_listed(
    node: RunningNode,
    statement: Statement,
    taken: Line,
    arguments: tuple[str, ...],
    activity: str,
) -> None:
    command, *options = arguments
    for level, key in (("patient", "PatientID=NOBODY"), ("study", "StudyInstanceUID=1.2.9")):
        done = node.command(command, peer_on(taken), *options, "-L", level, "-k", key)
        assert done.returncode == 0, done.stderr
    stated = contexts_of(statement, f"Proposed Presentation Contexts, {activity}")
    assert taken.proposed() == stated
    assert len(stated) == 2


@pytest.mark.parametrize(("peer", "title"), [("SINK", SEND), ("PICKY", f"{SEND} to PICKY")])
def test_instances_are_proposed_in_the_transfer_syntaxes_listed(
    node: RunningNode, statement: Statement, taken: Line, tmp_path: Path, peer: str, title: str
) -> None:
    # A SOP class of its own for each transfer syntax says which was proposed for which.
    classes = statement.column("Network Services: Storage", "SOP Class UID")
    rows = statement.rows(title)
    stated: set[Context] = set()
    for row, uid in zip(rows, classes, strict=False):
        file_in(tmp_path, new_dataset(SOPClassUID=uid), row["UID"])
        proposed = listed(row["Transfer Syntax UIDs"])
        stated |= {Context(uid, (syntax,)) for syntax in proposed}
    node.command("send", peer, tmp_path)
    assert len(rows) > 40
    assert set(taken.proposed()) == stated
    assert all(not request.roles for request in taken.requests)


def test_instances_of_a_move_are_proposed_as_listed_by_the_title_listed(
    node: RunningNode, statement: Statement, taken: Line
) -> None:
    ds = new_dataset()
    store_all(node, [ds])
    done = node.command(
        "move", node.peer, "--to", "SINK", "-k", f"StudyInstanceUID={ds.StudyInstanceUID}"
    )
    assert done.returncode == 0, done.stderr
    row = next(row for row in statement.rows(SEND) if row["UID"] == EXPLICIT)
    assert set(taken.proposed()) == {
        Context(CT_IMAGE_STORAGE, (uid,)) for uid in listed(row["Transfer Syntax UIDs"])
    }
    remote = next(row for row in statement.rows("Remote AE Titles") if row["Name"] == "SINK")
    assert [request.calling for request in taken.requests] == [remote["Called by"]] == ["SENDER"]


def test_a_get_proposes_what_is_listed(
    node: RunningNode, statement: Statement, taken: Line, tmp_path: Path
) -> None:
    ds = new_dataset()
    store_all(node, [ds])
    key = f"StudyInstanceUID={ds.StudyInstanceUID}"
    done = node.command("get", peer_on(taken), "-o", tmp_path / "got", "-k", key)
    assert done.returncode == 0, done.stderr
    asked, fetched = taken.requests
    queries = contexts_of(statement, "Proposed Presentation Contexts, Query")
    gets = contexts_of(statement, "Proposed Presentation Contexts, Get Instances")
    title = "Proposed Storage Contexts, Get Instances, of CT Image Storage"
    assert asked.contexts == queries[1:]
    assert fetched.contexts == [gets[1], *contexts_of(statement, title)]
    assert fetched.roles == {CT_IMAGE_STORAGE: (False, True)}
    assert set(statement.column(title, "Role")) == {"SCP (role selection)"}


def test_a_request_of_storage_commitment_proposes_what_is_listed(
    node: RunningNode, statement: Statement, taken: Line, tmp_path: Path
) -> None:
    ds = new_dataset()
    store_all(node, [ds])
    done = node.command("commit", peer_on(taken), file_in(tmp_path, ds, EXPLICIT))
    assert done.returncode == 0, done.stderr
    title = "Proposed Presentation Contexts, Request Storage Commitment"
    assert taken.proposed() == contexts_of(statement, title)
    assert [request.roles for request in taken.requests] == [{}]


def test_a_report_of_storage_commitment_proposes_what_is_listed(start_node: StartNode) -> None:
    with ExitStack() as stack:
        requester = stack.enter_context(requesting(Requester("CT1", free_port_number())))
        line = stack.enter_context(line_to(requester.port))
        node = start_node(f"modalities: {{CT1: {{host: 127.0.0.1, port: {line.port}}}}}\n")
        ds = new_dataset()
        requester.ask(node, ds.SOPInstanceUID)
        assert requester.report().is_new
        statement = statement_of(node)
    title = "Proposed Presentation Contexts, Report Storage Commitment"
    assert line.proposed() == contexts_of(statement, title)
    assert [request.roles for request in line.requests] == [{COMMITMENT: (False, True)}]
    assert statement.column(title, "Role") == ["SCP (role selection)"]


def test_the_node_names_itself_on_associations_that_it_opens(
    node: RunningNode, statement: Statement, taken: Line
) -> None:
    assert node.command("echo", peer_on(taken)).returncode == 0
    (request,) = taken.requests
    named, general = "Implementation Identifying Information", "General Association Policies"
    assert request.implementation_class == statement.value(named, "Implementation Class UID")
    assert request.implementation_version == statement.value(named, "Implementation Version Name")
    assert f"{request.max_pdu} bytes" == statement.value(general, "Maximum length of PDUs received")
    assert request.window is None
    assert request.extended == {}
