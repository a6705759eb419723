"""Figures are those of what is there."""

from pathlib import Path

from pacsnode.archive import Archive
from tests.archive.instances import Sample, store


def test_figures_count_index_and_folders(archive: Archive, data_dir: Path, sample: Sample) -> None:
    other = sample.but(sop="1.2.3.2", series="1.2.9")
    store(archive, sample)
    store(archive, other)
    store(archive, sample.but(extra="other"))
    (data_dir / "quarantine" / "file").touch()
    figures = archive.statistics()
    assert (figures.known.studies, figures.known.series, figures.known.instances) == (1, 2, 2)
    assert figures.known.bytes == len(sample.dataset) + len(other.dataset)
    assert (figures.conflicts, figures.quarantine) == (1, 1)
    assert figures.free > 0
