"""The servers that are compared: each with its configuration, in a folder of its own, on a free
port of loopback, with maximum PDUs of 128 KiB.

Before it answers a C-STORE, pacsnode syncs the file, its folder and the index; Orthanc the file
alone (its SQLite runs with synchronous=NORMAL, which syncs no commit); dcmqrscp nothing.
"""

import json
import os
import select
import shutil
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks import association, processes
from tests.benchmarks.errors import Fault

ROOT = Path(__file__).parent.parent.parent
PATIENCE = 30.0  # seconds until a server is ready
MAX_PDU = 131072
DESTINATION = "STORESCP"

# By setting: what DCMTK, and with it Orthanc, reads in the environment of client and server.
SETTINGS: Mapping[str, Mapping[str, str]] = {"stock": {}, "nodelay": {"TCP_NODELAY": "1"}}


def environment(setting: str) -> dict[str, str]:
    """Nothing of the caller's own configuration."""
    left_out = ("TCP_NODELAY", "PACSNODE_CONFIG", "NOTIFY_SOCKET", "WATCHDOG_USEC")
    kept = {name: value for name, value in os.environ.items() if name not in left_out}
    return {**kept, "PYTHONPATH": str(ROOT), **SETTINGS[setting]}


def installed(tool: str) -> str | None:
    """Where DCMTK's `tool` or Orthanc is; not in this Python's environment, where pynetdicom
    brings tools of the same names."""
    own = os.path.realpath(Path(sys.executable).parent)
    folders = [folder for folder in os.get_exec_path() if os.path.realpath(folder) != own]
    return shutil.which(tool, path=os.pathsep.join([*folders, "/usr/sbin"]))


@dataclass(frozen=True)
class Node:
    """A peer that runs."""

    ae_title: str
    port: int
    destination_port: int
    folder: Path
    setting: str
    most_studies: int  # that it can hold
    pid: int
    ready_after: float  # seconds from its start

    @property
    def nodelay(self) -> bool:
        return self.setting == "nodelay"


class Peer(ABC):
    """One of those that are compared."""

    name: str
    ae_title: str
    most_studies = sys.maxsize
    output = subprocess.DEVNULL  # its log, unless a pipe

    @property
    def missing(self) -> str | None:
        """What is not installed."""
        return None

    @abstractmethod
    def configured(self, folder: Path, port: int, destination_port: int) -> list[str]:
        """Its command line, after writing its configuration to `folder`."""

    def wait_until_ready(self, process: "subprocess.Popen[str]", port: int) -> None:
        deadline = time.monotonic() + PATIENCE
        association.wait_for(port, self.ae_title, deadline, lambda: process.poll() is None)

    def check(self, folder: Path) -> None:  # noqa: B027 most have nothing to say
        """What is to be found out after its end. Raises Fault."""

    @contextmanager
    def running(self, folder: Path, setting: str) -> Iterator[Node]:
        folder.mkdir(parents=True)
        port, destination_port = processes.free_port(), processes.free_port()
        command = self.configured(folder, port, destination_port)
        begun = time.perf_counter()
        with processes.started(
            command, folder, environment(setting), output=self.output
        ) as process:
            try:
                self.wait_until_ready(process, port)
            except Fault as fault:
                log = (folder / "log").read_text("utf-8", "replace").strip()
                raise Fault(f"{fault}: {log.splitlines()[-1] if log else 'no log'}") from fault
            seconds = time.perf_counter() - begun
            yield Node(
                ae_title=self.ae_title,
                port=port,
                destination_port=destination_port,
                folder=folder,
                setting=setting,
                most_studies=self.most_studies,
                pid=process.pid,
                ready_after=seconds,
            )


@dataclass(frozen=True)
class Pacsnode(Peer):
    """This checkout's pacsnode."""

    name: str = "pacsnode"
    fsync: bool = True
    workers: int | None = None
    ae_title = "PACSNODE"
    output = subprocess.PIPE

    def configured(self, folder: Path, port: int, destination_port: int) -> list[str]:
        listen = {"port": port, **({"workers": self.workers} if self.workers else {})}
        config = {
            "ae_title": self.ae_title,
            "listen": {**listen, "max_pdu": MAX_PDU},
            "storage": {"fsync": self.fsync},
            "access": {"unknown_callers": "all"},
            "modalities": {DESTINATION: {"host": association.HOST, "port": destination_port}},
        }
        # JSON is YAML.
        (folder / "config.yaml").write_text(json.dumps(config), "utf-8")
        return [*self._command(folder), "serve"]

    def wait_until_ready(self, process: "subprocess.Popen[str]", port: int) -> None:
        """It says so itself."""
        assert process.stdout is not None
        if not select.select([process.stdout], [], [], PATIENCE)[0]:
            raise Fault("no ready line")
        if not process.stdout.readline().startswith("ready "):
            raise Fault("it does not start")

    def check(self, folder: Path) -> None:
        verified = subprocess.run(
            [*self._command(folder), "verify"],
            cwd=folder,
            env=environment("stock"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            check=False,
        )
        if verified.returncode != 0:
            raise Fault(f"pacsnode verify ended with {verified.returncode}: {verified.stdout}")

    def _command(self, folder: Path) -> list[str]:
        return [sys.executable, "-m", "pacsnode", "--config", str(folder / "config.yaml")]


class Orthanc(Peer):
    """Orthanc with its defaults, no plugins and no web server."""

    name = "Orthanc"
    ae_title = "ORTHANC"

    @property
    def missing(self) -> str | None:
        return None if installed("Orthanc") else "Orthanc is not installed (apt install orthanc)"

    def configured(self, folder: Path, port: int, destination_port: int) -> list[str]:
        allowed = ("Echo", "Store", "Find", "Get", "Move")
        config = {
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "storage"),
            "Plugins": [],
            "HttpServerEnabled": False,
            "DicomAet": self.ae_title,
            "DicomPort": port,
            "MaximumPduLength": MAX_PDU,
            "SyncStorageArea": True,
            **{f"DicomAlwaysAllow{service}": True for service in allowed},
            "DicomModalities": {"destination": [DESTINATION, association.HOST, destination_port]},
        }
        path = folder / "orthanc.json"
        path.write_text(json.dumps(config), "utf-8")
        return [installed("Orthanc") or "Orthanc", str(path)]


class Dcmqrscp(Peer):
    """DCMTK's archive. More than 500 studies of 1 GiB its index cannot hold."""

    name = "dcmqrscp"
    ae_title = "DCMQRSCP"
    most_studies = 500

    @property
    def missing(self) -> str | None:
        return None if installed("dcmqrscp") else "dcmqrscp is not installed (apt install dcmtk)"

    def configured(self, folder: Path, port: int, destination_port: int) -> list[str]:
        area = folder / "storage"
        area.mkdir()
        path = folder / "dcmqrscp.cfg"
        path.write_text(
            f"""NetworkTCPPort = {port}
MaxPDUSize = {MAX_PDU}
MaxAssociations = 128
HostTable BEGIN
destination = ({DESTINATION}, {association.HOST}, {destination_port})
HostTable END
VendorTable BEGIN
VendorTable END
AETable BEGIN
{self.ae_title} {area} RW ({self.most_studies}, 1024mb) ANY
AETable END
""",
            "utf-8",
        )
        return [installed("dcmqrscp") or "dcmqrscp", "--config", str(path)]


PACSNODE, UNSYNCED = Pacsnode(), Pacsnode("pacsnode, no fsync", fsync=False)
ORTHANC, DCMQRSCP = Orthanc(), Dcmqrscp()
