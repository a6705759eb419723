import os
import pty
import select
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Completed, RunningNode, run_pacsnode

WriteFile = Callable[..., Path]
COUNT = 12


@pytest.fixture
def folder(write_file: WriteFile, tmp_path: Path) -> Path:
    for number in range(COUNT):
        write_file(f"in/{number}.dcm", PatientID="4711")
    return tmp_path / "in"


def on_a_terminal(*arguments: object) -> tuple[int, str]:
    """A command whose standard error is a terminal: exit code, and what the terminal got."""
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "pacsnode", *map(str, arguments)],
        env={
            **os.environ,
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "TERM": "xterm",
            "COLUMNS": "100",
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=child,
    )
    os.close(child)
    shown = b""
    try:
        while select.select([parent], [], [], 30)[0]:
            shown += os.read(parent, 10_000)
    except OSError:  # how Linux tells the end of a terminal
        pass
    os.close(parent)
    return process.wait(30), shown.decode()


def commands(node: RunningNode, folder: Path) -> list[tuple[object, ...]]:
    """All that have a bar, in an order in which each has something to do."""
    config = ("--config", node.config)
    return [
        (*config, "import", folder),
        (*config, "send", node.peer, folder),
        (*config, "get", node.peer, "-o", folder.parent / "got", "-k", "PatientID=4711"),
        (*config, "verify"),
        (*config, "delete", "-k", "PatientID=4711", "--yes"),
    ]


def test_on_a_terminal_there_is_a_bar(node: RunningNode, folder: Path) -> None:
    for command in commands(node, folder):
        code, shown = on_a_terminal(*command)
        assert code == 0, shown
        steps = 2 * COUNT if "verify" in command else COUNT  # its rows, then its files
        assert f"{steps}/{steps}" in shown, command
        assert "/s" in shown
    code, shown = on_a_terminal("--config", node.config, "import", folder)
    assert node.stop() == 0
    code, shown = on_a_terminal("--config", node.config, "reindex")
    assert code == 0
    assert f"{COUNT}/{COUNT}" in shown


def test_elsewhere_there_is_none(node: RunningNode, folder: Path) -> None:
    for command in commands(node, folder):
        done: Completed = run_pacsnode(*command)
        assert done.returncode == 0
        assert done.stderr in ("", "index and storage agree\n")
