"""Processes that are started, measured and ended: CPU time and memory of whole trees."""

import contextlib
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks.errors import Fault

PATIENCE = 30.0  # seconds for a process to end by itself
CLIENT_PATIENCE = 1800.0
TICKS = os.sysconf("SC_CLK_TCK")


@contextmanager
def started(
    command: Sequence[str], folder: Path, environment: Mapping[str, str], *, output: int
) -> Iterator["subprocess.Popen[str]"]:
    """A server in a session of its own, where no Ctrl-C reaches it; with all that it has started
    it is ended after the `with`. What it says is in folder/log; `output`: its standard output."""
    with ExitStack() as stack:
        log = stack.enter_context(open(folder / "log", "a", encoding="utf-8"))
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output if output == subprocess.PIPE else log,
            stderr=log,
            encoding="utf-8",
            start_new_session=True,
        )
        try:
            yield process
        finally:
            _end(process)


def _end(process: "subprocess.Popen[str]") -> None:
    process.terminate()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()
    # What it left in its session: dcmqrscp's child of an association.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def filesystem(folder: Path) -> str:
    """The kind of the file system that `folder` is in, such as ext4."""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text("utf-8").splitlines()]
    real = folder.resolve()
    around = [(point, kind) for point, kind in mounts if real.is_relative_to(point)]
    # The deepest; of two on one another the later.
    return sorted(around, key=lambda each: len(each[0]))[-1][1]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def run_side_by_side(
    commands: Sequence[Sequence[str]], environment: Mapping[str, str]
) -> list[str]:
    """Clients at the same time, each to its end; what they said. Raises Fault where one fails."""
    with ExitStack() as stack:
        clients = []
        for command in commands:
            client = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                errors="replace",
            )
            stack.callback(client.communicate)
            stack.callback(client.kill)
            clients.append(client)
        try:
            outputs = [client.communicate(timeout=CLIENT_PATIENCE)[0] for client in clients]
        except subprocess.TimeoutExpired as error:
            raise Fault(f"a client does not end: {error}") from error
    for client, command, output in zip(clients, commands, outputs, strict=True):
        if client.returncode != 0:
            last = " / ".join(output.strip().splitlines()[-3:])
            raise Fault(f"{Path(command[0]).name} ended with {client.returncode}: {last}")
    return outputs


@contextmanager
def workers(jobs: Sequence[Callable[[], None]]) -> Iterator[Callable[[], None]]:
    """A process for each job, all waiting; what is yielded lets them go and waits for their end."""
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(len(jobs) + 1)

    def work(job: Callable[[], None]) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is ended below
        barrier.wait(PATIENCE)
        try:
            job()
        except (Fault, OSError) as error:
            sys.exit(str(error) or repr(error))

    def go() -> None:
        try:
            barrier.wait(PATIENCE)
        except threading.BrokenBarrierError as error:
            raise Fault("a client did not start") from error
        for process in processes:
            process.join(CLIENT_PATIENCE)
        if codes := [process.exitcode for process in processes if process.exitcode != 0]:
            raise Fault(f"{len(codes)} of {len(jobs)} clients failed, see above")

    processes = [context.Process(target=work, args=(job,)) for job in jobs]
    try:
        for process in processes:
            process.start()
        yield go
    finally:
        for process in processes:
            if process.pid is not None:
                process.kill()
                process.join()


@dataclass
class Stopwatch:
    """Seconds by the clock, and of CPU in the tree below a process."""

    seconds: float = 0.0
    cpu: float = 0.0


@contextmanager
def measured(pid: int) -> Iterator[Stopwatch]:
    """Measures what is done in its `with`."""
    os.sync()  # what others have left to be written is not this one's burden
    watch = Stopwatch()
    cpu = cpu_of_tree(pid)
    begun = time.perf_counter()
    yield watch
    watch.seconds = time.perf_counter() - begun
    watch.cpu = cpu_of_tree(pid) - cpu


