"""A data folder that is read-only, gone or damaged: every command says what is wrong and what to
do, with exit code 2; a node that runs refuses, and goes on when the folder is back."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from pacsnode.dicom import status
from tests.conftest import (
    StartNode,
    new_dataset,
    run_pacsnode,
    write_dataset,
)
from tests.interface.associations import association, find, get, instance_of, store

CONFIG = "access: {unknown_callers: all}\nstorage: {min_free: 0}\nlisten: {port: 0}\n"
COMMANDS = (
    ("serve",),
    ("ls",),
    ("stats",),
    ("verify",),
    ("verify", "--repair"),
    ("import", "a.dcm"),
    ("delete", "-k", "PatientID=ID1", "--yes"),
    ("conflicts", "keep", "--all"),
)
STUDIES = 40


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A node's folder, with instances in it."""
    folder = tmp_path_factory.mktemp("original")
    (folder / "config.yaml").write_text(CONFIG)
    write_dataset(folder / "a.dcm", new_dataset())
    for number in range(STUDIES):
        write_dataset(folder / "in" / f"{number}.dcm", new_dataset(StudyDescription="x" * 60))
    done = run_pacsnode("import", "in", folder=folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def home(original: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    home = tmp_path / "home"
    subprocess.run(["cp", "-a", original, home], check=True)
    return home


def garble(index: Path) -> None:
    index.write_bytes(b"\x5a" * index.stat().st_size)


def cut_short(index: Path) -> None:
    os.truncate(index, index.stat().st_size // 4096 // 2 * 4096)


def zero_pages(index: Path) -> None:
    """All but the first, which says which tables there are."""
    with index.open("r+b") as file:
        file.seek(4096)
        file.write(bytes(index.stat().st_size - 4096))


def drop_table(index: Path) -> None:
    with closing(sqlite3.connect(index)) as connection:
        connection.execute("DROP TABLE lost")
        connection.commit()


def empty_archive_table(index: Path) -> None:
    with closing(sqlite3.connect(index)) as connection:
        connection.execute("DELETE FROM archive")
        connection.commit()


@pytest.mark.parametrize("damage", [garble, cut_short, zero_pages, drop_table, empty_archive_table])
def test_every_command_names_a_damaged_index_and_reindex_mends_it(
    home: Path, damage: Callable[[Path], None]
) -> None:
    listed = run_pacsnode("ls", "--format", "json", folder=home).stdout
    damage(home / "pacsnode-data" / "index.sqlite")
    for command in COMMANDS:
        done = run_pacsnode(*command, folder=home)
        assert done.returncode == 2, (command, done.stderr)
        assert "pacsnode reindex" in done.stderr, command
        assert "Traceback" not in done.stderr, command
        assert done.stdout == ""
    done = run_pacsnode("reindex", folder=home)
    assert done.returncode == 0, done.stderr
    assert f"{STUDIES} instances indexed" in done.stdout
    assert run_pacsnode("verify", folder=home).returncode == 0
    assert run_pacsnode("ls", "--format", "json", folder=home).stdout == listed


def test_one_bad_page_in_the_middle_stops_the_start_and_verify(home: Path) -> None:
    """Of what no start needs to read."""
    index = home / "pacsnode-data" / "index.sqlite"
    content = index.read_bytes()
    page = next(
        number
        for number in range(1, len(content) // 4096)
        if b"x" * 60 in content[number * 4096 : (number + 1) * 4096]
    )
    with index.open("r+b") as file:
        file.seek(page * 4096)
        file.write(bytes(4096))
    for command in ("serve", "verify"):
        done = run_pacsnode(command, folder=home)
        assert (done.returncode, done.stdout) == (2, "")
        assert "pacsnode reindex" in done.stderr
    assert run_pacsnode("reindex", folder=home).returncode == 0
    assert run_pacsnode("verify", folder=home).returncode == 0


def test_an_index_of_a_newer_program_is_not_touched(home: Path) -> None:
    index = home / "pacsnode-data" / "index.sqlite"
    with closing(sqlite3.connect(index)) as connection:
        connection.execute("UPDATE archive SET schema_version = 99")
        connection.commit()
    content = index.read_bytes()
    for command in (*COMMANDS, ("reindex",)):
        done = run_pacsnode(*command, folder=home)
        assert done.returncode == 2, (command, done.stderr)
        assert "newer" in done.stderr
    assert index.read_bytes() == content


def test_an_index_or_a_tree_that_is_gone_is_not_made_anew(home: Path) -> None:
    data_dir = home / "pacsnode-data"
    for name in ("index.sqlite", "instances"):
        (data_dir / name).rename(home / name)
        for command in COMMANDS:
            done = run_pacsnode(*command, folder=home)
            assert done.returncode == 2, (command, done.stderr)
            assert "Traceback" not in done.stderr
        if name == "instances":
            done = run_pacsnode("reindex", folder=home)
            assert done.returncode == 2
            subprocess.run(["rm", "-rf", data_dir / name], check=True)
        (home / name).replace(data_dir / name)
        assert run_pacsnode("verify", folder=home).returncode == 0


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own in a folder `data`."""
    folder = tmp_path / "data"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("only root may mount")
    command = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_every_command_names_a_folder_that_is_read_only(original: Path, mounted: Path) -> None:
    subprocess.run(["cp", "-a", f"{original}/.", mounted], check=True)
    subprocess.run(["mount", "-o", "remount,ro", mounted], check=True)
    for command in (*COMMANDS, ("reindex",)):
        done = run_pacsnode(*command, folder=mounted)
        assert done.returncode == 2, (command, done.stderr)
        assert "data_dir" in done.stderr
        assert "Read-only file system" in done.stderr
        assert "Traceback" not in done.stderr


def test_a_folder_that_goes_while_the_node_runs_is_missed_and_found_again(
    start_node: StartNode,
) -> None:
    """Moved away, as an unmounted disk is; nothing is made in its place."""
    node = start_node(CONFIG)
    kept, missed = instance_of(new_dataset(PatientID="V")), instance_of(new_dataset(PatientID="V"))
    elsewhere = node.folder / "elsewhere"
    with association(node) as channel:
        assert store(channel, *kept).status == status.SUCCESS
        node.data_dir.rename(elsewhere)
        node.data_dir.mkdir()
        response = store(channel, *missed)
        assert response.status == status.OUT_OF_RESOURCES
        assert response.comment
        assert not list(node.data_dir.iterdir())
        node.wait_for_log("No such file or directory")
        node.data_dir.rmdir()
        elsewhere.rename(node.data_dir)
        assert store(channel, *missed).status == status.SUCCESS
        found = find(channel, "IMAGE", PatientID="V", SOPInstanceUID="")
        assert {answer.SOPInstanceUID for answer in found} == {kept.uid, missed.uid}
    assert get(node, "IMAGE", PatientID="V") == {kept.uid: kept.data, missed.uid: missed.data}
    assert "Traceback" not in node.log
    assert node.command("verify").returncode == 0


def test_another_folder_in_its_place_is_not_taken_for_it(
    start_node: StartNode, original: Path
) -> None:
    """As where a backup is put there beneath a running node: its index has no row of ours."""
    node = start_node(CONFIG)
    with association(node) as channel:
        assert store(channel, *instance_of(new_dataset())).status == status.SUCCESS
        node.data_dir.rename(node.folder / "elsewhere")
        subprocess.run(["cp", "-a", original / "pacsnode-data", node.data_dir], check=True)
        response = store(channel, *instance_of(new_dataset()))
        assert response.status == status.OUT_OF_RESOURCES
        node.wait_for_log("restart pacsnode")
    assert node.command("verify").returncode == 0


def test_who_is_in_the_way_is_named(home: Path, start_node: StartNode) -> None:
    node = start_node(CONFIG, folder=home)
    process = node.process.pid
    for command in ("reindex", "serve"):
        refused = run_pacsnode("--config", node.config, command)
        assert refused.returncode == 2
        assert f"a running node (process {process})" in refused.stderr
    assert node.stop() == 0
    # A command that has the folder open while it waits for an answer.
    with subprocess.Popen(
        [
            sys.executable,
            "-m",
            "pacsnode",
            "--config",
            node.config,
            "delete",
            "-k",
            "PatientID=ID1",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as asking:
        assert asking.stderr is not None
        assert asking.stderr.read(6) == b"Delete"
        refused = node.command("reindex")
        assert refused.returncode == 2
        assert f"pacsnode delete (process {asking.pid})" in refused.stderr
        asking.communicate(b"n\n")
