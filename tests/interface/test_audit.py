"""Who did what is told to the audit trail: real associations with a node of two workers, real
servers, a real file."""

import base64
import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import pytest
from pydicom.uid import generate_uid

from pacsnode import net
from pacsnode.dicom.message import Peer
from pacsnode.errors import NetworkError
from tests.audit.schema import code_of, details_of, parsed
from tests.audit.servers import TlsServer, UdpServer
from tests.authority import Authority
from tests.conftest import (
    CT_IMAGE_STORAGE,
    PATIENCE,
    Dcmtk,
    RunningNode,
    StartNode,
    new_dataset,
    write_dataset,
)
from tests.interface.associations import TIMEOUTS, association, instance_of, proposals, store
from tests.interface.conftest import free_port_number
from tests.node.test_workers import workers_of

HEADER = re.compile(rb"<85>1 \S+ \S+ pacsnode \d+ DICOM\+RFC3881 - \xef\xbb\xbf(<AuditMessage>.*)")

EVERYBODY = "access: {unknown_callers: all}\n"
FAST = "storage: {fsync: false, min_free: 1}\nlisten: {port: 0, workers: 2}\n"


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


def told_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("ascii").splitlines()]


def wait_for(path: Path, is_there: Callable[[dict[str, Any]], bool], count: int = 1) -> Any:
    """The lines of the trail of which that is true, once there are so many."""
    deadline = time.monotonic() + PATIENCE
    while True:
        found = [line for line in told_lines(path) if is_there(line)] if path.exists() else []
        if len(found) >= count:
            return found
        assert time.monotonic() < deadline, path.read_text() if path.exists() else "no file"
        time.sleep(0.02)


def events(path: Path, name: str, count: int = 1) -> Any:
    return wait_for(path, lambda line: name in (line["event"], line.get("type")), count)


def participants(line: dict[str, Any]) -> dict[str, Any]:
    """By AE title."""
    return {each.get("ae_titles", [""])[0] or each["user"]: each for each in line["participants"]}


