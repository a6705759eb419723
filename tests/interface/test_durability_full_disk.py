"""A disk that fills up: A700, nothing half-written, the association goes on, and all is well when
there is space again."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pacsnode.dicom import status
from pacsnode.dicom.message import Channel
from tests.conftest import PATIENCE, RunningNode, StartNode, new_dataset
from tests.interface.associations import Instance, association, get, instance_of, store

DISK = 24 << 20
LARGE = 1 << 20
OPEN = "access: {unknown_callers: all}\nstorage: {min_free: 0}\n"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of DISK bytes, where a node's data folder is to be."""
    folder = tmp_path / "node" / "pacsnode-data"
    folder.mkdir(parents=True)
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def instance(size: int) -> Instance:
    ds = new_dataset(PatientID="FULL")
    ds.add_new("PixelData", "OB", bytes(size))
    return instance_of(ds)


class Ballast:
    """A file that takes up space."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "ballast"
        self._path.touch()

    def leave(self, left: int) -> None:
        """Grow or shrink until so many bytes are free."""
        state = os.statvfs(self._path)
        size = self._path.stat().st_size + state.f_bavail * state.f_frsize - left
        with self._path.open("rb+") as file:
            file.truncate(0)
            os.posix_fallocate(file.fileno(), 0, size)


def sent(channel: Channel, size: int, acknowledged: dict[str, bytes]) -> bool:
    """Whether there was space for one more; a refusal is as it should be."""
    uid, data = instance(size)
    response = store(channel, uid, data)
    if response.status == status.SUCCESS:
        acknowledged[uid] = data
        return True
    assert response.status == status.OUT_OF_RESOURCES, response
    assert response.comment
    return False


def require_only(node: RunningNode, acknowledged: dict[str, bytes]) -> None:
    """Those acknowledged are served, and no other has left a trace."""
    assert get(node, "IMAGE", PatientID="FULL") == acknowledged
    tree = node.data_dir / "instances"
    assert not list((tree / ".incoming").iterdir())
    files = [path for path in tree.glob("[!.]*/*/*") if path.is_file()]
    assert len(files) == len(acknowledged)
    verified = node.command("verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr


def test_a_full_disk_is_answered_a700_until_there_is_space_again(
    start_node: StartNode, small_disk: Path
) -> None:
    node = start_node(OPEN)
    acknowledged: dict[str, bytes] = {}
    ballast = Ballast(small_disk)
    ballast.leave(DISK // 2)
    refused = 0
    with association(node) as channel:
        while sent(channel, LARGE, acknowledged):
            assert len(acknowledged) * LARGE < DISK
        assert acknowledged
        assert not sent(channel, LARGE, acknowledged)
        # What is too large for the rest does not keep out what fits: neither file nor index row.
        # At each step another write is the one that fails.
        for left in range(0, 300_000, 12_288):
            ballast.leave(left)
            refused += not sent(channel, 100, acknowledged)
        assert refused
        ballast.leave(4 * LARGE)
        assert sent(channel, LARGE, acknowledged)
        require_only(node, acknowledged)
    assert node.stop() == 0
    assert "Traceback" not in node.log
    require_only(start_node(OPEN), acknowledged)


def test_below_min_free_nothing_is_taken(start_node: StartNode, small_disk: Path) -> None:
    node = start_node("access: {unknown_callers: all}\nstorage: {min_free: 8MiB}\n")
    acknowledged: dict[str, bytes] = {}
    ballast = Ballast(small_disk)
    with association(node) as channel:
        assert sent(channel, 100, acknowledged)
        ballast.leave(7 << 20)
        # The node asks for free space once a second, not for each instance.
        wait_for(lambda: not sent(channel, 100, acknowledged))
        ballast.leave(9 << 20)
        wait_for(lambda: sent(channel, 100, acknowledged))
    require_only(node, acknowledged)


def wait_for(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < deadline
