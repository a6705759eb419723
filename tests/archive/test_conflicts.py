"""A person settles conflicts: nothing is lost but what is dropped. Crashes meanwhile are tested in
test_crash.py."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pacsnode.archive import Archive, Kind, chosen
from pacsnode.errors import InstanceDamaged, InstanceMissing, UsageError
from pacsnode.index import Conflict
from tests.archive.instances import EVERYTHING, Sample, everything, faults, files, read, store
from tests.archive.test_place import harm

MOVES = pytest.mark.parametrize("moved", [{}, {"series": "1.2.3.0.2"}, {"study": "1.9"}])


def conflict_of(archive: Archive, sample: Sample) -> Conflict:
    """Set the sample aside."""
    assert store(archive, sample).kind is Kind.CONFLICT
    (conflict,) = archive.conflicts()
    return conflict


@MOVES
def test_the_first_is_kept_and_the_newcomers_file_too(
    archive: Archive, data_dir: Path, sample: Sample, moved: dict[str, str]
) -> None:
    store(archive, sample)
    other = sample.but(extra="other", **moved)
    conflict = conflict_of(archive, other)
    archive.keep(conflict)
    assert not list(archive.conflicts())
    assert read(archive, sample) == sample.dataset
    assert list(files(data_dir / "conflicts")) == [f"settled/{conflict.name}"]
    assert (data_dir / "conflicts/settled" / conflict.name).read_bytes().endswith(other.dataset)
    assert archive.statistics().conflicts == 0


def test_what_was_settled_is_no_conflict_when_it_comes_again(
    open_again: Callable[..., Archive], data_dir: Path, sample: Sample
) -> None:
    archive = open_again()
    store(archive, sample)
    other = sample.but(extra="other")
    conflict = conflict_of(archive, other)
    archive.keep(conflict)
    assert store(archive, other).kind is Kind.CONFLICT
    assert not list(archive.conflicts())
    assert not list(open_again().conflicts())
    # Unless what was kept is damaged: what is acknowledged must be somewhere.
    harm(data_dir / "conflicts/settled" / conflict.name, "altered")
    again = conflict_of(open_again(), other)
    assert (data_dir / "conflicts" / again.name).read_bytes().endswith(other.dataset)


@MOVES
def test_the_newcomer_is_adopted_and_the_first_kept_beside(
    archive: Archive, data_dir: Path, sample: Sample, moved: dict[str, str]
) -> None:
    store(archive, sample)
    other = sample.but(extra="other", **moved)
    outcome = archive.adopt(conflict_of(archive, other))
    assert outcome.kind is Kind.REPLACED
    assert everything(archive)[sample.sop].uids == other.uids
    assert read(archive, other) == other.dataset
    assert list(files(data_dir / "instances")) == [other.place]
    assert not list(archive.conflicts())
    (kept,) = files(data_dir / "conflicts")
    assert kept.startswith("settled/")
    assert (data_dir / "conflicts" / kept).read_bytes().endswith(sample.dataset)
    assert not faults(archive)
    # The decision holds: the first, sent again, needs nobody.
    assert store(archive, sample).kind is Kind.CONFLICT
    assert not list(archive.conflicts())
    assert read(archive, other) == other.dataset


def test_a_newcomer_whose_first_was_deleted_is_simply_stored(
    archive: Archive, data_dir: Path, sample: Sample
) -> None:
    store(archive, sample)
    other = sample.but(extra="other")
    conflict = conflict_of(archive, other)
    archive.delete(EVERYTHING)
    assert archive.adopt(conflict).kind is Kind.STORED
    assert read(archive, other) == other.dataset
    assert not list(files(data_dir / "conflicts"))


def test_a_lost_first_gives_way_too(archive: Archive, data_dir: Path, sample: Sample) -> None:
    store(archive, sample)
    conflict = conflict_of(archive, sample.but(extra="other"))
    (data_dir / "instances" / sample.place).unlink()
    assert archive.adopt(conflict).kind is Kind.REPLACED
    assert not list(files(data_dir / "conflicts"))
    assert not faults(archive)


def test_a_damaged_newcomer_is_not_adopted(
    archive: Archive, data_dir: Path, sample: Sample
) -> None:
    store(archive, sample)
    conflict = conflict_of(archive, sample.but(extra="other"))
    path = data_dir / "conflicts" / conflict.name
    whole = path.read_bytes()
    for damage in ("altered", "truncated", "foreign"):
        harm(path, damage)
        with pytest.raises(InstanceDamaged):
            archive.adopt(conflict)
        path.write_bytes(whole)
    assert read(archive, sample) == sample.dataset
    path.unlink()
    with pytest.raises(InstanceMissing):
        archive.adopt(conflict)
    assert not list(archive.conflicts())


def test_what_is_dropped_is_gone_and_a_conflict_when_it_comes_again(
    archive: Archive, data_dir: Path, sample: Sample
) -> None:
    store(archive, sample)
    other = sample.but(extra="other")
    conflict = conflict_of(archive, other)
    archive.drop(conflict)
    assert not list(archive.conflicts())
    assert not list(files(data_dir / "conflicts"))
    assert read(archive, sample) == sample.dataset
    assert conflict_of(archive, other).name == conflict.name


def test_conflicts_are_named_by_file_and_by_instance(archive: Archive, sample: Sample) -> None:
    store(archive, sample)
    for extra in ("a", "b"):
        store(archive, sample.but(extra=extra))
    known = list(archive.conflicts())
    assert chosen(known, [known[1].name]) == known[1:]
    assert chosen(known, [sample.sop, known[0].name]) == known
    with pytest.raises(UsageError, match="ls --conflicts"):
        chosen(known, [known[0].name, "1.2.3.99"])


def test_a_conflict_whose_file_somebody_took_is_forgotten_at_the_next_start(
    open_again: Callable[..., Archive], data_dir: Path, sample: Sample
) -> None:
    archive = open_again()
    store(archive, sample)
    conflict = conflict_of(archive, sample.but(extra="other"))
    (data_dir / "conflicts" / conflict.name).unlink()
    assert not list(open_again().conflicts())
