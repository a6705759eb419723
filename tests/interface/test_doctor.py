"""The connection doctor: each broken set-up is named by its true cause, with what to change at
either side."""

import re
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.authority import Authority
from tests.conftest import Dcmtk, StartNode, run_pacsnode
from tests.interface.conftest import free_port_number
from tests.interface.doctoring import (
    QUICK,
    Findings,
    check,
    over_tls,
    say_nothing,
    speak_http,
)
from tests.net.raw import IMPLICIT, VERIFICATION, RawPeer
from tests.serving import serving

CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f]")
WAY_THERE = ["name", "TCP", "TLS", "association"]


def row(port: int, **keys: str) -> str:
    """A configuration with one peer."""
    more = "".join(f", {name}: {value}" for name, value in keys.items())
    return f"{QUICK}modalities: {{ARCHIVE: {{host: 127.0.0.1, port: {port}{more}}}}}\n"


def assert_told(found: Findings, step: str, cause: str, code: int = 3) -> None:
    """It ended at this step, for this cause; everything before went well; the sentence says who we
    are."""
    assert found.failure["step"] == step, found.document
    assert found.failure["cause"] == cause
    assert found.code == code
    assert found.document["exit_code"] == code
    assert list(found.steps)[-1] == step
    assert f"failed at {step}: " in found.errors
    assert "AE title PACSNODE, host 127.0.0.1, port 11112" in found.failure["sentence"]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


def test_a_name_that_nobody_knows(tmp_path: Path) -> None:
    config = "modalities: {ARCHIVE: {host: archive.invalid, port: 104}}\n"
    found = check(tmp_path, config, "ARCHIVE")
    assert found.failure["cause"] == "name"
    assert (found.code, found.results) == (3, {"name": "failed"})
    assert found.configured(tmp_path)["modalities"]["ARCHIVE"]["host"] == "archive.invalid"


@pytest.mark.parametrize("host", ["archive..example", f"{'a' * 64}.example"])
def test_what_can_be_no_name_is_not_blamed_on_the_name_service(tmp_path: Path, host: str) -> None:
    found = check(tmp_path, QUICK, f"ARCHIVE@{host}:104")
    assert (found.code, found.failure["cause"]) == (3, "name")
    assert "no host name" in found.failure["text"]


def test_a_port_where_nobody_listens(tmp_path: Path) -> None:
    port = free_port_number()
    found = check(tmp_path, row(port), "ARCHIVE")
    assert_told(found, "TCP", "refused")
    assert "no program listens on port" in found.failure["text"]
    assert found.configured(tmp_path)["modalities"]["ARCHIVE"]["port"] == port


def test_a_server_that_says_nothing(tmp_path: Path) -> None:
    with serving(say_nothing) as port:
        found = check(tmp_path, row(port), "ARCHIVE")
    assert_told(found, "association", "silent")
    assert found.results == {
        "name": "ok", "TCP": "ok", "TLS": "skipped", "association": "failed",
    }  # fmt: skip


def test_a_web_server(tmp_path: Path) -> None:
    with serving(speak_http) as port:
        found = check(tmp_path, row(port), "ARCHIVE")
    assert_told(found, "association", "no_dicom")
    assert "HTTP, as a web server does" in found.failure["text"]
    assert found.failure["details"]["answer"] == "HTTP/1.1 400 Bad Request"


