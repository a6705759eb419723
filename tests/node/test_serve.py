import io
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pacsnode.node.serve import _tell_change
from tests.conftest import RunningNode, StartNode, new_dataset, run_pacsnode
from tests.interface.associations import association, instance_of, store_file

ALL = "access: {unknown_callers: all}\n"


def test_the_ready_line_is_all_that_goes_to_standard_output(node: RunningNode) -> None:
    assert node.ready_line == f"ready PACSNODE 127.0.0.1:{node.port}"
    assert node.process.stdout is not None
    node.process.send_signal(signal.SIGTERM)
    assert node.process.stdout.read() == ""


def test_an_ipv6_address_stands_in_brackets(start_node: StartNode) -> None:
    node = start_node(f"listen: {{host: '::1', port: 0}}\n{ALL}")
    assert node.ready_line == f"ready PACSNODE [::1]:{node.port}"
    assert run_pacsnode("echo", node.peer).returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_on_a_signal_and_exits_0(node: RunningNode, number: int) -> None:
    assert node.stop(number) == 0
    assert "Traceback" not in node.log


def test_a_second_signal_changes_nothing(node: RunningNode) -> None:
    node.process.send_signal(signal.SIGINT)
    node.process.send_signal(signal.SIGINT)
    assert node.stop() == 0
    assert "Traceback" not in node.log


def test_a_stop_with_an_association_open_does_not_wait_for_it(node: RunningNode) -> None:
    with socket.create_connection((node.host, node.port)):
        assert node.stop() == 0


def test_sighup_takes_over_access_for_new_associations(start_node: StartNode) -> None:
    node = start_node("access: {unknown_callers: []}\n")
    assert run_pacsnode("echo", node.peer).returncode == 3
    node.config.write_text("listen: {port: 0}\naccess: {unknown_callers: [echo]}\n", "utf-8")
    node.process.send_signal(signal.SIGHUP)
    node.wait_for_log("reloaded")
    assert run_pacsnode("echo", node.peer).returncode == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_sighup_survives_a_new_port_for_tls_whose_files_are_not_there(
    start_node: StartNode, workers: int
) -> None:
    """That takes a restart, so the running node has no use for them."""
    node = start_node(f"listen: {{port: 0, workers: {workers}}}\n{ALL}")
    tls = "{port: 0, certificate: gone.pem, require_client_certificate: false}"
    listen = f"listen: {{port: 0, workers: {workers}, tls: {tls}}}\n"
    node.config.write_text(listen + ALL, "utf-8")
    node.process.send_signal(signal.SIGHUP)
    node.wait_for_log("only a restart takes it over: listen.tls")
    assert run_pacsnode("echo", node.peer).returncode == 0


def test_whoever_starts_it_may_leave_its_children_to_the_system(start_node: StartNode) -> None:
    """A parent that ignores SIGCHLD hands that on, and with it workers that nobody can wait for."""
    ignoring = (
        "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); "
        "os.execv(sys.argv[1], sys.argv[1:])"
    )
    node = start_node(f"listen: {{port: 0, workers: 2}}\n{ALL}", sys.executable, "-c", ignoring)
    assert run_pacsnode("echo", node.peer).returncode == 0
    assert node.stop() == 0
    assert "Traceback" not in node.log


def test_each_change_of_what_is_wrong_is_told_once_and_no_change_of_its_figures(
    caplog: pytest.LogCaptureFixture,
) -> None:
    told: list[str] = []
    troubles: list[str] = []
    for now in (
        ["nearly full: 1,200 bytes are free"],
        ["nearly full: 1,100 bytes are free"],
        ["1 of 2 workers serve"],
        ["1 of 2 workers serve", "full: 3 bytes are free"],
        [],
        [],
    ):
        troubles = _tell_change(troubles, now, told.append)
    assert [line.removeprefix("STATUS=") for line in told] == [
        "degraded; nearly full: 1,200 bytes are free",
        "degraded; 1 of 2 workers serve",
        "degraded; 1 of 2 workers serve; full: 3 bytes are free",
        "ready",
    ]


def test_a_broken_file_is_logged_and_the_running_configuration_stays(node: RunningNode) -> None:
    node.config.write_text("access: {unknown_callers: nobody}\nlisten: [", "utf-8")
    node.process.send_signal(signal.SIGHUP)
    assert "config.yaml:" in node.wait_for_log("not reloaded")
    assert run_pacsnode("echo", node.peer).returncode == 0


