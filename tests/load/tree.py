"""The node as what the operating system sees: a supervisor and its workers, to be killed."""

import contextlib
import json
import os
import random
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from tests.benchmarks import processes
from tests.benchmarks.peers import environment

PATIENCE = 30.0  # seconds
AE_TITLE = "PACSNODE"
HOST = "127.0.0.1"


class Tree:
    """A node with two workers in `folder`, at the same port after each start; what it says is in
    folder/log. `sections` are those of its configuration, less listen."""

    def __init__(self, folder: Path, **sections: Mapping[str, object]) -> None:
        self.address = (HOST, processes.free_port())
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.data_dir = folder / "pacsnode-data"
        self.configure(**sections)

    def configure(self, **sections: Mapping[str, object]) -> None:
        """Write the configuration, which a start or a reload takes over."""
        config = {"listen": {"port": self.address[1], "workers": 2}, **sections}
        # JSON is YAML.
        (self._folder / "config.yaml").write_text(json.dumps(config), "utf-8")

    def command(self, *arguments: str) -> list[str]:
        """A pacsnode command with the node's configuration."""
        config = str(self._folder / "config.yaml")
        return [sys.executable, "-m", "pacsnode", "--config", config, *arguments]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A pacsnode command to its end."""
        return subprocess.run(
            self.command(*arguments),
            env=environment("nodelay"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            timeout=PATIENCE * 4,
            check=False,
        )

    def start(self) -> None:
        """Without waiting for anything."""
        with open(self._folder / "log", "ab") as log:
            self._process = subprocess.Popen(
                self.command("serve"),
                env=environment("nodelay"),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )

    def wait_until_ready(self) -> None:
        """The ready line is all that anybody waits for: no other step is needed."""
        process = self._running()
        assert process.stdout is not None
        said = b""
        if select.select([process.stdout], [], [], PATIENCE)[0]:
            said = process.stdout.readline()
        assert said.startswith(b"ready "), f"{said!r}\n{self.log_tail()}"

    @property
    def pid(self) -> int:
        """Of the supervisor."""
        return self._running().pid

    def workers(self) -> list[int]:
        """The process numbers of those that live."""
        return processes.forked(self._running().pid)

    def kill_worker(self, chance: random.Random) -> None:
        """One of them; its supervisor is expected to put another in its place."""
        os.kill(chance.choice(self.workers()), signal.SIGKILL)

    def wait_for_workers(self, starts: int) -> None:
        """Until so many workers have begun to serve since the log began."""
        deadline = time.monotonic() + PATIENCE
        while self.starts_of_workers() < starts:
            assert time.monotonic() < deadline, self.log_tail()
            time.sleep(0.01)

    def starts_of_workers(self) -> int:
        return (self._folder / "log").read_bytes().count(b" serves as process ")

    def kill(self, chance: random.Random, *, supervisor_alone: bool = False) -> None:
        """Of all processes, in any order; or of the supervisor, whose workers end by themselves.
        Returns when all have ended."""
        process = self._running()
        pids = [process.pid] if supervisor_alone else processes.tree(process.pid)
        chance.shuffle(pids)
        with contextlib.ExitStack() as stack:
            watched = [_watch(pid, stack) for pid in processes.tree(process.pid)]
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._reap()
            for descriptor in filter(None, watched):
                ended = select.select([descriptor], [], [], PATIENCE)[0]
                assert ended, "a worker lives on without its supervisor"

    def stop(self) -> int:
        """As a service manager does; the exit code."""
        process = self._running()
        process.terminate()
        code = process.wait(PATIENCE)
        self._reap()
        return code

    def reload(self) -> None:
        self._running().send_signal(signal.SIGHUP)

    def close(self) -> None:
        """Whatever is left of it."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._reap()

    def log_tail(self) -> str:
        return (self._folder / "log").read_text("utf-8", "replace")[-3000:]

    def warnings(self) -> list[str]:
        """Lines of the log that say that something is wrong."""
        lines = (self._folder / "log").read_text("utf-8", "replace").splitlines()
        return [line for line in lines if " WARNING " in line or " ERROR " in line]

    def traceback(self) -> str:
        """The last one in the log; nothing where there is none."""
        log = (self._folder / "log").read_text("utf-8", "replace")
        _, found, rest = log.rpartition("Traceback (")
        return found + rest[:4000] if found else ""

    def _running(self) -> "subprocess.Popen[bytes]":
        assert self._process is not None, "not started"
        return self._process

    def _reap(self) -> None:
        process = self._running()
        process.wait(PATIENCE)
        if process.stdout is not None:
            process.stdout.close()
        self._process = None


def _watch(pid: int, stack: contextlib.ExitStack) -> int | None:
    """A descriptor that is readable when the process has ended; None where it has already."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    stack.callback(os.close, descriptor)
    return descriptor
