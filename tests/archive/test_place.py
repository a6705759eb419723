"""Duplicates by policy, contention, and what stands in the way."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pacsnode.archive import Archive, Kind
from pacsnode.errors import DuplicateRefused
from tests.archive.instances import Sample, everything, faults, files, read, store


def test_a_new_instance_is_stored_in_its_place_byte_for_byte(
    archive: Archive, data_dir: Path, sample: Sample
) -> None:
    outcome = store(archive, sample)
    assert outcome.kind is Kind.STORED
    assert read(archive, sample) == sample.dataset
    assert list(files(data_dir / "instances")) == [sample.place]
    assert not faults(archive)


def test_the_same_bytes_again_change_nothing(
    archive: Archive, data_dir: Path, sample: Sample
) -> None:
    store(archive, sample)
    before = (data_dir / "instances" / sample.place).stat()
    assert store(archive, sample).kind is Kind.ALREADY_HERE
    after = (data_dir / "instances" / sample.place).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert not list(files(data_dir / "conflicts"))


@pytest.mark.parametrize("moved", [{}, {"series": "1.2.3.0.2"}, {"study": "1.9"}])
def test_keep_leaves_the_first_and_sets_the_newcomer_aside(
    archive: Archive, data_dir: Path, sample: Sample, moved: dict[str, str]
) -> None:
    store(archive, sample)
    for _ in range(2):  # a modality that sends again does not fill the disk
        assert store(archive, sample.but(extra="other", **moved)).kind is Kind.CONFLICT
    assert read(archive, sample) == sample.dataset
    assert list(files(data_dir / "instances")) == [sample.place]
    (conflict,) = archive.conflicts()
    assert conflict.source_ae_title == "SENDER"
    aside = data_dir / "conflicts" / conflict.name
    assert aside.read_bytes().endswith(sample.but(extra="other", **moved).dataset)
    assert list(files(data_dir / "conflicts")) == [conflict.name]
    assert not faults(archive)


@pytest.mark.parametrize("moved", [{}, {"series": "1.2.3.0.2"}, {"study": "1.9"}])
def test_replace_puts_the_newcomer_in_place_and_nothing_of_the_old_remains(
    open_again: Callable[..., Archive], data_dir: Path, sample: Sample, moved: dict[str, str]
) -> None:
    archive = open_again("replace")
    store(archive, sample)
    other = sample.but(extra="other", **moved)
    assert store(archive, other).kind is Kind.REPLACED
    assert read(archive, sample) == other.dataset
    assert everything(archive)[sample.sop].uids == other.uids
    assert list(files(data_dir / "instances")) == [other.place]
    assert not list(archive.conflicts())
    assert archive.statistics().known.pending == 0
    assert not faults(archive)


@pytest.mark.parametrize("extra", ["", "other"])
def test_reject_refuses_before_a_byte_is_written(
    open_again: Callable[..., Archive], sample: Sample, extra: str
) -> None:
    archive = open_again("reject")
    store(archive, sample)
    with pytest.raises(DuplicateRefused):
        archive.begin(sample.but(extra=extra).arrival)


def test_reject_refuses_what_came_in_between(
    open_again: Callable[..., Archive], data_dir: Path, sample: Sample
) -> None:
    archive = open_again("reject")
    for late in (sample, sample.but(study="1.9")):
        receipt = archive.begin(late.but(sop="1.2.3.9").arrival)
        receipt.discard()
    receipt = archive.begin(sample.arrival)
    receipt.write(memoryview(sample.but(study="1.9").dataset))
    store(archive, sample)
    with pytest.raises(DuplicateRefused):
        receipt.finish()
    assert list(files(data_dir / "instances")) == [sample.place]
    assert not faults(archive)


@pytest.mark.parametrize("policy", ["keep", "replace"])
@pytest.mark.parametrize("damage", ["missing", "truncated", "altered", "foreign"])
def test_the_same_bytes_restore_what_is_missing_or_damaged(
    open_again: Callable[..., Archive], data_dir: Path, sample: Sample, damage: str, policy: str
) -> None:
    archive = open_again(policy)
    store(archive, sample)
    harm(data_dir / "instances" / sample.place, damage)
    (fault,) = faults(archive)
    assert fault.uids == sample.uids
    assert everything(archive)[sample.sop].is_lost
    assert store(archive, sample).kind is Kind.RESTORED
    assert read(archive, sample) == sample.dataset
    assert not everything(archive)[sample.sop].is_lost
    assert not faults(archive)
    assert list(files(data_dir / "instances")) == [sample.place]


def harm(path: Path, how: str) -> None:
    content = path.read_bytes()
    match how:
        case "missing":
            path.unlink()
        case "truncated":
            path.write_bytes(content[:-10])
        case "altered":
            path.write_bytes(content[:-10] + b"x" + content[-9:])
        case "foreign":
            path.write_bytes(b"no DICOM")


def test_keep_leaves_a_lost_first_lost(archive: Archive, data_dir: Path, sample: Sample) -> None:
    store(archive, sample)
    (data_dir / "instances" / sample.place).unlink()
    assert store(archive, sample.but(extra="other")).kind is Kind.CONFLICT
    assert not list(files(data_dir / "instances"))
    assert store(archive, sample).kind is Kind.RESTORED


def test_replace_takes_the_place_of_a_lost_first(
    open_again: Callable[..., Archive], data_dir: Path, sample: Sample
) -> None:
    archive = open_again("replace")
    store(archive, sample)
    (data_dir / "instances" / sample.place).unlink()
    other = sample.but(extra="other")
    assert store(archive, other).kind is Kind.REPLACED
    assert read(archive, sample) == other.dataset
    assert not faults(archive)


def orphan(archive: Archive, data_dir: Path, sample: Sample) -> None:
    """A file of this archive that the index does not know."""
    store(archive, sample)
    path = data_dir / "instances" / sample.place
    content = path.read_bytes()
    archive._index.settle(archive._index.remove([sample.sop])[0])
    path.write_bytes(content)


def test_an_orphan_with_other_bytes_is_set_aside_for_the_newcomer(
    archive: Archive, data_dir: Path, sample: Sample
) -> None:
    orphan(archive, data_dir, sample)
    other = sample.but(extra="other")
    assert store(archive, other).kind is Kind.STORED
    assert read(archive, sample) == other.dataset
    (conflict,) = archive.conflicts()
    assert (data_dir / "conflicts" / conflict.name).read_bytes().endswith(sample.dataset)
    assert not faults(archive)


def test_an_orphan_with_the_same_bytes_makes_way(
    archive: Archive, data_dir: Path, sample: Sample
) -> None:
    orphan(archive, data_dir, sample)
    assert store(archive, sample).kind is Kind.STORED
    assert read(archive, sample) == sample.dataset
    assert not list(files(data_dir / "conflicts"))


def test_an_orphan_that_is_no_dicom_is_set_aside_too(
    archive: Archive, data_dir: Path, sample: Sample
) -> None:
    path = data_dir / "instances" / sample.place
    path.parent.mkdir(parents=True)
    path.write_bytes(b"somebody's notes")
    assert store(archive, sample).kind is Kind.STORED
    (conflict,) = archive.conflicts()
    assert (data_dir / "conflicts" / conflict.name).read_bytes() == b"somebody's notes"


@pytest.mark.parametrize("policy", ["keep", "replace", "reject"])
def test_many_threads_with_one_instance_make_one_file_and_one_row(
    open_again: Callable[..., Archive], data_dir: Path, policy: str
) -> None:
    archive = open_again(policy)
    rivals = 8
    for turn in range(5):
        sample = Sample(f"1.2.3.{turn}")
        start = threading.Barrier(rivals)
        kinds = at_once(archive, [sample] * rivals, start)
        refused = [kind for kind in kinds if kind is None]
        assert kinds.count(Kind.STORED) == 1
        expected = refused if policy == "reject" else [k for k in kinds if k is Kind.ALREADY_HERE]
        assert len(expected) == rivals - 1
        assert read(archive, sample) == sample.dataset
    assert not faults(archive)
    assert len(list(files(data_dir / "instances"))) == 5


@pytest.mark.parametrize("policy", ["keep", "replace"])
def test_many_threads_with_different_bytes_and_places_leave_one_and_lose_none(
    open_again: Callable[..., Archive], data_dir: Path, policy: str
) -> None:
    archive = open_again(policy)
    for turn in range(5):
        rivals = [
            Sample(f"1.2.3.{turn}", study=f"1.2.{place}", extra=str(number))
            for number in range(3)
            for place in range(3)
        ]
        kinds = at_once(archive, rivals, threading.Barrier(len(rivals)))
        assert kinds.count(Kind.STORED) == 1
        others = Kind.CONFLICT if policy == "keep" else Kind.REPLACED
        assert kinds.count(others) == len(rivals) - 1
        assert read(archive, rivals[0]) in [rival.dataset for rival in rivals]
    assert not faults(archive)
    assert len(list(files(data_dir / "instances"))) == 5
    assert len(list(files(data_dir / "conflicts"))) == (40 if policy == "keep" else 0)
    assert len(list(archive.conflicts())) == (40 if policy == "keep" else 0)


def at_once(archive: Archive, samples: list[Sample], start: threading.Barrier) -> list[Kind | None]:
    def one(sample: Sample) -> Kind | None:
        try:
            receipt = archive.begin(sample.arrival)
            receipt.write(memoryview(sample.dataset))
            start.wait(30)
            return receipt.finish().kind
        except DuplicateRefused:
            return None

    with ThreadPoolExecutor(len(samples)) as pool:
        return list(pool.map(one, samples))
