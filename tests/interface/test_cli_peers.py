"""The command line against DCMTK's storescp and dcmqrscp, and its exit codes."""

import csv
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydicom.uid import generate_uid

from tests.conftest import PATIENCE, Dcmtk, RunningNode, StartNode, new_dataset, write_dataset
from tests.interface.conftest import free_port_number, store_all, stored_files
from tests.interface.peer import read_file

MR = "1.2.840.10008.5.1.4.1.1.4"


@dataclass
class Quarters:
    """A node, a dcmqrscp that knows it, and files in a folder."""

    node: RunningNode
    archive: str
    files: Path
    study: str

    @property
    def datasets(self) -> set[bytes]:
        return {read_file(path.read_bytes()).dataset for path in stored_files(self.files)}


@pytest.fixture
def quarters(start_node: StartNode, dcmtk: Dcmtk, tmp_path: Path) -> Quarters:
    port, node_port = free_port_number(), free_port_number()
    node = start_node(
        f"listen: {{port: {node_port}}}\naccess: {{unknown_callers: all}}\n"
        f"modalities: {{ARCHIVE: {{host: 127.0.0.1, port: {port}}}}}\n"
    )
    database = tmp_path / "database"
    database.mkdir()
    config = tmp_path / "dcmqrscp.cfg"
    config.write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 16\n"
        f"HostTable BEGIN\nnode = (PACSNODE, 127.0.0.1, {node_port})\nHostTable END\n"
        "VendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\nARCHIVE {database} RW (200, 1024mb) ANY\nAETable END\n"
    )
    dcmtk.serve("dcmqrscp", "-c", config, "+B", port=port, cwd=tmp_path)
    study = generate_uid()
    for number in range(5):
        ds = new_dataset(StudyInstanceUID=study, InstanceNumber=number + 1, PatientName="DOE^ÄNNE")
        ds.SpecificCharacterSet = "ISO_IR 192"
        write_dataset(tmp_path / "files" / f"{number}" / "image", ds)
    return Quarters(node, "ARCHIVE", tmp_path / "files", study)