def tree(pid: int) -> list[int]:
    """`pid` and all below it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [pid]
    for each in found:
        found += children.get(each, [])
    return found


def forked(pid: int) -> list[int]:
    """Those below `pid` that live and run its own program: of a node its workers."""
    return [
        each
        for each in tree(pid)[1:]
        if not is_zombie(each) and program_of(each) == program_of(pid)
    ]


def program_of(pid: int) -> bytes:
    """Its command line; empty where it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def cpu_of_tree(pid: int) -> float:
    """Seconds, those of children that have ended and been waited for included."""
    counted = (_stat(each) for each in tree(pid))
    return sum(sum(map(int, fields[11:15])) for fields in counted if fields) / TICKS


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on; none where it has ended."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text("utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return []
    return text.rpartition(") ")[2].split()


def is_zombie(pid: int) -> bool:
    """Whether it has ended, and nobody has asked how."""
    return _stat(pid)[:1] in ([], ["Z"])


def pss_of_tree(pid: int) -> int:
    """Bytes: each page divided by those who share it."""
    return sum(_kilobytes(each, "smaps_rollup", "Pss:") for each in tree(pid)) * 1024


def high_water_of_tree(pid: int) -> int:
    """Bytes: the most that each process has had resident."""
    return sum(_kilobytes(each, "status", "VmHWM:") for each in tree(pid)) * 1024


def _kilobytes(pid: int, file: str, name: str) -> int:
    """A line of a file in /proc/PID; nothing where that has ended."""
    try:
        lines = Path(f"/proc/{pid}/{file}").read_text("utf-8").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(name)), 0)


class Held(NamedTuple):
    """What a tree of processes holds. `pss` is in bytes; `sockets` are of its descriptors."""

    processes: int
    pss: int
    threads: int
    descriptors: int
    sockets: int


def codecs_of(pid: int) -> list[int]:
    """Of a node's tree of processes the pool of codecs and what it has forked."""
    return [each for each in tree(pid) if b"codec_pool" in program_of(each)]


def held_by_tree(pid: int) -> Held:
    """Of `pid` and all below it, at this moment. Codecs come and go as they are needed: of them
    the memory counts alone."""
    all_pids, codecs = tree(pid), set(codecs_of(pid))
    pids = [each for each in all_pids if each not in codecs]
    opened = [link for each in pids for link in _opened(each)]
    return Held(
        processes=len(pids),
        pss=sum(_kilobytes(each, "smaps_rollup", "Pss:") for each in all_pids) * 1024,
        threads=sum(_threads(each) for each in pids),
        descriptors=len(opened),
        sockets=sum(link.startswith("socket:") for link in opened),
    )


def _threads(pid: int) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/task"))
    except (FileNotFoundError, ProcessLookupError):
        return 0


def _opened(pid: int) -> Iterator[str]:
    """What each descriptor stands for."""
    try:
        descriptors = os.listdir(f"/proc/{pid}/fd")
    except (FileNotFoundError, ProcessLookupError):
        return
    for descriptor in descriptors:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # closed meanwhile
            yield os.readlink(f"/proc/{pid}/fd/{descriptor}")


@dataclass
class Peak:
    """The most that samples have seen of a tree, in bytes. `resident` misses nothing between two
    samples, but counts pages that processes share for each of them."""

    pss: int = 0
    resident: int = 0

    def sample(self, pid: int) -> None:
        self.pss = max(self.pss, pss_of_tree(pid))
        self.resident = max(self.resident, high_water_of_tree(pid))


@contextmanager
def sampled(pid: int) -> Iterator[Peak]:
    """Samples the memory of a tree until the end of its `with`."""
    peak = Peak()
    over = threading.Event()

    def sample() -> None:
        peak.sample(pid)
        while not over.wait(0.01):
            peak.sample(pid)

    sampler = threading.Thread(target=sample)
    sampler.start()
    try:
        yield peak
    finally:
        over.set()
        sampler.join()
