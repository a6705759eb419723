"""N-ACTION of storage commitment: what is refused, what is on disk before it is answered, and who
reports on it then."""

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pacsnode import index as index_room
from pacsnode.archive import Archive, Policy, open_archive
from pacsnode.archive.commit import Commitments
from pacsnode.config.model import Modality
from pacsnode.dicom.commitment import (
    STORAGE_COMMITMENT_PUSH_MODEL,
    STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE,
    CommitmentReport,
    CommitmentRequest,
    Reference,
    encode_request,
    parse_report,
)
from pacsnode.dicom.message import (
    ActionRequest,
    Answer,
    Caller,
    Context,
    Response,
    Tick,
)
from pacsnode.errors import (
    AssociationLost,
    DicomError,
    IndexFailure,
    IndexFull,
    OutOfSpace,
    StorageError,
    UnreadableDataset,
    UnusableUID,
)
from pacsnode.index import Backlog, Commitment
from pacsnode.scp.commit import STATUS, commit
from pacsnode.scp.failure import status_of

IMPLICIT = "1.2.840.10008.1.2"
CONTEXT = Context(1, STORAGE_COMMITMENT_PUSH_MODEL, IMPLICIT)
WANTED = CommitmentRequest("1.9", (Reference("1.2.840.10008.5.1.4.1.1.2", "1.2.3"),))

ROWS = {
    "new": Modality.model_validate({"ae_title": "CT1", "host": "h", "port": 104}),
    "same": Modality.model_validate(
        {"ae_title": "CT1", "host": "h", "port": 104, "commit_report": "same"}
    ),
    "unknown": None,
}


@dataclass
class Channel:
    """The requester's own association. `outcome` is what becomes of a report there."""

    outcome: int | Exception = 0
    is_open: bool = True
    reports: list[CommitmentReport] = field(default_factory=list)

    def report_event(
        self, context: Context, instance: str, event_type: int, information: bytes, tick: Tick
    ) -> Response:
        assert (context, instance) == (CONTEXT, STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE)
        report = parse_report(information, IMPLICIT)
        assert report.event_type == event_type
        tick()
        if isinstance(self.outcome, Exception):
            raise self.outcome
        self.reports.append(report)
        return Response(self.outcome)


