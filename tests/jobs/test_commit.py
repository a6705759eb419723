"""Reports on storage commitment: to whom, how often, and when no more."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pacsnode.archive import Archive, Policy, open_archive
from pacsnode.archive.commit import Commitments
from pacsnode.config.model import Modality
from pacsnode.dicom.commitment import (
    STORAGE_COMMITMENT_PUSH_MODEL,
    STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE,
    CommitmentReport,
    CommitmentRequest,
    Failure,
    Reference,
    parse_report,
)
from pacsnode.dicom.message import Context, Peer, ProposedContext, Response, Tick, no_tick
from pacsnode.errors import (
    AssociationLost,
    IndexFailure,
    NoPresentationContext,
    PacsnodeError,
    PeerUnreachable,
)
from pacsnode.index import Backlog, Commitment
from pacsnode.jobs.commit import PAUSES, CommitmentReports
from pacsnode.jobs.runner import Stopped

SECOND = 1_000_000
WANTED = Reference("1.2.840.10008.5.1.4.1.1.2", "1.2.3")
OTHER = Context(1, "1.2.840.10008.1.1", "1.2.840.10008.1.2")
FOR_COMMITMENT = Context(3, STORAGE_COMMITMENT_PUSH_MODEL, "1.2.840.10008.1.2")


@dataclass
class Requesters:
    """A message.Connect: `outcomes` are what becomes of each attempt, the status of an answer or an
    error; success when there are no more."""

    outcomes: list[int | Exception] = field(default_factory=list)
    contexts: Sequence[Context] = (OTHER, FOR_COMMITMENT)
    attempts: list[Peer] = field(default_factory=list)
    reports: list[CommitmentReport] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)
    outcome: int | Exception = 0

    def __call__(
        self, peer: Peer, contexts: Sequence[ProposedContext], tick: Tick = no_tick, **_: Any
    ) -> Any:
        (proposed,) = contexts
        assert proposed.abstract_syntax == STORAGE_COMMITMENT_PUSH_MODEL
        assert (proposed.as_scu, proposed.as_scp) == (False, True)
        self.attempts.append(peer)
        tick()
        self.outcome = self.outcomes.pop(0) if self.outcomes else 0
        if isinstance(self.outcome, PeerUnreachable):
            raise self.outcome
        return self

    def report_event(
        self, context: Context, instance: str, event_type: int, information: bytes, tick: Tick
    ) -> Response:
        assert context is FOR_COMMITMENT
        assert instance == STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE
        tick()
        report = parse_report(information, context.transfer_syntax)
        assert report.event_type == event_type
        self.reports.append(report)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return Response(self.outcome)

    def release(self) -> None:
        self.ends.append("released")

    def abort(self) -> None:
        self.ends.append("aborted")


class Desk:
    """An archive whose clock the test sets, and the job on it."""

    def __init__(self, archive: Archive, retry_hours: float = 72) -> None:
        self.now = 1_700_000_000.0
        self.archive = archive
        archive._commitments = Commitments(
            archive._storage, archive._index, {}, clock=lambda: round(self.now * SECOND)
        )
        self.requesters = Requesters()
        self.modalities = rows("CT1", "CT2")
        self.job = CommitmentReports(archive, self.requesters, lambda: self.modalities, retry_hours)

    def ask(self, uid: str, ae_title: str = "CT1") -> None:
        request = CommitmentRequest(uid, (WANTED,))
        taken = self.archive.commitments.open(request, ae_title, "192.0.2.1")
        assert taken is not None
        self.archive.commitments.give_back(taken)

    def run(self, tick: Tick = no_tick) -> float:
        return self.job.run_due(tick)

    @property
    def told(self) -> list[str]:
        return [report.transaction_uid for report in self.requesters.reports]

    @property
    def backlog(self) -> Backlog:
        return self.archive.commitments.backlog()


def rows(*names: str) -> Mapping[str, Modality]:
    return {
        name: Modality.model_validate({"ae_title": name, "host": "192.0.2.1", "port": 104})
        for name in names
    }


@pytest.fixture
def make_desk(tmp_path: Path) -> Iterator[Callable[..., Desk]]:
    with closing(open_archive(tmp_path / "data", Policy(ae_title="NODE"))) as archive:
        yield lambda **settings: Desk(archive, **settings)


@pytest.fixture
def desk(make_desk: Callable[..., Desk]) -> Desk:
    return make_desk()


def off() -> PeerUnreachable:
    return PeerUnreachable("no TCP connection", "tcp")


def test_a_report_goes_to_the_requesters_row_and_is_over(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    desk.ask("1.9")
    with caplog.at_level(logging.INFO):
        assert desk.run() == float("inf")
    (peer,) = desk.requesters.attempts
    assert (peer.ae_title, peer.host, peer.calling_ae_title) == ("CT1", "192.0.2.1", "NODE")
    failed = (Failure(WANTED, 0x0112),)
    assert desk.requesters.reports == [CommitmentReport("1.9", (), failed)]
    assert desk.requesters.ends == ["released"]
    assert desk.backlog == Backlog(0, 0)
    assert "1.9 of 'CT1': 0 committed, 1 failed; reported on an association to" in caplog.text


def test_attempts_come_with_growing_pauses_and_end(
    make_desk: Callable[..., Desk], caplog: pytest.LogCaptureFixture
) -> None:
    desk = make_desk(retry_hours=3)
    desk.requesters.outcomes = [off() for _ in range(99)]
    desk.ask("1.9")
    pauses = []
    begun = desk.now
    while desk.backlog.open:
        pause = desk.run()
        if desk.backlog.open:
            desk.now += pause - 0.001
            attempts = len(desk.requesters.attempts)
            desk.run()
            assert len(desk.requesters.attempts) == attempts, "before its time"
            desk.now += 0.001
            pauses.append(pause)
    assert pauses[:6] == pytest.approx(PAUSES)
    assert set(map(round, pauses[6:-1])) == {3600}
    assert desk.now - begun == pytest.approx(3 * 3600, abs=1)
    (given_up,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "commit.retry_hours are over: no TCP connection" in given_up.getMessage()


def test_a_host_that_is_off_is_tried_once_for_all_and_keeps_nobody_else(desk: Desk) -> None:
    for uid in ("1.1", "1.2", "1.3"):
        desk.ask(uid)
        desk.now += 0.01
    desk.ask("2.1", "CT2")
    desk.requesters.outcomes = [off()]
    assert desk.run() == pytest.approx(PAUSES[0], abs=0.1)
    assert desk.told == ["2.1"]
    desk.now += PAUSES[0] + 0.1
    desk.run()
    assert sorted(desk.told) == ["1.1", "1.2", "1.3", "2.1"]


def test_a_requester_that_takes_a_report_gets_all_that_waits(desk: Desk) -> None:
    desk.requesters.outcomes = [off()]
    desk.ask("1.1")
    desk.run()
    desk.ask("1.2")
    desk.run()
    assert desk.told == ["1.2", "1.1"]


@pytest.mark.parametrize("status", [0x0000, 0x0001, 0x0107, 0x0116, 0xB000])
def test_success_and_warnings_end_it(desk: Desk, status: int) -> None:
    desk.requesters.outcomes = [status]
    desk.ask("1.9")
    desk.run()
    assert desk.backlog.open == 0


@pytest.mark.parametrize(
    "outcome", [0x0110, 0x0112, 0x0211, 0xA700, AssociationLost("it aborted"), off()]
)
def test_whatever_else_is_tried_again(desk: Desk, outcome: int | Exception) -> None:
    desk.requesters.outcomes = [outcome]
    desk.ask("1.9")
    desk.run()
    assert desk.backlog.open == 1
    desk.now += PAUSES[0]
    desk.run()
    assert desk.backlog.open == 0


def test_a_report_that_is_refused_keeps_no_other_back(desk: Desk) -> None:
    """Its transaction may be unknown to a requester that takes the next."""
    desk.requesters.outcomes = [0x0112]
    desk.ask("1.1")
    desk.now += 0.01
    desk.ask("1.2")
    desk.run()
    assert desk.told[:2] == ["1.1", "1.2"]


def test_a_peer_that_accepts_no_context_for_it_is_tried_again(desk: Desk) -> None:
    desk.requesters.contexts = (OTHER,)
    desk.ask("1.9")
    desk.run()
    assert desk.backlog.open == 1


def test_who_is_not_in_modalities_is_never_reported_to(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    desk.ask("1.9", "STRANGER")
    desk.run()
    assert desk.backlog.open == 0
    assert "modalities does not say where it is" in caplog.text


def test_a_start_and_a_reload_wait_for_no_pause(desk: Desk) -> None:
    desk.requesters.outcomes = [off(), off()]
    desk.ask("1.9")
    desk.run()
    desk.run()
    assert len(desk.requesters.attempts) == 1
    desk.modalities = rows("CT1")
    desk.run()
    assert len(desk.requesters.attempts) == 2
    CommitmentReports(desk.archive, desk.requesters, lambda: desk.modalities, 72).run_due(no_tick)
    assert desk.backlog.open == 0


def test_what_another_has_taken_over_meanwhile_is_reported_by_that_one_alone(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that hung, or a clock that was set: the lease has ended before all was read."""
    others: list[Commitment | None] = []
    look = desk.archive.commitments.report

    def hang(commitment: Commitment, tick: Tick) -> CommitmentReport:
        desk.now += 180
        others.append(desk.archive.commitments.claim())
        return look(commitment, tick)

    monkeypatch.setattr(desk.archive.commitments, "report", hang)
    desk.ask("1.9")
    desk.run()
    (other,) = others
    assert other is not None
    assert not desk.requesters.attempts
    assert desk.backlog.open == 1
    desk.archive.commitments.finish(other)
    assert desk.backlog.open == 0