def test_keys_that_take_a_restart_are_named(node: RunningNode) -> None:
    node.config.write_text(f"{ALL}listen: {{port: 0, max_pdu: 0}}\nae_title: NEW\n", "utf-8")
    node.process.send_signal(signal.SIGHUP)
    log = node.wait_for_log("only a restart")
    assert "ae_title, listen.max_pdu" in log
    assert run_pacsnode("echo", node.peer).returncode == 0


def test_a_taken_port_is_one_line_and_exit_code_2(node: RunningNode, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(f"listen: {{port: {node.port}}}\n", "utf-8")
    done = run_pacsnode("--config", "c.yaml", "serve", folder=tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert str(node.port) in done.stderr
    assert done.stdout == ""


def test_a_locked_data_folder_is_one_line_and_exit_code_2(node: RunningNode) -> None:
    done = node.command("serve")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert str(node.process.pid) in done.stderr


def test_a_data_folder_that_cannot_be_made_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "c.yaml").write_text("listen: {port: 0}\ndata_dir: file/data\n", "utf-8")
    done = run_pacsnode("--config", "c.yaml", "serve", folder=tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "data_dir" in done.stderr


def test_without_a_file_it_says_on_standard_error_how_open_it_is(
    tmp_path: Path, node: RunningNode
) -> None:
    (tmp_path / "pacsnode-data").touch()  # so that it ends
    done = run_pacsnode("serve", folder=tmp_path)
    assert done.returncode == 2
    assert "every caller may do everything" in done.stderr


def test_systemd_is_told_of_readiness_life_and_stop(start_node: StartNode, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        path = tmp_path / "notify"
        manager.bind(str(path))
        manager.settimeout(20)
        node = start_node(ALL, NOTIFY_SOCKET=str(path), WATCHDOG_USEC="200000")
        assert manager.recv(100) == b"READY=1"
        assert manager.recv(100) == b"WATCHDOG=1"
        node.process.send_signal(signal.SIGHUP)
        while (state := manager.recv(100)) == b"WATCHDOG=1":
            continue
        assert state.startswith(b"RELOADING=1\nMONOTONIC_USEC=")
        assert manager.recv(100) == b"READY=1"
        node.process.send_signal(signal.SIGTERM)
        while (state := manager.recv(100)) == b"WATCHDOG=1":
            continue
        assert state == b"STOPPING=1"
        assert node.stop() == 0


def test_the_watchdog_of_another_process_is_not_answered(
    start_node: StartNode, tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)
        environment = {"WATCHDOG_USEC": "20000", "WATCHDOG_PID": str(os.getpid())}
        node = start_node(ALL, NOTIFY_SOCKET=str(tmp_path / "notify"), **environment)
        assert manager.recv(100) == b"READY=1"
        run_pacsnode("echo", node.peer)
        node.process.send_signal(signal.SIGTERM)
        assert manager.recv(100) == b"STOPPING=1"


def test_a_store_under_way_when_it_is_told_to_stop_is_finished(node: RunningNode) -> None:
    ds = new_dataset()
    ds.add_new(0x7FE00010, "OW", bytes(8 << 20))
    instance = instance_of(ds)

    class Stopping(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() > 4 << 20 and "stopping" not in node.log:
                node.process.send_signal(signal.SIGTERM)
                node.wait_for_log("stopping")
            return super().read(size)

    with association(node) as channel:
        answer = store_file(channel, instance.uid, Stopping(instance.data), len(instance.data))
        assert answer.status == 0
    assert node.stop() == 0
    assert "stopping" in node.log
    assert node.command("ls", "-k", "PatientID", "--format", "csv").stdout.count("\n") == 2
    assert node.command("verify").returncode == 0


def test_sighup_takes_over_the_character_sets_of_modalities(
    start_node: StartNode, write_file: Callable[..., Path]
) -> None:
    node = start_node(ALL)
    path = write_file("a.dcm", ImageComments="GREEK")
    raw = path.read_bytes().replace(b"GREEK ", b"\xc3\xc4\xc5\xc6\xc7 ")
    assert raw != path.read_bytes()
    path.write_bytes(raw)
    node.config.write_text(
        "listen: {port: 0}\nmodalities:\n"
        "  PACSNODE: {host: 127.0.0.1, character_set: ISO_IR 126}\n",
        "utf-8",
    )
    node.process.send_signal(signal.SIGHUP)
    node.wait_for_log("reloaded")
    assert node.command("send", node.peer, path).returncode == 0
    # This attribute is in no column: it is read from the file, by the archive.
    done = node.command("find", node.peer, "-L", "image", "-k", "ImageComments", "--format", "csv")
    assert "ΓΔΕΖΗ" in done.stdout
