"""The group: exit codes, help, what later versions bring."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pacsnode import __version__
from pacsnode.cli import COMMANDS, exit_code
from pacsnode.errors import (
    AssociationLost,
    AssociationRejected,
    ConfigurationError,
    IndexFailure,
    PeerTimeout,
    PeerUnreachable,
    RequestFailed,
    UsageError,
)
from tests.conftest import Completed, RunningNode, start_pacsnode

Pacsnode = Callable[..., Completed]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigurationError("x"), 2),
        (UsageError("x"), 2),
        (PeerUnreachable("x", "tcp"), 3),
        (AssociationRejected("x", 1, 1, 3), 3),
        (PeerTimeout("x", "association"), 3),
        (AssociationLost("x", "message"), 1),
        (RequestFailed("x", 0xA700), 1),
        (IndexFailure("x"), 1),
    ],
)
def test_each_kind_of_failure_has_its_exit_code(error: UsageError, code: int) -> None:
    assert exit_code(error) == code


def test_help_names_every_command_and_loads_nothing_heavy(pacsnode: Pacsnode) -> None:
    done = pacsnode("--help", PYTHONPROFILEIMPORTTIME="1")
    assert done.returncode == 0
    for name in COMMANDS:
        assert f"  {name} " in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    heavy = {"pydicom", "pynetdicom", "pydantic", "peewee", "rich", "numpy", "yaml"}
    assert "click" in imported
    assert not imported & heavy


def test_help_answers_at_once() -> None:
    def seconds() -> float:
        began = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "pacsnode", "--help"], capture_output=True, check=True
        )
        return time.perf_counter() - began

    assert min(seconds() for _ in range(5)) < 0.3


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_explains_itself(pacsnode: Pacsnode, name: str) -> None:
    done = pacsnode(name, "--help")
    assert done.returncode == 0
    assert f"Usage: pacsnode {name}" in done.stdout


def test_the_version(pacsnode: Pacsnode) -> None:
    assert pacsnode("--version").stdout == f"pacsnode {__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("nosuchcommand",),
        ("ls", "--format", "xml"),
        ("ls", "-L", "planet"),
        ("ls", "-k", "NoSuchKeyword=1"),
        ("ls", "--flagged", "-k", "PatientID=1"),
        ("check", "NOBODY"),
        ("check", "--all"),
        ("check", "--format", "json"),
        ("find",),
        ("find", "NOBODY"),
        ("find", "A@127.0.0.1:x"),
        ("find", "A@127.0.0.1:1", "-L", "patient", "--root", "study"),
        ("find", "A@127.0.0.1:1", "--aet", "SEVENTEEN LETTERS"),
        ("move", "A@127.0.0.1:1", "-k", "PatientID=1"),
        ("move", "A@127.0.0.1:1", "--to", "B", "-k", "PatientID"),
        ("get", "A@127.0.0.1:1", "-k", "PatientID=1"),
        ("get", "A@127.0.0.1:1", "-o", "x", "-k", "PatientID=*"),
        ("send", "A@127.0.0.1:1"),
        ("send", "A@127.0.0.1:1", "file", "--study", "1.2"),
        ("import",),
        ("delete",),
        ("delete", "-k", "PatientName"),
        ("--config", "nosuchfile", "check"),
    ],
)
def test_wrong_use_is_exit_code_2_without_a_traceback(
    pacsnode: Pacsnode, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    (tmp_path / "pacsnode-data").mkdir()
    done = pacsnode(*arguments)
    assert done.returncode == 2, done.stderr
    assert done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("peer", "step"),
    [("A@127.0.0.1:{closed}", "failed at TCP"), ("A@nosuchhost.invalid:104", "failed at name")],
)
def test_a_peer_that_cannot_be_reached_is_exit_code_3(
    pacsnode: Pacsnode, free_port: Callable[[], int], peer: str, step: str
) -> None:
    done = pacsnode("echo", peer.format(closed=free_port()))
    assert done.returncode == 3
    assert step in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_command_exits_130(tmp_path: Path, number: int) -> None:
    # A FIFO as configuration file: the command waits for it until it is interrupted.
    os.mkfifo(tmp_path / "config.yaml")
    process = start_pacsnode("check", folder=tmp_path)
    with open(tmp_path / "config.yaml", "w", encoding="utf-8"):  # opens when the reader has
        process.send_signal(number)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert errors.strip() == "interrupted"


def test_a_configuration_file_that_is_not_there_is_named(
    tmp_path: Path, pacsnode: Pacsnode
) -> None:
    for done in (
        pacsnode("--config", "none.yaml", "check"),
        pacsnode("check", PACSNODE_CONFIG="none.yaml"),
        pacsnode("--config", ".", "check"),
    ):
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1
        assert "PACSNODE_CONFIG" in done.stderr


def test_where_the_configuration_is_looked_for(tmp_path: Path, pacsnode: Pacsnode) -> None:
    for name in ("named", "variable", "config"):
        (tmp_path / f"{name}.yaml").write_text(f"ae_title: {name}\n", "utf-8")
    variable = {"PACSNODE_CONFIG": "variable.yaml"}
    assert "AE title: named" in pacsnode("--config", "named.yaml", "check", **variable).stdout
    assert "AE title: variable" in pacsnode("check", **variable).stdout
    assert "AE title: config" in pacsnode("check").stdout


def test_a_reader_that_has_enough_is_no_reason_to_complain(
    node: RunningNode, tmp_path: Path
) -> None:
    arguments = ("--config", node.config, "ls", "--format", "csv")
    with start_pacsnode(*arguments, folder=tmp_path) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
