"""The storage tree alone is enough: an index that is rebuilt answers every query as the one before
did, an interrupted rebuilding changes nothing, and `verify` sees what is damaged."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from pacsnode.dicom.level import COLUMNS, COMPUTED, Level
from tests.conftest import (
    PATIENCE,
    RunningNode,
    StartNode,
    new_dataset,
    run_pacsnode,
    write_dataset,
)
from tests.interface.associations import association, find_bytes

CONFIG = "access: {unknown_callers: all}\nstorage: {min_free: 0, fsync: false}\n"
ROOT = "1.2.826.0.1.3680043.10.9"
STUDIES = 50
LEVELS = ("patient", "image")
INSTANCES = 20  # of a study


def write_studies(folder: Path) -> None:
    """Instances of several patients and series, with gaps and contradictions."""
    for study in range(STUDIES):
        uid = f"{ROOT}.{study}"
        for number in range(INSTANCES):
            series = number % 3
            ds = new_dataset(
                StudyInstanceUID=uid,
                SeriesInstanceUID=f"{uid}.{series}",
                SOPInstanceUID=f"{uid}.{series}.{number}",
                PatientID="" if study % 10 == 9 else f"P{study // 2}",
                PatientName=f"DOE^{study}" if study % 7 or number else "",
                StudyDescription=f"DESCRIPTION {study}" if number else "",
                SeriesNumber=series,
                SeriesDescription=f"SERIES {series}" if number > 5 else "",
                Modality=("CT", "MR", "SR")[series],
                InstanceNumber=number,
            )
            if study % 20 == 5 and number == INSTANCES - 1:
                ds.PatientName = "ROE^OTHER"
            write_dataset(folder / f"{study}" / f"{number}.dcm", ds)


@pytest.fixture(scope="module")
def original(
    tmp_path_factory: pytest.TempPathFactory,
    bundled_files: Sequence[Path],
    character_set_files: Sequence[Path],
) -> Path:
    """A node's folder: its data folder has seen imports, conflicts, replacements and deletions."""
    folder = tmp_path_factory.mktemp("original")
    home = folder / "node"
    home.mkdir()
    (home / "config.yaml").write_text(CONFIG)
    write_studies(folder / "studies")
    conflict = new_dataset(SOPInstanceUID=f"{ROOT}.3.0.0", PatientID="X")
    write_dataset(folder / "conflict.dcm", conflict)
    moved = new_dataset(SOPInstanceUID=f"{ROOT}.4.0.0", PatientID="MOVED")
    write_dataset(folder / "moved.dcm", moved)
    run(home, "import", folder / "studies", folder / "conflict.dcm", code=0)
    # Some of the bundled files are no instances, or have no usable UIDs.
    run(home, "import", *bundled_files, *character_set_files, code=1)
    (home / "config.yaml").write_text(CONFIG.replace("false}", "false, on_duplicate: replace}"))
    run(home, "import", folder / "moved.dcm", code=0)
    run(home, "delete", "-L", "study", "-k", "PatientID=P5", "--yes", code=0)
    return home


@pytest.fixture
def filled(original: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(original, tmp_path / "node"))


def run(home: Path, *arguments: object, code: int) -> str:
    completed = run_pacsnode("--config", home / "config.yaml", *arguments)
    assert completed.returncode == code, completed.stderr
    return completed.stdout


def answers(node: RunningNode) -> dict[str, list[bytes]]:
    """Every C-FIND answer at every level, with every column and computed key, in any order."""
    found = {}
    with association(node) as channel:
        for level in Level:
            asked = {
                keyword: None
                for above in Level
                if above <= level
                for keyword in (*COLUMNS[above], *COMPUTED[above])
            }
            found[level.word] = sorted(find_bytes(channel, level.word, **asked))
    return found


def notes(home: Path) -> tuple[str, ...]:
    """What people noted or should look at."""
    figures = run(home, "stats", code=0).splitlines()
    return (
        run(home, "ls", "--flagged", "--format", "json", code=0),
        run(home, "ls", "--conflicts", "--format", "json", code=0),
        *(line for line in figures if not line.startswith("free bytes")),
    )


def test_a_rebuilt_index_answers_as_the_one_before(start_node: StartNode, filled: Path) -> None:
    config = (filled / "config.yaml").read_text()
    node = start_node(config, folder=filled)
    before, noted = answers(node), notes(filled)
    assert all(before.values())
    assert all(json.loads(each) for each in noted[:2])
    assert node.command("reindex").returncode == 2, "beside a running node"
    assert node.stop() == 0
    run(filled, "reindex", code=0)
    assert notes(filled) == noted
    run(filled, "verify", code=0)
    assert answers(start_node(config, folder=filled)) == before


def test_so_does_one_that_is_rebuilt_from_the_tree_alone(
    start_node: StartNode, filled: Path
) -> None:
    listed = [run(filled, "ls", "-L", level, "--format", "json", code=0) for level in LEVELS]
    (filled / "pacsnode-data" / "index.sqlite").unlink()
    refused = run_pacsnode("--config", filled / "config.yaml", "serve")
    assert refused.returncode == 2
    assert "reindex" in refused.stderr
    run(filled, "reindex", code=0)
    assert [
        run(filled, "ls", "-L", level, "--format", "json", code=0) for level in LEVELS
    ] == listed


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_a_rebuilding_that_is_interrupted_leaves_the_old_index(
    filled: Path, number: int, code: int
) -> None:
    index = filled / "pacsnode-data" / "index.sqlite"
    old = index.read_bytes()
    begun = index.with_name("index.sqlite.new")
    process = subprocess.Popen(
        [sys.executable, "-m", "pacsnode", "--config", filled / "config.yaml", "reindex"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + PATIENCE
    while not begun.exists() or not begun.stat().st_size:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.001)
    os.kill(process.pid, number)
    assert process.wait(PATIENCE) == code
    assert index.read_bytes() == old
    run(filled, "verify", code=0)
    run(filled, "reindex", code=0)
    assert not list(index.parent.glob("index.sqlite.*"))


def test_verify_names_each_kind_of_damage(filled: Path) -> None:
    tree = filled / "pacsnode-data" / "instances"
    files = sorted(tree.glob(f"{ROOT}.1*/*/*"))
    missing, truncated, altered, longer, headless, elsewhere, unknown = files[:7]
    missing.unlink()
    os.truncate(truncated, truncated.stat().st_size - 10)
    data = bytearray(altered.read_bytes())
    data[-1] ^= 1
    altered.write_bytes(data)
    longer.write_bytes(longer.read_bytes() + b"\0\0")
    headless.write_bytes(b"\0" * 200 + headless.read_bytes()[200:])
    lost = elsewhere.with_name("1.2.3.4")
    elsewhere.rename(lost)
    stranger = unknown.with_name("notes.txt")
    stranger.write_text("not DICOM")
    out = run(filled, "verify", code=1)
    lines = {line.split(": ")[1]: line.split(": ")[0] for line in out.splitlines()}
    assert lines == {
        str(path.relative_to(tree)): fault
        for path, fault in {
            missing: "missing",
            truncated: "truncated",
            altered: "altered",
            longer: "altered",
            headless: "altered",
            elsewhere: "missing",
            lost: "orphaned",
            stranger: "orphaned",
        }.items()
    }
