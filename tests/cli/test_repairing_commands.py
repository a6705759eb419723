"""verify --repair, conflicts and ls --flagged: what a person puts right, beside a running node."""

import json
import os
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.conftest import Completed, RunningNode, new_dataset, write_dataset

WriteFile = Callable[..., Path]
UID = "1.2.3.1.1"


def taken(node: RunningNode, folder: Path, **elements: object) -> Path:
    """Import an instance of one UID; its file outside."""
    values = {"StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.3.1", "SOPInstanceUID": UID}
    path = write_dataset(folder / "a.dcm", new_dataset(**{**values, **elements}))
    done = node.command("import", path)
    assert done.returncode == 0, done.stderr
    return path


def found(node: RunningNode, *keys: str) -> list[dict[str, dict[str, Sequence[str]]]]:
    """What the running node answers."""
    done = node.command(
        "find", node.peer, "-L", "image", "--format", "json", "-k", "SOPInstanceUID", *keys
    )
    assert done.returncode == 0, done.stderr
    answers: list[dict[str, dict[str, Sequence[str]]]] = json.loads(done.stdout)
    return answers


def stored_at(node: RunningNode) -> Path:
    return node.data_dir / "instances/1.2.3/1.2.3.1" / f"{UID}.dcm"


def test_verify_repairs_beside_a_running_node(node: RunningNode, tmp_path: Path) -> None:
    path = taken(node, tmp_path)
    stored = stored_at(node)
    whole = stored.read_bytes()
    stored.write_bytes(whole[:-1] + b"X")
    (node.data_dir / "instances/moved.dcm").write_bytes(whole)

    without = node.command("verify")
    assert without.returncode == 1
    assert "verify --repair" in without.stderr
    (node.data_dir / "instances/moved.dcm").unlink()

    done = node.command("verify", "--repair")
    assert done.returncode == 1
    assert "moved to quarantine/" in done.stdout
    assert "send it again, or delete it" in done.stdout
    assert "1 faults, 1 of them left for a person" in done.stderr
    assert not stored.exists()
    (answer,) = found(node, "-k", "InstanceAvailability")
    assert answer["00080056"]["Value"] == ["UNAVAILABLE"]
    flagged = json.loads(node.command("ls", "--flagged", "--format", "json").stdout)
    assert [one["00080018"]["Value"] for one in flagged] == [[UID]]
    figures = json.loads(node.command("stats", "--format", "json").stdout)
    assert (figures["quarantine"], figures["lost"]) == (1, 1)

    assert node.command("import", path).stdout.startswith("1 restored")
    (answer,) = found(node, "-k", "InstanceAvailability")
    assert answer["00080056"]["Value"] == ["ONLINE"]
    assert node.command("verify", "--repair").returncode == 0


def test_orphans_are_served_by_the_running_node_once_they_are_indexed(
    node: RunningNode, tmp_path: Path
) -> None:
    taken(node, tmp_path)
    content = stored_at(node).read_bytes()
    assert node.command("delete", "-k", "StudyInstanceUID=1.2.3", "--yes").returncode == 0
    assert not found(node)
    stored_at(node).parent.mkdir(parents=True)
    stored_at(node).write_bytes(content)
    done = node.command("verify", "--repair")
    assert (done.returncode, done.stdout.rpartition("; ")[2]) == (0, "indexed\n")
    assert len(found(node)) == 1


def test_conflicts_are_settled_beside_a_running_node(node: RunningNode, tmp_path: Path) -> None:
    taken(node, tmp_path, PatientID="FIRST")
    for number, settled in enumerate(("keep", "adopt", "drop")):
        taken(node, tmp_path, PatientID=f"LATER{number}")
        listed = node.command("ls", "--conflicts", "--format", "json")
        (name,) = [one["0040A160"]["Value"][0].split(" ")[0] for one in json.loads(listed.stdout)]
        assert "pacsnode conflicts keep|adopt|drop" in listed.stderr
        which = UID if settled == "keep" else name
        done = node.command("conflicts", settled, which, stdin="y\n")
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"{name}: ")
        assert node.command("ls", "--conflicts").stderr == "nothing to list\n"
    (answer,) = found(node, "-k", "PatientID")
    assert answer["00100020"]["Value"] == ["LATER1"]
    settled_files = os.listdir(node.data_dir / "conflicts/settled")
    assert len(settled_files) == 2
    assert os.listdir(node.data_dir / "conflicts") == ["settled"]
    assert node.command("verify").returncode == 0


def test_conflicts_asks_before_it_removes_and_wants_to_know_which(
    tmp_path: Path, pacsnode: Callable[..., Completed]
) -> None:
    for number in range(3):
        values = {"StudyInstanceUID": "1.2", "SeriesInstanceUID": "1.3", "SOPInstanceUID": "1.4"}
        write_dataset(tmp_path / "a.dcm", new_dataset(**values, PatientID=f"{number}"))
        assert pacsnode("import", "a.dcm").returncode == 0
    names = sorted(os.listdir(tmp_path / "pacsnode-data/conflicts"))
    assert len(names) == 2
    for answer in ("", "n\n"):
        done = pacsnode("conflicts", "drop", "--all", stdin=answer)
        assert (done.returncode, done.stdout) == (1, "nothing removed\n")
        assert "Remove 2 files" in done.stderr
    for arguments in (("drop",), ("drop", "--all", names[0]), ("keep", "nosuch")):
        assert pacsnode("conflicts", *arguments).returncode == 2
    several = pacsnode("conflicts", "adopt", "--all")
    assert several.returncode == 2
    assert all(name in several.stderr for name in names)
    assert sorted(os.listdir(tmp_path / "pacsnode-data/conflicts")) == names
    done = pacsnode("conflicts", "drop", "--all", "--yes")
    assert (done.returncode, done.stdout.count("dropped")) == (0, 2)
    assert pacsnode("conflicts", "keep", "--all").stdout == "there are no conflicts\n"


def test_a_conflict_whose_file_says_no_date_is_listed(
    pacsnode: Callable[..., Completed], write_file: WriteFile, tmp_path: Path
) -> None:
    """Damaged where nothing protects it: in the time of receipt."""
    pacsnode("import", str(write_file("a.dcm", StudyInstanceUID="1.2.3")))
    (stored,) = (tmp_path / "pacsnode-data/instances").rglob("*.dcm")
    whole = stored.read_bytes()
    end = whole.index(b"PACSNOD1") + 8 + 32 + 8 + 8
    for time in (struct.pack("<q", 1 << 62), struct.pack("<q", -(1 << 62))):
        name = f"{time.hex()}.dcm"
        aside = tmp_path / "pacsnode-data/conflicts" / name
        aside.write_bytes(whole[: end - 8] + time + whole[end:])
    listed = pacsnode("ls", "--conflicts", "--format", "json")
    assert listed.returncode == 0, listed.stderr
    assert len(json.loads(listed.stdout)) == 2
