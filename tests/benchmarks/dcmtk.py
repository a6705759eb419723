"""DCMTK's tools as clients, and as the destination of C-MOVE."""

import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.benchmarks import association, processes
from tests.benchmarks.errors import Fault
from tests.benchmarks.peers import DESTINATION, MAX_PDU, PATIENCE, Node, environment, installed

TOOLS = ("storescu", "getscu", "storescp")


def missing() -> list[str]:
    """The tools without which nothing can be measured."""
    return [tool for tool in TOOLS if installed(tool) is None]


def store(node: Node, folders: Sequence[Path]) -> None:
    """Send each folder over an association of its own, side by side. storescu stops at the first
    instance that is not acknowledged, and its exit code tells."""
    processes.run_side_by_side(
        [[*_client("storescu", node), "+sd", *_address(node), str(folder)] for folder in folders],
        environment(node.setting),
    )


def get(node: Node, study_instance_uid: str) -> int:
    """C-GET of a study, which is thrown away; how many instances came."""
    keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study_instance_uid}"]
    options = ["-v", "-S", "--ignore", "-pdu", str(MAX_PDU), *keys]
    command = [*_client("getscu", node), *options, *_address(node)]
    (output,) = processes.run_side_by_side([command], environment(node.setting))
    return output.count("Sending C-STORE Response (Success)")


@contextmanager
def destination(node: Node) -> Iterator[None]:
    """storescp that throws away what it gets, where the node's C-MOVE sends to."""
    port = node.destination_port
    command = [_tool("storescp"), "--ignore", "-aet", DESTINATION, "-pdu", str(MAX_PDU), str(port)]
    with processes.started(
        command, node.folder, environment(node.setting), output=subprocess.DEVNULL
    ) as process:
        deadline = time.monotonic() + PATIENCE
        association.wait_for(port, DESTINATION, deadline, lambda: process.poll() is None)
        yield


def _client(tool: str, node: Node) -> list[str]:
    return [_tool(tool), "-aec", node.ae_title]


def _address(node: Node) -> list[str]:
    return [association.HOST, str(node.port)]


def _tool(name: str) -> str:
    path = installed(name)
    if path is None:
        raise Fault(f"DCMTK's {name} is not installed")
    return path
