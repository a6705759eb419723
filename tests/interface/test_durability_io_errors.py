"""A disk that fails, by the system's own answers (strace injects them): A700, never an
acknowledgement, nothing half-written; the association goes on, and all is well when the disk is."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pacsnode.dicom import status
from tests.conftest import RunningNode, StartNode, new_dataset
from tests.interface.associations import Instance, association, find, get, instance_of, store

CONFIG = "access: {unknown_callers: all}\nstorage: {min_free: 0}\nlisten: {port: 0, workers: 1}\n"
SMALL, LARGE = 100, 200_000  # bytes; the index has a copy of the small one until it is synced


@contextmanager
def failing_disk(node: RunningNode, calls: str, error: str, trace: Path) -> Iterator[None]:
    """Meanwhile these system calls fail in the node; `trace` gets those of its files."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    traced = f"trace=fsync,fdatasync,link,linkat,unlink,{calls}"  # what fails must be among them
    inject = f"inject={calls}:error={error}"
    options = ["-f", "-yy", "-o", trace, "-e", traced, "-e", inject]
    with subprocess.Popen(
        ["strace", *options, "-p", str(node.process.pid)],
        stderr=subprocess.PIPE,
        encoding="utf-8",
    ) as strace:
        assert strace.stderr is not None
        said = strace.stderr.readline()
        if "attached" not in said:
            strace.terminate()
            pytest.skip(f"strace cannot attach: {said}")
        try:
            yield
        finally:
            strace.terminate()
            strace.communicate()


def instance(size: int) -> Instance:
    ds = new_dataset(PatientID="IO")
    ds.add_new("PixelData", "OB", bytes(size))
    return instance_of(ds)


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize(
    ("calls", "error"),
    [
        ("writev", "EIO"),  # the file
        ("fsync,syncfs", "EIO"),  # the file and its folders
        ("fdatasync", "EIO"),  # the index
        ("pwrite64", "ENOSPC"),  # the seal of a large file, and the index
        ("link,linkat", "EIO"),
    ],
)
def test_a_disk_that_fails_is_answered_a700_until_it_works_again(
    start_node: StartNode, tmp_path: Path, calls: str, error: str, size: int
) -> None:
    node = start_node(CONFIG)
    before, refused, after = instance(size), instance(size), instance(size)
    trace = tmp_path / "trace"
    synced_later = size == SMALL and calls.startswith("fsync")  # see archive/behind.py
    with association(node) as channel:
        assert store(channel, *before).status == status.SUCCESS
        with failing_disk(node, calls, error, trace):
            for _ in range(2):
                response = store(channel, *refused)
                if not (synced_later and response.status == status.SUCCESS):
                    assert response.status == status.OUT_OF_RESOURCES
                    assert response.comment
            assert find(channel, "IMAGE", PatientID="IO", SOPInstanceUID="")
        assert store(channel, *after).status == status.SUCCESS
        assert store(channel, *refused).status == status.SUCCESS
    require_distrust(trace.read_text())
    expected = {each.uid: each.data for each in (before, refused, after)}
    require_only(node, expected)
    assert node.stop() == 0
    assert "Traceback" not in node.log
    node = start_node(CONFIG)
    require_only(node, expected)
    # Nobody could tell whether the index had it: the start could.
    assert not list((node.data_dir / "instances" / ".incoming").iterdir())


def require_only(node: RunningNode, expected: dict[str, bytes]) -> None:
    """These are served, and no other has left a trace."""
    assert get(node, "IMAGE", PatientID="IO") == expected
    assert len(list((node.data_dir / "instances").glob("[!.]*/*/*"))) == len(expected)
    verified = node.command("verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr


def require_distrust(trace: str) -> None:
    """An instance's file whose sync failed is never synced again, and gets no place."""
    failed = set()
    for line in trace.splitlines():
        path = re.search(r"(/[^<>\"]*/\.incoming/[^<>\"]+)", line)
        if path is None:
            continue
        if re.search(r"\bf(data)?sync\(", line):
            assert path[1] not in failed, line
            if "INJECTED" in line:
                failed.add(path[1])
        elif re.search(r"\blink(at)?\(", line):
            assert path[1] not in failed, line
        elif "unlink(" in line:
            failed.discard(path[1])
