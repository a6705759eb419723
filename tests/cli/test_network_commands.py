"""echo, send, find, move and get, against a node and against DCMTK."""

import csv
import io
import json
import re
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom import dcmread

from tests.conftest import Completed, Dcmtk, RunningNode, StartNode, start_pacsnode
from tests.net import raw

Pacsnode = Callable[..., Completed]
WriteFile = Callable[..., Path]
FreePort = Callable[[], int]


@pytest.fixture
def sent(node: RunningNode, write_file: WriteFile, pacsnode: Pacsnode) -> RunningNode:
    """A node that has two patients: three instances of one study, one of another."""
    for number in (1, 2, 3):
        write_file(
            f"in/{number}.dcm",
            StudyInstanceUID="1.2.3",
            SeriesInstanceUID="1.2.3.1",
            SOPInstanceUID=f"1.2.3.1.{number}",
            InstanceNumber=number,
        )
    write_file("in/other.dcm", StudyInstanceUID="1.2.4", PatientID="ID2", PatientName="ROE^JANE")
    done = pacsnode("send", node.peer, "in")
    assert done.returncode == 0, done.stderr
    return node


def test_echo_is_answered(node: RunningNode, pacsnode: Pacsnode) -> None:
    done = pacsnode("echo", node.peer)
    assert done.returncode == 0
    assert "C-ECHO answered" in done.stdout


def test_a_refused_association_is_exit_code_3(start_node: StartNode, pacsnode: Pacsnode) -> None:
    node = start_node("access: {unknown_callers: []}\n")
    done = pacsnode("echo", node.peer, "--aet", "STRANGER")
    assert done.returncode == 3
    assert "failed at association" in done.stderr
    assert "calling AE title not recognised" in done.stderr
    assert "STRANGER" in node.wait_for_log("STRANGER")


def test_aet_and_modalities_name_the_caller(start_node: StartNode, tmp_path: Path) -> None:
    node = start_node("ae_title: ME\naccess: {unknown_callers: [echo]}\n")
    node.config.write_text(
        f"modalities: {{HERE: {{host: 127.0.0.1, port: {node.port}, calling_ae_title: OTHER}}}}",
        "utf-8",
    )
    assert node.command("echo", "HERE").returncode == 0
    assert node.command("echo", "HERE", "--aet", "THIRD").returncode == 0
    log = node.wait_for_log("THIRD from")
    assert "OTHER from" in log


def test_send_names_skips_and_failures(
    node: RunningNode, write_file: WriteFile, tmp_path: Path, pacsnode: Pacsnode
) -> None:
    write_file("in/deep/er/a.dcm")
    (tmp_path / "in" / "notes.txt").write_text("hello", "utf-8")
    done = pacsnode("send", node.peer, "in")
    assert done.returncode == 0
    assert "in/notes.txt: skipped" in done.stderr
    assert done.stdout == "1 sent, 0 with warning, 0 failed, 1 skipped\n"
    done = pacsnode("send", node.peer, "in/notes.txt", "nosuchfile")
    assert done.returncode == 1
    assert "in/notes.txt: " in done.stderr
    assert "nosuchfile: " in done.stderr


