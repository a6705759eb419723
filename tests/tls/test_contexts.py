"""SSL contexts: what they take, and what is wrong with files in one line."""

import os
import ssl
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pacsnode.errors import ConfigurationError
from pacsnode.tls import Outgoing, client_context, remarks, server_context
from tests.authority import Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def test_nothing_older_than_the_profile_is_offered(authority: Authority) -> None:
    for context in (
        server_context(authority.server()),
        client_context(authority.client(), None, "modalities.X.tls"),
    ):
        assert context.minimum_version == ssl.TLSVersion.TLSv1_2
        assert context.options & ssl.OP_NO_RENEGOTIATION
        assert context.options & ssl.OP_NO_COMPRESSION
        names = {str(cipher["name"]) for cipher in context.get_ciphers()}
        assert all(name.startswith(("TLS_", "ECDHE-")) for name in names)
        assert all("GCM" in name or "CHACHA20" in name for name in names)
        # Servers shall have these (RFC 9325 4.2).
        for key in ("RSA", "ECDSA"):
            assert {f"ECDHE-{key}-AES128-GCM-SHA256", f"ECDHE-{key}-AES256-GCM-SHA384"} <= names


def test_client_certificates_are_demanded_taken_or_not_looked_at(authority: Authority) -> None:
    modes = [
        server_context(authority.server(**options)).verify_mode
        for options in (
            {},
            {"require_client_certificate": False},
            {"require_client_certificate": False, "client_ca": None},
        )
    ]
    assert modes == [ssl.CERT_REQUIRED, ssl.CERT_OPTIONAL, ssl.CERT_NONE]


def test_the_host_is_looked_at_unless_it_shall_not_be(authority: Authority) -> None:
    for verify in (True, False):
        context = client_context(authority.client(verify_host=verify), None, "modalities.X.tls")
        assert context.check_hostname == verify
        assert context.verify_mode == ssl.CERT_REQUIRED


