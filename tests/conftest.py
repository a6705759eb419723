"""What tests of all rooms use: a node on a free port, DCMTK, tiny datasets, pydicom's own files."""

import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
PATIENCE = 30.0  # seconds until something that does not come is a failure

Completed = subprocess.CompletedProcess[str]


def _environment() -> dict[str, str]:
    """A command's environment: this very code, none of the developer's configuration, and no Nagle
    in DCMTK."""
    left_out = ("PACSNODE_CONFIG", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
    kept = {name: value for name, value in os.environ.items() if name not in left_out}
    return {**kept, "TCP_NODELAY": "1", "PYTHONPATH": str(Path(__file__).parent.parent)}


def run_pacsnode(
    *arguments: object, folder: Path | None = None, stdin: str = "", **environment: str
) -> Completed:
    """`python -m pacsnode …` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "pacsnode", *map(str, arguments)],
        cwd=folder,
        env={**_environment(), **environment},
        input=stdin,
        capture_output=True,
        encoding="utf-8",
        timeout=PATIENCE * 2,
        check=False,
    )


def start_pacsnode(*arguments: object, folder: Path) -> "subprocess.Popen[str]":
    """`python -m pacsnode …`, still running."""
    return subprocess.Popen(
        [sys.executable, "-m", "pacsnode", *map(str, arguments)],
        cwd=folder,
        env=_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )


@dataclass
class RunningNode:
    """A node in a process of its own; its files are in `folder`."""

    folder: Path
    process: subprocess.Popen[str]
    ready_line: str = ""
    ae_title: str = ""
    host: str = ""
    port: int = 0
    tls_port: int = 0

    @property
    def config(self) -> Path:
        return self.folder / "config.yaml"

    @property
    def data_dir(self) -> Path:
        return self.folder / "pacsnode-data"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text("utf-8")

    @property
    def peer(self) -> str:
        """As PEER of a command line."""
        return f"{self.ae_title}@{self.host}:{self.port}"

    def command(self, *arguments: object, **options: Any) -> Completed:
        """A pacsnode command with the node's own configuration."""
        return run_pacsnode("--config", self.config, *arguments, **options)

    def wait_for_log(self, text: str) -> str:
        """The log, once `text` is in it."""
        deadline = time.monotonic() + PATIENCE
        while text not in (log := self.log):
            assert time.monotonic() < deadline, f"{text!r} does not come in:\n{log}"
            time.sleep(0.02)
        return log

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(PATIENCE)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return code

    def _wait_until_ready(self) -> None:
        assert self.process.stdout is not None
        if select.select([self.process.stdout], [], [], PATIENCE)[0]:
            self.ready_line = self.process.stdout.readline().rstrip("\n")
        assert self.ready_line.startswith("ready "), self.log
        _, self.ae_title, *addresses = self.ready_line.split(" ")
        if addresses[0] != "tls":
            self.host, _, port = addresses[0].rpartition(":")
            self.port = int(port)
        if "tls" in addresses:
            self.host, _, port = addresses[-1].rpartition(":")
            self.tls_port = int(port)


@contextmanager
def running_node(
    folder: Path, config: str, *prefix: str, **environment: str
) -> Iterator[RunningNode]:
    """A node with the configuration text `config`, on a free port unless that says otherwise.
    `prefix` goes before its command line (strace …)."""
    if "port:" not in config.split("modalities:")[0]:
        config = f"listen: {{port: 0}}\n{config}"
    (folder / "config.yaml").write_text(config, "utf-8")
    arguments = [*prefix, sys.executable, "-m", "pacsnode", "--config", "config.yaml", "serve"]
    with open(folder / "log", "ab") as log:
        process = subprocess.Popen(
            arguments,
            cwd=folder,
            env={**_environment(), **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            encoding="utf-8",
        )
    node = RunningNode(folder, process)
    try:
        node._wait_until_ready()
        yield node
    finally:
        node.stop(signal.SIGKILL if process.poll() is None and not node.host else signal.SIGTERM)


StartNode = Callable[..., RunningNode]


@pytest.fixture
def start_node(tmp_path: Path) -> Iterator[StartNode]:
    """Starts nodes: `start_node(config_text, folder=…)`; all are stopped at the end."""
    with ExitStack() as stack:

        def start(
            config: str = "access: {unknown_callers: all}\n",
            *prefix: str,
            folder: Path | None = None,
            **environment: str,
        ) -> RunningNode:
            home = folder or tmp_path / "node"
            home.mkdir(parents=True, exist_ok=True)
            return stack.enter_context(running_node(home, config, *prefix, **environment))

        yield start


@pytest.fixture
def node(start_node: StartNode) -> RunningNode:
    """A node that lets everybody do everything."""
    return start_node()


@pytest.fixture
def pacsnode(tmp_path: Path) -> Callable[..., Completed]:
    """Runs a pacsnode command in `tmp_path`, by default without a configuration file."""

    def run(*arguments: object, **options: Any) -> Completed:
        return run_pacsnode(*arguments, **{"folder": tmp_path, **options})

    return run


@dataclass
class Dcmtk:
    """Runs DCMTK's tools; servers are ended with the test."""

    stack: ExitStack
    servers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __call__(self, tool: str, *arguments: object, check: bool = True) -> Completed:
        """A tool to its end. Its standard error, where DCMTK logs, is joined to its output."""
        completed = subprocess.run(
            [_tool(tool), *map(str, arguments)],
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            timeout=PATIENCE * 2,
            check=False,
        )
        assert not check or completed.returncode == 0, completed.stdout
        return completed

    def serve(self, tool: str, *arguments: object, port: int, cwd: Path | None = None) -> None:
        """A server such as storescp, once it takes connections on `port`."""
        process = subprocess.Popen(
            [_tool(tool), *map(str, arguments)],
            cwd=cwd,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.stack.callback(process.wait, PATIENCE)
        self.stack.callback(process.terminate)
        wait_for_port(port)


def _tool(name: str) -> str:
    # Not in this environment: pynetdicom brings tools of the same names.
    own = os.path.realpath(os.path.dirname(sys.executable))
    folders = [folder for folder in os.get_exec_path() if os.path.realpath(folder) != own]
    path = shutil.which(name, path=os.pathsep.join(folders))
    if path is None:
        # Where everything is to be checked, nothing may be skipped.
        outcome = pytest.fail if os.environ.get("CI") else pytest.skip
        outcome(f"DCMTK's {name} is not installed")
    return path


@pytest.fixture
def dcmtk() -> Iterator[Dcmtk]:
    """`dcmtk("storescu", …)`; skipped where DCMTK is absent, a failure where CI is set."""
    _tool("storescu")
    with ExitStack() as stack:
        yield Dcmtk(stack)


def wait_for_port(port: int, host: str = "127.0.0.1") -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection((host, port), 1).close()
        except OSError:
            assert time.monotonic() < deadline, f"nobody listens on port {port}"
            time.sleep(0.02)
        else:
            return


@pytest.fixture
def free_port() -> Callable[[], int]:
    """Ports for servers that cannot choose one themselves."""

    def choose() -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
            return port

    return choose


def new_dataset(**elements: object) -> Dataset:
    """A tiny instance with UIDs of its own; keywords override or add elements."""
    ds = Dataset()
    values = {
        "SOPClassUID": CT_IMAGE_STORAGE,
        "SOPInstanceUID": generate_uid(),
        "StudyInstanceUID": generate_uid(),
        "SeriesInstanceUID": generate_uid(),
        "PatientName": "DOE^JOHN",
        "PatientID": "ID1",
        "StudyDate": "20240131",
        "StudyTime": "101530",
        "AccessionNumber": "A1",
        "Modality": "CT",
        "SeriesNumber": 1,
        "InstanceNumber": 1,
        **elements,
    }
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return ds


def write_dataset(path: Path, ds: Dataset, transfer_syntax: str = ExplicitVRLittleEndian) -> Path:
    """A Part 10 file of `ds`."""
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = UID(transfer_syntax)
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture
def make_dataset() -> Callable[..., Dataset]:
    return new_dataset


@pytest.fixture
def write_file(tmp_path: Path) -> Callable[..., Path]:
    """`write_file("name.dcm", PatientID=…)`: a tiny instance as a file below tmp_path."""

    def write(name: str, **elements: object) -> Path:
        return write_dataset(tmp_path / name, new_dataset(**elements))

    return write


def bundled(folder: str) -> Sequence[Path]:
    """DICOM files that come with pydicom: test_files or charset_files."""
    found = Path(pydicom.__file__).parent / "data" / folder
    return sorted(path for path in found.rglob("*.dcm") if path.is_file())


@pytest.fixture(scope="session")
def bundled_files() -> Sequence[Path]:
    return bundled("test_files")


@pytest.fixture(scope="session")
def character_set_files() -> Sequence[Path]:
    return bundled("charset_files")
