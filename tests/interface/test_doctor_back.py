"""check PEER --move: the way back is proven, or what is wrong with it is named: at their table, or
at our own door."""

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom import dcmread

from tests.conftest import PATIENCE, Dcmtk, StartNode, run_pacsnode
from tests.interface.conftest import free_port_number, stored_files
from tests.interface.doctoring import QUICK, Findings, check
from tests.interface.orthanc import instances_of, orthanc

Archive = Callable[..., int]


@pytest.fixture
def archive(dcmtk: Dcmtk, tmp_path: Path) -> Archive:
    """Starts dcmqrscp as ARCHIVE with this entry (title, host, port) in its table of hosts, called
    `node`, and those who may call; its port."""

    def start(entry: str, callers: str = "ANY") -> int:
        port, database = free_port_number(), tmp_path / "database"
        database.mkdir()
        config = tmp_path / "dcmqrscp.cfg"
        config.write_text(
            f"NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 16\n"
            f"HostTable BEGIN\nnode = ({entry})\nHostTable END\n"
            "VendorTable BEGIN\nVendorTable END\n"
            f"AETable BEGIN\nARCHIVE {database} RW (200, 1024mb) {callers}\nAETable END\n"
        )
        dcmtk.serve("dcmqrscp", "-c", config, "+B", port=port, cwd=tmp_path)
        return port

    return start


def configuration(own_port: int, port: int, access: str = "{}", **keys: str) -> str:
    more = "".join(f", {name}: {value}" for name, value in keys.items())
    return (
        f"{QUICK}listen: {{port: {own_port}, workers: 1}}\naccess: {access}\n"
        f"modalities: {{ARCHIVE: {{host: 127.0.0.1, port: {port}{more}}}}}\n"
    )


def check_move(folder: Path, config: str) -> Findings:
    return check(folder, config, "ARCHIVE", "--move", "--yes")


def assert_sentence(found: Findings, own_port: int) -> None:
    """The other side is told what its table should have."""
    expected = f"AE title PACSNODE, host 127.0.0.1, port {own_port}"
    assert expected in found.failure["sentence"], found.failure


def test_the_way_back_is_proven_where_no_node_runs(tmp_path: Path, archive: Archive) -> None:
    own_port = free_port_number()
    port = archive(f"PACSNODE, 127.0.0.1, {own_port}")
    found = check_move(tmp_path / "me", configuration(own_port, port))
    assert (found.code, found.errors) == (0, "")
    assert list(found.results)[-5:] == ["own access", "C-STORE", "C-MOVE", "arrival", "removal"]
    assert set(found.results.values()) == {"ok", "skipped"}
    assert found.steps["arrival"]["details"]["ae_title"] == "ARCHIVE"
    assert not (tmp_path / "me" / "pacsnode-data").exists()  # no archive is made for that
    (left,) = stored_files(tmp_path / "database")
    ds = dcmread(left)
    assert ds.PatientName == "PACSNODE^CONNECTION TEST"
    assert ds.pixel_array.shape == (64, 64)
    uid = found.steps["C-STORE"]["details"]["study_instance_uid"]
    assert ds.StudyInstanceUID == uid
    assert "stays there" in found.steps["C-STORE"]["text"]


def test_the_running_node_takes_it_and_it_is_removed_again(
    tmp_path: Path, archive: Archive, start_node: StartNode
) -> None:
    own_port = free_port_number()
    config = configuration(own_port, archive(f"PACSNODE, 127.0.0.1, {own_port}"))
    trail = tmp_path / "trail"
    config += f"audit: {{file: {trail}}}\n"
    node = start_node(config, folder=tmp_path / "me")
    found = check_move(node.folder, config)
    assert found.code == 0, found.errors
    assert "the running node" in found.steps["arrival"]["text"]
    assert found.steps["removal"]["text"] == "1 instance removed here"
    assert stored_files(node.data_dir / "instances") == []
    uid = found.steps["C-STORE"]["details"]["study_instance_uid"]
    assert uid not in node.command("ls").stdout
    told = [json.loads(line) for line in trail.read_text("utf-8").splitlines()]
    assert any("110105" in json.dumps(line) and uid in json.dumps(line) for line in told)


