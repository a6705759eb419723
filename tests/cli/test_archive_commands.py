"""import, ls, delete, verify, reindex, stats and check: what works on the node's own archive."""

import csv
import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Completed, RunningNode

Pacsnode = Callable[..., Completed]
WriteFile = Callable[..., Path]


@pytest.fixture
def archive(write_file: WriteFile, pacsnode: Pacsnode, tmp_path: Path) -> Path:
    """The data folder of an archive with two studies of two patients, and no node."""
    for number in (1, 2):
        write_file(
            f"in/{number}.dcm",
            StudyInstanceUID="1.2.3",
            SeriesInstanceUID="1.2.3.1",
            SOPInstanceUID=f"1.2.3.1.{number}",
        )
    write_file("in/3.dcm", StudyInstanceUID="1.2.4", PatientID="ID2", Modality="MR")
    done = pacsnode("import", "in")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "3 stored\n0 failed, 0 skipped\n"
    return tmp_path / "pacsnode-data"


def files_of(archive: Path) -> list[Path]:
    return sorted(path for path in (archive / "instances").rglob("*") if path.suffix == ".dcm")


def test_import_says_what_became_of_each_file(
    archive: Path, write_file: WriteFile, tmp_path: Path, pacsnode: Pacsnode
) -> None:
    write_file(
        "in/again.dcm",
        StudyInstanceUID="1.2.3",
        SeriesInstanceUID="1.2.3.1",
        SOPInstanceUID="1.2.3.1.1",
        PatientID="ANOTHER",
    )
    (tmp_path / "in" / "notes.txt").write_text("hello", "utf-8")
    done = pacsnode("import", "in", "nosuchfile")
    assert done.returncode == 1
    assert "3 already here\n" in done.stdout
    assert "1 failed, 1 skipped\n" in done.stdout
    assert "in/again.dcm: set aside" in done.stderr
    assert "in/notes.txt: skipped" in done.stderr
    assert "nosuchfile: no such file" in done.stderr
    conflicts = json.loads(pacsnode("ls", "--conflicts", "--format", "json").stdout)
    assert [one["00080018"]["Value"] for one in conflicts] == [["1.2.3.1.1"]]


def test_import_works_beside_a_running_node(node: RunningNode, write_file: WriteFile) -> None:
    path = write_file("a.dcm", StudyInstanceUID="1.2.5")
    assert node.command("import", path).returncode == 0
    found = node.command("find", node.peer, "-k", "StudyInstanceUID=1.2.5", "--format", "json")
    assert len(json.loads(found.stdout)) == 1


def test_ls_lists_each_level_in_each_format(archive: Path, pacsnode: Pacsnode) -> None:
    title, *rows = pacsnode("ls").stdout.splitlines()
    assert title.startswith("Study Date")
    assert len(rows) == 2
    patients = json.loads(pacsnode("ls", "-L", "patient", "--format", "json").stdout)
    assert {one["00100020"]["Value"][0] for one in patients} == {"ID1", "ID2"}
    done = pacsnode("ls", "-L", "image", "-k", "StudyInstanceUID=1.2.3", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert {row["SOPInstanceUID"] for row in rows} == {"1.2.3.1.1", "1.2.3.1.2"}


def test_ls_shows_keys_that_were_asked_for_besides(archive: Path, pacsnode: Pacsnode) -> None:
    done = pacsnode("ls", "-k", "ReferringPhysicianName", "-k", "PatientID=ID2", "--format", "csv")
    (row,) = csv.DictReader(io.StringIO(done.stdout))
    assert row["ReferringPhysicianName"] == ""
    assert row["ModalitiesInStudy"] == "MR"


def test_commands_do_not_make_an_archive_where_there_is_none(
    tmp_path: Path, pacsnode: Pacsnode
) -> None:
    for arguments in (
        ("ls",),
        ("stats",),
        ("verify",),
        ("reindex",),
        ("delete", "-k", "PatientID=1"),
    ):
        done = pacsnode(*arguments)
        assert done.returncode == 2
        assert "holds no archive" in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_something_else_is_not_made_an_archive(
    tmp_path: Path, pacsnode: Pacsnode
) -> None:
    (tmp_path / "config.yaml").write_text("data_dir: .\n", "utf-8")
    assert pacsnode("ls").returncode == 2
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def test_import_that_ends_early_says_what_is_in(
    archive: Path, write_file: WriteFile, pacsnode: Pacsnode
) -> None:
    write_file("more/a.dcm")
    write_file("more/b.dcm", StudyInstanceUID="1.2.9")
    (archive / "instances/1.2.9").touch()
    done = pacsnode("import", "more/a.dcm", "more/b.dcm")
    assert (done.returncode, done.stdout) == (1, "1 stored\n")
    assert str(archive / "instances/1.2.9") in done.stderr


def test_ls_says_so_where_there_is_nothing(archive: Path, pacsnode: Pacsnode) -> None:
    for arguments in (("-k", "PatientID=nobody"), ("--flagged",), ("--conflicts",)):
        done = pacsnode("ls", *arguments)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "nothing to list\n")


