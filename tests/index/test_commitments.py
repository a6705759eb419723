"""Transactions of Storage Commitment: noted, leased, given up; reports that came."""

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from pacsnode import index as index_room
from pacsnode.dicom.commitment import CommitmentReport, CommitmentRequest, Failure, Reference
from pacsnode.errors import UnknownTransaction
from pacsnode.index import Index, commitments
from pacsnode.index.commitments import FAR, KEPT, LEASE, SECOND, Asked, Backlog, Commitment
from tests.index.instances import next_connection

NOW = 1_700_000_000 * SECOND
ONE = Reference("1.2.840.10008.5.1.4.1.1.2", "1.2.3")
REPORT = CommitmentReport("1.9", (ONE,), (Failure(ONE._replace(sop_instance_uid="1.2.4"), 0x112),))


@pytest.fixture
def index(path: Path) -> Iterator[Index]:
    with closing(index_room.open(path)) as opened:
        yield opened


def asked(uid: str = "1.9", ae_title: str = "CT1", references: int = 1) -> Asked:
    many = tuple(ONE._replace(sop_instance_uid=f"1.2.{number}") for number in range(references))
    return Asked(CommitmentRequest(uid, many), ae_title, "192.0.2.1")


def opened(index: Index, *details: str, now: int = NOW) -> Commitment:
    commitment = index.commitments.open(asked(*details), now)
    assert commitment is not None
    return commitment


def test_what_is_asked_is_there_until_it_is_finished(index: Index, path: Path) -> None:
    first = opened(index)
    assert index.commitments.give_back(first, NOW)
    with closing(index_room.open(path)) as other:
        found = other.commitments.claim(NOW)
    assert found is not None
    assert found == first._replace(lease=found.lease)
    assert found.request == asked().request
    assert found.report is None
    assert index.commitments.finish(found)
    assert index.commitments.backlog() == Backlog(0, 0)
    assert not index.commitments.finish(found)


def test_a_lease_keeps_others_away_until_it_ends(index: Index) -> None:
    first = opened(index)
    for moment in (NOW - SECOND, NOW - 1, NOW, NOW + LEASE - 1):  # clocks differ a little
        assert index.commitments.claim(moment) is None
    assert index.commitments.extend(first, NOW + LEASE - 1)
    assert index.commitments.claim(NOW + LEASE) is None
    second = index.commitments.claim(NOW + 2 * LEASE)
    assert second is not None
    for change in (
        index.commitments.extend(first, NOW),
        index.commitments.keep_report(first, REPORT),
        index.commitments.postpone(first, NOW),
        index.commitments.give_back(first, NOW),
        index.commitments.finish(first),
    ):
        assert not change
    assert index.commitments.finish(second)


def test_each_is_claimed_by_one_of_many(path: Path, index: Index) -> None:
    for number in range(40):
        index.commitments.give_back(opened(index, f"1.{number}", f"CT{number}"), NOW)
    claimed: list[str] = []

    def claim() -> None:
        with closing(index_room.open(path)) as own:
            while found := own.commitments.claim(NOW):
                claimed.append(found.transaction_uid)

    threads = [threading.Thread(target=claim) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claimed) == sorted(f"1.{number}" for number in range(40))


def test_a_start_ends_all_leases(index: Index) -> None:
    opened(index)
    index.commitments.give_back_all()
    assert index.commitments.claim(NOW) is not None


def test_what_was_found_is_kept_for_the_next_attempt(index: Index) -> None:
    first = opened(index)
    assert index.commitments.keep_report(first, REPORT)
    assert index.commitments.postpone(first, NOW + 10 * SECOND)
    assert index.commitments.claim(NOW + 9 * SECOND) is None
    second = index.commitments.claim(NOW + 10 * SECOND)
    assert second is not None
    assert (second.report, second.attempts) == (REPORT, 1)


def test_the_oldest_that_is_due_comes_first(index: Index) -> None:
    for uid, due in (("1.1", 3), ("1.2", 1), ("1.3", 2)):
        index.commitments.postpone(opened(index, uid, uid), NOW + due)
    found = [index.commitments.claim(NOW + 5) for _ in range(4)]
    assert [each and each.transaction_uid for each in found] == ["1.2", "1.3", "1.1", None]


def test_a_clock_that_was_set_back_makes_nobody_wait(index: Index) -> None:
    index.commitments.postpone(opened(index, "1.1"), NOW + SECOND)
    opened(index, "1.2", "CT2")
    before = NOW - FAR - LEASE
    assert index.commitments.claim(before) is not None
    assert index.commitments.claim(before) is not None


def test_the_same_uid_of_the_same_requester_is_a_duplicate_while_it_is_open(index: Index) -> None:
    first = opened(index)
    assert not first.is_duplicate
    assert not opened(index, "1.9", "CT2").is_duplicate
    second = opened(index, now=NOW + 1)
    assert second.is_duplicate
    index.commitments.finish(first)
    index.commitments.finish(second)
    assert not opened(index, now=NOW + 2).is_duplicate


def test_those_of_a_host_that_is_off_wait_together_and_go_together(index: Index) -> None:
    for uid in ("1.1", "1.2"):
        index.commitments.give_back(opened(index, uid), NOW)
    index.commitments.give_back(opened(index, "1.3", "CT2"), NOW + 1)
    index.commitments.postpone_all("CT1", NOW + 100)
    found = index.commitments.claim(NOW + 50)
    assert found is not None
    assert found.ae_title == "CT2"
    assert index.commitments.claim(NOW + 50) is None
    assert not index.commitments.hasten("CT2", NOW + 50)
    assert index.commitments.hasten("CT1", NOW + 50)
    assert not index.commitments.hasten(None, NOW + 50)
    for _ in range(2):
        found = index.commitments.claim(NOW + 50)
        assert found is not None
        index.commitments.finish(found)


