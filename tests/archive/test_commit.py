"""What is committed to was read to its last byte; what is not has its reason."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pacsnode.archive import Archive
from pacsnode.archive.commit import RENEWED, Commitments
from pacsnode.dicom.commitment import CommitmentReport, CommitmentRequest, Failure, Reference
from pacsnode.errors import OutOfSpace, StorageError, UnknownTransaction
from pacsnode.index import Backlog, Commitment
from tests.archive.conftest import OpenArchive
from tests.archive.instances import CT, EVERYTHING, Sample, everything, store
from tests.archive.test_place import harm

FAILED = {"missing": 0x0112, "class": 0x0119, "fault": 0x0110, "duplicate": 0x0131}


def request(*uids: str, transaction_uid: str = "1.9") -> CommitmentRequest:
    return CommitmentRequest(transaction_uid, tuple(Reference(CT, uid) for uid in uids))


def opened(archive: Archive, wanted: CommitmentRequest) -> Commitment:
    commitment = archive.commitments.open(wanted, "CT1", "192.0.2.1")
    assert commitment is not None
    return commitment


def report(archive: Archive, *uids: str) -> CommitmentReport:
    return archive.commitments.report(opened(archive, request(*uids)))


def reasons(found: CommitmentReport) -> dict[str, int]:
    return {failure.reference.sop_instance_uid: failure.reason for failure in found.failed}


def test_what_is_whole_is_committed_to(archive: Archive) -> None:
    samples = [Sample(f"1.2.3.{number}") for number in range(3)]
    for sample in samples:
        store(archive, sample)
    wanted = request(*(sample.sop for sample in samples))
    assert report(archive, *(sample.sop for sample in samples)) == CommitmentReport(
        "1.9", wanted.references
    )


def test_what_was_never_here_is_not(archive: Archive, sample: Sample) -> None:
    store(archive, sample)
    found = report(archive, sample.sop, "1.2.3.404")
    assert found.committed == (Reference(CT, sample.sop),)
    assert reasons(found) == {"1.2.3.404": FAILED["missing"]}


def test_another_sop_class_than_the_stored_one_is_a_conflict(
    archive: Archive, sample: Sample
) -> None:
    store(archive, sample)
    wanted = CommitmentRequest("1.9", (Reference("1.2.840.10008.5.1.4.1.1.4", sample.sop),))
    assert reasons(archive.commitments.report(opened(archive, wanted))) == {
        sample.sop: FAILED["class"]
    }


@pytest.mark.parametrize("damage", ["missing", "truncated", "altered", "foreign"])
def test_what_is_damaged_is_not_committed_to_and_marked_as_lost(
    archive: Archive, data_dir: Path, sample: Sample, damage: str
) -> None:
    store(archive, sample)
    path = data_dir / "instances" / sample.place
    content = path.read_bytes()
    harm(path, damage)
    assert reasons(report(archive, sample.sop)) == {sample.sop: FAILED["missing"]}
    assert everything(archive)[sample.sop].is_lost
    path.write_bytes(content)
    assert not report_anew(archive, sample).failed
    assert not everything(archive)[sample.sop].is_lost


def report_anew(archive: Archive, sample: Sample) -> CommitmentReport:
    return archive.commitments.report(opened(archive, request(sample.sop, transaction_uid="1.10")))


def test_one_flipped_bit_is_found(archive: Archive, data_dir: Path) -> None:
    sample = Sample("1.2.3.1", pixels=3 << 20)
    store(archive, sample)
    path = data_dir / "instances" / sample.place
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    assert reasons(report(archive, sample.sop)) == {sample.sop: FAILED["missing"]}


def test_a_disk_that_fails_is_no_verdict_on_the_instance(
    archive: Archive, sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(archive, sample)

    def fail(*_: object) -> None:
        raise StorageError("reading: Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(archive._storage, "open", fail)
        assert reasons(report(archive, sample.sop)) == {sample.sop: FAILED["fault"]}
    assert not everything(archive)[sample.sop].is_lost


def test_an_instance_on_its_way_out_is_not_taken_for_damaged(
    archive: Archive,
    sample: Sample,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    store(archive, sample)
    instance = archive._index.instance
    stale = instance(sample.sop)
    archive.delete(EVERYTHING)
    answers = iter([stale])
    monkeypatch.setattr(archive._index, "instance", lambda uid: next(answers, None))
    assert reasons(report(archive, sample.sop)) == {sample.sop: FAILED["missing"]}
    assert "lost" not in caplog.text


def test_a_small_instance_counts_before_its_file_is_synced(
    archive: Archive, sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its row and a copy of it are in the index, durably: behind.py."""
    monkeypatch.setattr(archive._behind, "_sync", lambda: True)
    store(archive, sample)
    assert not report(archive, sample.sop).failed