def test_nothing_to_send_is_a_failure_that_says_so(node: RunningNode, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for arguments in ((tmp_path / "empty",), ("--study", "1.2.3")):
        done = node.command("send", node.peer, *arguments)
        assert done.returncode == 1
        assert "nothing to send" in done.stderr


def test_what_a_peer_does_not_take_is_named_and_the_rest_arrives(
    dcmtk: Dcmtk, write_file: WriteFile, free_port: FreePort, tmp_path: Path, pacsnode: Pacsnode
) -> None:
    write_file("in/ct.dcm")
    write_file("in/private.dcm", SOPClassUID="1.2.826.0.1.3680043.9.9999.1")
    (tmp_path / "received").mkdir()
    port = free_port()
    dcmtk.serve("storescp", "-od", tmp_path / "received", port, port=port)
    done = pacsnode("send", f"STORESCP@127.0.0.1:{port}", "in")
    assert done.returncode == 1
    assert re.search(r"in/private\.dcm: .*not accepted", done.stderr)
    assert done.stdout == "1 sent, 0 with warning, 1 failed, 0 skipped\n"
    assert len(list((tmp_path / "received").iterdir())) == 1


def test_a_peer_that_is_not_there_is_named_once(
    write_file: WriteFile, free_port: FreePort, pacsnode: Pacsnode
) -> None:
    for number in range(5):
        write_file(f"in/{number}.dcm")
    done = pacsnode("send", f"A@127.0.0.1:{free_port()}", "in")
    assert done.returncode == 3
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("fork", [["--fork"], []], ids=["many", "one association at a time"])
def test_several_jobs_send_each_file_once(
    dcmtk: Dcmtk,
    write_file: WriteFile,
    free_port: FreePort,
    tmp_path: Path,
    pacsnode: Pacsnode,
    fork: list[str],
) -> None:
    uids = {f"1.2.3.{number}" for number in range(60)}
    for uid in uids:
        write_file(f"in/{uid}", SOPInstanceUID=uid, TextValue="x" * 50_000)
    write_file("in/private.dcm", SOPClassUID="1.2.826.0.1.3680043.9.9999.1")
    (tmp_path / "received").mkdir()
    port = free_port()
    dcmtk.serve("storescp", *fork, "-od", tmp_path / "received", port, port=port)
    done = pacsnode("send", "--jobs", "3", f"STORESCP@127.0.0.1:{port}", "in")
    assert done.stdout == "60 sent, 0 with warning, 1 failed, 0 skipped\n"
    assert done.returncode == 1
    assert re.search(r"in/private\.dcm: .*not accepted", done.stderr)
    received = [dcmread(path) for path in (tmp_path / "received").iterdir()]
    assert {ds.SOPInstanceUID for ds in received} == uids
    assert {len(ds.TextValue) for ds in received} == {50_000}


def test_several_jobs_send_what_the_node_has(sent: RunningNode, start_node: StartNode) -> None:
    other = start_node(folder=sent.folder / "other")
    done = sent.command("send", other.peer, "--study", "1.2.3", "--study", "1.2.4", "--jobs", "2")
    assert (done.returncode, done.stdout) == (0, "4 sent, 0 with warning, 0 failed\n")


def test_a_peer_that_refuses_a_second_association_gets_all_on_the_first(
    start_node: StartNode, write_file: WriteFile, pacsnode: Pacsnode
) -> None:
    node = start_node("listen: {port: 0, max_associations: 1}\naccess: {unknown_callers: all}\n")
    for number in range(150):
        write_file(f"in/{number}.dcm", TextValue="x" * 50_000)
    done = pacsnode("send", node.peer, "in", "--jobs", "3")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "150 sent, 0 with warning, 0 failed, 0 skipped\n"
    node.wait_for_log("rejected")


def test_several_jobs_call_a_peer_that_is_not_there_once(
    write_file: WriteFile, free_port: FreePort, pacsnode: Pacsnode
) -> None:
    for number in range(5):
        write_file(f"in/{number}.dcm")
    done = pacsnode("send", f"A@127.0.0.1:{free_port()}", "in", "--jobs", "4")
    assert done.returncode == 3
    assert len(done.stderr.splitlines()) == 1
    assert pacsnode("send", "A@127.0.0.1:1", "in", "--jobs", "0").returncode == 2


def test_several_jobs_end_at_an_interrupt(write_file: WriteFile, tmp_path: Path) -> None:
    """The peer takes the first instance and says nothing, nor answers another association."""
    for number in range(5):
        write_file(f"in/{number}.dcm")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        peer = f"A@127.0.0.1:{listening.getsockname()[1]}"
        process = start_pacsnode("send", peer, "in", "--jobs", "2", folder=tmp_path)
        listening.settimeout(30)
        with listening.accept()[0] as connection:
            connection.settimeout(30)
            raw.accept(connection)
            assert connection.recv(65536)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors


def test_own_instances_are_sent_by_their_uids(
    sent: RunningNode, dcmtk: Dcmtk, free_port: FreePort, tmp_path: Path
) -> None:
    port = free_port()
    (tmp_path / "received").mkdir()
    dcmtk.serve("storescp", "-od", tmp_path / "received", port, port=port)
    peer = f"STORESCP@127.0.0.1:{port}"
    assert sent.command("send", peer, "--instance", "1.2.3.1.2").stdout.startswith("1 sent")
    assert sent.command("send", peer, "--study", "1.2.3", "--study", "1.2.4").stdout.startswith(
        "4 sent"
    )
    assert len(list((tmp_path / "received").iterdir())) == 4
    nothing = sent.command("send", peer, "--series", "9.9")
    assert nothing.returncode == 1


def test_find_prints_a_table_json_and_csv(sent: RunningNode, pacsnode: Pacsnode) -> None:
    table = pacsnode("find", sent.peer, "-L", "study", "-k", "PatientName=DOE*")
    assert table.returncode == 0
    title, row = table.stdout.splitlines()
    assert title.startswith("Study Date  Patient")
    assert "DOE^JOHN" in row
    assert row.split()[-1] == "1.2.3"

    done = pacsnode("find", sent.peer, "-k", "PatientID", "--format", "json")
    datasets = json.loads(done.stdout)
    assert {ds["0020000D"]["Value"][0] for ds in datasets} == {"1.2.3", "1.2.4"}

    done = pacsnode("find", sent.peer, "-L", "image", "-k", "0020,000D=1.2.3", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [row["InstanceNumber"] for row in rows] == ["1", "2", "3"]


def test_find_asks_for_fuzzy_names(sent: RunningNode, pacsnode: Pacsnode) -> None:
    asked = ("find", sent.peer, "-k", "PatientName=JAYNE^ROE", "--format", "csv")
    assert pacsnode(*asked).stderr == "no match\n"
    done = pacsnode(*asked, "--fuzzy")
    assert [row["PatientName"] for row in csv.DictReader(io.StringIO(done.stdout))] == ["ROE^JANE"]
    assert done.stderr == ""


def test_find_without_a_match_is_no_failure(sent: RunningNode, pacsnode: Pacsnode) -> None:
    done = pacsnode("find", sent.peer, "-k", "PatientID=NOBODY")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "no match\n")


def test_find_asks_dcmqrscp(
    dcmtk: Dcmtk, write_file: WriteFile, free_port: FreePort, tmp_path: Path, pacsnode: Pacsnode
) -> None:
    port = free_port()
    (tmp_path / "db").mkdir()
    (tmp_path / "qr.cfg").write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 16\n"
        "HostTable BEGIN\nHostTable END\nVendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\nQR {tmp_path / 'db'} RW (9, 1024mb) ANY\nAETable END\n",
        "ascii",
    )
    dcmtk.serve("dcmqrscp", "-c", tmp_path / "qr.cfg", port=port)
    peer = f"QR@127.0.0.1:{port}"
    path = write_file("in/a.dcm", PatientID="QR1", StudyInstanceUID="1.2.9")
    assert pacsnode("send", peer, path).returncode == 0
    found = pacsnode("find", peer, "-k", "PatientID=QR1", "--format", "json")
    assert [ds["0020000D"]["Value"] for ds in json.loads(found.stdout)] == [["1.2.9"]]
    fuzzily = pacsnode("find", peer, "-k", "PatientID=QR1", "--fuzzy", "--format", "json")
    assert fuzzily.stdout == found.stdout
    assert f"{peer} does not agree to fuzzy matching" in fuzzily.stderr
    done = pacsnode("get", peer, "-o", "out", "-k", "StudyInstanceUID=1.2.9")
    assert done.returncode == 0, done.stderr
    (copy,) = (tmp_path / "out").iterdir()
    assert dcmread(copy).PatientID == "QR1"


