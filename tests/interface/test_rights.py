"""Who may do what, through real associations with a node of two workers."""

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from pacsnode import net
from pacsnode.dicom.message import Channel, Peer
from pacsnode.errors import AssociationRejected, NetworkError
from tests.authority import Authority
from tests.conftest import Dcmtk, RunningNode, StartNode, new_dataset, run_pacsnode
from tests.interface.associations import TIMEOUTS, association, instance_of, proposals, store

WORKERS = "storage: {fsync: false, min_free: 1}\nlisten: {port: 0, workers: 2}\n"


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def secure_node(start_node: StartNode, authority: Authority, access: str = "") -> RunningNode:
    """One where CT1 is who shows the certificate of ct1."""
    files = f"certificate: {authority.issue()}, client_ca: {authority.file}"
    return start_node(
        "storage: {fsync: false, min_free: 1}\n"
        f"listen: {{port: 0, workers: 2, tls: {{port: 0, {files}}}}}\n"
        f"{access}"
        "modalities:\n"
        "  CT1: {host: 127.0.0.1, certificate_subject: 'CN=ct1,O=Hospital'}\n"
    )


def dial(node: RunningNode, stack: ExitStack, authority: Authority, certificate: Path) -> Channel:
    """CT1 over TLS, with this certificate."""
    tls = authority.client(certificate)
    peer = Peer("node", node.ae_title, node.host, node.tls_port, "CT1", tls=tls)
    channel = net.connect(peer, proposals(), timeouts=TIMEOUTS)
    stack.callback(channel.release)
    return channel


def test_a_title_with_its_certificate_has_its_rights(
    start_node: StartNode, stack: ExitStack, authority: Authority
) -> None:
    node = secure_node(start_node, authority)
    channel = dial(node, stack, authority, authority.issue("ct1"))
    assert store(channel, *instance_of(new_dataset())).status == 0


def test_a_title_with_anothers_certificate_has_those_of_an_unknown_caller(
    start_node: StartNode, stack: ExitStack, authority: Authority
) -> None:
    node = secure_node(start_node, authority)
    channel = dial(node, stack, authority, authority.issue("ct2"))
    assert store(channel, *instance_of(new_dataset())).status == 0x0124
    log = node.wait_for_log("may not store: access.unknown_callers decides")
    for part in ("'CT1'", "CN=ct2", "modalities.CT1.certificate_subject (CN=ct1,O=Hospital)"):
        assert part in log


def test_a_title_on_the_plain_port_has_those_of_an_unknown_caller(
    start_node: StartNode, authority: Authority
) -> None:
    node = secure_node(start_node, authority)
    with association(node, ae_title="CT1") as channel:
        assert store(channel, *instance_of(new_dataset())).status == 0x0124
    node.wait_for_log("counts as unknown: it is without a certificate")


def test_where_unknown_callers_may_do_nothing_a_wrong_certificate_opens_no_association(
    start_node: StartNode, stack: ExitStack, authority: Authority
) -> None:
    node = secure_node(start_node, authority, "access: {unknown_callers: []}\n")
    with pytest.raises(AssociationRejected):
        dial(node, stack, authority, authority.issue("ct2"))
    assert "rejected 1/1/3: caller 'CT1' from 127.0.0.1" in node.wait_for_log("CN=ct2")


def test_unknown_callers_leave_places_to_those_who_are_known(
    start_node: StartNode, stack: ExitStack
) -> None:
    limited = WORKERS.replace("workers: 2", "workers: 2, max_associations: 10")
    known = "modalities: {CT1: {host: 127.0.0.1}}\n"
    node = start_node(f"{limited}access: {{unknown_callers: all}}\n{known}")
    for number in range(9):
        stack.enter_context(association(node, ae_title=f"MAD{number}"))
    with pytest.raises(AssociationRejected) as caught:
        stack.enter_context(association(node, ae_title="CT2"))
    assert (caught.value.result, caught.value.source, caught.value.reason) == (2, 3, 2)
    channel = stack.enter_context(association(node, ae_title="CT1"))
    assert store(channel, *instance_of(new_dataset())).status == 0
    log = node.wait_for_log("access.max_unknown_associations is 9")
    assert "caller 'CT2' from 127.0.0.1" in log
    assert "the nearest known title is 'CT1'" in log