def test_nobody_reports_to_a_requester_twice_at_once(index: Index) -> None:
    """Many take one association at a time."""
    for uid in ("1.1", "1.2"):
        index.commitments.give_back(opened(index, uid), NOW)
    index.commitments.give_back(opened(index, "2.1", "CT2"), NOW + 1)
    first = index.commitments.claim(NOW + 1)
    assert first is not None
    second = index.commitments.claim(NOW + 1)
    assert second is not None
    assert (first.ae_title, second.ae_title) == ("CT1", "CT2")
    assert index.commitments.claim(NOW + 1) is None
    index.commitments.finish(first)
    assert index.commitments.claim(NOW + 1) is not None


def test_many_that_wait_for_one_requester_cost_others_little(index: Index) -> None:
    """Looking for what is due goes through all of them, in the turn of writers: once, not once for
    each of them."""
    uids = [f"1.{number}" for number in range(300)]
    for number, uid in enumerate(uids):
        index.commitments.give_back(opened(index, uid), NOW - number)
    found = index.commitments.claim(NOW)
    assert found is not None
    assert found.transaction_uid == uids[-1]
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 100
        return 0

    next_connection(index).set_progress_handler(count, 100)
    assert index.commitments.claim(NOW) is None
    next_connection(index).set_progress_handler(None, 0)
    assert 0 < steps < 100 * len(uids)


def test_the_backlog_tells_what_is_stuck(index: Index) -> None:
    opened(index, "1.1", "CT2")
    stuck = opened(index, "1.2")
    for _ in range(commitments.STUCK_AFTER + 1):
        index.commitments.postpone(stuck, NOW)
        found = index.commitments.claim(NOW)
        assert found is not None
        stuck = found
    assert index.commitments.backlog() == Backlog(2, 1)


@pytest.mark.parametrize(
    ("limit", "value"),
    [("MOST_OPEN", 2), ("MOST_OPEN_OF_ONE", 2), ("MOST_BYTES", 200), ("MOST_BYTES_OF_ONE", 200)],
)
def test_there_is_room_for_so_many(
    index: Index, monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    monkeypatch.setattr(commitments, limit, value)
    opened(index, "1.1")
    opened(index, "1.2")
    assert index.commitments.open(asked("1.3"), NOW) is None
    other = index.commitments.open(asked("1.3", "CT2"), NOW)
    assert (other is not None) == limit.endswith("OF_ONE")


def test_a_report_on_what_nobody_asked_for_is_not_kept(index: Index) -> None:
    """Else whoever may commit could fill the index."""
    with pytest.raises(UnknownTransaction, match=r"nobody here has asked for transaction 1\.9"):
        index.commitments.note_report(REPORT, "PACS", NOW)
    index.commitments.expect(["1.9", "1.8"], "PACS", NOW)
    assert index.commitments.report("1.9") is None
    assert index.commitments.note_report(REPORT, "PACS2", NOW + 1)  # a peer of several titles
    assert index.commitments.report("1.9") == (REPORT, "PACS2", NOW + 1)
    index.commitments.expect(["1.9"], "PACS", NOW + 2)  # looked for again
    assert index.commitments.report("1.9") == (REPORT, "PACS2", NOW + 1)
    assert index.commitments.report("1.8") is None
    with pytest.raises(UnknownTransaction):
        index.commitments.note_report(
            REPORT._replace(transaction_uid="1.8"), "PACS", NOW + KEPT + 3
        )


def test_a_report_that_came_can_be_looked_up_for_thirty_days(index: Index, path: Path) -> None:
    index.commitments.expect(["1.9"], "PACS", NOW)
    index.commitments.expect(["1.8"], "PACS", NOW + 2)
    assert index.commitments.note_report(REPORT, "PACS", NOW)
    later = REPORT._replace(failed=())
    assert index.commitments.note_report(later, "PACS", NOW + 1)
    with closing(index_room.open(path)) as other:
        found = other.commitments.report("1.9")
    assert found == (later, "PACS", NOW + 1)
    assert index.commitments.report("1.8") is None
    assert index.commitments.note_report(REPORT._replace(transaction_uid="1.8"), "X", NOW + 2)
    index.commitments.expect(["1.7"], "PACS", NOW + KEPT + 2)
    assert index.commitments.report("1.9") is None
    assert index.commitments.report("1.8") is not None


def test_there_is_room_for_so_many_reports(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commitments, "MOST_BYTES_OF_REPORTS", 300)
    index.commitments.expect(["1.9", "1.8"], "PACS", NOW)
    assert index.commitments.note_report(REPORT, "PACS", NOW)
    other = REPORT._replace(transaction_uid="1.8")
    assert not index.commitments.note_report(other, "PACS", NOW)
    assert index.commitments.report("1.8") is None


def test_what_is_open_is_salvaged_once(index: Index, path: Path, tmp_path: Path) -> None:
    first = opened(index)
    index.commitments.keep_report(first, REPORT)
    index.commitments.expect(["1.9", "1.8"], "PACS", NOW)
    index.commitments.note_report(REPORT, "PACS", NOW)
    with closing(index_room.open(tmp_path / "new")) as new:
        assert new.salvage(path) == []
        assert new.salvage(path) == []
        assert new.commitments.backlog() == Backlog(1, 0)
        found = new.commitments.claim(NOW + LEASE)
        assert found is not None
        assert found.report == REPORT
        assert new.commitments.report("1.9") is not None
        assert new.commitments.note_report(REPORT._replace(transaction_uid="1.8"), "PACS", NOW)