def test_a_study_goes_to_dcmqrscp_and_comes_back(quarters: Quarters, tmp_path: Path) -> None:
    node, archive = quarters.node, quarters.archive
    assert node.command("echo", archive).returncode == 0
    sent = node.command("send", archive, quarters.files)
    assert sent.returncode == 0, sent.stderr
    found = node.command(
        "find", archive, "-L", "image", "-k", f"StudyInstanceUID={quarters.study}",
        "-k", "SeriesInstanceUID", "-k", "SOPInstanceUID", "--format", "json",
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    answers = json.loads(found.stdout)
    expected = {read_file(path.read_bytes()).sop_instance_uid for path in
                stored_files(quarters.files)}  # fmt: skip
    assert {answer["00080018"]["Value"][0] for answer in answers} == expected
    wanted = ("-L", "study", "-k", f"StudyInstanceUID={quarters.study}")
    got = node.command("get", archive, "-o", tmp_path / "got", *wanted)
    assert got.returncode == 0, got.stderr
    back = {read_file(path.read_bytes()).dataset for path in stored_files(tmp_path / "got")}
    assert back == quarters.datasets
    moved = node.command("move", archive, "--to", "PACSNODE", *wanted)
    assert moved.returncode == 0, moved.stderr
    assert {
        read_file(path.read_bytes()).dataset for path in stored_files(node.data_dir / "instances")
    } == quarters.datasets


def test_find_prints_the_same_as_json_and_csv(quarters: Quarters) -> None:
    node = quarters.node
    assert node.command("send", quarters.archive, quarters.files).returncode == 0
    assert node.command("send", node.peer, quarters.files).returncode == 0
    for peer in (quarters.archive, node.peer):
        query = ("find", peer, "-L", "study", "-k", f"StudyInstanceUID={quarters.study}")
        keys = ("-k", "PatientName", "-k", "0010,0020")
        (answer,) = json.loads(node.command(*query, *keys, "--format", "json").stdout)
        assert answer["00100010"]["Value"] == [{"Alphabetic": "DOE^ÄNNE"}]
        (row,) = csv.DictReader(node.command(*query, *keys, "--format", "csv").stdout.splitlines())
        assert (row["PatientName"], row["PatientID"]) == ("DOE^ÄNNE", "ID1")


def test_a_storescp_that_takes_some_classes_only(
    node: RunningNode, dcmtk: Dcmtk, tmp_path: Path
) -> None:
    port = free_port_number()
    profile = tmp_path / "profile.cfg"
    profile.write_text(
        "[[TransferSyntaxes]]\n[Any]\nTransferSyntax1 = LittleEndianExplicit\n"
        "[[PresentationContexts]]\n[Some]\nPresentationContext1 = CTImageStorage\\Any\n"
        "[[Profiles]]\n[Default]\nPresentationContexts = Some\n"
    )
    came = tmp_path / "came"
    came.mkdir()
    dcmtk.serve("storescp", "-xf", profile, "Default", "+B", "-od", came, port, port=port)
    folder = tmp_path / "files"
    for name in ("one", "two"):
        write_dataset(folder / name, new_dataset())
    write_dataset(folder / "mr", new_dataset(SOPClassUID=MR))
    (folder / "notes.txt").write_text("no DICOM")
    sent = node.command("send", f"STORESCP@127.0.0.1:{port}", folder)
    assert sent.returncode == 1
    assert len(stored_files(came)) == 2
    failed = next(line for line in sent.stderr.splitlines() if line.startswith(str(folder / "mr")))
    assert MR in failed
    assert str(folder / "notes.txt") in sent.stderr


def test_exit_codes(node: RunningNode, dcmtk: Dcmtk, tmp_path: Path) -> None:
    closed = f"NOBODY@127.0.0.1:{free_port_number()}"
    key = ("-k", "StudyInstanceUID=1.2.3.4.5")
    for command in (
        ("echo", closed),
        ("find", closed, *key),
        ("move", closed, "--to", "X", *key),
        ("get", closed, "-o", tmp_path / "got", *key),
    ):
        failed = node.command(*command)
        assert failed.returncode == 3, (command, failed.stderr)
        assert "tcp" in failed.stderr.lower()
        assert failed.stdout == ""
    refusing = free_port_number()
    dcmtk.serve("storescp", "--refuse", refusing, port=refusing)
    refused = node.command("echo", f"STORESCP@127.0.0.1:{refusing}")
    assert refused.returncode == 3
    assert "association" in refused.stderr
    nameless = node.command("echo", "X@no-such-host.invalid:104")
    assert nameless.returncode == 3
    assert "name" in nameless.stderr
    unknown = node.command("move", node.peer, "--to", "NOBODY", *key)
    assert unknown.returncode == 1
    assert "A801" in unknown.stderr
    assert node.command("find", node.peer, "-k", "NoSuchKeyword=1").returncode == 2
    assert node.command("echo", "NOT_IN_MODALITIES").returncode == 2


def test_text_of_datasets_cannot_write_to_the_terminal(node: RunningNode) -> None:
    evil = "\x1b]0;owned\x07\x1b[31mDOE\x9b2J\u202eX"
    ds = new_dataset(StudyDescription=evil)
    ds.SpecificCharacterSet = "ISO_IR 192"
    store_all(node, [ds])
    wanted = ("-k", f"StudyInstanceUID={ds.StudyInstanceUID}", "-k", "StudyDescription")
    for form in ("table", "csv", "json"):
        for command in (("find", node.peer), ("ls",)):
            printed = node.command(*command, "-L", "study", *wanted, "--format", form)
            assert printed.returncode == 0, printed.stderr
            assert ds.StudyInstanceUID in printed.stdout
            assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", printed.stdout), form
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", node.log)


@pytest.fixture
def silent_peer() -> "socket.socket":
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(PATIENCE)
    return listener


def test_an_interrupt_of_a_command_that_waits_for_a_peer_exits_130(
    silent_peer: socket.socket, node: RunningNode
) -> None:
    with silent_peer:
        port = silent_peer.getsockname()[1]
        for command in (["echo"], ["find", "-k", "StudyInstanceUID"]):
            arguments = [command[0], f"SILENT@127.0.0.1:{port}", *command[1:]]
            process = subprocess.Popen(
                [sys.executable, "-m", "pacsnode", "--config", str(node.config), *arguments],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**os.environ},
            )
            connection, _ = silent_peer.accept()
            with connection:
                assert select.select([connection], [], [], PATIENCE)[0]
                process.send_signal(signal.SIGINT)
                output, errors = process.communicate(timeout=PATIENCE)
            assert process.returncode == 130
            assert output == b""
            assert b"Traceback" not in errors