def test_what_is_reported_is_durable(
    archive: Archive, sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(archive, sample)
    synced: list[str] = []
    database = archive._index._database
    make_durable = database.make_durable

    def note() -> None:
        synced.append("")
        make_durable()

    monkeypatch.setattr(database, "make_durable", note)
    commitment = opened(archive, request(sample.sop))
    assert not archive.commitments.report(commitment).failed
    assert synced


def test_the_same_uid_again_fails_as_a_duplicate(archive: Archive, sample: Sample) -> None:
    store(archive, sample)
    first = opened(archive, request(sample.sop))
    second = opened(archive, request(sample.sop))
    assert reasons(archive.commitments.report(second)) == {sample.sop: FAILED["duplicate"]}
    assert not archive.commitments.report(first).failed


def test_a_later_attempt_reads_no_file_but_asks_whether_all_is_still_here(
    archive: Archive, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = [Sample(f"1.2.3.{number}", study=f"1.{number}") for number in range(3)]
    for sample in samples:
        store(archive, sample)
    first = archive.commitments.report(
        opened(archive, request(*(sample.sop for sample in samples), "1.404"))
    )
    assert len(first.committed) == 3
    second = retried(archive)
    assert second.report == first
    archive._index.set_lost(samples[0].sop, True)
    archive._index.remove([samples[1].sop])
    with monkeypatch.context() as patched:
        patched.setattr(archive._storage, "open", None)
        found = archive.commitments.report(second)
    assert found.committed == (Reference(CT, samples[2].sop),)
    assert reasons(found) == dict.fromkeys(
        ("1.404", samples[0].sop, samples[1].sop), FAILED["missing"]
    )
    assert retried(archive, second).report == found


def retried(archive: Archive, held: Commitment | None = None) -> Commitment:
    if held is not None:
        archive.commitments.give_back(held)
    archive.commitments.give_back_all()
    found = archive.commitments.claim()
    assert found is not None
    return found


def test_who_reads_long_is_asked_often_and_keeps_the_lease(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = Sample("1.2.3.1", pixels=5 << 20)
    store(archive, sample)
    commitment = opened(archive, request(sample.sop))
    ticks: list[int] = []
    archive.commitments.report(commitment, lambda: ticks.append(1))
    assert len(ticks) >= 6

    class Enough(Exception):
        pass

    def enough() -> None:
        raise Enough

    again = opened(archive, request(sample.sop, transaction_uid="1.10"))
    with pytest.raises(Enough):
        archive.commitments.report(again, enough)


def test_a_lease_is_extended_in_time(archive: Archive) -> None:
    now = 0
    commitments = Commitments(archive._storage, archive._index, {}, clock=lambda: now)
    commitment = commitments.open(request("1.2"), "CT1", "192.0.2.1")
    assert commitment is not None
    tick = commitments.renewing(commitment)
    while now < 40 * RENEWED:
        assert commitments.claim() is None
        tick()
        now += RENEWED // 2
    now += 10 * RENEWED
    assert commitments.claim() is not None


def test_an_attempt_that_failed_keeps_the_others_of_its_requester_back(archive: Archive) -> None:
    now = 0
    commitments = Commitments(archive._storage, archive._index, {}, clock=lambda: now)
    first, second = (
        commitments.open(request("1.2", transaction_uid=uid), "CT1", "192.0.2.1")
        for uid in ("1.1", "1.2")
    )
    assert first is not None
    assert second is not None
    commitments.give_back(second)
    now = 10
    commitments.postpone(first, 30, others=True)
    assert commitments.claim() is None
    now += 30_000_000
    for _ in range(2):
        found = commitments.claim()
        assert found is not None
        commitments.finish(found)
    assert commitments.age(second) == pytest.approx(30, abs=0.1)


def test_a_full_disk_takes_no_transaction(open_again: OpenArchive, sample: Sample) -> None:
    archive = open_again(min_free=1 << 62)
    with pytest.raises(OutOfSpace):
        opened(archive, request(sample.sop))
    assert archive.commitments.backlog() == Backlog(0, 0)


def test_reports_of_peers_are_kept(archive: Archive, open_again: Callable[[], Archive]) -> None:
    told = CommitmentReport("1.9", (), (Failure(Reference(CT, "1.2"), 0x0112),))
    with pytest.raises(UnknownTransaction):
        archive.note_report(told, "PACS")
    archive.expect_reports(["1.9"], "PACS")
    assert open_again().commitment_report("1.9") is None
    assert archive.note_report(told, "PACS")
    found = open_again().commitment_report("1.9")
    assert found is not None
    assert found[:2] == (told, "PACS")
    assert found.noted_at > 0


def test_many_references_are_checked(archive: Archive) -> None:
    samples = [Sample(f"1.2.3.{number}") for number in range(200)]
    for sample in samples:
        store(archive, sample)
    os.unlink(archive._folder.instances / samples[7].place)
    uids = [f"1.2.3.{number}" for number in range(10_000)]
    found = report(archive, *uids)
    assert len(found.committed) == 199
    assert len(found.failed) == 9_801
    assert set(reasons(found).values()) == {FAILED["missing"]}
