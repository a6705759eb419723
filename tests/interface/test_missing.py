"""`get` and `move --missing`: what is not here is asked for, and nothing else; of dcmqrscp, Orthanc
and another node."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.uid import generate_uid

from tests.conftest import Dcmtk, RunningNode, StartNode, new_dataset, write_dataset
from tests.interface.conftest import free_port_number, stored_files
from tests.interface.orthanc import orthanc
from tests.interface.peer import read_file


@dataclass
class Site:
    """A node, and ARCHIVE, which has two series of three and one of another study."""

    node: RunningNode
    folder: Path
    study: str
    first: Sequence[Dataset]
    second: Sequence[Dataset]
    other: Dataset

    def send(self, to: str, *datasets: Dataset) -> None:
        files = [write_dataset(self.folder / f"{ds.SOPInstanceUID}.dcm", ds) for ds in datasets]
        sent = self.node.command("send", to, *files)
        assert sent.returncode == 0, sent.stderr

    def uids(self, *datasets: Dataset) -> set[str]:
        return {str(ds.SOPInstanceUID) for ds in datasets}

    @property
    def in_node(self) -> set[str]:
        return uids_in(self.node.data_dir / "instances")


def uids_in(folder: Path) -> set[str]:
    return {read_file(path.read_bytes()).sop_instance_uid for path in stored_files(folder)}


def _series(study: str, count: int) -> list[Dataset]:
    uid = generate_uid()
    return [
        new_dataset(StudyInstanceUID=study, SeriesInstanceUID=uid, InstanceNumber=number)
        for number in range(1, count + 1)
    ]


def _dcmqrscp(dcmtk: Dcmtk, folder: Path, port: int, node_port: int) -> None:
    database = folder / "database"
    database.mkdir()
    config = folder / "dcmqrscp.cfg"
    config.write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 16\n"
        f"HostTable BEGIN\nnode = (PACSNODE, 127.0.0.1, {node_port})\nHostTable END\n"
        "VendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\nARCHIVE {database} RW (200, 1024mb) ANY\nAETable END\n"
    )
    dcmtk.serve("dcmqrscp", "-c", config, "+B", port=port, cwd=folder)


@pytest.fixture
def ending() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture(params=["dcmqrscp", "Orthanc", "pacsnode"])
def site(
    request: pytest.FixtureRequest,
    start_node: StartNode,
    dcmtk: Dcmtk,
    ending: ExitStack,
    tmp_path: Path,
) -> Site:
    port, node_port = free_port_number(), free_port_number()
    if request.param == "dcmqrscp":
        _dcmqrscp(dcmtk, tmp_path, port, node_port)
    elif request.param == "Orthanc":
        around = orthanc(
            tmp_path / "orthanc",
            port,
            free_port_number(),
            node_port,
            DicomAet="ARCHIVE",
            DicomAlwaysAllowGet=True,
            DicomAlwaysAllowMove=True,
        )
        ending.enter_context(around)
    else:
        start_node(
            f"ae_title: ARCHIVE\nlisten: {{port: {port}, workers: 1}}\n"
            "access: {unknown_callers: all}\n"
            f"modalities: {{PACSNODE: {{host: 127.0.0.1, port: {node_port}}}}}\n",
            folder=tmp_path / "archive",
        )
    node = start_node(
        f"listen: {{port: {node_port}, workers: 1}}\naccess: {{unknown_callers: all}}\n"
        f"modalities: {{ARCHIVE: {{host: 127.0.0.1, port: {port}}}}}\n"
    )
    study = generate_uid()
    made = Site(
        node, tmp_path / "files", study, _series(study, 3), _series(study, 3), new_dataset()
    )
    made.send("ARCHIVE", *made.first, *made.second, made.other)
    return made


def test_a_move_brings_what_is_missing_and_nothing_else(site: Site) -> None:
    site.send(site.node.peer, site.first[0])
    moved = site.node.command(
        "move", "ARCHIVE", "--to", "PACSNODE", "--missing", "-k", f"StudyInstanceUID={site.study}"
    )
    assert moved.returncode == 0, moved.stderr
    assert "6 instances in 2 series; 5 are missing here" in moved.stdout
    assert "5 have come, 0 are still missing" in moved.stdout
    assert site.in_node == site.uids(*site.first, *site.second)
    again = site.node.command(
        "move", "ARCHIVE", "--to", "PACSNODE", "--missing", "-k", f"StudyInstanceUID={site.study}"
    )
    assert again.returncode == 0
    assert "0 are missing here" in again.stdout


def test_a_get_goes_on_where_the_last_one_ended(site: Site, tmp_path: Path) -> None:
    """What lies in the folder counts, by what is in the files, and what the index has."""
    here = tmp_path / "here"
    write_dataset(here / "any name", site.first[1])
    (here / "notes.txt").write_text("no DICOM")
    site.send(site.node.peer, site.second[2])
    command = ("get", "ARCHIVE", "-o", here, "--missing", "-k", f"StudyInstanceUID={site.study}")
    got = site.node.command(*command)
    assert got.returncode == 0, got.stderr
    assert "6 instances in 2 series; 4 are missing here" in got.stdout
    wanted = site.uids(*site.first, *site.second) - site.uids(site.second[2])
    assert uids_in_dicom(here) == wanted
    assert "0 are missing here" in site.node.command(*command).stdout


def uids_in_dicom(folder: Path) -> set[str]:
    return {
        read_file(path.read_bytes()).sop_instance_uid
        for path in folder.iterdir()
        if path.name != "notes.txt"
    }


@pytest.mark.parametrize("level", ["series", "image", "patient"])
def test_it_begins_at_any_level(site: Site, level: str) -> None:
    first = site.first[0]
    keys = {
        "series": [
            f"StudyInstanceUID={site.study}",
            f"SeriesInstanceUID={first.SeriesInstanceUID}",
        ],
        "image": [
            f"StudyInstanceUID={site.study}",
            f"SeriesInstanceUID={first.SeriesInstanceUID}",
            f"SOPInstanceUID={first.SOPInstanceUID}",
        ],
        "patient": ["PatientID=ID1"],
    }[level]
    wanted = {
        "series": site.uids(*site.first),
        "image": site.uids(first),
        "patient": site.uids(*site.first, *site.second, site.other),
    }[level]
    options = [part for key in keys for part in ("-k", key)]
    moved = site.node.command(
        "move", "ARCHIVE", "--to", "PACSNODE", "--missing", "-L", level, *options
    )
    assert moved.returncode == 0, moved.stderr + moved.stdout
    assert site.in_node == wanted
