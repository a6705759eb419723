"""`pacsnode status`: how the running node is, and what is wrong with it."""

import json
import os
import resource
import select
import shutil
import signal
import socket
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from pacsnode.errors import NodeUnavailable
from pacsnode.node.status import NAME, StatusSocket, ask
from tests.conftest import PATIENCE, RunningNode, StartNode, new_dataset
from tests.interface.associations import association, instance_of, store

ALL = "access: {unknown_callers: all}\n"


def config(workers: int, more: str = "") -> str:
    return f"listen: {{port: 0, workers: {workers}}}\n{ALL}{more}"


def status_of(node: RunningNode) -> tuple[int, dict[str, Any]]:
    done = node.command("status", "--format", "json")
    return done.returncode, json.loads(done.stdout)


def wait_for_state(node: RunningNode, state: str) -> dict[str, Any]:
    """Asks until the node says so."""
    deadline = time.monotonic() + PATIENCE
    while True:
        status = dict(ask(node.data_dir))
        if status["state"] == state:
            return status
        assert time.monotonic() < deadline, status
        select.select([], [], [], 0.05)


@pytest.fixture(params=[1, 2], ids=["alone", "workers"])
def workers(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def test_a_node_that_is_well_says_so(start_node: StartNode, workers: int) -> None:
    node = start_node(config(workers))
    with association(node):
        code, status = status_of(node)
    assert (code, status["state"], status["troubles"]) == (0, "ready", [])
    assert status["process"] == node.process.pid
    assert status["address"] == f"127.0.0.1:{node.port}"
    assert status["associations"] == 1
    (caller,) = status["callers"]
    assert caller == {"ae_title": "TEST", "host": "127.0.0.1", "name": None, "associations": 1}
    assert status["last_errors"] == status["last_warnings"] == []
    assert len(status["workers"]) == (workers if workers > 1 else 0)
    assert sum(worker["connections"] for worker in status["workers"]) == (workers > 1)
    assert status["free_bytes"] > status["min_free"]


def test_the_table_is_for_people(start_node: StartNode) -> None:
    node = start_node(config(2))
    with association(node):
        done = node.command("status")
    assert done.returncode == 0
    assert done.stderr == ""
    assert "TEST from 127.0.0.1 (unknown): 1" in done.stdout
    lines = done.stdout.splitlines()
    assert lines[1].split() == ["state", "ready"]
    assert f"PACSNODE at 127.0.0.1:{node.port}" in lines[2]
    assert sum(line.startswith("worker ") for line in lines) == 2


def test_too_little_space_is_degraded_and_named(start_node: StartNode, workers: int) -> None:
    node = start_node(config(workers, "storage: {min_free: 1000TiB}\n"))
    status = wait_for_state(node, "degraded")
    (trouble,) = status["troubles"]
    assert trouble.startswith("full: ")
    assert "C-STORE is refused (A700)" in trouble
    code, _ = status_of(node)
    assert code == 1
    node.wait_for_log("degraded; full: ")


def test_an_instance_that_could_not_be_stored_is_told_until_one_was(
    start_node: StartNode, workers: int
) -> None:
    node = start_node(config(workers))
    dataset = new_dataset()
    incoming = node.data_dir / "instances" / ".incoming"
    with association(node) as channel:
        aside = incoming.rename(node.data_dir / "aside")
        incoming.write_text("no folder")
        assert store(channel, *instance_of(dataset)).status == 0xA700
        status = wait_for_state(node, "degraded")
        assert "the last instance could not be stored: " in " ".join(status["troubles"])
        incoming.unlink()
        aside.rename(incoming)
        assert store(channel, *instance_of(dataset)).status == 0
        assert wait_for_state(node, "ready")["troubles"] == []


def test_a_worker_that_dies_is_among_the_last_errors(start_node: StartNode) -> None:
    node = start_node(config(2))
    victim = ask(node.data_dir)["workers"][0]["process"]
    os.kill(victim, signal.SIGKILL)
    node.wait_for_log("ended with SIGKILL")
    status = wait_for_state(node, "ready")
    assert f"process {victim}" in status["last_errors"][0]["text"]
    assert victim not in [worker["process"] for worker in status["workers"]]


def test_without_a_node_it_says_so(node: RunningNode) -> None:
    assert node.stop() == 0
    assert not (node.data_dir / NAME).exists()
    done = node.command("status")
    assert done.returncode == 1
    assert done.stderr == f"no node runs on {node.data_dir}\n"
    code, status = status_of(node)
    assert (code, status["state"]) == (1, "unavailable")


def test_what_a_killed_node_left_behind_is_in_nobodys_way(
    start_node: StartNode, tmp_path: Path
) -> None:
    node = start_node(config(1))
    node.process.kill()
    node.process.wait()
    assert (node.data_dir / NAME).is_socket()
    with pytest.raises(NodeUnavailable, match="no node runs on"):
        ask(node.data_dir)
    again = start_node(config(1))
    assert again.data_dir == node.data_dir
    assert ask(again.data_dir)["state"] == "ready"


def test_a_node_that_is_stuck_does_not_answer(
    start_node: StartNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pacsnode.node.status.PATIENCE", 0.2)
    node = start_node(config(1))
    os.kill(node.process.pid, signal.SIGSTOP)
    try:
        with pytest.raises(NodeUnavailable, match=f"process {node.process.pid}.* not answered"):
            ask(node.data_dir)
    finally:
        os.kill(node.process.pid, signal.SIGCONT)
    assert ask(node.data_dir)["state"] == "ready"


def test_only_the_nodes_own_user_may_ask(start_node: StartNode) -> None:
    node = start_node(config(1))
    assert (node.data_dir / NAME).stat().st_mode & 0o777 == 0o600


def test_a_folder_with_a_long_path_has_a_socket_too(start_node: StartNode, tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 50)
    node = start_node(config(1, f"data_dir: {folder}\n"))
    assert ask(folder)["process"] == node.process.pid


def test_whoever_asks_and_leaves_disturbs_nobody(start_node: StartNode, workers: int) -> None:
    node = start_node(config(workers))
    for _ in range(50):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(node.data_dir / NAME))
    assert ask(node.data_dir)["state"] == "ready"


def test_connections_that_wait_for_descriptors_are_a_trouble(start_node: StartNode) -> None:
    few = (
        "import os, resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (60, 60)); "
        "os.execv(sys.argv[1], sys.argv[1:])"
    )
    node = start_node(config(1), sys.executable, "-c", few)
    with ExitStack() as stack:
        for _ in range(60):
            stack.enter_context(socket.create_connection((node.host, node.port), PATIENCE))
        assert (
            "connections wait: Too many open files" in wait_for_state(node, "degraded")["troubles"]
        )
    assert wait_for_state(node, "ready")["troubles"] == []


def test_whoever_asks_why_there_are_no_descriptors_left_is_answered(tmp_path: Path) -> None:
    status = StatusSocket(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ExitStack() as stack:
        stack.callback(status.close)
        asking = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(2)]
        for client in asking:
            client.settimeout(PATIENCE)
            client.connect(str(tmp_path / NAME))
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))), hard)
        )
        with suppress(OSError):
            while True:
                stack.callback(os.close, os.dup(0))
        for client in asking:
            status.answer({"state": "degraded"})
            assert json.loads(client.recv(1000)) == {"state": "degraded"}


def test_a_data_folder_that_vanishes_is_told(start_node: StartNode) -> None:
    node = start_node(config(2))
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(node.data_dir / NAME))  # the name goes with the folder
        shutil.rmtree(node.data_dir)
    node.wait_for_log("degraded; the data folder cannot be read: ")
    assert node.process.poll() is None


def test_a_probe_that_connects_and_leaves_is_logged_nowhere(
    start_node: StartNode, workers: int
) -> None:
    node = start_node(config(workers))
    before = node.log
    for _ in range(20):
        socket.create_connection(("127.0.0.1", node.port)).close()
    with association(node):
        pass
    assert "released" in node.wait_for_log("released")
    new = node.log.removeprefix(before).splitlines()
    assert len(new) == 1, new