def test_their_table_does_not_have_our_title(tmp_path: Path, archive: Archive) -> None:
    own_port = free_port_number()
    port = archive(f"SOMEBODY, 127.0.0.1, {own_port}")
    found = check_move(tmp_path / "me", configuration(own_port, port))
    assert (found.code, found.failure["cause"]) == (1, "unknown_destination")
    assert "A801" in found.failure["text"]
    assert found.failure["configuration"] == ""
    assert_sentence(found, own_port)
    assert found.results["arrival"] == "skipped"


def test_their_table_has_another_port_where_nobody_listens(
    tmp_path: Path, archive: Archive
) -> None:
    own_port = free_port_number()
    port = archive(f"PACSNODE, 127.0.0.1, {free_port_number()}")
    found = check_move(tmp_path / "me", configuration(own_port, port))
    assert (found.code, found.failure["cause"]) == (1, "not_delivered")
    assert_sentence(found, own_port)


def test_their_table_leads_to_somebody_else(tmp_path: Path, archive: Archive, dcmtk: Dcmtk) -> None:
    own_port, others = free_port_number(), free_port_number()
    dcmtk.serve("storescp", "--ignore", others, port=others)
    port = archive(f"PACSNODE, 127.0.0.1, {others}")
    found = check_move(tmp_path / "me", configuration(own_port, port))
    assert (found.code, found.failure["cause"]) == (1, "delivered_elsewhere")
    assert found.failure["step"] == "arrival"
    assert found.results["C-MOVE"] == "ok"
    assert_sentence(found, own_port)


def test_our_own_rights_are_named_before_anything_is_sent(tmp_path: Path, archive: Archive) -> None:
    own_port = free_port_number()
    port = archive(f"PACSNODE, 127.0.0.1, {own_port}")
    config = configuration(own_port, port, allow="[echo, find]")
    found = check_move(tmp_path / "me", config)
    assert (found.code, found.failure["cause"]) == (1, "own_rights")
    assert "modalities.ARCHIVE.allow" in found.failure["text"]
    assert "C-STORE" not in found.steps
    assert stored_files(tmp_path / "database") == []
    pasted = found.configured(tmp_path)["modalities"]["ARCHIVE"]
    assert set(pasted["allow"]) == {"echo", "find", "store"}


def test_our_own_networks_are_named(tmp_path: Path, archive: Archive) -> None:
    own_port = free_port_number()
    port = archive(f"PACSNODE, 127.0.0.1, {own_port}")
    config = configuration(own_port, port, access="{networks: [10.0.0.0/8]}")
    found = check_move(tmp_path / "me", config)
    assert found.failure["cause"] == "own_networks"
    pasted = found.configured(tmp_path)
    assert pasted["access"]["networks"] == ["10.0.0.0/8", "127.0.0.1/32"]


def test_an_address_that_changes_with_each_start_is_no_address(
    tmp_path: Path, archive: Archive
) -> None:
    port = archive(f"PACSNODE, 127.0.0.1, {free_port_number()}")
    found = check_move(tmp_path / "me", configuration(0, port))
    assert found.failure["cause"] == "not_listening"
    assert found.configured(tmp_path)["listen"]["port"] == 11112


def test_a_port_that_another_program_has(tmp_path: Path, archive: Archive) -> None:
    port = archive("PACSNODE, 127.0.0.1, 1")
    found = check_move(tmp_path / "me", configuration(port, port))
    assert found.failure["cause"] == "not_listening"
    assert f"127.0.0.1 port {port}" in found.failure["text"]
    assert "C-STORE" not in found.steps