def test_a_fault_of_ours_that_stays_is_given_up_in_the_end(
    make_desk: Callable[..., Desk],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("a fault of ours")

    desk = make_desk(retry_hours=1)
    monkeypatch.setattr(desk.archive.commitments, "report", fail)
    desk.ask("1.9")
    desk.now += 3600
    with pytest.raises(ValueError, match="fault"):
        desk.run()
    assert desk.backlog.open == 0
    assert "commit.retry_hours are over: a fault of ours" in caplog.text


def test_a_stop_gives_back_what_is_under_way(desk: Desk) -> None:
    ticks = iter([None, None, None])  # the last in the middle of connecting

    def tick() -> None:
        try:
            next(ticks)
        except StopIteration:
            raise Stopped from None

    desk.ask("1.9")
    with pytest.raises(Stopped):
        desk.run(tick)
    found = desk.archive.commitments.claim()
    assert found is not None
    assert found.attempts == 0


@pytest.mark.parametrize("error", [ValueError("a fault of ours"), IndexFailure("disk I/O error")])
def test_a_fault_of_ours_keeps_only_its_transaction_back(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object) -> None:
        raise error

    desk.ask("1.1")
    desk.now += 0.01
    with monkeypatch.context() as patched:
        patched.setattr(desk.archive.commitments, "report", fail)
        with pytest.raises((ValueError, PacsnodeError)):
            desk.run()
    desk.ask("1.2")
    assert desk.archive.commitments.due_in() <= 0
    found = desk.archive.commitments.claim()
    assert found is not None
    assert found.transaction_uid == "1.2"
    assert desk.archive.commitments.due_in() == pytest.approx(PAUSES[0], abs=0.1)


def test_the_error_without_a_context_says_what_is_missing(desk: Desk) -> None:
    from pacsnode.jobs.commit import deliver

    desk.requesters.contexts = (OTHER,)
    peer = Peer("CT1", "CT1", "192.0.2.1", 104, "NODE")
    with pytest.raises(NoPresentationContext, match="no reports on storage commitment"):
        deliver(desk.requesters, peer, CommitmentReport("1.9", (WANTED,)))
