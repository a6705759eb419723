"""Several processes serve associations as if they were one."""

import errno
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest

from pacsnode.config.load import load
from pacsnode.config.model import Configuration
from pacsnode.dicom.message import Channel
from pacsnode.errors import AssociationRejected, ConfigurationError, NetworkError
from pacsnode.node import worker
from pacsnode.node.forking import run
from pacsnode.node.workers import Supervisor
from tests.benchmarks import processes
from tests.conftest import PATIENCE, RunningNode, StartNode, new_dataset, run_pacsnode
from tests.interface.associations import association, instance_of, store

ALL = "access: {unknown_callers: all}\n"


def config(workers: int, **listen: object) -> str:
    more = "".join(f", {key}: {value}" for key, value in listen.items())
    return f"listen: {{port: 0, workers: {workers}{more}}}\n{ALL}"


def workers_of(node: RunningNode) -> list[int]:
    """Process numbers of the supervisor's children that serve."""
    return sorted(processes.forked(node.process.pid))


def wait_until_gone(process: int, seconds: float = PATIENCE) -> None:
    """Return when a process, not a child of ours, has ended."""
    descriptor = None
    try:
        descriptor = os.pidfd_open(process)
    except ProcessLookupError:
        return
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        assert poll.poll(seconds * 1000), f"process {process} does not end in {seconds} s"
    finally:
        os.close(descriptor)


def sockets_of(process: int) -> int:
    """How many sockets a process has open."""
    folder = Path(f"/proc/{process}/fd")
    links = []
    for entry in folder.iterdir():
        try:
            links.append(os.readlink(entry))
        except FileNotFoundError:
            continue
    return sum(link.startswith("socket:") for link in links)


@pytest.fixture
def open_associations() -> Iterator[ExitStack]:
    """Associations entered here are released at the end, unless they have ended before."""
    with ExitStack() as stack:
        yield stack


def is_alive(channel: Channel) -> bool:
    try:
        return store(channel, *instance_of(new_dataset())).status == 0
    except NetworkError:
        return False


def open_several(
    stack: ExitStack, node: RunningNode, count: int, ae_title: str = "TEST"
) -> list[Channel]:
    entered: list[AbstractContextManager[Channel]] = [
        association(node, ae_title=ae_title) for _ in range(count)
    ]
    return [stack.enter_context(each) for each in entered]


def test_the_supervisor_has_one_thread_and_no_database(start_node: StartNode) -> None:
    node = start_node(config(3))
    supervisor = Path(f"/proc/{node.process.pid}")
    assert len(list((supervisor / "task").iterdir())) == 1
    with association(node) as channel:
        assert is_alive(channel)
    opened = [os.readlink(entry) for entry in (supervisor / "fd").iterdir()]
    assert not [path for path in opened if "index.sqlite" in path]
    assert len(workers_of(node)) == 3


def test_connections_are_shared_out_evenly(
    start_node: StartNode, open_associations: ExitStack
) -> None:
    node = start_node(config(3))
    before = [sockets_of(process) for process in workers_of(node)]
    channels = open_several(open_associations, node, 9)
    assert all(map(is_alive, channels))
    after = [sockets_of(process) for process in workers_of(node)]
    assert [now - then for now, then in zip(after, before, strict=True)] == [3, 3, 3]


def test_who_has_become_free_gets_the_next_connections(
    start_node: StartNode, open_associations: ExitStack
) -> None:
    node = start_node(config(2))
    long_lived = open_several(open_associations, node, 2)  # one each
    before = [sockets_of(process) for process in workers_of(node)]
    for _ in range(7):  # an odd number of short ones leaves no trace
        with association(node) as channel:
            assert is_alive(channel)
    node.wait_for_log("[9]")
    more = open_several(open_associations, node, 2)
    assert all(map(is_alive, [*long_lived, *more]))
    after = [sockets_of(process) for process in workers_of(node)]
    assert [now - then for now, then in zip(after, before, strict=True)] == [1, 1]