def test_connections_from_other_networks_are_closed_until_a_reload_says_otherwise(
    start_node: StartNode, dcmtk: Dcmtk
) -> None:
    node = start_node(f"{WORKERS}access: {{networks: [192.0.2.0/24]}}\n")
    with pytest.raises(NetworkError), association(node):
        pytest.fail("it is taken")
    node.wait_for_log("connection from 127.0.0.1: closed: not of a network in access.networks")
    text = node.config.read_text().replace("192.0.2.0/24", "192.0.2.0/24, 127.0.0.0/8")
    node.config.write_text(text)
    node.process.send_signal(signal.SIGHUP)
    node.wait_for_log("reloaded: access")
    dcmtk("echoscu", "-aec", node.ae_title, node.host, node.port)


def test_a_caller_moves_only_to_its_own_destinations(
    start_node: StartNode, dcmtk: Dcmtk, tmp_path: Path
) -> None:
    destinations = "WS: {host: 127.0.0.1, move_destinations: [WS]}\n  DEST: {host: 127.0.0.1}"
    node = start_node(f"{WORKERS}modalities:\n  {destinations}\n")
    keys = ("-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID=1.2.3")

    def move(caller: str, to: str) -> str:
        titles = ("-aet", caller, "-aec", node.ae_title, "-aem", to)
        return dcmtk(
            "movescu", "-d", "-S", *titles, *keys, node.host, node.port, check=False
        ).stdout

    assert "DIMSE Status                  : 0x0000" in move("WS", "WS"), "nothing matches: all done"
    refused = move("WS", "DEST")
    assert "0x0124" in refused
    assert "Not authorised to move to DEST" in refused
    assert "DIMSE Status                  : 0x0000" in move("DEST", "WS"), "it has no list"
    assert "0xa801" in move("WS", "NOBODY")
    log = node.log
    assert "caller 'WS' from 127.0.0.1 may not move to 'DEST'" in log
    assert "modalities.WS.move_destinations does not name DEST" in log


def test_a_fault_in_a_subject_is_told_at_start(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(
        "modalities: {CT1: {host: x, certificate_subject: ct1}}\n", "utf-8"
    )
    completed = run_pacsnode("serve", folder=tmp_path)
    assert completed.returncode == 2
    assert "modalities.CT1.certificate_subject: 'ct1' is no TYPE=VALUE" in completed.stderr


def test_check_says_what_rights_and_audit_mean(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(
        "access: {networks: [10.0.0.0/8, 'fd00::/8']}\n"
        "audit: {file: audit.json, syslog: {host: 10.0.0.9}}\n"
        "modalities:\n"
        "  CT1: {host: 10.0.0.5, certificate_subject: 'cn = ct1', move_destinations: []}\n"
        "  WS: {host: 10.0.0.6, move_destinations: [WS]}\n",
        "utf-8",
    )
    done = run_pacsnode("check", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    for line in (
        "connections: from 10.0.0.0/8, fd00::/8 alone",
        "  all of them together: 90 associations at most",
        "  must call with a certificate of CN=ct1, else it is unknown",
        "  may move to: nobody",
        "  may move to: WS",
        f"audit trail: {tmp_path / 'audit.json'}",
        "audit trail: syslog server 10.0.0.9, the usual port, UDP",
    ):
        assert line in done.stdout.splitlines()
    assert "modalities.CT1.certificate_subject: nobody shows a certificate" in done.stderr
    assert "CT1 is always unknown" in done.stderr
    assert not (tmp_path / "audit.json").exists()


@pytest.mark.parametrize(
    ("place", "why"), [("missing/audit.json", "No such file"), (".", "Is a directory")]
)
def test_check_finds_an_audit_file_that_cannot_be(tmp_path: Path, place: str, why: str) -> None:
    (tmp_path / "config.yaml").write_text(f"audit: {{file: {place}}}\n", "utf-8")
    done = run_pacsnode("check", folder=tmp_path)
    assert done.returncode == 2
    assert "audit.file: " in done.stderr
    assert why in done.stderr
