"""`send --resume` and `send --dry-run`, against DCMTK's storescp and another node."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

from tests.conftest import (
    Completed,
    Dcmtk,
    RunningNode,
    StartNode,
    new_dataset,
    start_pacsnode,
    write_dataset,
)
from tests.interface.conftest import free_port_number

EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
RLE, JPEG_BASELINE = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.50"


def write_files(folder: Path, count: int) -> list[Path]:
    return [write_dataset(folder / f"{number:03}", new_dataset()) for number in range(count)]


def acknowledged(listed: Path) -> list[str]:
    return [line.split("\t")[0] for line in listed.read_text().splitlines() if line[:1] != "#"]


def test_a_second_run_sends_what_the_first_has_not_delivered(
    node: RunningNode, pacsnode: Callable[..., Completed], tmp_path: Path
) -> None:
    files, listed = write_files(tmp_path / "files", 3), tmp_path / "list"
    first = pacsnode("send", node.peer, *files[:2], "--resume", listed)
    assert (first.returncode, first.stdout) == (0, "2 sent, 0 with warning, 0 failed, 0 skipped\n")
    again = pacsnode("send", node.peer, tmp_path / "files", "--resume", listed)
    assert again.returncode == 0
    assert "1 sent, 0 with warning, 0 failed, 2 acknowledged before" in again.stdout
    third = pacsnode("send", node.peer, tmp_path / "files", "--resume", listed)
    assert third.returncode == 0
    assert "0 sent, 0 with warning, 0 failed, 3 acknowledged before" in third.stdout
    assert len(set(acknowledged(listed))) == 3


def test_a_list_is_of_one_peer(
    node: RunningNode, pacsnode: Callable[..., Completed], tmp_path: Path
) -> None:
    (file,), listed = write_files(tmp_path / "files", 1), tmp_path / "list"
    assert pacsnode("send", node.peer, file, "--resume", listed).returncode == 0
    refused = pacsnode("send", f"OTHER@127.0.0.1:{node.port}", file, "--resume", listed)
    assert refused.returncode == 2
    assert f"{node.peer} has acknowledged" in refused.stderr


def test_what_was_acknowledged_before_kill_9_is_not_sent_again(
    node: RunningNode, pacsnode: Callable[..., Completed], tmp_path: Path
) -> None:
    write_files(tmp_path / "files", 200)
    listed = tmp_path / "list"
    with start_pacsnode(
        "send", node.peer, tmp_path / "files", "--resume", listed, folder=tmp_path
    ) as sending:
        while not listed.exists() or len(acknowledged(listed)) < 10:
            assert sending.poll() is None
        sending.send_signal(signal.SIGKILL)
    before = acknowledged(listed)
    again = pacsnode("send", node.peer, tmp_path / "files", "--resume", listed)
    assert again.returncode == 0, again.stderr
    assert f"{200 - len(before)} sent" in again.stdout or len(before) == 200
    assert len(set(acknowledged(listed))) == len(acknowledged(listed)) == 200


def test_the_nodes_own_studies_are_resumed_too(
    start_node: StartNode, dcmtk: Dcmtk, tmp_path: Path
) -> None:
    port = free_port_number()
    node = start_node()
    study = new_dataset().StudyInstanceUID
    for number in range(2):
        file = write_dataset(tmp_path / f"{number}", new_dataset(StudyInstanceUID=study))
        assert node.command("send", node.peer, file).returncode == 0
    dcmtk.serve("storescp", "-od", tmp_path, port, port=port)
    command = ("send", f"S@127.0.0.1:{port}", "--study", study, "--resume", tmp_path / "list")
    assert "2 sent" in node.command(*command).stdout
    assert (
        "0 sent, 0 with warning, 0 failed, 2 acknowledged before" in node.command(*command).stdout
    )


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """An RLE image, a lossy JPEG, and a small dataset."""
    folder = tmp_path / "mixed"
    folder.mkdir()
    for name in ("MR_small_RLE.dcm", "SC_rgb_jpeg_dcmtk.dcm"):
        source = Path(str(get_testdata_file(name, download=False)))
        (folder / name).write_bytes(source.read_bytes())
    write_dataset(folder / "ct", new_dataset())
    return folder


def test_a_dry_run_shows_what_would_go_in_which_context_and_sends_nothing(
    pacsnode: Callable[..., Completed], dcmtk: Dcmtk, mixed: Path, tmp_path: Path
) -> None:
    port, came = free_port_number(), tmp_path / "came"
    came.mkdir()
    dcmtk.serve("storescp", "+xi", "-od", came, port, port=port)
    command = ("send", f"S@127.0.0.1:{port}", mixed, "--dry-run")
    shown = pacsnode(*command, "--format", "json")
    assert shown.returncode == 0, shown.stderr
    rows = {row["stored_in"]: row for row in json.loads(shown.stdout)}
    assert set(rows) == {RLE, JPEG_BASELINE, EXPLICIT}
    assert {row["goes_as"] for row in rows.values()} == {IMPLICIT}
    assert rows[RLE]["proposed"] == [RLE, EXPLICIT, IMPLICIT]
    assert [row["instances"] for row in rows.values()] == [1, 1, 1]
    assert rows[EXPLICIT]["bytes"] < (mixed / "ct").stat().st_size
    assert "Implicit VR Little Endian" in pacsnode(*command).stdout
    assert not os.listdir(came)


def test_a_dry_run_leaves_out_what_was_acknowledged(
    node: RunningNode, pacsnode: Callable[..., Completed], tmp_path: Path
) -> None:
    files, listed = write_files(tmp_path / "files", 3), tmp_path / "list"
    command = ("send", node.peer, "--resume", listed, "--dry-run", "--format", "json")
    assert json.loads(pacsnode(*command, *files).stdout)[0]["instances"] == 3
    assert not listed.exists()
    assert pacsnode("send", node.peer, *files[:2], "--resume", listed).returncode == 0
    some = pacsnode(*command, *files)
    assert (some.returncode, json.loads(some.stdout)[0]["instances"]) == (0, 1)
    none = pacsnode(*command, *files[:2])
    assert (none.returncode, json.loads(none.stdout)) == (0, [])
    assert none.stderr == "2 acknowledged before are left out\n"


def test_a_dry_run_says_what_cannot_go_by_the_setting_that_keeps_it(
    start_node: StartNode, dcmtk: Dcmtk, mixed: Path, tmp_path: Path
) -> None:
    port = free_port_number()
    dcmtk.serve("storescp", "+xa", "-od", tmp_path, port, port=port)
    where = f"host: 127.0.0.1, port: {port}"
    node = start_node(f"modalities: {{S: {{{where}, transfer_syntaxes: [JPEGBaseline8Bit]}}}}\n")
    shown = node.command("send", "S", mixed, "--dry-run", "--format", "json")
    assert shown.returncode == 1
    rows = {row["stored_in"]: row for row in json.loads(shown.stdout)}
    assert rows[JPEG_BASELINE]["goes_as"] == JPEG_BASELINE
    assert rows[RLE]["goes_as"] is None
    assert "modalities.S.transfer_syntaxes" in rows[RLE]["why_not"]
    assert "modalities.S.transfer_syntaxes" in shown.stderr


def test_a_dry_run_without_a_peer_shows_what_would_be_proposed(
    pacsnode: Callable[..., Completed], mixed: Path
) -> None:
    shown = pacsnode("send", f"NOBODY@127.0.0.1:{free_port_number()}", mixed, "--dry-run")
    assert shown.returncode == 3
    assert "RLE Lossless" in shown.stdout
    assert "tcp" in shown.stderr.lower()
