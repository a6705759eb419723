"""Every bundled file in every transfer syntax, before three programs that are not pacsnode; and
every pair of syntaxes."""

from pathlib import Path

import pytest

from pacsnode.dicom import transcode
from tests.transcoding.pairs import SOURCES, TARGETS, bundled, judge, sources, stored
from tests.transcoding.referees import REFEREES

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("path", bundled(), ids=lambda path: path.name)
def test_pydicom_dcmtk_and_gdcm_find_the_same_pixels_in_every_syntax(
    path: Path, tmp_path: Path
) -> None:
    one = stored(path)
    for target in TARGETS:
        found = judge(one, target, tmp_path)
        assert found.refused == "" or "is not for" in found.refused, (target, found)
        assert not found.other, (target, found)
        assert bool(found.equal) != bool(found.refused)


@pytest.mark.parametrize("source", SOURCES)
def test_pixels_are_equal_after_every_pair_of_syntaxes(source: str, tmp_path: Path) -> None:
    # Of the large ones the other test has what matters.
    datasets = [one for one in sources(source) if len(one.data) < 150_000]
    assert datasets
    for target in TARGETS:
        found = [judge(one, target, tmp_path, REFEREES[:1]) for one in datasets]
        assert not any(one.other for one in found), target
        assert any(one.equal for one in found), target
        assert all("is not for" in one.refused for one in found if one.refused), target


def test_the_pairs_are_those_that_the_program_has() -> None:
    for source in SOURCES:
        for target in TARGETS:
            assert transcode.can_transcode(source, target)