class Desk:
    """An archive, and what came to jobs/."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self.channel = Channel()
        self.woken = 0
        self.cancelled: Callable[[], bool] = lambda: False

    def wake(self) -> None:
        self.woken += 1

    def request(self, **changes: Any) -> ActionRequest:
        values: dict[str, Any] = {
            "caller": Caller("CT1", "PACSNODE", "192.0.2.1", 7),
            "context": CONTEXT,
            "message_id": 1,
            "sop_class_uid": STORAGE_COMMITMENT_PUSH_MODEL,
            "sop_instance_uid": STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE,
            "action_type": 1,
            "information": encode_request(WANTED, IMPLICIT),
            "cancelled": lambda: self.cancelled(),
            "channel": self.channel,
            **changes,
        }
        return ActionRequest(**values)

    def ask(self, row: str = "new", **changes: Any) -> Generator[Answer, None, None]:
        answers = commit(self.request(**changes), self.archive, ROWS[row], self.wake)
        assert isinstance(answers, Generator)
        return answers

    @property
    def open(self) -> int:
        return self.archive.commitments.backlog().open

    @property
    def is_for_jobs(self) -> bool:
        return self.woken == 1 and self.archive.commitments.claim() is not None


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with closing(open_archive(tmp_path / "data", Policy(ae_title="PACSNODE"))) as archive:
        yield Desk(archive)


@pytest.mark.parametrize(
    "error", [UnreadableDataset, UnusableUID, StorageError, OutOfSpace, IndexFailure, IndexFull]
)
def test_every_error_has_a_status(error: type[DicomError]) -> None:
    assert status_of(error, STATUS) in (0x0115, 0x0213)


@pytest.mark.parametrize("row", list(ROWS))
def test_the_answer_comes_when_the_request_is_on_stable_storage(
    desk: Desk, row: str, tmp_path: Path
) -> None:
    upkeep = desk.archive._index._database._upkeep
    assert upkeep is not None
    assert upkeep.durability is not None
    synced = upkeep.durability._succeeded
    answers = desk.ask(row)
    assert next(answers) == Answer(0)
    assert upkeep.durability._succeeded > synced
    with closing(index_room.open(tmp_path / "data" / "index.sqlite")) as other:
        assert other.commitments.backlog() == Backlog(1, 0)
    assert not desk.channel.reports
    assert desk.archive.commitments.claim() is None, "before the answer is sent"
    answers.close()


def test_by_default_jobs_report(desk: Desk) -> None:
    assert list(desk.ask()) == [Answer(0)]
    assert not desk.channel.reports
    assert desk.is_for_jobs


@pytest.mark.parametrize("row", ["same", "unknown"])
def test_the_report_goes_out_on_the_same_association(desk: Desk, row: str) -> None:
    assert list(desk.ask(row)) == [Answer(0)]
    (report,) = desk.channel.reports
    assert report.transaction_uid == "1.9"
    assert desk.open == 0
    assert desk.woken == 0


@pytest.mark.parametrize("outcome", [0x0110, AssociationLost("aborted")])
def test_what_a_known_requester_does_not_take_there_goes_to_jobs(
    desk: Desk, outcome: int | Exception
) -> None:
    desk.channel.outcome = outcome
    assert list(desk.ask("same")) == [Answer(0)]
    assert desk.is_for_jobs


@pytest.mark.parametrize("row", ["same", "unknown"])
def test_what_jobs_have_taken_over_meanwhile_is_not_reported_twice(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, row: str
) -> None:
    """After a lease that has ended. To whom modalities do not know nobody else can report."""
    look = desk.archive.commitments.report
    others: list[Commitment | None] = []

    def hang(commitment: Commitment, tick: Tick) -> CommitmentReport:
        later = Commitments(desk.archive._storage, desk.archive._index, {}, clock=in_three_minutes)
        others.append(later.claim())
        return look(commitment, tick)

    monkeypatch.setattr(desk.archive.commitments, "report", hang)
    assert list(desk.ask(row)) == [Answer(0)]
    (other,) = others
    assert other is not None
    assert len(desk.channel.reports) == (row == "unknown")
    assert desk.open == 1
    assert not desk.woken


def in_three_minutes() -> int:
    return time.time_ns() // 1000 + 180_000_000


def test_what_an_unknown_one_does_not_take_is_over(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    desk.channel.outcome = AssociationLost("aborted")
    assert list(desk.ask("unknown")) == [Answer(0)]
    assert desk.open == 0
    assert "1.9 of 'CT1' from 192.0.2.1, 1 instances, is given up" in caplog.text


def end(desk: Desk) -> None:
    desk.channel.is_open = False


def stop(desk: Desk) -> None:
    def stopping() -> bool:
        raise AssociationLost("the node is stopping")

    desk.cancelled = stopping


@pytest.mark.parametrize("happens", [end, stop])
def test_nothing_is_looked_into_for_an_association_that_has_ended(
    desk: Desk, happens: Callable[[Desk], None]
) -> None:
    answers = desk.ask("same")
    next(answers)
    happens(desk)
    assert not list(answers)
    assert not desk.channel.reports
    assert desk.is_for_jobs


@pytest.mark.parametrize(("row", "step"), [("new", "give_back"), ("unknown", "finish")])
def test_an_index_that_fails_now_leaves_it_to_jobs_for_later(
    desk: Desk,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    row: str,
    step: str,
) -> None:
    """When its lease ends. It is a line in the log, and no unexpected fault."""

    def fail(*_: object) -> None:
        raise IndexFailure("disk I/O error")

    monkeypatch.setattr(desk.archive.commitments, step, fail)
    desk.channel.outcome = AssociationLost("aborted")
    assert list(desk.ask(row)) == [Answer(0)]
    assert desk.open == 1
    assert "storage commitment 1.9 waits for the end of its lease: disk I/O error" in caplog.text


@pytest.mark.parametrize("row", ["new", "same"])
def test_an_answer_that_cannot_be_sent_loses_no_transaction(desk: Desk, row: str) -> None:
    answers = desk.ask(row)
    next(answers)
    answers.close()
    assert desk.is_for_jobs


def test_a_fault_of_ours_loses_no_transaction(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ValueError("a fault of ours")

    monkeypatch.setattr(desk.archive.commitments, "report", fail)
    answers = desk.ask("same")
    next(answers)
    with pytest.raises(ValueError, match="fault"):
        next(answers)
    assert desk.is_for_jobs


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"action_type": 2}, 0x0123),
        ({"action_type": None}, 0x0123),
        ({"sop_instance_uid": "1.2.3"}, 0x0112),
        ({"sop_instance_uid": ""}, 0x0112),
        ({"sop_class_uid": "1.2.3"}, 0x0118),
        ({"information": b""}, 0x0115),
        ({"information": b"\xff" * 99}, 0x0115),
        ({"information": encode_request(WANTED, IMPLICIT)[:-1]}, 0x0115),
        ({"information": encode_request(WANTED._replace(references=()), IMPLICIT)}, 0x0115),
        ({"information": encode_request(WANTED._replace(transaction_uid=""), IMPLICIT)}, 0x0115),
    ],
)
def test_what_cannot_be_carried_out_is_refused_with_a_reason(
    desk: Desk, changes: dict[str, Any], status: int
) -> None:
    (answer,) = desk.ask(**changes)
    assert answer.status == status
    assert 0 < len(answer.comment) <= 64
    assert answer.comment.isascii()
    assert desk.open == 0
    assert desk.woken == 0


@pytest.mark.parametrize("error", [OutOfSpace("full"), IndexFull("full"), IndexFailure("broken")])
def test_what_cannot_be_noted_is_refused(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(desk.archive.commitments, "open", fail)
    (answer,) = desk.ask()
    assert answer.status == 0x0213
    assert "ask again" in answer.comment


def test_too_many_at_once_are_refused(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_room.commitments, "MOST_OPEN", 1)
    assert list(desk.ask()) == [Answer(0)]
    (answer,) = desk.ask()
    assert answer.status == 0x0213
