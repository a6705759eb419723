"""How what is missing is brought, beside the peers of tests/interface/test_missing.py."""

from collections.abc import Collection, Iterator, Sequence

import pytest
from pydicom import Dataset

from pacsnode.cli.missing import Lacking, bring
from pacsnode.dicom import status
from pacsnode.dicom.message import Counters
from pacsnode.scu.missing import LIST, Retrieve
from pacsnode.scu.models import Progress


class Here:
    """Which instances are here; counts how often that is asked."""

    def __init__(self, *uids: str) -> None:
        self.uids = set(uids)
        self.asked = 0

    def __call__(self, sop_instance_uids: Sequence[str]) -> Collection[str]:
        self.asked += 1
        assert len(sop_instance_uids) <= LIST
        return self.uids & set(sop_instance_uids)


def answers(completed: int) -> Iterator[Progress]:
    yield Progress(status.SUCCESS, "", Counters(None, completed, 0, 0))


def test_what_has_come_is_looked_up_once_however_much_it_is() -> None:
    here, uids = Here(), [f"1.{number}" for number in range(10 * LIST)]

    def ask(_: Dataset) -> Iterator[Progress]:
        here.uids.update(uids)
        return answers(len(uids))

    whole = Retrieve({"SeriesInstanceUID": "1"}, (), len(uids))
    assert bring(Lacking(retrieves=[whole], missing=uids), ask, here) == 0
    assert here.asked == 10


def test_a_peer_that_counts_what_it_has_not_sent_is_not_believed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole = Retrieve({"SeriesInstanceUID": "1"}, (), 2)
    lacking = Lacking(retrieves=[whole], missing=["1.1", "1.2"])
    assert bring(lacking, lambda _: answers(2), Here("1.1")) == 1
    output = capsys.readouterr()
    assert output.out == "1 have come, 1 are still missing\n"
    assert output.err == "1.2: still missing\n"
