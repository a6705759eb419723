"""Between two runs of reindex the node worked on, and was itself interrupted."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pacsnode.archive import Archive
from pacsnode.archive.place import Placing
from pacsnode.archive.reindex import reindex
from pacsnode.errors import StorageError
from tests.archive.instances import Sample, everything, faults, files, read, store
from tests.archive.test_reindex import interrupt_at


@pytest.fixture
def interrupted(open_again: Callable[..., Archive], data_dir: Path) -> list[Sample]:
    """What is in the archive; a run ended when the first two were in the new index."""
    samples = [Sample(f"1.2.3.{number}") for number in range(3)]
    archive = open_again("replace")
    for sample in samples:
        store(archive, sample)
    archive.close()
    with pytest.raises(KeyboardInterrupt):
        reindex(data_dir, progress=interrupt_at(2))
    return samples


def test_what_was_deleted_between_two_runs_does_not_come_back(
    interrupted: list[Sample], open_again: Callable[..., Archive], data_dir: Path
) -> None:
    """Killed between rows and files."""
    archive = open_again("replace")
    archive._index.remove([interrupted[0].sop])
    archive.close()
    reindex(data_dir)
    assert list(everything(open_again())) == [sample.sop for sample in interrupted[1:]]
    assert interrupted[0].place not in list(files(data_dir / "instances"))


def test_what_was_replaced_elsewhere_between_two_runs_stays_so(
    interrupted: list[Sample],
    open_again: Callable[..., Archive],
    data_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Killed before the old file went."""
    new = interrupted[0].but(study="1.9", extra="new")
    archive = open_again("replace")
    with monkeypatch.context() as patch:
        patch.setattr(Placing, "_remove_old", lambda *_: None)
        store(archive, new)
    archive.close()
    assert reindex(data_dir).set_aside == 0
    again = open_again("replace")
    assert read(again, new) == new.dataset
    assert not faults(again)


def test_what_is_left_and_cannot_be_removed_is_named(archive: Archive, data_dir: Path) -> None:
    archive.close()
    (data_dir / "index.sqlite.new").mkdir()
    with pytest.raises(StorageError, match=r"index\.sqlite\.new.*remove it"):
        reindex(data_dir)