def test_get_writes_files(sent: RunningNode, tmp_path: Path, pacsnode: Pacsnode) -> None:
    done = pacsnode("get", sent.peer, "-o", "out/deep", "-k", "StudyInstanceUID=1.2.3")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "3 completed, 0 failed, 0 with warning\n"
    names = sorted(path.name for path in (tmp_path / "out" / "deep").iterdir())
    assert names == [f"1.2.3.1.{number}.dcm" for number in (1, 2, 3)]


def test_move_sends_to_a_third(
    start_node: StartNode,
    dcmtk: Dcmtk,
    write_file: WriteFile,
    free_port: FreePort,
    tmp_path: Path,
    pacsnode: Pacsnode,
) -> None:
    port = free_port()
    (tmp_path / "received").mkdir()
    node = start_node(
        "access: {unknown_callers: all}\n"
        f"modalities: {{THIRD: {{host: 127.0.0.1, port: {port}}}}}\n"
    )
    path = write_file("a.dcm", StudyInstanceUID="1.2.3")
    assert pacsnode("send", node.peer, path).returncode == 0
    keys = ("-k", "StudyInstanceUID=1.2.3")
    unreachable = pacsnode("move", node.peer, "--to", "THIRD", *keys)
    assert unreachable.returncode == 1
    assert "A702" in unreachable.stderr
    dcmtk.serve("storescp", "-od", tmp_path / "received", port, port=port)
    done = pacsnode("move", node.peer, "--to", "THIRD", *keys)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "1 completed, 0 failed, 0 with warning\n"
    assert len(list((tmp_path / "received").iterdir())) == 1
    unknown = pacsnode("move", node.peer, "--to", "NOBODY", *keys)
    assert unknown.returncode == 1
    assert "A801" in unknown.stderr


def test_an_interrupted_get_leaves_whole_files_only(
    node: RunningNode, write_file: WriteFile, tmp_path: Path, pacsnode: Pacsnode
) -> None:
    for number in range(150):
        write_file(f"in/{number}.dcm", StudyInstanceUID="1.2.3", TextValue="x" * 100_000)
    assert pacsnode("send", node.peer, "in").returncode == 0
    arguments = ("get", node.peer, "-o", "out", "-k", "StudyInstanceUID=1.2.3")
    process = start_pacsnode(*arguments, folder=tmp_path)
    deadline = time.monotonic() + 30
    while not list((tmp_path / "out").glob("*.dcm")):
        assert time.monotonic() < deadline
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    names = [path.name for path in (tmp_path / "out").iterdir()]
    assert all(name.endswith(".dcm") for name in names)
    assert 0 < len(names) < 150
    for name in names:
        assert len(dcmread(tmp_path / "out" / name).TextValue) == 100_000
