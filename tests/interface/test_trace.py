"""pacsnode trace: associations of real clients recorded at a node of two workers, shown, and asked
again of another node."""

import json
import os
import resource
import select
import signal
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pynetdicom import AE, build_role
from pynetdicom.pdu_primitives import (
    AsynchronousOperationsWindowNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityNegotiation,
)

from pacsnode import net
from pacsnode.dicom.message import Peer
from pacsnode.dicom.recording import Begin, End, Record, read_recording
from tests.authority import Authority
from tests.conftest import (
    PATIENCE,
    Completed,
    Dcmtk,
    RunningNode,
    StartNode,
    new_dataset,
    run_pacsnode,
    start_pacsnode,
    write_dataset,
)
from tests.interface.associations import TIMEOUTS, proposals
from tests.interface.peer import CT, EXPLICIT, STUDY_FIND, Association, keys

OPEN = (
    "access: {unknown_callers: all}\nstorage: {fsync: false, min_free: 1}\n"
    "listen: {port: 0, workers: 2}\n"
)
NAMES = ("GRIMALDI", "BEATRICE", "MRN-77123", "19510317")
FreePort = Callable[[], int]


class Tracing:
    """`pacsnode trace` under way."""

    def __init__(self, node: RunningNode, file: Path, *arguments: object) -> None:
        self.file = file
        self.process = start_pacsnode(
            "--config", node.config, "trace", *arguments, "-o", file, folder=node.folder
        )
        self.words = ""

    def wait_until_it_records(self) -> None:
        assert self.process.stderr is not None
        descriptor = self.process.stderr.fileno()
        deadline = time.monotonic() + PATIENCE
        while "recording associations" not in self.words:
            left = deadline - time.monotonic()
            assert select.select([descriptor], [], [], max(left, 0))[0], self.words
            # Not by lines: of two that come together the second one would wait in a buffer.
            words = os.read(descriptor, 4096)
            assert words, f"it ended: {self.words}"
            self.words += words.decode()

    def wait_for_file(self, count: int) -> None:
        """Until so many associations have ended in the file."""
        deadline = time.monotonic() + PATIENCE
        while self.file.read_bytes().count(b'"record": "end"') < count:
            assert time.monotonic() < deadline, self.file.read_text()
            select.select([], [], [], 0.02)

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        _, words = self.process.communicate(timeout=PATIENCE)
        self.words += words
        return self.process.returncode

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate(timeout=PATIENCE)


Trace = Callable[..., Tracing]


@pytest.fixture
def trace(tmp_path: Path) -> Iterator[Trace]:
    begun: list[Tracing] = []

    def start(node: RunningNode, *arguments: object, name: str = "a.trace") -> Tracing:
        begun.append(Tracing(node, tmp_path / name, *(arguments or ("--all",))))
        begun[-1].wait_until_it_records()
        return begun[-1]

    yield start
    for tracing in begun:
        tracing.end()


def records_of(file: Path) -> list[Record]:
    with open(file, "rb") as opened:
        return list(read_recording(opened, str(file))[1])


def begun(file: Path) -> list[Begin]:
    return [record for record in records_of(file) if isinstance(record, Begin)]


def show(file: Path, *arguments: object) -> str:
    completed = run_pacsnode("trace", "show", file, *arguments)
    assert completed.returncode == 0, completed.stderr
    return completed.stdout


def instance(folder: Path, name: str = "a.dcm") -> Path:
    """A file of a patient, with pixels that can be told."""
    dataset = new_dataset(
        PatientName="GRIMALDI^BEATRICE", PatientID="MRN-77123", PatientBirthDate="19510317"
    )
    dataset.Rows = dataset.Columns = 16
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation, dataset.SamplesPerPixel = 7, 0, 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.PixelData = b"PIXELSPIXELSPIXE" * 16
    return write_dataset(folder / name, dataset)


def query(dcmtk: Dcmtk, node: RunningNode, *arguments: object) -> Completed:
    return dcmtk(
        "findscu", "-S", "-aet", "CT1", "-aec", node.ae_title, *arguments,
        "-k", "QueryRetrieveLevel=STUDY", "-k", "PatientID", "-k", "PatientBirthDate",
        "-k", "StudyInstanceUID", node.host, node.port,
    )  # fmt: skip