def test_a_killed_worker_is_replaced_and_the_others_notice_nothing(
    start_node: StartNode, open_associations: ExitStack
) -> None:
    node = start_node(config(2, max_associations=4))
    channels = open_several(open_associations, node, 4)
    killed = workers_of(node)[0]
    os.kill(killed, signal.SIGKILL)
    node.wait_for_log("with SIGKILL, and with it 2 associations: replaced")
    assert sorted(map(is_alive, channels)) == [False, False, True, True]
    deadline = time.monotonic() + PATIENCE
    while node.log.count(" serves as process ") < 3:
        assert time.monotonic() < deadline, node.log
        time.sleep(0.02)
    # Its places can be had again, and both processes serve.
    again = open_several(open_associations, node, 2)
    assert all(map(is_alive, again))
    with pytest.raises(AssociationRejected), association(node):
        pass
    assert len(workers_of(node)) == 2
    assert killed not in workers_of(node)


def test_max_associations_counts_over_all_workers(
    start_node: StartNode, open_associations: ExitStack
) -> None:
    node = start_node(config(3, max_associations=4))
    channels = open_several(open_associations, node, 4)
    for _ in range(3):  # whoever is asked
        with pytest.raises(AssociationRejected, match="for now"), association(node):
            pass
    channels[0].release()
    node.wait_for_log("TEST from 127.0.0.1, called PACSNODE: released")
    with association(node) as channel:
        assert is_alive(channel)


def test_a_modality_s_own_limit_counts_over_all_workers(
    start_node: StartNode, open_associations: ExitStack
) -> None:
    modality = "modalities: {CT1: {host: 127.0.0.1, port: 104, max_associations: 3}}\n"
    node = start_node(config(3) + modality)
    open_several(open_associations, node, 3, "CT1")
    for _ in range(3):
        with pytest.raises(AssociationRejected), association(node, ae_title="CT1"):
            pass
    assert "modalities.CT1.max_associations is 3" in node.log
    with association(node, ae_title="OTHER") as channel:
        assert is_alive(channel)


def test_workers_end_within_a_second_of_their_supervisor(
    start_node: StartNode, open_associations: ExitStack
) -> None:
    node = start_node(config(2))
    channels = open_several(open_associations, node, 2)
    workers = workers_of(node)
    assert len(workers) == 2
    node.process.kill()
    node.process.wait(PATIENCE)
    deadline = time.monotonic() + 1
    for process in workers:
        wait_until_gone(process, max(deadline - time.monotonic(), 0))
    assert not any(map(is_alive, channels))
    again = start_node(config(2))
    with association(again) as channel:
        assert is_alive(channel)


def test_a_stop_ends_all_processes(start_node: StartNode, open_associations: ExitStack) -> None:
    node = start_node(config(3))
    channels = open_several(open_associations, node, 3)
    workers = workers_of(node)
    assert node.stop() == 0
    for process in workers:
        wait_until_gone(process, 1)
    assert not any(map(is_alive, channels))
    assert "Traceback" not in node.log


def test_a_replaced_worker_has_the_configuration_that_was_reloaded(start_node: StartNode) -> None:
    node = start_node(config(2) + "modalities: {}\n")
    node.config.write_text(
        "listen: {port: 0, workers: 2}\naccess: {unknown_callers: []}\n"
        "modalities: {CT1: {host: 127.0.0.1}}\n",
        "utf-8",
    )
    node.process.send_signal(signal.SIGHUP)
    node.wait_for_log("reloaded")
    for process in workers_of(node):
        os.kill(process, signal.SIGKILL)
    for number in (1, 2):
        node.wait_for_log(f"worker {number} (process ")
    for _ in range(4):
        with pytest.raises(AssociationRejected), association(node):
            pass
        with association(node, ae_title="CT1") as channel:
            assert is_alive(channel)


def test_ctrl_c_on_a_terminal_reaches_all_processes_and_stops_the_node_once(
    start_node: StartNode,
) -> None:
    node = start_node(config(2))
    for process in [node.process.pid, *workers_of(node)]:
        os.kill(process, signal.SIGINT)
    assert node.stop() == 0
    assert "replaced" not in node.log
    assert node.log.count("stopping") == 1


def test_what_a_worker_acknowledged_is_there_when_it_was_killed_the_next_moment(
    start_node: StartNode, open_associations: ExitStack
) -> None:
    node = start_node(config(2))
    (channel,) = open_several(open_associations, node, 1)
    acknowledged = 0
    for _ in range(20):
        assert is_alive(channel)
        acknowledged += 1
    for process in workers_of(node):
        os.kill(process, signal.SIGKILL)
    for number in (1, 2):
        node.wait_for_log(f"worker {number} (process ")
    with association(node) as channel:
        assert is_alive(channel)
        acknowledged += 1
    listed = node.command("ls", "-L", "image", "-k", "SOPInstanceUID", "--format", "csv")
    assert listed.stdout.count("\n") == acknowledged + 1
    assert node.command("verify").returncode == 0