def test_a_bundle_of_authorities_is_taken_whole(authority: Authority, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other", "clinic")
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(b"# two\n" + authority.file.read_bytes() + b"\n" + other.file.read_bytes())
    context = server_context(authority.server(client_ca=bundle))
    assert len(context.get_ca_certs()) == 2


def test_the_systems_authorities_stand_in_for_none(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    context = client_context(authority.client(ca=None), None, "modalities.X.tls")
    assert len(context.get_ca_certs()) == 1


def test_contexts_for_peers_are_made_once_for_each_setting(authority: Authority) -> None:
    outgoing = Outgoing(authority.server())
    made = outgoing.context(authority.client(), "modalities.X.tls")
    assert outgoing.context(authority.client(), "modalities.Y.tls") is made
    assert outgoing.context(authority.client(verify_host=False), "modalities.X.tls") is not made


@pytest.mark.parametrize("password", ["secret", "Pässwort 雪"])
def test_a_key_with_its_password(authority: Authority, password: str) -> None:
    certificate, key = authority.encrypted("locked", password)
    server_context(authority.server(certificate, key=key, key_password=password))


def fault(make: Callable[[], object]) -> str:
    with pytest.raises(ConfigurationError) as caught:
        make()
    (line,) = caught.value.faults
    assert "\n" not in line
    return line


def test_files_that_are_missing_are_named(authority: Authority, tmp_path: Path) -> None:
    gone = tmp_path / "gone.pem"
    certificate = authority.issue()
    said = {
        "listen.tls.certificate": authority.server(gone),
        "listen.tls.key": authority.server(certificate, key=gone),
        "listen.tls.client_ca": authority.server(certificate, client_ca=gone),
    }
    for key_path, settings in said.items():
        line = fault(lambda settings=settings: server_context(settings))  # type: ignore[misc]
        assert line == f"{key_path}: {gone}: No such file or directory"
    settings = authority.client(ca=gone)
    line = fault(lambda: client_context(settings, None, "modalities.X.tls"))
    assert line == f"modalities.X.tls.ca: {gone}: No such file or directory"


def test_files_that_are_no_pem_are_named(authority: Authority, tmp_path: Path) -> None:
    empty, der, broken = tmp_path / "empty", tmp_path / "der", tmp_path / "broken"
    empty.touch()
    certificate = authority.issue()
    der.write_bytes(ssl.PEM_cert_to_DER_cert(authority.file.read_text()))
    broken.write_text(certificate.read_text().replace("MII", "???"))
    cases = [
        (authority.server(empty), f"listen.tls.certificate: {empty}: holds no PEM certificate"),
        (authority.server(der), f"listen.tls.certificate: {der}: is in DER, where PEM is needed"),
        (authority.server(broken), f"listen.tls.certificate: {broken}: "),
        (
            authority.server(authority.file),
            f"listen.tls.key: {authority.file}: holds no PEM private key",
        ),
        (
            authority.server(certificate, client_ca=empty),
            f"listen.tls.client_ca: {empty}: holds no PEM certificate",
        ),
        (authority.server(certificate, client_ca=broken), f"listen.tls.client_ca: {broken}: "),
    ]
    for settings, expected in cases:
        assert fault(lambda settings=settings: server_context(settings)).startswith(expected)  # type: ignore[misc]


def test_a_key_of_another_certificate(authority: Authority) -> None:
    one, two = authority.issue("one"), authority.issue("two")
    line = fault(lambda: server_context(authority.server(one, key=two)))
    assert line == f"listen.tls.key: {two}: is not the key of the certificate in {one}"


def test_a_password_that_is_missing_or_wrong(authority: Authority) -> None:
    certificate, key = authority.encrypted("locked", "secret")
    line = fault(lambda: server_context(authority.server(certificate, key=key)))
    assert line.startswith(f"listen.tls.key_password: missing, and {key} is encrypted")
    settings = authority.server(certificate, key=key, key_password="wrong")
    line = fault(lambda: server_context(settings))
    assert line == f"listen.tls.key_password: is not the one of {key}"
    settings = authority.server(certificate, key=key, key_password="x" * 2000)
    assert "x" * 100 not in fault(lambda: server_context(settings))


def test_nobody_is_asked_for_a_password_on_the_terminal(authority: Authority) -> None:
    certificate, key = authority.encrypted("locked", "secret")
    program = (
        "import sys; from pathlib import Path; from pacsnode.config.model import ServerTLS\n"
        "from pacsnode.tls import server_context\n"
        f"server_context(ServerTLS(certificate=Path({str(certificate)!r}), key=Path({str(key)!r}),"
        " require_client_certificate=False))"
    )
    parent, child = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=child, stdout=child, stderr=child,
        start_new_session=True,
    )  # fmt: skip
    os.close(child)
    said = b""
    try:
        while chunk := os.read(parent, 4096):
            said += chunk
    except OSError:  # the terminal of a process that has ended
        pass
    os.close(parent)
    assert process.wait(20) == 1
    assert b"ConfigurationError" in said
    assert b"PEM pass phrase" not in said


def test_a_key_that_is_too_short_is_said_to_be(authority: Authority, tmp_path: Path) -> None:
    weak = tmp_path / "weak.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:1024", "-nodes", "-subj", "/CN=weak",
         "-keyout", tmp_path / "weak-key.pem", "-out", weak],
        check=True, capture_output=True,
    )  # fmt: skip
    settings = authority.server(weak, key=tmp_path / "weak-key.pem")
    line = fault(lambda: server_context(settings))
    assert line.startswith(f"listen.tls.certificate: {weak}: ee key too small")


def test_the_nodes_own_certificate_is_shown_where_no_other_is_named(authority: Authority) -> None:
    own = authority.server(authority.issue("node"), key=authority.issue("other"))
    line = fault(lambda: client_context(authority.client(), own, "modalities.X.tls"))
    assert line.startswith("listen.tls.key: ")
    named = authority.client(authority.issue("for-x"), key=authority.issue("other"))
    line = fault(lambda: client_context(named, own, "modalities.X.tls"))
    assert line.startswith("modalities.X.tls.key: ")


def test_certificates_that_have_ended_or_soon_will_are_spoken_of(authority: Authority) -> None:
    now = datetime.now(UTC)
    assert remarks(authority.server(), "listen.tls") == []
    assert remarks(authority.client(), "modalities.X.tls") == []
    expired = authority.expired()
    server_context(authority.server(expired))  # it may be that nobody looks
    assert remarks(authority.server(expired), "listen.tls") == [
        f"listen.tls.certificate: {expired}: expired on 2001-01-31: peers will refuse it"
    ]
    week = authority.issue("week", not_after=now + timedelta(days=7))
    (said,) = remarks(authority.client(week), "modalities.X.tls")
    assert said.startswith(f"modalities.X.tls.certificate: {week}: expires on 20")
    later = authority.issue("later", not_before=now + timedelta(days=7))
    assert "is valid from" in remarks(authority.server(later), "listen.tls")[0]