def test_what_dcmtk_says_is_recorded_without_names_and_pixels(
    start_node: StartNode, dcmtk: Dcmtk, trace: Trace, tmp_path: Path, free_port: FreePort
) -> None:
    port = free_port()
    (tmp_path / "in").mkdir()
    dcmtk.serve("storescp", "-od", tmp_path / "in", "-aet", "WS", port, port=port)
    node = start_node(f"{OPEN}modalities: {{WS: {{host: 127.0.0.1, port: {port}}}}}\n")
    tracing = trace(node)
    called = ("-aec", node.ae_title, node.host, node.port)
    dcmtk("storescu", "-aet", "CT1", *called, instance(tmp_path))
    query(dcmtk, node, "-k", "PatientName=GRIMALDI^B*")
    retrieve = (
        "-S",
        "-aet",
        "CT1",
        "-k",
        "QueryRetrieveLevel=PATIENT",
        "-k",
        "PatientID=MRN-77123",
    )
    patient = ("-P", *retrieve[1:])
    dcmtk("movescu", *patient, "-aem", "WS", *called)
    dcmtk("getscu", *patient, "-od", tmp_path / "in", *called)
    tracing.wait_for_file(5)
    assert tracing.stop() == 0
    assert "5 associations" in tracing.words
    assert stat.S_IMODE(tracing.file.stat().st_mode) == 0o600
    assert [one.is_incoming for one in begun(tracing.file)] == [True, True, True, False, True]
    everything = b"".join(_bytes_of(record) for record in records_of(tracing.file))
    for name in (*NAMES, "PIXELS"):
        assert name.encode() not in everything
        assert name not in tracing.file.read_text()
    text = show(tracing.file)
    assert "C-STORE 1, CT Image Storage, instance" in text
    assert "C-FIND 1 answered: FF00, pending" in text
    assert "calls WS at 127.0.0.1" in text
    assert "for C-MOVE 1 of CT1" in text
    assert "role agreed: the requestor is SCP of CT Image Storage" in text.replace(
        "SCU and SCP", "SCP"
    )


def _bytes_of(record: Record) -> bytes:
    data = getattr(record, "data", None)
    return data if isinstance(data, bytes) else b""


def test_names_are_the_same_pseudonyms_in_queries_and_answers(
    start_node: StartNode, dcmtk: Dcmtk, trace: Trace, tmp_path: Path
) -> None:
    node = start_node(OPEN)
    dcmtk("storescu", "-aec", node.ae_title, node.host, node.port, instance(tmp_path))
    tracing = trace(node)
    query(dcmtk, node, "-k", "PatientName=grimaldi^beatrice")
    tracing.wait_for_file(1)
    tracing.stop()
    found = [line.strip() for line in show(tracing.file).splitlines() if "PatientName" in line]
    assert len(found) == 2
    assert found[0] == found[1]


def test_with_names_they_stay(
    start_node: StartNode, dcmtk: Dcmtk, trace: Trace, tmp_path: Path
) -> None:
    node = start_node(OPEN)
    tracing = trace(node, "--all", "--with-names", "--associations", 1)
    query(dcmtk, node, "-k", "PatientName=GRIMALDI*")
    assert tracing.process.wait(PATIENCE) == 0
    assert "PatientName = GRIMALDI*" in show(tracing.file)


def test_a_c_move_to_an_unknown_destination_is_shown_with_what_to_do(
    start_node: StartNode, dcmtk: Dcmtk, trace: Trace
) -> None:
    node = start_node(OPEN)
    tracing = trace(node)
    dcmtk(
        "movescu", "-S", "-aet", "CT1", "-aec", node.ae_title, "-aem", "NOWHERE",
        "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID=1.2.3", node.host, node.port,
        check=False,
    )  # fmt: skip
    tracing.wait_for_file(1)
    tracing.stop()
    text = show(tracing.file)
    assert "to NOWHERE" in text
    assert "A801, the move destination is unknown" in text
    assert "! NOWHERE is no AE title of modalities" in text
    shown = json.loads(show(tracing.file, "--format", "json"))
    last = shown["associations"][0]["messages"][-1]
    assert last["status"] == "A801"
    assert shown["associations"][0]["messages"][0]["dataset"]["0020000D"]["Value"] == ["1.2.3"]


