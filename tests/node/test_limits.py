"""The node has as many files open as it may, and says where these are too few."""

import resource
import shutil
from pathlib import Path

import pytest

from pacsnode.node.limits import EACH, OTHERS, shortage
from tests.benchmarks.processes import tree
from tests.conftest import RunningNode, StartNode, run_pacsnode

ALL = "access: {unknown_callers: all}\n"


def limited(most: int) -> list[str]:
    """What starts a process that may have 200 files open, and allow itself `most`."""
    if shutil.which("prlimit") is None:
        pytest.skip("prlimit is not installed")
    return ["prlimit", f"--nofile=200:{most}"]


def allowed(process: int) -> int:
    for line in Path(f"/proc/{process}/limits").read_text("utf-8").splitlines():
        if line.startswith("Max open files"):
            return int(line.split()[3])
    raise AssertionError("no line of open files")


def processes_of(node: RunningNode) -> list[int]:
    return tree(node.process.pid)


def test_all_processes_may_open_as_much_as_the_system_lets_them(start_node: StartNode) -> None:
    node = start_node(f"listen: {{port: 0, workers: 2}}\n{ALL}", *limited(600))
    # The supervisor, its workers, the pool of codecs.
    assert [allowed(process) for process in processes_of(node)] == [600, 600, 600, 600]
    assert "open files" not in node.log


def test_a_node_that_may_open_too_little_says_so_when_it_starts(start_node: StartNode) -> None:
    node = start_node(f"listen: {{port: 0, max_associations: 300}}\n{ALL}", *limited(600))
    assert "WARNING listen.max_associations: 300 take up to 728 open files" in node.log
    assert "a process may have 600" in node.log


def test_check_says_so_too(tmp_path: Path) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most == resource.RLIM_INFINITY:
        pytest.skip("there is no limit here")
    (tmp_path / "c.yaml").write_text(f"listen: {{max_associations: {most}}}\n", "utf-8")
    done = run_pacsnode("--config", "c.yaml", "check", folder=tmp_path)
    assert done.returncode == 0
    assert f"a process may have {most:,}" in done.stderr
    enough = (most - OTHERS) // EACH
    (tmp_path / "c.yaml").write_text(f"listen: {{max_associations: {enough}}}\n", "utf-8")
    assert "open files" not in run_pacsnode("--config", "c.yaml", "check", folder=tmp_path).stderr


def test_no_limit_is_never_too_little() -> None:
    assert shortage(10**9, resource.RLIM_INFINITY) is None