def test_delete_asks_first(archive: Path, pacsnode: Pacsnode) -> None:
    arguments = ("delete", "-k", "StudyInstanceUID=1.2.3")
    for answer in ("", "n\n"):
        done = pacsnode(*arguments, stdin=answer)
        assert (done.returncode, done.stdout) == (1, "nothing deleted\n")
        assert "Delete 2 instances of 1 studies" in done.stderr
    assert len(files_of(archive)) == 3
    done = pacsnode(*arguments, stdin="y\n")
    assert (done.returncode, done.stdout) == (0, "2 instances deleted\n")
    assert len(files_of(archive)) == 1
    assert len(pacsnode("ls", "--format", "csv").stdout.splitlines()) == 2


def test_delete_with_yes_does_not_ask(archive: Path, pacsnode: Pacsnode) -> None:
    done = pacsnode("delete", "-L", "patient", "-k", "PatientID=ID2", "--yes")
    assert (done.returncode, done.stdout) == (0, "1 instances deleted\n")
    again = pacsnode("delete", "-L", "patient", "-k", "PatientID=ID2", "--yes")
    assert (again.returncode, again.stdout) == (0, "nothing matches\n")


def test_delete_refuses_keys_that_it_would_ignore(archive: Path, pacsnode: Pacsnode) -> None:
    done = pacsnode("delete", "-k", "StudyInstanceUID=1.2.3", "-k", "Rows=512", "--yes")
    assert done.returncode == 2
    assert len(files_of(archive)) == 3