def test_a_rejected_association_is_recorded(
    start_node: StartNode, dcmtk: Dcmtk, trace: Trace
) -> None:
    node = start_node("access: {unknown_callers: []}\nlisten: {port: 0, workers: 2}\n")
    tracing = trace(node, "STRANGER")
    dcmtk("echoscu", "-aet", "STRANGER", node.host, node.port, check=False)
    tracing.wait_for_file(1)
    tracing.stop()
    text = show(tracing.file)
    assert "rejected for good, 1/1/3" in text
    assert "! the node takes nothing from this AE title" in text


def test_an_association_over_tls_is_recorded(
    start_node: StartNode, trace: Trace, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    files = f"certificate: {authority.issue()}, client_ca: {authority.file}"
    node = start_node(
        "access: {unknown_callers: all}\n"
        f"listen: {{port: 0, workers: 2, tls: {{port: 0, {files}}}}}\n"
    )
    tracing = trace(node)
    tls = authority.client(authority.issue("ct1"))
    peer = Peer("node", node.ae_title, node.host, node.tls_port, "CT1", tls=tls)
    channel = net.connect(peer, proposals(), timeouts=TIMEOUTS)
    assert channel.contexts
    channel.release()
    tracing.wait_for_file(1)
    tracing.stop()
    assert "CT1 from 127.0.0.1, over TLS calls PACSNODE" in show(tracing.file)


def test_only_whom_one_asks_for_is_recorded(
    start_node: StartNode, dcmtk: Dcmtk, trace: Trace
) -> None:
    modalities = "modalities: {CT1: {host: 192.0.2.1}, CT2: {host: 127.0.0.1}}\n"
    node = start_node(OPEN + modalities)
    tracing = trace(node, "CT1")
    other = trace(node, "CT2", name="b.trace")
    for title in ("CT1", "CT2", "STRANGER"):
        dcmtk("echoscu", "-aet", title, "-aec", node.ae_title, node.host, node.port)
    tracing.wait_for_file(1)
    other.wait_for_file(2)
    tracing.stop()
    other.stop()
    assert [one.calling_ae_title for one in begun(tracing.file)] == ["CT1"]
    assert [one.calling_ae_title for one in begun(other.file)] == ["CT2", "STRANGER"]


def test_commands_of_the_node_are_recorded_also_where_they_fail(
    start_node: StartNode, trace: Trace, free_port: FreePort
) -> None:
    node = start_node(f"{OPEN}modalities: {{WS: {{host: 127.0.0.1, port: {free_port()}}}}}\n")
    tracing = trace(node, "WS")
    assert node.command("echo", "WS").returncode == 3
    tracing.wait_for_file(1)
    tracing.stop()
    end = records_of(tracing.file)[-1]
    assert isinstance(end, End)
    assert "no TCP connection" in end.reason


def test_eight_associations_store_while_they_are_recorded(
    start_node: StartNode, dcmtk: Dcmtk, trace: Trace, tmp_path: Path
) -> None:
    node = start_node(OPEN)
    for number in range(20):
        instance(tmp_path, f"in/{number}.dcm")
    tracing = trace(node, "--all", "--associations", 8)
    tools = [
        subprocess.Popen(
            ["/usr/bin/storescu", "-aec", node.ae_title, "+sd", node.host, str(node.port),
             str(tmp_path / "in")],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        for _ in range(8)
    ]  # fmt: skip
    assert [tool.wait(PATIENCE * 2) for tool in tools] == [0] * 8
    assert tracing.process.wait(PATIENCE) == 0
    ends = [record for record in records_of(tracing.file) if isinstance(record, End)]
    assert [end.lost for end in ends] == [0] * 8
    assert show(tracing.file).count("C-STORE 20 answered: 0000") == 8


def test_a_killed_command_leaves_the_node_working_and_its_socket_goes(
    start_node: StartNode, dcmtk: Dcmtk, trace: Trace
) -> None:
    node = start_node(OPEN)
    tracing = trace(node)
    sockets = node.data_dir / ".traces"
    assert len(list(sockets.iterdir())) == 1
    with Association((node.host, node.port), (CT, [EXPLICIT])) as peer:
        tracing.process.kill()
        tracing.process.wait(PATIENCE)
        assert peer.store_dataset(new_dataset()).status == 0
        peer.release()
    dcmtk("echoscu", "-aec", node.ae_title, node.host, node.port)
    assert list(sockets.iterdir()) == []
    assert "fault" not in node.log


def test_a_disk_that_is_full_ends_the_recording_and_nothing_else(
    start_node: StartNode, dcmtk: Dcmtk, trace: Trace
) -> None:
    node = start_node(OPEN)
    tracing = trace(node)
    resource.prlimit(tracing.process.pid, resource.RLIMIT_FSIZE, (300, 300))  # bytes
    dcmtk("echoscu", "-aec", node.ae_title, node.host, node.port)
    _, words = tracing.process.communicate(timeout=PATIENCE)
    assert tracing.process.returncode == 1
    assert words == f"{tracing.file}: File too large\n"
    dcmtk("echoscu", "-aec", node.ae_title, node.host, node.port)
    assert list((node.data_dir / ".traces").iterdir()) == []


def test_a_command_that_is_stopped_holds_no_association_up(
    start_node: StartNode, dcmtk: Dcmtk, trace: Trace, tmp_path: Path
) -> None:
    node = start_node(OPEN)
    tracing = trace(node)
    tracing.process.send_signal(signal.SIGSTOP)
    for number in range(20):
        instance(tmp_path, f"in/{number}.dcm")
    dcmtk("storescu", "-aec", node.ae_title, "+sd", node.host, node.port, tmp_path / "in")
    tracing.process.send_signal(signal.SIGCONT)
    tracing.wait_for_file(1)
    assert tracing.stop() == 0


def test_a_modality_is_recorded_as_the_configuration_says_and_sighup_changes_it(
    start_node: StartNode, dcmtk: Dcmtk
) -> None:
    modalities = "modalities: {{CT1: {{host: 192.0.2.1{}}}}}\n"
    node = start_node(OPEN + modalities.format(""))
    file = node.folder / "ct1.trace"

    def echo() -> None:
        dcmtk("echoscu", "-aet", "CT1", "-aec", node.ae_title, node.host, node.port)

    def reload(text: str) -> None:
        before = node.log.count("reloaded: access")
        node.config.write_text(OPEN + modalities.format(text))
        node.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + PATIENCE
        while node.log.count("reloaded: access") == before:
            assert time.monotonic() < deadline
            select.select([], [], [], 0.02)

    echo()
    assert not file.exists()
    reload(", trace: ct1.trace")
    for _ in range(4):  # by both workers
        echo()
    node_text = show(file)
    assert node_text.count("C-ECHO 1 answered: 0000") == 4
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    reload("")
    echo()
    assert len(begun(file)) == 4


def test_a_recorded_session_gets_the_same_answers_from_another_node(
    start_node: StartNode, dcmtk: Dcmtk, trace: Trace, tmp_path: Path
) -> None:
    node = start_node(OPEN)
    file = instance(tmp_path)
    tracing = trace(node, "--all", "--with-names")
    called = ("-aec", node.ae_title, node.host, node.port)
    query(dcmtk, node, "-k", "PatientName=GRIMALDI*")
    dcmtk(
        "movescu", "-S", "-aet", "CT1", "-aem", "NOWHERE", "-k", "QueryRetrieveLevel=STUDY",
        "-k", "StudyInstanceUID=1.2.3", *called, check=False,
    )  # fmt: skip
    dcmtk("storescu", "-aet", "CT1", *called, file)
    tracing.wait_for_file(3)
    tracing.stop()
    second = start_node(OPEN, folder=tmp_path / "second")
    same = run_pacsnode("trace", "replay", tracing.file, second.peer, folder=tmp_path)
    assert same.returncode == 0, same.stdout + same.stderr
    assert "the same   C-MOVE 1: A801" in same.stdout
    assert "left out   C-STORE 1" in same.stdout
    dcmtk("storescu", "-aec", second.ae_title, second.host, second.port, file)
    different = run_pacsnode("trace", "replay", tracing.file, second.peer, folder=tmp_path)
    assert different.returncode == 1
    assert "different  C-FIND 1: 0000; now 1 × FF00, 0000" in different.stdout
    assert different.stdout.endswith("1 answers differ\n")


def test_stand_ins_are_stored_where_that_is_asked_for(
    start_node: StartNode, dcmtk: Dcmtk, trace: Trace, tmp_path: Path
) -> None:
    node = start_node(OPEN)
    tracing = trace(node)
    dcmtk("storescu", "-aec", node.ae_title, node.host, node.port, instance(tmp_path))
    tracing.wait_for_file(1)
    tracing.stop()
    second = start_node(OPEN, folder=tmp_path / "second")
    replayed = run_pacsnode(
        "trace", "replay", tracing.file, second.peer, "--with-stores", folder=tmp_path
    )
    assert replayed.returncode == 0, replayed.stdout + replayed.stderr
    assert "the same   C-STORE 1: 0000" in replayed.stdout
    listed = second.command("ls", "-k", "PatientID", "--format", "csv")
    assert "REPLAY" in listed.stdout


def test_a_requester_with_a_latin_1_title_is_replayed(
    start_node: StartNode, trace: Trace, tmp_path: Path
) -> None:
    node = start_node(OPEN)
    tracing = trace(node)
    title = "RÖNTGEN".encode("latin-1")
    with Association((node.host, node.port), (STUDY_FIND, [EXPLICIT]), calling=title) as peer:
        assert peer.find(STUDY_FIND, keys("STUDY", StudyInstanceUID=""))[-1].status == 0
        peer.release()
    tracing.wait_for_file(1)
    tracing.stop()
    second = start_node(OPEN, folder=tmp_path / "second")
    replayed = run_pacsnode("trace", "replay", tracing.file, second.peer, folder=tmp_path)
    assert replayed.returncode == 0, replayed.stdout + replayed.stderr
    second.wait_for_log("RÖNTGEN from 127.0.0.1")


def test_what_nobody_answers_is_a_difference(
    start_node: StartNode, dcmtk: Dcmtk, trace: Trace, tmp_path: Path
) -> None:
    node = start_node(OPEN)
    tracing = trace(node)
    dcmtk("echoscu", "-aec", node.ae_title, node.host, node.port)
    tracing.wait_for_file(1)
    tracing.stop()
    closed = start_node("access: {unknown_callers: []}\n", folder=tmp_path / "second")
    replayed = run_pacsnode("trace", "replay", tracing.file, closed.peer, folder=tmp_path)
    assert replayed.returncode == 1
    assert "now rejected 1/1/3" in replayed.stdout


def test_a_file_that_is_cut_off_is_shown_as_far_as_it_goes(
    start_node: StartNode, dcmtk: Dcmtk, trace: Trace
) -> None:
    node = start_node(OPEN)
    tracing = trace(node)
    dcmtk("echoscu", "-aec", node.ae_title, node.host, node.port)
    tracing.wait_for_file(1)
    tracing.stop()
    os.truncate(tracing.file, tracing.file.stat().st_size - 20)
    completed = run_pacsnode("trace", "show", tracing.file)
    assert completed.returncode == 1
    assert "C-ECHO 1 answered: 0000" in completed.stdout
    assert f"{tracing.file}, line 9: it is cut off" in completed.stderr


def test_what_is_no_recording_or_there_already_is_refused(
    start_node: StartNode, tmp_path: Path
) -> None:
    node = start_node(OPEN)
    file = tmp_path / "a.trace"
    file.write_text("{}\n")
    shown = run_pacsnode("trace", "show", file)
    assert shown.returncode == 2
    assert "no recording" in shown.stderr
    refused = node.command("trace", "--all", "-o", file)
    assert refused.returncode == 2
    assert "is there already" in refused.stderr
    assert file.read_text() == "{}\n"
    assert list((node.data_dir / ".traces").iterdir()) == []
    assert node.command("trace", "-o", tmp_path / "b.trace").returncode == 2


def test_escapes_of_a_stranger_do_not_reach_the_terminal(
    start_node: StartNode, trace: Trace
) -> None:
    node = start_node(OPEN)
    tracing = trace(node, "--all", "--with-names", "--associations", 1)
    with Association(
        (node.host, node.port), (STUDY_FIND, [EXPLICIT]), calling=b"\x1b[31mX"
    ) as peer:
        peer.find(STUDY_FIND, keys("STUDY", PatientName="\x1b]0;owned\x07"))
        peer.release()
    assert tracing.process.wait(PATIENCE) == 0
    for text in (show(tracing.file), show(tracing.file, "--format", "json")):
        assert "\x1b" not in text


def test_what_pynetdicom_proposes_is_recorded_without_its_passcode(
    start_node: StartNode, trace: Trace
) -> None:
    node = start_node(OPEN)
    tracing = trace(node, "--all", "--with-names", "--associations", 1)
    identity = UserIdentityNegotiation()
    identity.user_identity_type = 2
    identity.primary_field, identity.secondary_field = b"nurse", b"s3cret"
    window = AsynchronousOperationsWindowNegotiation()
    window.maximum_number_operations_invoked = 5
    window.maximum_number_operations_performed = 0
    extended = SOPClassExtendedNegotiation()
    extended.sop_class_uid = STUDY_FIND
    extended.service_class_application_information = b"\x01\x00\x01"
    ae = AE("CT1")
    ae.add_requested_context(STUDY_FIND, EXPLICIT)
    ae.add_requested_context(CT, EXPLICIT)
    association = ae.associate(
        node.host,
        node.port,
        ae_title=node.ae_title,
        ext_neg=[identity, window, extended, build_role(CT, scp_role=True)],
    )
    assert association.is_established
    association.release()
    assert tracing.process.wait(PATIENCE) == 0
    assert b"s3cret" not in b"".join(_bytes_of(record) for record in records_of(tracing.file))
    text = show(tracing.file)
    assert "user identity: nurse" in text
    assert "asynchronous operations asked for: 5/0" in text
    assert "role asked for: the requestor is SCP of CT Image Storage" in text
    assert "extension asked for: Study Root Query/Retrieve Information Model - FIND" in text
    assert "relational, fuzzy names" in text


def test_recorded_retrieves_and_commitments_are_asked_again(
    start_node: StartNode, dcmtk: Dcmtk, trace: Trace, tmp_path: Path, free_port: FreePort
) -> None:
    port = free_port()
    (tmp_path / "in").mkdir()
    dcmtk.serve("storescp", "-od", tmp_path / "in", "-aet", "WS", port, port=port)
    node = start_node(f"{OPEN}modalities: {{WS: {{host: 127.0.0.1, port: {port}}}}}\n")
    file = instance(tmp_path)
    called = ("-aec", node.ae_title, node.host, node.port)
    dcmtk("storescu", *called, file)
    tracing = trace(node, "--all", "--with-names")
    patient = ("-P", "-aet", "CT1", "-k", "QueryRetrieveLevel=PATIENT", "-k", "PatientID=MRN-77123")
    dcmtk("getscu", *patient, "-od", tmp_path / "in", *called)
    dcmtk("movescu", *patient, "-aem", "WS", *called)
    asked = run_pacsnode("commit", node.peer, file, "--wait", 20, folder=tmp_path)
    assert asked.returncode == 0, asked.stderr
    tracing.wait_for_file(4)
    tracing.stop()
    assert "N-ACTION 1, Storage Commitment Push Model SOP Class" in show(tracing.file)
    replayed = run_pacsnode("trace", "replay", tracing.file, node.peer, folder=tmp_path)
    assert "the same   C-GET 1: 0000, 1 completed, 0 failed, 0 with warnings" in replayed.stdout
    assert "the same   C-MOVE 1: 0000, 1 completed, 0 failed, 0 with warnings" in replayed.stdout
    assert "N-ACTION 1: 0000" in replayed.stdout
    assert "left out: this node opened it" in replayed.stdout
