"""The node's own door, as a peer finds it."""

import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pacsnode.config.model import Configuration
from pacsnode.dicom.message import Peer
from pacsnode.node.door import describe, look_at
from pacsnode.scu.doctor.steps import Cause, Verdict
from tests.conftest import RunningNode

PEER = Peer("ARCHIVE", "ARCHIVE", "10.0.0.5", 104, "PACSNODE")
EVERYWHERE = {"host": "0.0.0.0", "port": 104}  # nothing is bound


def configured(folder: Path, **sections: Mapping[str, Any]) -> Configuration:
    values = {"data_dir": str(folder / "data"), **sections}
    return Configuration.model_validate(values, context={"folder": folder})


@pytest.mark.parametrize(
    ("host", "seen_as", "told"),
    [
        ("0.0.0.0", "10.0.0.1", "10.0.0.1"),
        ("::", "fd00::1", "fd00::1"),
        ("0.0.0.0", "fd00::1 10.0.0.1", "10.0.0.1"),
        ("0.0.0.0", "fd00::1", "fd00::1"),
        ("0.0.0.0", "", socket.gethostname()),
        ("10.0.0.7", "10.0.0.1", "10.0.0.7"),
        ("pacs.example", "10.0.0.1", "pacs.example"),
        ("127.0.0.1", "127.0.0.1", "127.0.0.1"),
        ("127.0.0.1", "10.0.0.1", "10.0.0.1"),
    ],
)
def test_the_host_that_a_peer_is_told(tmp_path: Path, host: str, seen_as: str, told: str) -> None:
    ours = describe(configured(tmp_path, listen={"host": host, "port": 104}), seen_as.split())
    assert (ours.ae_title, ours.host, ours.port) == ("PACSNODE", told, 104)


def test_the_ports_are_those_of_the_running_node(node: RunningNode) -> None:
    configuration = Configuration.model_validate(
        {"listen": {"port": 0}, "data_dir": "pacsnode-data"}, context={"folder": node.folder}
    )
    assert describe(configuration, ["127.0.0.1"]).port == node.port


def cause(
    configuration: Configuration, address: str = "10.0.0.5", seen_as: str = "10.0.0.1"
) -> Cause | None:
    return look_at(configuration, PEER, address, describe(configuration, [seen_as])).cause


def test_a_node_that_listens_on_loopback_is_reached_by_nobody_else(tmp_path: Path) -> None:
    rows = {"ARCHIVE": {"host": "10.0.0.5"}}
    configuration = configured(tmp_path, listen={"port": 104}, modalities=rows)
    assert cause(configuration) is Cause.OWN_ADDRESS
    assert cause(configured(tmp_path, listen=EVERYWHERE, modalities=rows)) is None


def test_ipv4_alone_is_no_address_for_a_peer_that_comes_over_ipv6(tmp_path: Path) -> None:
    rows = {"ARCHIVE": {"host": "fd00::5"}}
    configuration = configured(tmp_path, listen=EVERYWHERE, modalities=rows)
    assert cause(configuration, "fd00::5", "fd00::1") is Cause.OWN_ADDRESS
    dual = configured(tmp_path, listen={"host": "::", "port": 104}, modalities=rows)
    assert cause(dual, "fd00::5", "fd00::1") is None


def test_a_stranger_may_not_store(tmp_path: Path) -> None:
    assert cause(configured(tmp_path, listen=EVERYWHERE)) is Cause.OWN_RIGHTS
    everybody = {"unknown_callers": "all"}
    assert cause(configured(tmp_path, listen=EVERYWHERE, access=everybody)) is None
    nobody: Mapping[str, Any] = {"unknown_callers": []}
    assert cause(configured(tmp_path, listen=EVERYWHERE, access=nobody)) is Cause.OWN_RIGHTS


def test_a_peer_from_another_host_is_a_stranger_where_hosts_are_checked(tmp_path: Path) -> None:
    rows = {"ARCHIVE": {"host": "10.0.0.5"}}
    strict = configured(tmp_path, listen=EVERYWHERE, modalities=rows, access={"check_host": True})
    assert cause(strict) is None
    assert cause(strict, "10.0.0.6") is Cause.OWN_HOST
    lenient = configured(
        tmp_path,
        listen=EVERYWHERE,
        modalities=rows,
        access={"check_host": True, "unknown_callers": "all"},
    )
    step = look_at(lenient, PEER, "10.0.0.6", describe(lenient, ["10.0.0.1"]))
    assert step.verdict is Verdict.OK
    assert "check_host" in step.text


def test_a_certificate_that_nobody_has_seen_yet_is_not_held_against_it(tmp_path: Path) -> None:
    rows = {"ARCHIVE": {"host": "10.0.0.5", "certificate_subject": "CN=archive"}}
    assert cause(configured(tmp_path, listen=EVERYWHERE, modalities=rows)) is None


def test_a_running_node_that_does_not_answer_at_the_address_told(node: RunningNode) -> None:
    values = {"listen": {"port": node.port}, "access": {"unknown_callers": "all"}}
    configuration = Configuration.model_validate(
        {**values, "data_dir": "pacsnode-data"}, context={"folder": node.folder}
    )
    ours = describe(configuration, ["127.0.0.1"])
    assert look_at(configuration, PEER, "127.0.0.1", ours).cause is None
    elsewhere = ours._replace(host="127.0.0.2")
    assert look_at(configuration, PEER, "127.0.0.1", elsewhere).cause is Cause.OWN_ADDRESS