def test_what_a_stranger_says_cannot_write_to_the_terminal(tmp_path: Path) -> None:
    def speak(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(b"\x1b]0;owned\x07\x1b[31m\x9b2J hello")

    with serving(speak) as port:
        for options in ((), ("--format", "json")):
            done = run_pacsnode("check", f"A@127.0.0.1:{port}", *options, folder=tmp_path)
            assert done.returncode == 3
            assert "hello" in done.stdout
            assert not CONTROL.search(done.stdout + done.stderr)


def test_a_tls_server_without_dicom(tmp_path: Path, authority: Authority) -> None:
    script = over_tls(authority.issue("web"), speak_http)
    with serving(script) as port:
        found = check(tmp_path, row(port, tls=f"{{ca: {authority.file}}}"), "ARCHIVE")
    assert_told(found, "association", "no_dicom")
    assert found.results["TLS"] == "ok"
    told = found.steps["TLS"]["details"]
    assert told["protocol"] == "TLSv1.3"
    assert "CN=web" in told["certificate"]["subject"]
    assert "O=hospital" in told["certificate"]["issuer"]
    assert "127.0.0.1" in told["certificate"]["hosts"]


def test_a_peer_without_tls_where_we_expect_it(
    tmp_path: Path, dcmtk: Dcmtk, authority: Authority
) -> None:
    port = free_port_number()
    dcmtk.serve("storescp", port, port=port)
    found = check(tmp_path, row(port, tls=f"{{ca: {authority.file}}}"), "ARCHIVE")
    assert_told(found, "TLS", "no_tls")
    assert found.configured(tmp_path)["modalities"]["ARCHIVE"]["tls"] is False
    again = check(tmp_path, row(port), "ARCHIVE")
    assert again.code == 0


@pytest.mark.parametrize("demands", [False, True])
def test_a_peer_with_tls_where_we_call_plainly(
    tmp_path: Path, start_node: StartNode, authority: Authority, demands: bool
) -> None:
    clients = f", client_ca: {authority.file}" if demands else ", require_client_certificate: false"
    node = start_node(
        f"listen: {{port: null, tls: {{port: 0, certificate: {authority.issue()}{clients}}}}}\n",
    )
    found = check(tmp_path, row(node.tls_port), "ARCHIVE")
    assert_told(found, "association", "tls_wanted")
    assert found.configured(tmp_path)["modalities"]["ARCHIVE"]["tls"] == {"ca": "FILE"}


def test_a_peer_that_demands_a_certificate(
    tmp_path: Path, start_node: StartNode, authority: Authority
) -> None:
    node = start_node(
        f"listen: {{port: null, tls: {{port: 0, certificate: {authority.issue()}, "
        f"client_ca: {authority.file}}}}}\naccess: {{unknown_callers: all}}\n",
    )
    found = check(tmp_path, row(node.tls_port, tls=f"{{ca: {authority.file}}}"), "ARCHIVE")
    assert found.failure["cause"] == "certificate_wanted"
    assert "certificate: FILE" in found.failure["configuration"]
    keyed = f"{{ca: {authority.file}, certificate: {authority.issue('me')}}}"
    assert check(tmp_path, row(node.tls_port, tls=keyed), "ARCHIVE").code == 0


def test_a_certificate_of_an_unknown_authority(tmp_path: Path, authority: Authority) -> None:
    other = Authority(tmp_path / "other", "elsewhere")
    with serving(over_tls(other.issue("archive"), say_nothing)) as port:
        found = check(tmp_path, row(port, tls=f"{{ca: {authority.file}}}"), "ARCHIVE")
    assert_told(found, "TLS", "no_authority")
    assert "O=elsewhere" in found.failure["sentence"]
    assert "CN=archive" in found.failure["details"]["certificate"]["subject"]


def test_a_certificate_for_another_host(tmp_path: Path, authority: Authority) -> None:
    certificate = authority.issue("archive", "archive.example")
    with serving(over_tls(certificate, say_nothing)) as port:
        found = check(tmp_path, row(port, tls=f"{{ca: {authority.file}}}"), "ARCHIVE")
    assert_told(found, "TLS", "other_host")
    pasted = found.configured(tmp_path)["modalities"]["ARCHIVE"]
    assert pasted["host"] == "archive.example"


def test_a_certificate_that_has_expired(tmp_path: Path, authority: Authority) -> None:
    with serving(over_tls(authority.expired(), say_nothing)) as port:
        found = check(tmp_path, row(port, tls=f"{{ca: {authority.file}}}"), "ARCHIVE")
    assert_told(found, "TLS", "expired")
    assert found.failure["configuration"] == ""
    assert "good until 2001-01-31" in found.failure["sentence"]


def test_a_peer_that_does_not_know_us(tmp_path: Path, start_node: StartNode) -> None:
    node = start_node("access: {unknown_callers: []}\n")
    found = check(tmp_path / "me", row(node.port, calling_ae_title="STRANGER"), "ARCHIVE")
    assert_told(found, "association", "calling_title")
    assert "calling AE title STRANGER" in found.failure["sentence"]
    pasted = found.configured(tmp_path)["modalities"]["ARCHIVE"]
    assert pasted["calling_ae_title"] == "STRANGER"
    details = found.failure["details"]
    assert (details["result"], details["source"], details["reason"]) == (1, 1, 3)


def test_a_peer_that_goes_by_another_title(tmp_path: Path, start_node: StartNode) -> None:
    node = start_node("access: {unknown_callers: all, check_called_ae_title: true}\n")
    found = check(tmp_path / "me", row(node.port), "ARCHIVE")
    assert_told(found, "association", "called_title")
    assert "ARCHIVE" in found.failure["text"]
    good = row(node.port, ae_title="PACSNODE")
    assert check(tmp_path / "me", good, "ARCHIVE").code == 0


def test_a_peer_that_rejects_without_a_reason(tmp_path: Path, dcmtk: Dcmtk) -> None:
    port = free_port_number()
    dcmtk.serve("storescp", "--refuse", port, port=port)
    found = check(tmp_path, row(port), "ARCHIVE")
    assert_told(found, "association", "rejected")
    pasted = found.configured(tmp_path)["modalities"]["ARCHIVE"]
    assert (pasted["ae_title"], pasted["calling_ae_title"]) == ("ARCHIVE", "PACSNODE")


def test_a_peer_that_has_no_room(tmp_path: Path, start_node: StartNode) -> None:
    node = start_node("modalities: {PACSNODE: {host: 127.0.0.1, port: 1, max_associations: 1}}\n")
    config = row(node.port)
    holder = RawPeer((node.host, node.port))
    try:
        holder.associate((1, VERIFICATION, [IMPLICIT]), calling="PACSNODE")
        assert_told(check(tmp_path / "me", config, "ARCHIVE"), "association", "busy")
    finally:
        holder.close()


def test_a_peer_that_stores_and_nothing_else(tmp_path: Path, dcmtk: Dcmtk) -> None:
    port = free_port_number()
    profile = tmp_path / "profile.cfg"
    profile.write_text(
        "[[TransferSyntaxes]]\n[Plain]\nTransferSyntax1 = LittleEndianExplicit\n"
        "[Both]\nTransferSyntax1 = LittleEndianExplicit\nTransferSyntax2 = JPEG2000\n"
        "TransferSyntax3 = JPEG2000LosslessOnly\n"
        "[[PresentationContexts]]\n[Some]\nPresentationContext1 = VerificationSOPClass\\Plain\n"
        "PresentationContext2 = CTImageStorage\\Both\n"
        "PresentationContext3 = MRImageStorage\\Plain\n"
        "PresentationContext4 = BasicTextSRStorage\\Plain\n"
        "[[Profiles]]\n[Default]\nPresentationContexts = Some\n"
    )
    dcmtk.serve("storescp", "-xf", profile, "Default", port, port=port)
    found = check(tmp_path, row(port), "ARCHIVE")
    assert (found.code, found.errors) == (0, "")
    assert found.results == {
        "name": "ok", "TCP": "ok", "TLS": "skipped", "association": "ok", "C-ECHO": "ok",
        "C-FIND": "skipped", "storage": "ok", "C-GET": "skipped",
    }  # fmt: skip
    groups = found.steps["storage"]["details"]["accepted"]
    taken = {tuple(one["transfer_syntaxes"]): one["sop_classes"] for one in groups}
    both = ("Explicit VR Little Endian", "JPEG 2000 Lossless", "JPEG 2000")
    assert taken[both] == ["CT"]
    assert taken["Explicit VR Little Endian",] == ["MR", "Basic Text SR"]
    assert "Enhanced CT" in taken[()]
    assert len(groups) == 3


def test_every_standard_class_is_asked_for_over_several_associations(
    tmp_path: Path, start_node: StartNode
) -> None:
    node = start_node()
    found = check(tmp_path / "me", row(node.port), "ARCHIVE", "--all")
    assert found.code == 0, found.errors
    details = found.steps["storage"]["details"]
    assert details["associations"] > 10
    assert sum(len(one["sop_classes"]) for one in details["accepted"]) > 150
    assert found.results["C-FIND"] == "ok"
    assert found.results["C-GET"] == "ok"


def test_a_peer_that_may_not_be_queried(tmp_path: Path, start_node: StartNode) -> None:
    node = start_node("access: {unknown_callers: [echo, store]}\n")
    found = check(tmp_path / "me", row(node.port), "ARCHIVE")
    assert found.failure["step"] == "C-FIND"
    assert found.failure["cause"] == "request_refused"
    assert found.code == 1
    assert "0124" in found.failure["text"]
    assert found.results["storage"] == "ok"


def test_people_read_steps_and_then_what_to_do(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    port = free_port()
    done = run_pacsnode("check", f"A@127.0.0.1:{port}", folder=tmp_path)
    lines = done.stdout.splitlines()
    assert lines[0] == f"A@127.0.0.1:{port}"
    assert lines[1].split() == ["ok", "name", "127.0.0.1"]
    assert lines[2].startswith("failed   TCP          refused: ")
    assert lines.index("  modalities:") < lines.index("To the administrator of the other side:")
    assert f"      port: {port}  # as their administrator says, if it is another" in lines
    assert len(done.stderr.splitlines()) == 1