def test_one_process_serves_without_a_supervisor(start_node: StartNode) -> None:
    node = start_node(config(1))
    assert workers_of(node) == []
    assert run_pacsnode("echo", node.peer).returncode == 0


def test_a_start_that_fails_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(config(2), "utf-8")
    (tmp_path / "pacsnode-data" / "instances").mkdir(parents=True)
    (tmp_path / "pacsnode-data" / "index.sqlite").write_bytes(b"no database" * 1000)
    done = run_pacsnode("--config", "c.yaml", "serve", folder=tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "reindex" in done.stderr


def test_a_worker_that_cannot_be_forked_is_tried_again_while_the_others_serve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    supervisor = Supervisor(configuration(tmp_path), None)
    supervisor.start()
    try:
        victim, other = supervisor._workers.values()
        with monkeypatch.context() as patch:
            patch.setattr(os, "fork", no_process)
            os.kill(victim.process, signal.SIGKILL)
            supervisor._due[victim.number] = 0
            while "cannot be forked: Resource temporarily unavailable" not in caplog.text:
                supervisor._turn(time.monotonic() + PATIENCE)
            assert list(supervisor._workers.values()) == [other]
            assert supervisor.is_healthy
        while len(supervisor._ready()) < 2:
            supervisor._turn(time.monotonic() + PATIENCE)
    finally:
        supervisor.stop(0)


def test_a_node_that_cannot_fork_its_workers_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervisor = Supervisor(configuration(tmp_path), None)
    monkeypatch.setattr(os, "fork", no_process)
    with pytest.raises(ConfigurationError, match="cannot start"):
        supervisor.start()


def test_connections_wait_while_no_worker_can_take_them(tmp_path: Path) -> None:
    """The one that was in hand when it turned out is all that may be lost."""
    supervisor = Supervisor(configuration(tmp_path), None)
    supervisor.start()
    try:
        for worker in supervisor._workers.values():
            os.kill(worker.process, signal.SIGKILL)
            os.waitid(os.P_PID, worker.process, os.WEXITED | os.WNOWAIT)
        with ExitStack() as stack:
            first, *others = [
                stack.enter_context(socket.create_connection(supervisor.addresses.plain or ()))
                for _ in range(3)
            ]
            supervisor._take()
            assert first.recv(1) == b""
            for client in others:
                client.setblocking(False)
                with pytest.raises(BlockingIOError):
                    client.recv(1)
    finally:
        supervisor.stop(0)


def test_who_gives_no_sign_of_life_gets_no_connection_while_others_do(tmp_path: Path) -> None:
    supervisor = Supervisor(configuration(tmp_path), None)
    supervisor.start()
    stuck, well = supervisor._workers[1], supervisor._workers[2]
    try:
        os.kill(stuck.process, signal.SIGSTOP)
        os.waitid(os.P_PID, stuck.process, os.WSTOPPED | os.WNOWAIT)
        supervisor._shared.board._cells[2 * stuck.number + 1] = 0  # as if stopped long ago
        with ExitStack() as stack:
            for _ in range(4):
                stack.enter_context(socket.create_connection(supervisor.addresses.plain or ()))
                supervisor._take()
            assert (stuck.handed, well.handed) == (0, 4)
    finally:
        os.kill(stuck.process, signal.SIGCONT)
        supervisor.stop(0)


def no_process() -> int:
    raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))


def configuration(folder: Path) -> Configuration:
    path = folder / "c.yaml"
    path.write_text(config(2) + f"data_dir: {folder / 'data'}\n", "utf-8")
    return load(path)


def test_a_process_that_ends_while_nobody_reads_its_log_goes_nowhere_else() -> None:
    """Back in its parent's code it would end the other workers."""

    class Closed:
        def flush(self) -> None:
            raise BrokenPipeError

        write = flush

    process = os.fork()
    if not process:
        try:
            sys.stderr = Closed()  # type: ignore[assignment]
            run(lambda: 3)
        finally:
            os._exit(99)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 3


def test_a_worker_whose_supervisor_is_gone_when_it_is_ready_sees_that_as_any_other_does() -> None:
    """Forked a moment before kill -9 of all processes there were, it was not among them."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        assert not worker._is_hung_up(theirs)
        ours.close()
        worker._tell(theirs, worker.READY)
        assert worker._is_hung_up(theirs)