def study_of(line: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = line["objects"][0]
    return found


Audited = Callable[..., RunningNode]


@pytest.fixture
def audited(start_node: StartNode) -> Audited:
    """A node that writes its trail to the file audit.json."""

    def start(more: str = EVERYBODY) -> RunningNode:
        return start_node(f"{FAST}audit: {{file: audit.json}}\n{more}")

    return start


def trail_of(node: RunningNode) -> Path:
    return node.folder / "audit.json"


def test_start_and_stop_are_told_once_for_all_workers(audited: Audited) -> None:
    node = audited()
    with association(node) as channel:
        assert store(channel, *instance_of(new_dataset())).status == 0
    node.stop()
    lines = told_lines(trail_of(node))
    types = [line.get("type") for line in lines]
    assert types.count("Application Start") == types.count("Application Stop") == 1
    assert lines[0]["type"] == "Application Start"
    assert lines[-1]["type"] == "Application Stop"
    assert {each["role"] for each in lines[0]["participants"]} == {
        "Application",
        "Application Launcher",
    }


def test_an_association_is_told_from_its_beginning_to_its_end(audited: Audited) -> None:
    node = audited("access: {unknown_callers: all}\nmodalities: {ct: {ae_title: CT1, host: x}}\n")
    with association(node, ae_title="CT1"):
        (login,) = events(trail_of(node), "Login")
    (logout,) = events(trail_of(node), "Logout")
    for line in (login, logout):
        caller = participants(line)["CT1"]
        assert (caller["user"], caller["host"], caller["requestor"]) == ("ct", "127.0.0.1", True)


def test_instances_that_come_in_are_told_by_the_study(audited: Audited) -> None:
    node = audited()
    study = generate_uid()
    same = {"StudyInstanceUID": study, "PatientID": "ID7", "PatientName": "Müller^Änne"}
    datasets = [
        new_dataset(**same, AccessionNumber="A7", SpecificCharacterSet="ISO_IR 192")
        for _ in range(5)
    ]
    other = new_dataset()
    with association(node, ae_title="CT1") as channel:
        for ds in [*datasets, other, datasets[0]]:
            assert store(channel, *instance_of(ds)).status == 0
    found = events(trail_of(node), "DICOM Instances Transferred", 3)
    new, again = (
        next(each for each in found if each["action"] == action and study_of(each)["id"] == study)
        for action in ("create", "read")
    )
    assert study_of(new)["sop_classes"] == {CT_IMAGE_STORAGE: 5}
    assert study_of(again)["sop_classes"] == {CT_IMAGE_STORAGE: 1}
    assert study_of(new)["accession_number"] == "A7"
    assert new["objects"][1]["id"] == "ID7"
    assert new["objects"][1]["name"] == "Müller^Änne"
    assert participants(new)["CT1"]["role"] == "Source Role ID"
    assert participants(new)["PACSNODE"]["role"] == "Destination Role ID"


def test_an_instance_that_is_not_taken_is_told_as_a_failure(audited: Audited) -> None:
    node = audited()
    with association(node) as channel:
        assert store(channel, "1.2.3", b"nonsense").status == 0xC000
    (line,) = events(trail_of(node), "DICOM Instances Transferred")
    assert line["outcome"] == 4
    assert line["description"].startswith("C000 ")
    assert study_of(line)["id"] == "unknown"


def test_a_query_is_told_with_its_identifier(
    audited: Audited, dcmtk: Dcmtk, tmp_path: Path
) -> None:
    node = audited()
    keys = ("-k", "QueryRetrieveLevel=STUDY", "-k", "PatientName=SECRET*")
    dcmtk("findscu", "-S", "-aet", "WS", "-aec", node.ae_title, *keys, node.host, node.port)
    (line,) = events(trail_of(node), "Query")
    asked = study_of(line)
    assert asked["id"] == "1.2.840.10008.5.1.4.1.2.2.1"
    assert b"SECRET*" in base64.b64decode(asked["query"])
    assert asked["details"]["TransferSyntax"].startswith("1.2.840.10008.1.2")
    assert line["outcome"] == 0
    assert participants(line)["WS"]["requestor"] is True
    assert "SECRET" not in node.log, "the log has no patients' names"


def test_a_query_that_fails_is_told_with_its_status(audited: Audited, dcmtk: Dcmtk) -> None:
    node = audited()
    keys = ("-k", "QueryRetrieveLevel=NONSENSE")
    dcmtk("findscu", "-S", "-aec", node.ae_title, *keys, node.host, node.port, check=False)
    (line,) = events(trail_of(node), "Query")
    assert line["outcome"] == 4
    assert line["description"].startswith("A900")


def test_a_move_is_told_when_it_begins_and_when_it_is_done(
    audited: Audited, dcmtk: Dcmtk, tmp_path: Path
) -> None:
    port = free_port_number()
    (tmp_path / "received").mkdir()
    dcmtk.serve("storescp", "-aet", "DEST", "-od", tmp_path / "received", port, port=port)
    node = audited(
        f"{EVERYBODY}modalities:\n  there: {{ae_title: DEST, host: 127.0.0.1, port: {port}}}\n"
    )
    study = generate_uid()
    with association(node) as channel:
        for _ in range(3):
            ds = new_dataset(StudyInstanceUID=study, PatientID="ID7", PatientName="DOE^JANE")
            assert store(channel, *instance_of(ds)).status == 0
    keys = ("-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study}")
    to = ("-aet", "WS", "-aec", node.ae_title, "-aem", "DEST")
    dcmtk("movescu", "-S", *to, *keys, node.host, node.port)
    (begun,) = events(trail_of(node), "Begin Transferring DICOM Instances")
    (sent,) = wait_for(
        trail_of(node),
        lambda line: (
            line["event"] == "DICOM Instances Transferred" and "DEST" in participants(line)
        ),
    )
    for line in (begun, sent):
        assert study_of(line)["id"] == study
        assert study_of(line)["sop_classes"] == {CT_IMAGE_STORAGE: 3}
        assert line["objects"][1] == {"type": "Patient Number", "id": "ID7", "name": "DOE^JANE"}
        who = participants(line)
        assert who["DEST"]["user"] == "there"
        assert who["DEST"]["role"] == "Destination Role ID"
        assert who["WS"]["requestor"] is True
        assert who["PACSNODE"]["role"] == "Source Role ID"
    assert sent["outcome"] == 0
    assert sent["action"] == "read"


def test_a_move_to_nobody_is_told_as_a_failure(audited: Audited, dcmtk: Dcmtk) -> None:
    port = free_port_number()
    node = audited(f"{EVERYBODY}modalities:\n  DEST: {{host: 127.0.0.1, port: {port}}}\n")
    ds = new_dataset()
    with association(node) as channel:
        assert store(channel, *instance_of(ds)).status == 0
    keys = ("-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={ds.StudyInstanceUID}")
    to = ("-aec", node.ae_title, "-aem", "DEST")
    dcmtk("movescu", "-S", *to, *keys, node.host, node.port, check=False)
    (line,) = wait_for(
        trail_of(node),
        lambda line: line["event"] == "DICOM Instances Transferred" and line["outcome"] != 0,
    )
    assert line["description"] == "not sent"
    assert study_of(line)["sop_classes"] == {CT_IMAGE_STORAGE: 1}


def test_a_get_is_told_with_the_caller_as_its_destination(
    audited: Audited, dcmtk: Dcmtk, tmp_path: Path
) -> None:
    node = audited()
    ds = new_dataset()
    with association(node) as channel:
        assert store(channel, *instance_of(ds)).status == 0
    (tmp_path / "got").mkdir()
    keys = ("-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={ds.StudyInstanceUID}")
    options = ("-aet", "WS", "-aec", node.ae_title, "-od", tmp_path / "got")
    dcmtk("getscu", "-S", *options, *keys, node.host, node.port)
    events(trail_of(node), "Begin Transferring DICOM Instances")
    (sent,) = wait_for(
        trail_of(node),
        lambda line: line["event"] == "DICOM Instances Transferred" and line["action"] == "read",
    )
    assert participants(sent)["WS"]["role"] == "Destination Role ID"
    assert participants(sent)["WS"]["requestor"] is True
    assert len(sent["participants"]) == 2


def test_a_refused_association_is_a_security_alert(audited: Audited, dcmtk: Dcmtk) -> None:
    node = audited("access: {unknown_callers: []}\nmodalities: {CT1: {host: 127.0.0.1}}\n")
    dcmtk("echoscu", "-aet", "CT2", "-aec", node.ae_title, node.host, node.port, check=False)
    (line,) = events(trail_of(node), "Security Alert")
    assert line["type"] == "Node Authentication"
    assert line["outcome"] == 4
    for part in ("'CT2'", "127.0.0.1", "access.unknown_callers", "'CT1'"):
        assert part in line["description"]
    assert participants(line)["CT2"]["host"] == "127.0.0.1"


def test_a_refused_service_is_a_security_alert_once_for_each_association(
    audited: Audited,
) -> None:
    node = audited("access: {unknown_callers: [echo]}\n")
    with association(node) as channel:
        for _ in range(5):
            assert store(channel, *instance_of(new_dataset())).status == 0x0124
    events(trail_of(node), "Logout")
    (line,) = events(trail_of(node), "Use of Restricted Function")
    assert "may not store: access.unknown_callers decides" in line["description"]


def test_a_refused_destination_is_a_security_alert(audited: Audited, dcmtk: Dcmtk) -> None:
    node = audited(
        "modalities:\n  WS: {host: 127.0.0.1, move_destinations: [WS]}\n  DEST: {host: 127.0.0.1}\n"
    )
    keys = ("-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID=1.2.3")
    to = ("-aet", "WS", "-aec", node.ae_title, "-aem", "DEST")
    moved = dcmtk("movescu", "-v", "-S", *to, *keys, node.host, node.port, check=False)
    assert "0x124" in moved.stdout
    (line,) = events(trail_of(node), "Use of Restricted Function")
    assert "modalities.WS.move_destinations does not name DEST" in line["description"]


def test_a_connection_from_elsewhere_is_a_security_alert(audited: Audited, dcmtk: Dcmtk) -> None:
    node = audited("access: {unknown_callers: all, networks: [192.0.2.0/24]}\n")
    dcmtk("echoscu", "-aec", node.ae_title, node.host, node.port, check=False)
    (line,) = events(trail_of(node), "Security Alert")
    assert "access.networks" in line["description"]
    assert line["objects"][0]["id"] == "127.0.0.1"


def test_the_trail_is_for_its_owner_and_their_group(audited: Audited) -> None:
    node = audited()
    events(trail_of(node), "Application Start")
    assert trail_of(node).stat().st_mode & 0o137 == 0


def test_a_trail_that_is_moved_away_goes_on_in_a_new_file(audited: Audited) -> None:
    node = audited()
    events(trail_of(node), "Application Start")
    moved = node.folder / "audit.json.1"
    trail_of(node).rename(moved)
    with association(node):
        pass
    events(trail_of(node), "Logout")
    assert [line["type"] for line in told_lines(moved)] == ["Application Start"]


def xml_of(message: bytes) -> Element:
    match = HEADER.fullmatch(message)
    assert match is not None, message
    return parsed(match[1])


def kinds(messages: list[Element]) -> list[tuple[str, str]]:
    found = []
    for message in messages:
        identification = message.find("EventIdentification")
        assert identification is not None
        found.append((code_of(identification, "EventID"), code_of(identification, "EventTypeCode")))
    return found


STORY = [
    ("110100", "110120"),
    ("110114", "110122"),
    ("110104", ""),
    ("110114", "110123"),
    ("110100", "110121"),
]


def tell_a_story(node: RunningNode) -> None:
    """One association with one instance, and the end of the node."""
    with association(node) as channel:
        assert store(channel, *instance_of(new_dataset())).status == 0
    assert node.stop() == 0


def test_messages_reach_a_syslog_server_over_udp(start_node: StartNode, stack: ExitStack) -> None:
    server = UdpServer()
    stack.callback(server.close)
    syslog = f"audit: {{syslog: {{host: 127.0.0.1, port: {server.port}}}}}\n"
    tell_a_story(start_node(f"{FAST}{EVERYBODY}{syslog}"))
    assert kinds([xml_of(server.next()) for _ in STORY]) == STORY


def tls_config(authority: Authority, port: int, queue: int = 10_000) -> str:
    syslog = f"{{host: 127.0.0.1, port: {port}, transport: tls, tls: {{ca: {authority.file}}}}}"
    return f"{FAST}{EVERYBODY}audit: {{syslog: {syslog}, queue: {queue}}}\n"


def test_messages_reach_a_syslog_server_over_tls(
    start_node: StartNode, stack: ExitStack, tmp_path: Path
) -> None:
    authority = Authority(tmp_path / "tls")
    server = TlsServer(authority.issue())
    stack.callback(server.close)
    tell_a_story(start_node(tls_config(authority, server.port)))
    assert kinds([xml_of(server.next()) for _ in STORY]) == STORY


def test_a_dead_server_holds_no_association_up_and_gets_what_it_missed(
    start_node: StartNode, stack: ExitStack, tmp_path: Path
) -> None:
    authority, port = Authority(tmp_path / "tls"), free_port_number()
    certificate = authority.issue()
    node = start_node(tls_config(authority, port))
    node.wait_for_log("takes no messages: Connection refused; they wait")
    with association(node) as channel:
        assert store(channel, *instance_of(new_dataset())).status == 0
    server = TlsServer(certificate, port)
    stack.callback(server.close)
    received = sorted(kinds([xml_of(server.next()) for _ in STORY[:-1]]))
    assert received == sorted(STORY[:-1])
    node.wait_for_log("takes messages again: 0 were lost")


def test_what_the_queue_cannot_hold_is_counted_and_told_when_the_server_is_back(
    start_node: StartNode, stack: ExitStack, tmp_path: Path
) -> None:
    authority, port = Authority(tmp_path / "tls"), free_port_number()
    certificate = authority.issue()
    config = tls_config(authority, port, queue=3).replace("workers: 2", "workers: 1")
    node = start_node(config)
    for _ in range(4):
        with association(node):
            pass
    node.wait_for_log("audit.queue has no room for more: the oldest are lost from now on")
    server = TlsServer(certificate, port)
    stack.callback(server.close)
    told = lost = 0
    while told + lost < 9:  # the start, and two of each association
        message = xml_of(server.next())
        if kinds([message]) != [("110113", "110134")]:
            told += 1
            continue
        (thing,) = message.iter("ParticipantObjectIdentification")
        match = re.match(r"(\d+) audit messages were lost", details_of(thing)["Alert Description"])
        assert match is not None
        lost += int(match[1])
    assert told + lost == 9
    assert lost >= 5
    node.wait_for_log("takes messages again")


def test_a_node_stops_in_time_without_its_syslog_server(
    start_node: StartNode, tmp_path: Path
) -> None:
    authority = Authority(tmp_path / "tls")
    node = start_node(tls_config(authority, free_port_number()))
    with association(node):
        pass
    assert node.stop() == 0
    assert "audit: 1 messages to the syslog server" in node.log


def test_what_is_wrong_with_the_trail_is_told_at_start(
    tmp_path: Path, pacsnode: Callable[..., Any]
) -> None:
    (tmp_path / "config.yaml").write_text(f"{FAST}audit: {{file: missing/audit.json}}\n")
    completed = pacsnode("serve")
    assert completed.returncode == 2
    assert "audit.file: " in completed.stderr
    assert "No such file or directory" in completed.stderr


def test_hostile_titles_and_names_stay_in_their_line(audited: Audited) -> None:
    node = audited()
    ds = new_dataset(PatientName='A\x1b[31m\r\n{"event":"forged"}<x>&', PatientID="\x00\x01]]>")
    with association(node, ae_title="x\"}<&>'") as channel:
        assert store(channel, *instance_of(ds)).status == 0
    (line,) = events(trail_of(node), "DICOM Instances Transferred")
    assert "\x1b" not in line["objects"][1]["name"]
    assert not [each for each in told_lines(trail_of(node)) if each["event"] == "forged"]


def test_deletion_and_import_are_told(audited: Audited, tmp_path: Path) -> None:
    node = audited()
    study = generate_uid()
    folder = tmp_path / "files"
    for number in range(3):
        ds = new_dataset(StudyInstanceUID=study, PatientID="ID9", PatientName="DOE^JIM")
        write_dataset(folder / f"{number}.dcm", ds)
        last = ds.SOPInstanceUID
    assert node.command("import", folder).returncode == 0
    (imported,) = events(trail_of(node), "Import")
    assert study_of(imported)["sop_classes"] == {CT_IMAGE_STORAGE: 3}
    assert imported["objects"][1]["name"] == "DOE^JIM"
    media = next(each for each in imported["participants"] if each.get("role") == "Source Media")
    assert media["user"] == folder.as_uri()
    one = ("-L", "image", "-k", f"SOPInstanceUID={last}")
    assert node.command("delete", "--yes", *one).returncode == 0
    (thinned,) = events(trail_of(node), "DICOM Instances Accessed")
    assert thinned["action"] == "delete"
    assert study_of(thinned)["sop_classes"] == {CT_IMAGE_STORAGE: 1}
    rest = ("-L", "study", "-k", f"StudyInstanceUID={study}")
    assert node.command("delete", "--yes", *rest).returncode == 0
    (deleted,) = events(trail_of(node), "DICOM Study Deleted")
    assert study_of(deleted)["id"] == study
    assert study_of(deleted)["sop_classes"] == {CT_IMAGE_STORAGE: 2}
    assert deleted["objects"][1]["id"] == "ID9"
    assert deleted["objects"][1]["name"] == "DOE^JIM"
    assert any("@" in each["user"] and each["requestor"] for each in deleted["participants"])


def test_a_certificate_that_is_refused_is_a_security_alert(
    start_node: StartNode, tmp_path: Path
) -> None:
    authority, foreign = Authority(tmp_path / "tls"), Authority(tmp_path / "foreign", "foreign")
    files = f"certificate: {authority.issue()}, client_ca: {authority.file}"
    node = start_node(
        f"listen: {{port: 0, workers: 2, tls: {{port: 0, {files}}}}}\naudit: {{file: audit.json}}\n"
    )
    tls = authority.client(foreign.issue("ct1"))
    peer = Peer("node", node.ae_title, node.host, node.tls_port, "CT1", tls=tls)
    with pytest.raises(NetworkError):
        net.connect(peer, proposals(), timeouts=TIMEOUTS)
    (line,) = events(trail_of(node), "Security Alert")
    assert line["type"] == "Node Authentication"
    assert "no authority in listen.tls.client_ca" in line["description"]
    assert line["objects"][0]["id"] == "127.0.0.1"


def test_a_conflict_that_is_settled_is_told(audited: Audited) -> None:
    node = audited()
    first = new_dataset(PatientID="ID5")
    with association(node) as channel:
        for description in ("one", "two", "three"):
            first.StudyDescription = description
            assert store(channel, *instance_of(first)).status == 0
    events(trail_of(node), "Logout")
    names = [path.name for path in sorted((node.data_dir / "conflicts").glob("*.dcm"))]
    assert len(names) == 2
    assert node.command("conflicts", "adopt", names[0]).returncode == 0
    assert node.command("conflicts", "drop", "--yes", names[1]).returncode == 0
    adopted, dropped = events(trail_of(node), "DICOM Instances Accessed", 2)
    assert (adopted["action"], dropped["action"]) == ("update", "delete")
    assert study_of(adopted)["id"] == study_of(dropped)["id"] == first.StudyInstanceUID
    assert adopted["objects"][1]["id"] == "ID5"


def test_a_worker_that_is_replaced_is_no_start_of_the_node(audited: Audited) -> None:
    node = audited()
    events(trail_of(node), "Application Start")
    for process in workers_of(node):
        os.kill(process, signal.SIGKILL)
    log = node.wait_for_log("ended with SIGKILL")
    deadline = time.monotonic() + PATIENCE
    while log.count("serves as process") < 4:
        assert time.monotonic() < deadline, log
        time.sleep(0.02)
        log = node.log
    with association(node):
        pass
    node.stop()
    types = [line.get("type") for line in told_lines(trail_of(node))]
    assert types.count("Application Start") == types.count("Application Stop") == 1
    assert types.count("Login") == types.count("Logout") == 1


def test_both_ways_together_end_in_time(start_node: StartNode, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "tls")
    config = tls_config(authority, free_port_number())
    node = start_node(config.replace("audit: {", "audit: {file: audit.json, "))
    with association(node):
        pass
    assert node.stop() == 0
    assert [line["type"] for line in told_lines(trail_of(node))] == [
        "Application Start",
        "Login",
        "Logout",
        "Application Stop",
    ]
