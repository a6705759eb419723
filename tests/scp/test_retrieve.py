import itertools
import time
from collections.abc import Iterator
from typing import Any

import pytest

from pacsnode import errors
from pacsnode.dicom import status
from pacsnode.dicom.encode import decode_dataset
from pacsnode.dicom.message import Answer, Counters, Suboperation, Tick
from pacsnode.errors import (
    AssociationLost,
    AssociationRejected,
    IndexFailure,
    PeerTimeout,
    PeerUnreachable,
    StorageError,
)
from pacsnode.scp import retrieve
from pacsnode.scp.access import Settings
from pacsnode.scp.failed_list import failed_list
from pacsnode.scp.failure import status_of
from pacsnode.scp.move import move
from pacsnode.scp.retrieve import STATUS
from pacsnode.scu.peer import peer_of
from tests.scp.conftest import FakeArchive, Requester, stored
from tests.scp.test_access import settings
from tests.scu.scripted import BIG, CT, DEFLATED, EXPLICIT, IMPLICIT, MR, ScriptedPeer, lost

SETTINGS: Settings = settings(STORE={"host": "store.example"}, CT1={})


def run(
    archive: FakeArchive,
    peer: ScriptedPeer | None = None,
    requester: Requester | None = None,
    settings: Settings = SETTINGS,
    **request: Any,
) -> Answer:
    move_request = (requester or Requester()).move(**request)
    destination = peer_of("STORE", settings.modalities["STORE"], settings.ae_title)
    answers: Iterator[Answer] = move(move_request, archive, peer or ScriptedPeer(), destination)
    (final,) = answers
    return final


def archive_of(count: int) -> FakeArchive:
    return FakeArchive([stored(number) for number in range(count)])


