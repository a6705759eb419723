"""pacsnode commit: the report comes on the association of the request, at the running node, at the
command itself, or never."""

import re
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from pydicom import Dataset

from tests.authority import Authority
from tests.conftest import (
    PATIENCE,
    Completed,
    StartNode,
    new_dataset,
    run_pacsnode,
    start_pacsnode,
    wait_for_port,
    write_dataset,
)
from tests.interface.committing import CommittingPeer, committing
from tests.interface.orthanc import instances_of, orthanc

FreePort = Callable[[], int]
Commit = Callable[..., Completed]
MakePeer = Callable[..., CommittingPeer]

UIDS = tuple(f"1.2.3.1.{number}" for number in (1, 2, 3))
TRANSACTION = r"2\.25\.\d+"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With three instances in it, and no node."""
    for uid in UIDS:
        ds = new_dataset(SOPInstanceUID=uid, StudyInstanceUID="1.2.3")
        write_dataset(tmp_path / "in" / f"{uid}.dcm", ds)
    return tmp_path


@pytest.fixture
def make_peer() -> Iterator[MakePeer]:
    with ExitStack() as stack:

        def start(**settings: object) -> CommittingPeer:
            return stack.enter_context(committing(CommittingPeer(**settings)))  # type: ignore[arg-type]

        yield start


def configure(folder: Path, peer_port: int, port: int = 0) -> Path:
    """For a command beside no node, or for one."""
    path = folder / "config.yaml"
    path.write_text(
        f"listen: {{port: {port}, workers: 1}}\n"
        f"modalities: {{COMMITTER: {{host: 127.0.0.1, port: {peer_port}}}}}\n",
        "utf-8",
    )
    return path


def commit(folder: Path, *arguments: object, peer: str = "COMMITTER") -> Completed:
    return run_pacsnode(
        "--config", folder / "config.yaml", "commit", peer, *arguments, folder=folder
    )


def test_a_report_on_the_same_association(folder: Path, make_peer: MakePeer) -> None:
    peer = make_peer(how="same")
    configure(folder, peer.port)
    done = commit(folder, "in")
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(rf"{TRANSACTION}: 3 committed, 0 failed\n", done.stdout)
    assert done.stderr == ""
    (request,) = peer.requests
    assert request.TransactionUID in done.stdout
    items = [
        (item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID)
        for item in request.ReferencedSOPSequence
    ]
    assert items == [("1.2.840.10008.5.1.4.1.1.2", uid) for uid in UIDS]
    assert peer.answers == [0x0000]


def test_what_the_peer_is_not_committed_to_is_named_with_the_reason(
    folder: Path, make_peer: MakePeer
) -> None:
    peer = make_peer(how="same", failures={UIDS[0]: 0x0112, UIDS[2]: 0x0119})
    configure(folder, peer.port)
    done = commit(folder, "in")
    assert done.returncode == 1
    assert done.stdout.endswith(": 1 committed, 2 failed\n")
    first, second = done.stderr.splitlines()
    assert first == f"in/{UIDS[0]}.dcm: 0112 the peer does not have it"
    assert second == f"in/{UIDS[2]}.dcm: 0119 the peer has it with another SOP class"


@pytest.mark.parametrize("proposes_role", [True, False])
def test_a_report_to_the_command_itself_where_no_node_runs(
    folder: Path, make_peer: MakePeer, free_port: FreePort, proposes_role: bool
) -> None:
    port = free_port()
    peer = make_peer(how="new", report_to=port, proposes_role=proposes_role)
    configure(folder, peer.port, port)
    done = commit(folder, "in")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(": 3 committed, 0 failed\n")
    assert peer.answers == [0x0000]
    assert not (folder / "pacsnode-data").exists()  # no archive is made for that


def test_a_report_to_the_running_node(
    folder: Path, start_node: StartNode, make_peer: MakePeer
) -> None:
    peer = make_peer(how="new")
    node = start_node(
        f"modalities: {{COMMITTER: {{host: 127.0.0.1, port: {peer.port}}}}}\n", folder=folder
    )
    peer.report_to = node.port
    peer.failures[UIDS[1]] = 0x0213
    sent = node.command("import", folder / "in")
    assert sent.returncode == 0, sent.stderr
    done = commit(folder, "--study", "1.2.3")
    assert done.returncode == 1
    assert done.stdout.endswith(": 2 committed, 1 failed\n")
    assert done.stderr == f"{UIDS[1]}: 0213 the peer has no room\n"
    assert peer.answers == [0x0000]
    uid = str(peer.requests[0].TransactionUID)
    assert f"storage commitment {uid}" in node.wait_for_log("N-EVENT-REPORT")
    node.stop()
    again = commit(folder, "--transaction", uid)
    assert (again.returncode, again.stdout, again.stderr) == (1, done.stdout, done.stderr)


def test_a_report_on_what_nobody_asked_for_is_refused(
    folder: Path, start_node: StartNode, make_peer: MakePeer
) -> None:
    peer = make_peer(how="new")
    node = start_node(
        f"modalities: {{COMMITTER: {{host: 127.0.0.1, port: {peer.port}}}}}\n", folder=folder
    )
    peer.report_to = node.port
    stray = Dataset()
    stray.TransactionUID = "1.2.3.99"
    stray.ReferencedSOPSequence = [Dataset()]
    stray.ReferencedSOPSequence[0].ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    stray.ReferencedSOPSequence[0].ReferencedSOPInstanceUID = UIDS[0]
    peer.report(stray)
    assert peer.answers == [0x0115]
    missing = commit(folder, "--transaction", "1.2.3.99", "--wait", "0")
    assert missing.stderr == "1.2.3.99: no report has come\n"
    peer.report(stray)  # somebody looks for it now
    assert peer.answers == [0x0115, 0x0000]


def test_a_report_that_never_comes_can_be_looked_for_later(
    folder: Path, start_node: StartNode, make_peer: MakePeer
) -> None:
    peer = make_peer(how="never")
    node = start_node(
        f"modalities: {{COMMITTER: {{host: 127.0.0.1, port: {peer.port}}}}}\n", folder=folder
    )
    peer.report_to = node.port
    done = commit(folder, "in", "--wait", "0.5")
    assert done.returncode == 1
    assert done.stdout.endswith(": 3 without a report\n")
    uid = str(peer.requests[0].TransactionUID)
    assert done.stderr.splitlines() == [
        "no report has come",
        f"look for the report with: pacsnode commit COMMITTER --transaction {uid}",
    ]
    missing = commit(folder, "--transaction", uid, "--wait", "0")
    assert missing.returncode == 1
    assert missing.stderr == f"{uid}: no report has come\n"
    peer.report(peer.requests[0])
    found = commit(folder, "--transaction", uid, "--wait", "0")
    assert found.returncode == 0, found.stderr
    assert found.stdout == f"{uid}: 3 committed, 0 failed\n"


def test_not_to_wait_prints_the_transaction(folder: Path, make_peer: MakePeer) -> None:
    peer = make_peer(how="never")
    configure(folder, peer.port)
    done = commit(folder, "in", "--wait", "0")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{peer.requests[0].TransactionUID}: 3 asked for\n"


def test_a_refusal_is_told(folder: Path, make_peer: MakePeer) -> None:
    peer = make_peer(answer=0x0213)
    configure(folder, peer.port)
    done = commit(folder, "in")
    assert done.returncode == 1
    assert "N-ACTION was answered 0213" in done.stderr


def test_a_peer_that_cannot_be_reached_or_does_no_commitment_is_exit_code_3(
    folder: Path, start_node: StartNode, free_port: FreePort
) -> None:
    configure(folder, free_port())
    done = commit(folder, "in")
    assert done.returncode == 3
    assert "no TCP connection" in done.stderr


def test_a_port_that_another_program_has_leaves_the_same_association(
    folder: Path, make_peer: MakePeer
) -> None:
    peer = make_peer(how="same")
    configure(folder, peer.port, port=peer.port)
    done = commit(folder, "in")
    assert done.returncode == 0, done.stderr
    assert "only a report on the same association can be received" in done.stderr


def test_the_command_in_the_nodes_place_takes_nothing_but_reports(
    folder: Path, make_peer: MakePeer, free_port: FreePort
) -> None:
    peer, port = make_peer(how="never"), free_port()
    config = configure(folder, peer.port, port)
    process = start_pacsnode(
        "--config", config, "commit", "COMMITTER", "in", "--wait", str(PATIENCE), folder=folder
    )
    try:
        assert peer.asked.wait(PATIENCE)
        address = f"PACSNODE@127.0.0.1:{port}"
        assert run_pacsnode("echo", address, "--aet", "COMMITTER").returncode == 0
        sent = run_pacsnode("send", address, folder / "in", "--aet", "COMMITTER")
        assert sent.returncode == 1
        assert "A700" in sent.stderr
    finally:
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert output == ""
    assert f"--transaction {peer.requests[0].TransactionUID}" in errors


def test_a_node_that_starts_meanwhile_gets_its_port_and_the_report(
    folder: Path, start_node: StartNode, make_peer: MakePeer, free_port: FreePort
) -> None:
    peer, port = make_peer(how="never"), free_port()
    config = configure(folder, peer.port, port)
    assert run_pacsnode("--config", config, "import", folder / "in").returncode == 0
    arguments = ("commit", "COMMITTER", "--instance", UIDS[0], "--wait", str(PATIENCE))
    process = start_pacsnode("--config", config, *arguments, folder=folder)
    try:
        assert peer.asked.wait(PATIENCE)
        wait_for_port(port)
        node = start_node(config.read_text("utf-8"), folder=folder)
        assert node.port == port
        peer.report_to = port
        peer.report(peer.requests[0])
        output, errors = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
        process.wait(PATIENCE)
    assert (process.returncode, errors) == (0, "")
    assert output.endswith(": 1 committed, 0 failed\n")
    assert "N-EVENT-REPORT" in node.wait_for_log("N-EVENT-REPORT")


def test_a_peer_that_may_not_commit_is_told_of_and_can_report_on_the_same_association(
    folder: Path, make_peer: MakePeer
) -> None:
    peer = make_peer(how="same")
    configure(folder, 1)
    done = commit(folder, "in", peer=f"STRANGER@127.0.0.1:{peer.port}")
    assert done.returncode == 0, done.stderr
    assert done.stderr == (
        "only a report on the same association can be received: access.unknown_callers does not "
        "let 'STRANGER' commit\n"
    )


@pytest.mark.parametrize("how", ["new", "same association"])
def test_a_node_asks_a_node(
    folder: Path, start_node: StartNode, free_port: FreePort, how: str
) -> None:
    """Instances that are there, and one that is not."""
    own_port = free_port()
    archive = start_node(
        f"ae_title: ARCHIVE\nmodalities: {{PACSNODE: {{host: 127.0.0.1, port: {own_port}, "
        f"commit_report: {how}}}}}\n",
        folder=folder / "archive",
    )
    config = folder / "config.yaml"
    config.write_text(
        f"listen: {{port: {own_port}, workers: 1}}\n"
        f"modalities: {{ARCHIVE: {{host: 127.0.0.1, port: {archive.port}}}}}\n",
        "utf-8",
    )
    kept = [folder / "in" / f"{uid}.dcm" for uid in UIDS[:2]]
    assert run_pacsnode("--config", config, "send", "ARCHIVE", *kept).returncode == 0
    for is_served in (False, True):
        if is_served:
            start_node(config.read_text("utf-8"), folder=folder)
        good = commit(folder, *kept, peer="ARCHIVE")
        assert good.returncode == 0, good.stderr
        assert good.stdout.endswith(": 2 committed, 0 failed\n")
        mixed = commit(folder, "in", peer="ARCHIVE")
        assert mixed.returncode == 1
        assert mixed.stdout.endswith(": 2 committed, 1 failed\n")
        assert mixed.stderr == f"in/{UIDS[2]}.dcm: 0112 the peer does not have it\n"


@pytest.mark.parametrize("is_served", [False, True])
def test_request_and_report_over_tls_with_certificates_on_both_sides(
    folder: Path, start_node: StartNode, free_port: FreePort, is_served: bool
) -> None:
    authority = Authority(folder / "authority")
    archives, own = authority.issue("archive"), authority.issue("pacsnode")
    archives_port, own_port = free_port(), free_port()

    def config(title: str, port: int, certificate: Path, peer: str, peer_port: int) -> str:
        tls = f"certificate: {certificate}"
        return (
            f"ae_title: {title}\n"
            f"listen: {{port: null, workers: 1, tls: {{port: {port}, {tls}, "
            f"client_ca: {authority.file}}}}}\n"
            f"modalities: {{{peer}: {{host: 127.0.0.1, port: {peer_port}, "
            f"tls: {{ca: {authority.file}, {tls}}}}}}}\n"
        )

    start_node(
        config("ARCHIVE", archives_port, archives, "PACSNODE", own_port),
        folder=folder / "archive",
    )
    text = config("PACSNODE", own_port, own, "ARCHIVE", archives_port)
    (folder / "config.yaml").write_text(text, "utf-8")
    if is_served:
        start_node(text, folder=folder)
    sent = run_pacsnode("--config", folder / "config.yaml", "send", "ARCHIVE", folder / "in")
    assert sent.returncode == 0, sent.stderr
    done = commit(folder, "in", peer="ARCHIVE")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith(": 3 committed, 0 failed\n")


def test_nothing_to_ask_for_is_a_failure_that_says_so(folder: Path) -> None:
    configure(folder, 1)
    (folder / "empty").mkdir()
    done = commit(folder, "empty")
    assert done.returncode == 1
    assert "no instance was found" in done.stderr


# --- Orthanc --------------------------------------------------------------------------------


def test_orthanc_is_asked_for_commitment(folder: Path, free_port: FreePort) -> None:
    port, rest_port, own_port = free_port(), free_port(), free_port()
    (folder / "config.yaml").write_text(
        f"listen: {{port: {own_port}, workers: 1}}\n"
        f"modalities: {{ORTHANC: {{host: 127.0.0.1, port: {port}}}}}\n",
        "utf-8",
    )
    with orthanc(folder / "orthanc", port, rest_port, own_port) as address:
        some = folder / "in" / f"{UIDS[0]}.dcm"
        sent = run_pacsnode("--config", folder / "config.yaml", "send", "ORTHANC", some)
        assert sent.returncode == 0, sent.stderr
        assert len(instances_of(address)) == 1
        good = commit(folder, some, peer="ORTHANC")
        assert good.returncode == 0, good.stderr
        assert good.stdout.endswith(": 1 committed, 0 failed\n")
        mixed = commit(folder, "in", peer="ORTHANC")
        assert mixed.returncode == 1
        assert mixed.stdout.endswith(": 1 committed, 2 failed\n")
        assert mixed.stderr.count("0112 the peer does not have it") == 2
