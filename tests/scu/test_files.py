import os
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file

from pacsnode.dicom.message import Caller, Context, StoreRequest
from pacsnode.scu.files import FileSink, find_files, name_of, read_file
from tests.scu.scripted import CT, EXPLICIT

DATASET = b"\x08\x00\x60\x00CS\x02\x00CT"


def request(uid: str = "1.2.3") -> StoreRequest:
    return StoreRequest(
        caller=Caller("ARCHIVE", "PACSNODE", "192.0.2.1", 1),
        context=Context(1, CT, EXPLICIT),
        message_id=1,
        sop_class_uid=CT,
        sop_instance_uid=uid,
    )


def test_a_folder_tree_is_walked_lazily_and_what_is_no_dicom_is_named(tmp_path: Path) -> None:
    original = Path(str(get_testdata_file("CT_small.dcm", download=False)))
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "ct").write_bytes(original.read_bytes())
    (tmp_path / "notes.txt").write_text("no DICOM")
    os.mkfifo(tmp_path / "pipe")
    skipped: dict[str, str] = {}
    found = list(
        find_files(
            [tmp_path, tmp_path / "absent"], lambda path, why: skipped.update({path.name: why})
        )
    )
    assert [instance.path.name for instance in found] == ["ct"]
    assert skipped.keys() == {"notes.txt", "pipe", "absent"}
    assert skipped["absent"] == "no such file"


def test_what_is_sent_is_the_dataset_without_its_file_meta_group() -> None:
    path = Path(str(get_testdata_file("CT_small.dcm", download=False)))
    instance = read_file(path)
    with instance.open() as source:
        data = source.file.read()
    assert len(data) == source.length
    assert path.read_bytes().endswith(data)
    assert data[:4] in (b"\x08\x00\x05\x00", b"\x08\x00\x00\x00", b"\x08\x00\x08\x00")
    assert instance.sop_class_uid == CT


def test_the_datasets_uids_go_before_those_of_the_file_meta_group() -> None:
    """A peer compares the command with the dataset, and never sees the file meta group."""
    instance = read_file(Path(str(get_testdata_file("rtplan.dcm", download=False))))
    assert instance.sop_instance_uid.startswith("1.2.777.777")


@pytest.mark.parametrize("uid", ["../../etc/passwd", "", "1.2/3", "1.2\0", "x" * 200, ".1", "1\n"])
def test_a_name_made_from_an_untrusted_uid_stays_in_its_folder(uid: str) -> None:
    name = name_of(request(uid))
    assert name == Path(name).name
    assert name.endswith(".dcm")
    assert set(name) <= set("0123456789abcdef.dcm")
    assert not name.startswith(".")


def test_a_received_dataset_becomes_a_file_others_can_read(tmp_path: Path) -> None:
    done: list[Path] = []
    sink = FileSink(tmp_path, "a.dcm", request(), done.append)
    sink.write(memoryview(DATASET[:5]))
    assert not (tmp_path / "a.dcm").exists()
    sink.write(memoryview(DATASET[5:]))
    assert sink.finish().status == 0
    assert done == [tmp_path / "a.dcm"]
    assert os.listdir(tmp_path) == ["a.dcm"]
    ds = pydicom.dcmread(done[0])
    assert ds.Modality == "CT"
    assert ds.file_meta.MediaStorageSOPInstanceUID == "1.2.3"
    assert ds.file_meta.TransferSyntaxUID == EXPLICIT
    assert done[0].read_bytes().endswith(DATASET)


def test_a_dataset_that_is_not_completed_leaves_nothing(tmp_path: Path) -> None:
    sink = FileSink(tmp_path, "a.dcm", request(), lambda path: None)
    sink.write(memoryview(DATASET))
    sink.discard()
    assert os.listdir(tmp_path) == []


def test_a_folder_that_cannot_be_written_is_an_answer_and_no_fault(tmp_path: Path) -> None:
    sink = FileSink(tmp_path / "absent", "a.dcm", request(), lambda path: None)
    sink.write(memoryview(DATASET))
    assert sink.finish().status == 0xA700
    sink.discard()


def test_a_full_disk_is_an_answer_and_leaves_nothing() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    sink = FileSink(Path("/nonexistent"), "a.dcm", request(), lambda path: None)
    sink._file = open("/dev/full", "wb", buffering=0)  # noqa: SIM115
    sink._failed = None
    sink.write(memoryview(DATASET))
    assert sink.finish().status == 0xA700