class Clock:
    """Passes when told, in the place of time.monotonic."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(retrieve.time, "monotonic", clock)
    return clock


def test_all_done_is_0000_with_true_counters() -> None:
    peer = ScriptedPeer()
    final = run(archive_of(3), peer)
    assert final == Answer(status.SUCCESS, counters=Counters(None, 3, 0, 0))
    assert peer.received == ["1.2.3.0", "1.2.3.1", "1.2.3.2"]


def test_nothing_matched_is_0000_and_nobody_is_called() -> None:
    peer = ScriptedPeer()
    assert run(FakeArchive(), peer) == Answer(status.SUCCESS, counters=Counters(None, 0, 0, 0))
    assert peer.attempts == 0


def test_some_failed_is_b000_with_a_list_and_a_comment() -> None:
    archive = archive_of(4)
    archive.missing = {"1.2.3.1", "1.2.3.3"}
    final = run(archive)
    assert final.status == 0xB000
    assert final.counters == Counters(None, 2, 2, 0)
    assert final.comment == "2 of 4 sub-operations failed"
    ds = decode_dataset(final.identifier or b"", EXPLICIT)
    assert list(ds.FailedSOPInstanceUIDList) == ["1.2.3.1", "1.2.3.3"]


def test_warnings_are_b000_and_count_apart_without_a_list() -> None:
    final = run(archive_of(2), ScriptedPeer(verdicts={"1.2.3.0": [0xB007]}))
    assert final.status == 0xB000
    assert final.counters == Counters(None, 1, 0, 1)
    assert final.identifier is None
    assert final.comment


def test_all_failed_is_a702_and_says_with_what() -> None:
    verdicts: dict[str, Any] = {f"1.2.3.{n}": [0xC001] for n in range(2)}
    final = run(archive_of(2), ScriptedPeer(verdicts=verdicts))
    assert final.status == 0xA702
    assert final.counters == Counters(None, 0, 2, 0)
    assert "C001" in final.comment
    assert final.identifier


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (PeerUnreachable("inner detail", "name"), "name"),
        (PeerUnreachable("inner detail", "tcp"), "TCP"),
        (PeerUnreachable("inner detail", "tls"), "TLS"),
        (AssociationRejected("inner detail", 1, 1, 3), "association"),
        (PeerTimeout("inner detail", "association"), "association"),
        (AssociationLost("inner detail"), "association"),
    ],
)
def test_a_destination_that_cannot_be_reached_is_a702_and_says_which_step(
    error: errors.NetworkError, word: str
) -> None:
    final = run(archive_of(3), ScriptedPeer(refusals=[error]))
    assert final.status == 0xA702
    assert final.comment == f"Destination not reached: {word} failed"
    assert final.counters == Counters(None, 0, 3, 0)


def test_no_accepted_class_is_a702_and_says_so() -> None:
    final = run(archive_of(1), ScriptedPeer(accepts=lambda *_: False))
    assert final.status == 0xA702
    assert final.comment == f"Destination accepts no context for {CT}"


def test_a_class_with_a_long_uid_is_not_cut_in_the_comment() -> None:
    archive = FakeArchive([stored(1, "1." + "2" * 50)])
    final = run(archive, ScriptedPeer(accepts=lambda *_: False))
    assert final.comment == "All sub-operations failed: no presentation context accepted"
    assert len(final.comment) <= 64


@pytest.mark.parametrize(
    ("request_fields", "code"),
    [
        ({"data": b"\0\1\2"}, 0xC000),
        ({"level": "STUDY", "PatientName": "*"}, 0xA900),
        ({"level": "NONSENSE", "StudyInstanceUID": "1.2"}, 0xA900),
    ],
)
def test_what_cannot_be_retrieved_has_its_status(request_fields: Any, code: int) -> None:
    final = run(archive_of(1), **request_fields)
    assert final.status == code
    assert final.comment


@pytest.mark.parametrize("error", [IndexFailure("locked"), StorageError("EIO")])
def test_a_failure_of_ours_is_a701_without_inner_detail(error: errors.PacsnodeError) -> None:
    archive = FakeArchive(error=error, fails_at=(1, 0))
    final = run(archive)
    assert final.status == 0xA701
    assert final.comment
    assert str(error) not in final.comment


def test_an_index_that_fails_half_way_is_a701_with_the_counters_so_far(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(retrieve, "HELD", 2)
    archive = archive_of(1200)
    archive.error, archive.fails_at = IndexFailure("gone"), (2, 600)
    final = run(archive)
    assert final.status == 0xA701
    assert final.counters == Counters(None, 500, 0, 0)


def test_the_originator_of_the_move_goes_along() -> None:
    peer = ScriptedPeer()
    run(archive_of(1), peer)
    operation, _ = peer.channels[0].stored[0]
    assert operation.move_originator_ae_title == "WORKSTATION"
    assert operation.move_originator_message_id == 7


def test_pending_answers_come_every_100_instances(clock: Clock) -> None:
    requester = Requester()
    run(archive_of(250), requester=requester)
    remaining = [answer.counters.remaining for answer in requester.pending if answer.counters]
    assert remaining == [150, 50]
    assert {answer.status for answer in requester.pending} == {status.PENDING}


def test_pending_answers_come_on_the_clock_while_one_instance_is_slow(clock: Clock) -> None:
    requester = Requester()
    moments: list[float] = []

    def slow(operation: Suboperation, tick: Tick) -> int:
        for _ in range(20):
            clock.now += 0.5
            before = len(requester.pending)
            tick()
            if len(requester.pending) > before:
                moments.append(clock.now)
        return 0

    run(archive_of(1), ScriptedPeer(verdicts={"1.2.3.0": [slow]}), requester)
    gaps = [after - before for before, after in itertools.pairwise([0.0, *moments])]
    assert moments
    assert max(gaps) <= 1.0
    assert requester.pending[0].counters == Counters(1, 0, 0, 0)


def test_a_cancel_is_heard_within_one_suboperation() -> None:
    requester = Requester()
    peer = ScriptedPeer()
    requester.cancel_when = lambda: len(peer.received) >= 3
    archive = archive_of(10)
    archive.missing = {"1.2.3.0"}
    final = run(archive, peer, requester)
    assert final.status == 0xFE00
    assert final.counters == Counters(6, 3, 1, 0)
    assert final.identifier is not None
    assert peer.channels[0].end == "released"


def test_a_cancel_before_the_first_suboperation_sends_nothing() -> None:
    requester, peer = Requester(), ScriptedPeer()
    requester.cancel_when = lambda: True
    final = run(archive_of(3), peer, requester)
    assert final.status == 0xFE00
    assert final.counters == Counters(3, 0, 0, 0)
    assert peer.attempts == 0


def test_a_cancel_that_comes_too_late_changes_nothing() -> None:
    requester, peer = Requester(), ScriptedPeer()
    requester.cancel_when = lambda: len(peer.received) == 2
    assert run(archive_of(2), peer, requester).status == status.SUCCESS


def test_after_a_cancel_nothing_is_tried_again() -> None:
    requester = Requester()
    peer = ScriptedPeer(verdicts={"1.2.3.0": [lost()]})
    archive = archive_of(3)
    cancels = iter([False])
    requester.cancel_when = lambda: next(cancels, True)
    final = run(archive, peer, requester)
    assert final.status == 0xFE00
    assert final.counters == Counters(2, 0, 1, 0)
    assert peer.attempts == 1


def test_a_requester_that_vanishes_ends_the_other_association_at_once(clock: Clock) -> None:
    requester = Requester()

    def vanish(operation: Suboperation, tick: Tick) -> int:
        requester.gone = AssociationLost("gone")
        clock.now += 10
        tick()
        raise AssertionError("the tick passed")

    peer = ScriptedPeer(verdicts={"1.2.3.1": [vanish]})
    with pytest.raises(AssociationLost, match="gone"):
        run(archive_of(5), peer, requester)
    assert peer.received == ["1.2.3.0"]
    assert peer.channels[0].end == "aborted"
    assert peer.attempts == 1


def test_a_requester_that_vanishes_between_two_instances_does_so_too() -> None:
    requester = Requester()

    def vanish(operation: Suboperation, tick: Tick) -> int:
        requester.gone = AssociationLost("gone")
        return 0

    peer = ScriptedPeer(verdicts={"1.2.3.1": [vanish]})
    with pytest.raises(AssociationLost, match="gone"):
        run(archive_of(5), peer, requester)
    assert peer.channels[0].end == "aborted"


THREE: Settings = settings(STORE={"host": "store.example", "associations": 3})


def test_over_several_associations_counters_and_list_are_as_over_one() -> None:
    archive = archive_of(250)
    archive.missing = {"1.2.3.17", "1.2.3.171"}
    requester = Requester()
    peer = ScriptedPeer(verdicts={"1.2.3.5": [lost()], "1.2.3.6": [0xB000], "1.2.3.7": [0xA900]})
    final = run(archive, peer, requester, THREE)
    assert final.status == 0xB000
    assert final.counters == Counters(None, 246, 3, 1)
    assert final.identifier is not None
    failed = decode_dataset(final.identifier, EXPLICIT).FailedSOPInstanceUIDList
    assert set(failed) == {"1.2.3.7", *archive.missing}
    assert len(requester.pending) == 2
    assert all(_total(answer.counters) == 250 for answer in requester.pending)


def _total(counters: Counters | None) -> int:
    assert counters is not None
    assert counters.remaining is not None
    return counters.remaining + counters.completed + counters.failed + counters.warning


def test_over_several_associations_a_cancel_counts_what_was_under_way() -> None:
    requester = Requester()
    peer = ScriptedPeer()
    requester.cancel_when = lambda: len(peer.received) >= 3
    final = run(archive_of(2000), peer, requester, THREE)
    assert final.status == 0xFE00
    assert final.counters is not None
    assert final.counters.completed == len(peer.received)
    assert final.counters.remaining == 2000 - len(peer.received) > 0
    assert {channel.end for channel in peer.channels} == {"released"}


def test_a_requester_that_vanishes_ends_all_associations() -> None:
    requester = Requester()

    def vanish(operation: Suboperation, tick: Tick) -> int:
        requester.gone = AssociationLost("gone")
        while True:
            time.sleep(0.01)
            tick()

    peer = ScriptedPeer(verdicts={f"1.2.3.{n}": [vanish] for n in range(5)})
    with pytest.raises(AssociationLost, match="gone"):
        run(archive_of(5), peer, requester, THREE)
    assert {channel.end for channel in peer.channels} == {"aborted"}


def test_a_lost_destination_is_not_taken_for_a_lost_requester() -> None:
    final = run(archive_of(3), ScriptedPeer(verdicts={"1.2.3.1": [lost(), lost()]}))
    assert final.status == 0xB000
    assert final.counters == Counters(None, 2, 1, 0)


def test_the_log_has_every_failed_instance(caplog: pytest.LogCaptureFixture) -> None:
    archive = archive_of(30)
    archive.missing = {instance.uids.sop_instance_uid for instance in archive.instances}
    run(archive)
    for uid in archive.missing:
        assert f" {uid}" in caplog.text


def test_a_destination_that_is_down_does_not_fill_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    refused = PeerUnreachable("STORE: no TCP connection", "tcp")
    run(archive_of(1200), ScriptedPeer(refusals=[refused]))
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == retrieve.LOGGED_IN_FULL + 4
    assert "pacsnode check STORE says why" in lines[-1]
    assert lines[0] == "sub-operation 1.2.3.0: STORE: no TCP connection"
    words = " ".join(lines).split()
    assert {f"1.2.3.{number}" for number in range(1200)} <= {word.strip(":") for word in words}


def test_failures_of_another_kind_are_logged_in_full_too(
    caplog: pytest.LogCaptureFixture,
) -> None:
    archive = archive_of(100)
    archive.missing = {f"1.2.3.{number}" for number in range(90)}
    run(archive, ScriptedPeer(verdicts={"1.2.3.95": [0xC123]}))
    assert "sub-operation 1.2.3.95: answered C123" in caplog.text


def test_more_than_65535_instances_work_and_are_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    archive, peer, requester = archive_of(66_000), ScriptedPeer(), Requester()
    final = run(archive, peer, requester)
    assert final == Answer(status.SUCCESS, counters=Counters(None, 66_000, 0, 0))
    assert archive.selections == 2
    assert requester.pending[0].counters is not None
    assert requester.pending[0].counters.remaining == 65_900


def test_a_class_that_is_not_accepted_fails_and_the_others_go() -> None:
    archive = FakeArchive([stored(1), stored(2, MR)])
    final = run(archive, ScriptedPeer(accepts=lambda uid, _: uid != MR))
    assert final.counters == Counters(None, 1, 1, 0)
    assert final.comment == f"1 of 2 failed: no context for {MR}"


def test_a_long_uid_is_left_out_of_the_comment_rather_than_cut() -> None:
    archive = FakeArchive([stored(1), stored(2, "1." + "2" * 60)])
    final = run(archive, ScriptedPeer(accepts=lambda uid, _: uid == CT))
    assert final.comment == "1 of 2 sub-operations failed"


@pytest.mark.parametrize("transfer_syntax", [IMPLICIT, EXPLICIT, BIG, DEFLATED])
def test_the_list_is_encoded_in_the_syntax_of_its_context(transfer_syntax: str) -> None:
    uids = ["1.2.3", "1.2.840.1"]
    data = failed_list(uids, transfer_syntax)
    assert len(data) % 2 == 0
    assert list(decode_dataset(data, transfer_syntax).FailedSOPInstanceUIDList) == uids


def test_in_explicit_vr_the_list_has_as_many_as_fit() -> None:
    uids = [f"1.2.826.0.1.3680043.{number:044}" for number in range(2000)]
    data = failed_list(uids, EXPLICIT)
    assert 65_400 < int.from_bytes(data[6:8], "little") <= 65_534
    assert len(data) == 8 + int.from_bytes(data[6:8], "little")
    found = list(decode_dataset(data, EXPLICIT).FailedSOPInstanceUIDList)
    assert found == uids[: len(found)]
    assert len(decode_dataset(failed_list(uids, IMPLICIT), IMPLICIT)[0x00080058].value) == 2000


def test_odd_uids_do_not_spoil_the_list() -> None:
    assert failed_list(["1.2\xe9", "x" * 128], EXPLICIT)


# Of these nothing comes up to where a retrieve's errors become statuses: what fails with one
# instance is that instance's Outcome, and the network's errors end the operation.
NEVER = (
    errors.ConfigurationError,
    errors.UsageError,
    errors.NetworkError,
    errors.DuplicateRefused,
    errors.NodeUnavailable,
    errors.RecordingDamaged,
)


def test_every_error_has_its_status() -> None:
    def classes(base: type[errors.PacsnodeError]) -> Iterator[type[errors.PacsnodeError]]:
        for kind in base.__subclasses__():
            yield kind
            yield from classes(kind)

    for kind in classes(errors.PacsnodeError):
        assert (status_of(kind, STATUS) is None) == issubclass(kind, NEVER), kind


def test_each_status_of_the_table_is_one_of_the_service() -> None:
    assert status_of(errors.InvalidQuery, STATUS) == 0xA900
    assert status_of(errors.UnreadableIdentifier, STATUS) == 0xC000
    assert status_of(errors.IndexFailure, STATUS) == 0xA701
    assert status_of(errors.OutOfSpace, STATUS) == 0xA701
