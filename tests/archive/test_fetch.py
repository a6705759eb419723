"""Stored instances go out whole, or are named as lost."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pacsnode.archive import Archive
from pacsnode.errors import InstanceDamaged, InstanceMissing
from tests.archive.instances import EVERYTHING, Sample, everything, read, store
from tests.archive.test_place import harm


def test_a_stored_instance_is_opened_at_its_dataset(archive: Archive, sample: Sample) -> None:
    outcome = store(archive, sample)
    with archive.fetch(outcome.stored) as opened:
        assert opened.file.read() == sample.dataset
        assert opened.stored == outcome.stored
    assert opened.file.closed


@pytest.mark.parametrize(
    ("damage", "error"),
    [
        ("missing", InstanceMissing),
        ("truncated", InstanceDamaged),
        ("foreign", InstanceDamaged),
    ],
)
def test_a_missing_or_damaged_file_marks_the_instance_as_lost(
    archive: Archive, data_dir: Path, sample: Sample, damage: str, error: type[Exception]
) -> None:
    stored = store(archive, sample).stored
    harm(data_dir / "instances" / sample.place, damage)
    with pytest.raises(error), archive.fetch(stored):
        pass
    assert everything(archive)[sample.sop].is_lost


def test_an_instance_deleted_meanwhile_is_missing_and_not_lost(
    archive: Archive, sample: Sample
) -> None:
    stored = store(archive, sample).stored
    archive.delete(EVERYTHING)
    with pytest.raises(InstanceMissing, match="deleted"), archive.fetch(stored):
        pass
    assert archive.statistics().known.lost == 0


@pytest.mark.parametrize("moved", [{}, {"series": "1.2.3.0.2"}])
def test_an_instance_replaced_meanwhile_comes_as_it_is_now(
    open_again: Callable[..., Archive], sample: Sample, moved: dict[str, str]
) -> None:
    archive = open_again("replace")
    before = store(archive, sample).stored
    other = sample.but(extra="other", **moved)
    after = store(archive, other).stored
    with archive.fetch(before) as opened:
        assert opened.file.read() == other.dataset
        assert opened.stored == after


def test_a_replacement_that_did_not_end_is_ended_by_who_meets_it(
    open_again: Callable[..., Archive], data_dir: Path, sample: Sample
) -> None:
    """The rename was done, the index failed: without a restart, the next reader settles it."""
    archive = open_again("replace")
    before = store(archive, sample).stored
    other = sample.but(extra="other")
    store(archive, other)
    newer = (data_dir / "instances" / sample.place).read_bytes()
    store(archive, sample)
    archive._index.begin_replace(before._replace(digest=everything_of(newer, archive, other)))
    (data_dir / "instances" / sample.place).write_bytes(newer)
    assert read(archive, sample) == other.dataset
    assert archive.statistics().known.pending == 0


def everything_of(content: bytes, archive: Archive, sample: Sample) -> bytes:
    from blake3 import blake3

    assert content.endswith(sample.dataset)
    return blake3(sample.dataset).digest()