def test_a_peer_that_does_no_c_move(tmp_path: Path, dcmtk: Dcmtk) -> None:
    port = free_port_number()
    dcmtk.serve("storescp", "--ignore", port, port=port)
    found = check_move(tmp_path / "me", configuration(free_port_number(), port))
    assert (found.code, found.failure["cause"]) == (1, "no_root")
    assert "C-STORE" not in found.steps


def test_nobody_can_be_asked_and_nothing_is_sent(tmp_path: Path) -> None:
    done = run_pacsnode("check", "A@127.0.0.1:1", "--move", folder=tmp_path)
    assert done.returncode == 2
    assert "--yes" in done.stderr
    assert done.stdout == ""
    for options in (["--move"], ["--yes"]):
        assert run_pacsnode("check", *options, folder=tmp_path).returncode == 2


def test_at_a_terminal_somebody_is_asked(tmp_path: Path) -> None:
    controller, terminal = pty.openpty()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "pacsnode", "check", "A@127.0.0.1:1", "--move"],
            cwd=tmp_path,
            stdin=terminal,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        os.write(controller, b"n\n")
        output, errors = process.communicate(timeout=PATIENCE)
    finally:
        for descriptor in (controller, terminal):
            os.close(descriptor)
    assert process.returncode == 1
    assert "where it stays" in errors
    assert output == "nothing sent\n"


def test_dcmqrscp_rejects_a_calling_title_as_a_called_one_and_is_understood(
    tmp_path: Path, archive: Archive
) -> None:
    port = archive("PACSNODE, localhost, 1", "node")
    other = configuration(11112, port, calling_ae_title="OTHER")
    found = check(tmp_path / "me", other, "ARCHIVE")
    assert (found.code, found.failure["cause"]) == (3, "calling_title")
    assert found.failure["details"]["reason"] == 7
    assert "takes us as 'PACSNODE'" in found.failure["text"]
    pasted = found.configured(tmp_path)["modalities"]["ARCHIVE"]
    assert pasted["calling_ae_title"] == "PACSNODE"
    small = configuration(11112, port, ae_title="Archive")
    found = check(tmp_path / "me", small, "ARCHIVE")
    assert (found.code, found.failure["cause"]) == (3, "called_title")
    assert "but by 'ARCHIVE'" in found.failure["text"]
    assert found.configured(tmp_path)["modalities"]["ARCHIVE"].get("ae_title", "ARCHIVE") == (
        "ARCHIVE"
    )
    unknown = f"ae_title: NEWCOMER\n{configuration(11112, port)}"
    found = check(tmp_path / "me", unknown, "ARCHIVE")
    assert (found.code, found.failure["cause"]) == (3, "called_title")
    assert "'ARCHIVE'" in found.failure["text"]
    assert "'NEWCOMER'" in found.failure["text"]
    assert set(found.configured(tmp_path)["modalities"]["ARCHIVE"]) == {
        "ae_title", "calling_ae_title", "host", "port",
    }  # fmt: skip


# --- Orthanc --------------------------------------------------------------------------------


def test_orthanc_brings_it_back(tmp_path: Path) -> None:
    port, rest_port, own_port = (free_port_number() for _ in range(3))
    with orthanc(tmp_path / "orthanc", port, rest_port, own_port) as address:
        config = configuration(own_port, port, ae_title="ORTHANC")
        found = check_move(tmp_path / "me", config)
        assert found.code == 0, found.errors
        assert len(instances_of(address)) == 1
    assert found.steps["arrival"]["details"]["ae_title"] == "ORTHANC"
    assert "storage commitment" in found.steps["association"]["details"]["services"]