def test_verify_names_what_is_missing_and_what_is_altered(
    archive: Path, pacsnode: Pacsnode
) -> None:
    assert pacsnode("verify").returncode == 0
    missing, altered, _ = files_of(archive)
    missing.unlink()
    with open(altered, "r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"X")
    done = pacsnode("verify")
    assert done.returncode == 1
    faults = sorted(line.partition(":")[0] for line in done.stdout.splitlines())
    assert faults == ["altered", "missing"]


def test_reindex_rebuilds_what_was_lost(archive: Path, pacsnode: Pacsnode) -> None:
    before = pacsnode("ls", "--format", "json").stdout
    for path in archive.glob("index.sqlite*"):
        path.unlink()
    lost = pacsnode("ls")
    assert lost.returncode == 2
    assert "reindex" in lost.stderr
    done = pacsnode("reindex")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "3 instances indexed, 0 set aside, 0 unreadable\n"
    assert json.loads(pacsnode("ls", "--format", "json").stdout) == json.loads(before)


def test_reindex_refuses_while_a_node_runs(node: RunningNode) -> None:
    done = node.command("reindex")
    assert done.returncode == 2
    assert "running node" in done.stderr


def test_stats_count(archive: Path, pacsnode: Pacsnode) -> None:
    figures = json.loads(pacsnode("stats", "--format", "json").stdout)
    assert (figures["patients"], figures["studies"], figures["instances"]) == (2, 2, 3)
    assert figures["by_modality"]["MR"]["instances"] == 1
    rows = dict(csv.reader(io.StringIO(pacsnode("stats", "--format", "csv").stdout)))
    assert rows["modality CT: instances"] == "2"
    assert "patients" in pacsnode("stats").stdout


def test_check_says_what_a_configuration_means(tmp_path: Path, pacsnode: Pacsnode) -> None:
    (tmp_path / "config.yaml").write_text(
        "ae_title: HERE\nlisten: {host: '::', port: 104}\n"
        "modalities:\n  WS: {ae_title: STATION, host: 10.0.0.9, allow: [find, echo]}\n",
        "utf-8",
    )
    done = pacsnode("check")
    assert done.returncode == 0
    for line in (
        "AE title: HERE",
        "address: [::]:104",
        "TLS: none",
        "unknown callers: echo",
        "modality WS: STATION at 10.0.0.9:104",
        "  may: echo, find",
        f"index: SQLite in {tmp_path / 'pacsnode-data'}",
    ):
        assert line in done.stdout.splitlines()


def test_check_names_all_faults_on_standard_error(tmp_path: Path, pacsnode: Pacsnode) -> None:
    (tmp_path / "config.yaml").write_text("ae_title: ''\nlisten: {port: x}\n", "utf-8")
    done = pacsnode("check")
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 2


def test_check_finds_a_data_folder_that_cannot_be(tmp_path: Path, pacsnode: Pacsnode) -> None:
    (tmp_path / "config.yaml").write_text("data_dir: config.yaml/data\n", "utf-8")
    done = pacsnode("check")
    assert done.returncode == 2
    assert "not a folder" in done.stderr


@pytest.mark.parametrize("part", ["instances", "index.sqlite"])
def test_check_finds_parts_of_an_archive_that_cannot_be_used(
    tmp_path: Path, pacsnode: Pacsnode, part: str
) -> None:
    folder = tmp_path / "pacsnode-data"
    folder.mkdir()
    if part == "instances":
        (folder / part).touch()
    else:
        (folder / part).mkdir()
    done = pacsnode("check")
    assert done.returncode == 2
    assert f"{folder / part} is not a" in done.stderr


def test_check_warns_of_a_disk_too_full_to_store(tmp_path: Path, pacsnode: Pacsnode) -> None:
    assert pacsnode("check").stderr == ""
    (tmp_path / "config.yaml").write_text("storage: {min_free: 900TiB}\n", "utf-8")
    done = pacsnode("check")
    assert done.returncode == 0
    assert "storage.min_free" in done.stderr


def test_ls_finds_names_fuzzily_when_asked(archive: Path, pacsnode: Pacsnode) -> None:
    asked = ("-k", "PatientName=JON^DOE", "--format", "csv")
    assert pacsnode("ls", *asked).stderr == "nothing to list\n"
    done = pacsnode("ls", "--fuzzy", *asked)
    assert [row["PatientName"] for row in csv.DictReader(io.StringIO(done.stdout))] == [
        "DOE^JOHN",
        "DOE^JOHN",
    ]


@pytest.fixture
def mueller(write_file: WriteFile, pacsnode: Pacsnode) -> None:
    """A study in ISO_IR 100 with two series, one instance each."""
    for number, modality in enumerate(("CT", "MR"), 1):
        write_file(
            f"names/{number}.dcm",
            SpecificCharacterSet="ISO_IR 100",
            PatientName="Müller^Jürgen",
            PatientID="P7",
            AccessionNumber="A7",
            StudyInstanceUID="1.2.7",
            SeriesInstanceUID=f"1.2.7.{number}",
            Modality=modality,
            SeriesNumber=number,
        )
    assert pacsnode("import", "names").returncode == 0


@pytest.mark.usefixtures("mueller")
def test_ls_explains_key_by_key_why_a_study_is_not_found(pacsnode: Pacsnode) -> None:
    keys = ("-k", "PatientName=Mueller^*", "-k", "StudyDate=20240101-", "-k", "SeriesNumber=1")
    assert pacsnode("ls", *keys).stderr.endswith("nothing to list\n")
    done = pacsnode("ls", "--explain", "A7", *keys, "--format", "csv")
    assert done.returncode == 0
    rows = {row["Key"]: row for row in csv.DictReader(io.StringIO(done.stdout))}
    name = rows["PatientName"]
    assert name["Stored"] == "Müller^Jürgen"
    assert name["Character set"] == "ISO_IR 100"
    assert name["Compared"] == "mueller^* is not muller^jurgen"
    assert name["Result"] == "does not match"
    assert name["Rule"] == "name, wildcards; fuzzy matching would find it"
    date = rows["StudyDate"]
    assert (date["Result"], date["Rule"]) == ("matches", "range of dates")
    assert rows["SeriesNumber"]["Result"] == "not matched"
    assert "SERIES level" in rows["SeriesNumber"]["Rule"]

    table = pacsnode("ls", "--fuzzy", "--explain", "1.2.7", "-k", "PatientName=JURGN^MULER").stdout
    assert table.startswith("Study 1.2.7 of Müller^Jürgen (P7) matches\n")
    assert "jurgn sounds like one (YRKN), muler sounds like one (MLR)" in table


@pytest.mark.usefixtures("mueller")
def test_ls_explains_by_the_series_that_comes_nearest(pacsnode: Pacsnode) -> None:
    keys = ("-k", "StudyInstanceUID=1.2.7", "-k", "Modality=MR", "-k", "SeriesNumber=3")
    done = pacsnode("ls", "-L", "series", "--explain", *keys, "--format", "json")
    (explained,) = json.loads(done.stdout)
    assert explained["matches"] is False
    assert explained["nearest"] == {"StudyInstanceUID": "1.2.7", "SeriesInstanceUID": "1.2.7.2"}
    results = {key["key"]: (key["stored"], key["result"]) for key in explained["keys"]}
    assert results == {
        "StudyInstanceUID": (["1.2.7"], "matches"),
        "Modality": (["MR"], "matches"),
        "SeriesNumber": (["2"], "does not match"),
    }


@pytest.mark.usefixtures("mueller")
def test_a_key_that_is_not_of_the_level_names_the_study_all_the_same(pacsnode: Pacsnode) -> None:
    keys = ("-k", "SeriesInstanceUID=1.2.7.2", "-k", "PatientName=Müller*")
    done = pacsnode("ls", "-L", "patient", "--explain", *keys, "--format", "json")
    (explained,) = json.loads(done.stdout)
    assert explained["matches"] is True
    results = {key["key"]: key["result"] for key in explained["keys"]}
    assert results == {"PatientName": "matches", "SeriesInstanceUID": "not matched"}


@pytest.mark.usefixtures("archive", "mueller")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--explain", "-k", "PatientName=X"), "which study?"),
        (("--explain", "9.9"), "no study has 9.9 as StudyInstanceUID, AccessionNumber"),
        (("--explain", "-k", "PatientID=P9", "-k", "PatientName=X"), "no study has PatientID P9"),
        (("--explain", "A1"), "AccessionNumber A1 has several studies"),
        (("--explain", "A7", "--flagged"), "stand alone"),
    ],
)
def test_ls_explain_wants_one_study(
    arguments: tuple[str, ...], said: str, pacsnode: Pacsnode
) -> None:
    done = pacsnode("ls", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_ls_explain_lets_nothing_of_a_dataset_reach_the_terminal(
    write_file: WriteFile, pacsnode: Pacsnode
) -> None:
    write_file("in/a.dcm", PatientName="EVIL\x9b31m", SpecificCharacterSet="ISO_IR 100")
    assert pacsnode("import", "in").returncode == 0
    for form in ("table", "csv", "json"):
        done = pacsnode("ls", "--explain", "A1", "-k", "PatientName=EVIL\x9b*", "--format", form)
        assert done.returncode == 0
        assert "\x9b" not in done.stdout
        assert "EVIL" in done.stdout
