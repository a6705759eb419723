"""Instances come in, over the network and from files."""

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from pydicom import dcmread

from pacsnode.archive import Archive, Kind, Outcome
from pacsnode.dicom import part10
from pacsnode.errors import MismatchedUID, OutOfSpace, UnreadableDataset, UnusableUID
from tests.archive.instances import (
    CT,
    EXPLICIT,
    Sample,
    answers_to,
    everything,
    faults,
    files,
    read,
    store,
)


def nothing_left(archive: Archive, data_dir: Path) -> None:
    assert not list(files(data_dir / "instances"))
    assert not everything(archive)


def test_an_empty_dataset_is_unreadable(archive: Archive, data_dir: Path, sample: Sample) -> None:
    with pytest.raises(UnreadableDataset):
        archive.begin(sample.arrival).finish()
    nothing_left(archive, data_dir)


def test_rubbish_is_unreadable(archive: Archive, data_dir: Path, sample: Sample) -> None:
    receipt = archive.begin(sample.arrival)
    receipt.write(memoryview(b"rubbish" * 1000))
    with pytest.raises(UnreadableDataset):
        receipt.finish()
    nothing_left(archive, data_dir)


def test_what_is_refused_for_its_header_reaches_no_disk(
    archive: Archive, data_dir: Path, sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    real = os.open

    def open_recorded(path: str, flags: int, *arguments: int) -> int:
        if flags & os.O_CREAT:
            made.append(path)
        return real(path, flags, *arguments)

    monkeypatch.setattr(os, "open", open_recorded)
    receipt = archive.begin(sample.arrival._replace(sop_instance_uid="9.9"))
    receipt.write(memoryview(sample.dataset))
    with pytest.raises(MismatchedUID):
        receipt.finish()
    assert not made
    store(archive, sample)
    assert len(made) == 1


def test_a_missing_study_instance_uid_is_unusable(
    archive: Archive, data_dir: Path, sample: Sample
) -> None:
    receipt = archive.begin(sample.arrival)
    receipt.write(memoryview(sample.but(study="").dataset))
    with pytest.raises(UnusableUID):
        receipt.finish()
    nothing_left(archive, data_dir)


@pytest.mark.parametrize(
    "changes", [{"sop_instance_uid": "1.2.3.2"}, {"sop_class_uid": "1.2.840.10008.5.1.4.1.1.4"}]
)
def test_a_dataset_that_is_not_the_commands_is_refused(
    archive: Archive, data_dir: Path, sample: Sample, changes: dict[str, str]
) -> None:
    receipt = archive.begin(sample.arrival._replace(**changes))
    receipt.write(memoryview(sample.dataset))
    with pytest.raises(MismatchedUID):
        receipt.finish()
    nothing_left(archive, data_dir)


def test_a_missing_sop_class_uid_is_the_commands(archive: Archive, sample: Sample) -> None:
    receipt = archive.begin(sample.arrival)
    receipt.write(memoryview(sample.dataset[8 + len(CT) + len(CT) % 2 :]))
    assert receipt.finish().stored.sop_class_uid == CT


def test_a_cut_transfer_leaves_nothing_behind(
    archive: Archive, data_dir: Path, sample: Sample
) -> None:
    receipt = archive.begin(sample.arrival)
    receipt.write(memoryview(sample.dataset[:50]))
    receipt.write(memoryview(bytes(100_000)))
    assert len(list(files(data_dir / "instances"))) == 1
    receipt.discard()
    receipt.discard()
    nothing_left(archive, data_dir)


def test_below_min_free_nothing_is_begun(
    open_again: Callable[..., Archive], data_dir: Path, sample: Sample
) -> None:
    archive = open_again(min_free=1 << 60)
    with pytest.raises(OutOfSpace, match="min_free"):
        archive.begin(sample.arrival)
    nothing_left(archive, data_dir)


def test_free_space_is_asked_for_at_most_once_a_second(
    open_again: Callable[..., Archive], sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = open_again(min_free=1)
    now = [100.0]
    asked: list[float] = []
    monkeypatch.setattr("pacsnode.archive.store.time.monotonic", lambda: now[0])
    monkeypatch.setattr(type(archive._storage), "free", lambda self: asked.append(now[0]) or 2)
    for moment in (100.0, 100.9, 101.0, 101.5):
        now[0] = moment
        archive.begin(sample.arrival).discard()
    assert asked == [100.0, 101.0]


def test_the_file_meta_group_says_who_sent_and_what_came(
    archive: Archive, data_dir: Path, sample: Sample
) -> None:
    outcome = store(archive, sample)
    path = data_dir / "instances" / sample.place
    meta = dcmread(path).file_meta
    assert meta.MediaStorageSOPClassUID == CT
    assert meta.MediaStorageSOPInstanceUID == sample.sop
    assert meta.TransferSyntaxUID == EXPLICIT
    assert meta.ImplementationClassUID == part10.IMPLEMENTATION_CLASS_UID
    assert meta.SourceApplicationEntityTitle == meta.SendingApplicationEntityTitle == "SENDER"
    assert meta.ReceivingApplicationEntityTitle == "NODE"
    with path.open("rb") as file:
        own = part10.read_meta(file)
    assert (own.digest, own.length) == (outcome.stored.digest, len(sample.dataset))
    assert own.received_at == outcome.stored.received_at


def test_who_wants_to_know_is_told_when_it_is_durable(
    open_again: Callable[..., Archive], sample: Sample
) -> None:
    told: list[tuple[Outcome, bool]] = []

    def on_stored(outcome: Outcome) -> None:
        told.append((outcome, sample.sop in everything(archive)))

    archive = open_again(on_stored=(on_stored,))
    outcome = store(archive, sample)
    assert told == [(outcome, True)]


def test_real_files_are_imported_with_their_datasets_byte_for_byte(
    archive: Archive, bundled_files: Sequence[Path]
) -> None:
    taken = 0
    for path in bundled_files:
        try:
            outcome = archive.import_file(path)
        except UnreadableDataset:
            continue
        if outcome.kind is not Kind.STORED:
            continue
        taken += 1
        with path.open("rb") as file:
            meta = part10.read_file_meta(file)
            file.seek(meta.dataset_offset)
            dataset = file.read()
        with archive.fetch(outcome.stored) as opened:
            assert opened.file.read() == dataset
        assert outcome.stored.transfer_syntax_uid == meta.transfer_syntax_uid
    assert taken > 30
    assert len(everything(archive)) == taken
    assert not faults(archive)


def test_a_dataset_without_file_meta_group_is_imported(
    archive: Archive, tmp_path: Path, sample: Sample
) -> None:
    (tmp_path / "plain").write_bytes(sample.dataset)
    assert archive.import_file(tmp_path / "plain").kind is Kind.STORED
    assert read(archive, sample) == sample.dataset
    assert archive.import_file(tmp_path / "plain").kind is Kind.ALREADY_HERE


def test_a_file_meta_group_that_names_another_instance_is_made_anew(
    archive: Archive, data_dir: Path, tmp_path: Path, sample: Sample
) -> None:
    wrong = part10.encode_meta(CT, "1.2.3.99", EXPLICIT, "ELSEWHERE", "THERE")
    (tmp_path / "file").write_bytes(wrong + sample.dataset)
    archive.import_file(tmp_path / "file")
    meta = dcmread(data_dir / "instances" / sample.place).file_meta
    assert meta.MediaStorageSOPInstanceUID == sample.sop
    assert meta.SourceApplicationEntityTitle == "ELSEWHERE"
    assert meta.ReceivingApplicationEntityTitle == "NODE"


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\3\4" + bytes(5000), bytes(200)])
def test_what_is_no_dicom_is_not_imported(
    archive: Archive, data_dir: Path, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(UnreadableDataset):
        archive.import_file(tmp_path / "file")
    with pytest.raises(UnreadableDataset, match="No such file"):
        archive.import_file(tmp_path / "none")
    with pytest.raises(UnreadableDataset, match="directory"):
        archive.import_file(tmp_path)
    nothing_left(archive, data_dir)


def test_a_character_set_is_assumed_by_source(
    open_again: Callable[..., Archive], tmp_path: Path
) -> None:
    archive = open_again(character_sets={"SENDER": "ISO_IR 144"})
    sample = Sample("1.2.3.1", extra="ÄÖ")
    meta = part10.encode_meta(CT, sample.sop, EXPLICIT, "SENDER", "")
    (tmp_path / "file").write_bytes(meta + sample.dataset)
    archive.import_file(tmp_path / "file")
    from pacsnode.dicom.level import Level
    from pacsnode.dicom.query import Key, Model, Query

    key = Key(0x00081030, "StudyDescription", "LO", Level.STUDY)
    query = Query(Level.STUDY, Model.STUDY_ROOT, (), (key,))
    (answer,) = answers_to(archive, query)
    assert answer.StudyDescription == "\xc4\xd6".encode("latin-1").decode("iso8859-5")


def test_deflated_datasets_are_kept_as_they_came(
    archive: Archive, bundled_files: Sequence[Path]
) -> None:
    (path,) = [path for path in bundled_files if path.name == "image_dfl.dcm"]
    outcome = archive.import_file(path)
    with archive.fetch(outcome.stored) as opened:
        assert path.read_bytes().endswith(opened.file.read())


SCRIPT = """
import resource, sys
from pathlib import Path
from pacsnode.archive import open_archive
from tests.archive.instances import Sample
sample = Sample("1.2.3.1")
with open_archive(Path(sys.argv[1])) as archive:
    receipt = archive.begin(sample.arrival)
    receipt.write(memoryview(sample.dataset))
    receipt.discard()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    receipt = archive.begin(sample.arrival)
    length = int(sys.argv[2])
    head = bytearray(sample.dataset[:-sample.pixels])
    head[-4:] = length.to_bytes(4, "little")
    receipt.write(memoryview(head))
    fragment = memoryview(bytes(1 << 17))
    for _ in range(length >> 17):
        receipt.write(fragment)
    stored = receipt.finish().stored
    assert stored.length == len(head) + length
    assert not list(archive.verify())
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_memory_stays_flat_however_large_the_object(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "data"), str(256 << 20)],
        capture_output=True,
        check=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    assert int(ended.stdout) < 32 << 10  # KiB


def test_a_patient_that_differs_inside_a_study_is_stored_flagged_and_logged_without_its_name(
    archive: Archive, sample: Sample, caplog: pytest.LogCaptureFixture
) -> None:
    store(archive, sample)
    other = sample.but(sop="1.2.3.2")
    receipt = archive.begin(other.arrival)
    receipt.write(memoryview(other.dataset.replace(b"DOE^JANE", b"DOE^JOHN")))
    with caplog.at_level(logging.INFO):
        assert receipt.finish().kind is Kind.STORED
    (flag,) = archive.flags()
    assert "DOE^JOHN" in flag.text
    assert sample.study in caplog.text
    assert "DOE" not in caplog.text