def test_orthanc_calls_itself_otherwise_than_we_call_it(tmp_path: Path) -> None:
    port, rest_port, own_port = (free_port_number() for _ in range(3))
    with orthanc(tmp_path / "orthanc", port, rest_port, own_port):
        found = check_move(tmp_path / "me", configuration(own_port, port))
    assert (found.code, found.failure["cause"]) == (1, "own_rights")
    assert (
        "turned it away: access.unknown_callers does not let 'ORTHANC' store"
        in (found.failure["text"])
    )
    pasted = found.configured(tmp_path)["modalities"]["ORTHANC"]
    assert pasted["host"] == "127.0.0.1"
    assert "store" in pasted["allow"]


def test_the_running_node_says_whom_it_turned_away(tmp_path: Path, start_node: StartNode) -> None:
    port, rest_port, own_port = (free_port_number() for _ in range(3))
    config = configuration(own_port, port)
    node = start_node(config, folder=tmp_path / "me")
    with orthanc(tmp_path / "orthanc", port, rest_port, own_port):
        found = check_move(node.folder, config)
        assert (found.code, found.failure["cause"]) == (1, "own_rights")
        assert "'ORTHANC' from 127.0.0.1 may not store" in found.failure["text"]
        row = "\n".join(found.failure["configuration"].splitlines()[1:])
        config = config.replace("modalities: {", "modalities:\n  ").replace("}}\n", "}\n")
        corrected = f"{config}{row}\n"
        (node.folder / "config.yaml").write_text(corrected, "utf-8")
        node.process.send_signal(signal.SIGHUP)
        node.wait_for_log("reloaded")
        again = check_move(node.folder, corrected)
    assert again.code == 0, again.errors


def test_orthanc_with_a_wrong_port_says_nothing_and_is_understood(tmp_path: Path) -> None:
    port, rest_port, own_port = (free_port_number() for _ in range(3))
    with orthanc(tmp_path / "orthanc", port, rest_port, free_port_number()):
        found = check_move(tmp_path / "me", configuration(own_port, port, ae_title="ORTHANC"))
    assert (found.code, found.failure["cause"]) == (1, "not_moved")
    assert "not reach it" in found.failure["text"]
    assert_sentence(found, own_port)


def test_orthanc_that_does_not_know_us_aborts_and_is_understood(tmp_path: Path) -> None:
    port, rest_port = free_port_number(), free_port_number()
    strangers = {"node": ["SOMEBODY", "127.0.0.1", 1]}
    with orthanc(tmp_path / "orthanc", port, rest_port, 1, DicomModalities=strangers):
        found = check(tmp_path / "me", configuration(11112, port, ae_title="ORTHANC"), "ARCHIVE")
    assert (found.code, found.failure["step"]) == (1, "C-FIND")
    assert found.failure["cause"] == "lost"
    assert "does it know our calling AE title PACSNODE?" in found.failure["sentence"]


def test_orthanc_that_goes_by_another_title(tmp_path: Path) -> None:
    port, rest_port = free_port_number(), free_port_number()
    with orthanc(tmp_path / "orthanc", port, rest_port, 1, DicomCheckCalledAet=True):
        found = check(tmp_path / "me", configuration(11112, port), "ARCHIVE")
    assert (found.code, found.failure["cause"]) == (3, "called_title")


def test_a_peer_that_calls_from_another_host_is_not_given_rights_that_it_has(
    tmp_path: Path,
) -> None:
    port, rest_port, own_port = (free_port_number() for _ in range(3))
    access = "{check_host: true, unknown_callers: []}"
    config = configuration(own_port, port, access, ae_title="ORTHANC")
    config = config.replace("host: 127.0.0.1, port", "host: 127.0.0.2, port")
    with orthanc(tmp_path / "orthanc", port, rest_port, own_port):
        found = check_move(tmp_path / "me", config)
        assert (found.code, found.failure["cause"]) == (1, "own_host")
        assert found.configured(tmp_path) == {"access": {"check_host": False}}
        again = check_move(tmp_path / "me", config.replace("check_host: true", "check_host: false"))
    assert again.code == 0, again.errors
