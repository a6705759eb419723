"""Certificates of a node: which changes take a restart, and what a reload takes over."""

from pathlib import Path
from typing import Any

import pytest

from pacsnode.config.model import Configuration
from pacsnode.errors import ConfigurationError
from pacsnode.net.doorway import Addresses
from pacsnode.node.address import addresses_text
from pacsnode.node.build import Node, changed_keys
from pacsnode.node.security import build_security, certificate_remarks
from tests.authority import Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


def configuration(folder: Path, tls: object = None, **sections: Any) -> Configuration:
    listen = {"port": 0, "tls": tls, **sections.pop("listen", {})}
    return Configuration.model_validate({"listen": listen, **sections}, context={"folder": folder})


def server(certificate: Path, **more: object) -> dict[str, object]:
    required = {"require_client_certificate": False}
    return {"port": 0, "certificate": str(certificate), **required, **more}


def test_certificates_take_no_restart_and_ports_do(tmp_path: Path, authority: Authority) -> None:
    one, two = authority.issue("one"), authority.issue("two")
    before = configuration(tmp_path, server(one))
    assert changed_keys(before, configuration(tmp_path, server(two))) == []
    demanding = server(one, client_ca=str(authority.file), require_client_certificate=True)
    assert changed_keys(before, configuration(tmp_path, demanding)) == []
    moved = configuration(tmp_path, server(two, port=2762))
    assert changed_keys(before, moved) == ["listen.tls.port"]
    assert changed_keys(before, configuration(tmp_path)) == ["listen.tls"]
    assert changed_keys(configuration(tmp_path), before) == ["listen.tls"]


def test_a_reload_reads_every_file_again_or_changes_nothing(
    tmp_path: Path, authority: Authority
) -> None:
    certificate = authority.issue("node")
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(authority.file.read_bytes())
    modalities = {"X": {"host": "x", "tls": {"ca": str(trusted)}}}
    settings = configuration(tmp_path, server(certificate), modalities=modalities)
    tls = settings.modalities["X"].tls
    assert tls is not None
    node = Node(settings)
    try:
        shown = node._listener._secure
        used = node._outgoing.context(tls, "modalities.X.tls")
        assert node.reconfigure(settings) == []
        assert node._listener._secure is not shown
        renewed = node._outgoing.context(tls, "modalities.X.tls")
        assert renewed is not used
        shown = node._listener._secure
        trusted.write_text("broken")
        with pytest.raises(ConfigurationError, match=r"modalities\.X\.tls\.ca: .*no PEM"):
            node.reconfigure(settings)
        assert node._listener._secure is shown
        assert node._outgoing.context(tls, "modalities.X.tls") is renewed
    finally:
        node.start()
        node.stop(0)


def test_every_fault_is_told_once(tmp_path: Path, authority: Authority) -> None:
    gone = str(tmp_path / "gone.pem")
    modalities = {
        "A": {"host": "x", "tls": {"ca": gone}},
        "B": {"host": "x", "tls": True},  # shows the node's own, which is broken
        "C": {"host": "x"},
    }
    settings = configuration(tmp_path, server(tmp_path / "none.pem"), modalities=modalities)
    with pytest.raises(ConfigurationError) as caught:
        build_security(settings)
    keys = [fault.partition(": ")[0] for fault in caught.value.faults]
    assert keys == ["listen.tls.certificate", "modalities.A.tls.ca"]


def test_remarks_are_on_all_that_is_shown(tmp_path: Path, authority: Authority) -> None:
    expired = authority.expired()
    modalities = {"X": {"host": "x", "tls": {"certificate": str(expired)}}, "Y": {"host": "y"}}
    settings = configuration(tmp_path, server(expired), modalities=modalities)
    keys = [remark.partition(": ")[0] for remark in certificate_remarks(settings)]
    assert keys == ["listen.tls.certificate", "modalities.X.tls.certificate"]


def test_addresses_as_on_the_ready_line() -> None:
    plain, tls = ("127.0.0.1", 104), ("::1", 2762)
    assert addresses_text(Addresses(plain, None)) == "127.0.0.1:104"
    assert addresses_text(Addresses(plain, tls)) == "127.0.0.1:104 tls [::1]:2762"
    assert addresses_text(Addresses(None, tls)) == "tls [::1]:2762"
