"""The next instance is got ready while the answer to the last is awaited."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

import pytest

from pacsnode.dicom.message import DatasetSource, ProposedContext, Suboperation, Tick
from pacsnode.errors import IndexFailure, InstanceMissing, TranscodingError
from pacsnode.scu import plan
from pacsnode.scu.codecs import Codecs as RealCodecs
from pacsnode.scu.codecs import Conversion
from pacsnode.scu.sendable import Sendable, Sending
from pacsnode.scu.store import send, send_on
from tests.scu.scripted import (
    CT,
    EXPLICIT,
    IMPLICIT,
    JPEG,
    PEER,
    RLE,
    Sample,
    ScriptedChannel,
    ScriptedPeer,
    Verdict,
    lost,
)

JPEG_LS = "1.2.840.10008.1.2.4.80"


def samples(count: int, log: list[str], **more: str) -> list[Sample]:
    return [Sample(f"1.2.{number}", log=log, **more) for number in range(1, count + 1)]


def noting(log: list[str]) -> Verdict:
    """Success, told to `log`: by then the answer has been waited for."""

    def answer(operation: Suboperation, tick: Tick) -> int:
        log.append(f"answer {operation.sop_instance_uid}")
        return 0

    return answer


def noting_peer(log: list[str], count: int = 5) -> ScriptedPeer:
    return ScriptedPeer(verdicts={f"1.2.{n}": [noting(log)] for n in range(1, count + 1)})


def channel_of(peer: ScriptedPeer) -> ScriptedChannel:
    peer(PEER, list(plan.contexts_of(plan.Kind(CT, EXPLICIT))))
    return peer.channels[0]


IN_TURN = [
    "open 1.2.1", "close 1.2.1", "open 1.2.2", "answer 1.2.1",
    "close 1.2.2", "open 1.2.3", "answer 1.2.2",
    "close 1.2.3", "answer 1.2.3",
]  # fmt: skip


def test_the_next_instance_is_opened_before_the_answer_is_there() -> None:
    log: list[str] = []
    peer = noting_peer(log)
    assert all(outcome.is_success for outcome in send(peer, PEER, samples(3, log)))
    assert log == IN_TURN


def test_on_a_given_association_it_is_too() -> None:
    log: list[str] = []
    channel = channel_of(noting_peer(log))
    assert all(o.is_success for o in send_on(channel, iter(samples(3, log)), Sending()))
    assert log == IN_TURN


def test_what_is_loaded_ahead_is_what_goes_out_next() -> None:
    channel = channel_of(ScriptedPeer())
    seen = []
    for _ in send_on(channel, samples(3, []), Sending()):
        assert channel.loaded is not None
        seen.append(channel.loaded.sop_instance_uid)
    assert seen == ["1.2.2", "1.2.3", "1.2.3"]
    assert channel.stored[2][0] is channel.loaded


@pytest.mark.parametrize("error", [InstanceMissing("no file"), PermissionError(13, "no")])
def test_a_failure_to_open_the_next_is_told_in_its_turn(error: Exception) -> None:
    log: list[str] = []
    wanted = samples(4, log)
    wanted[1] = Sample("1.2.2", error=error, log=log)
    outcomes = list(send(noting_peer(log), PEER, wanted))
    assert [outcome.is_success for outcome in outcomes] == [True, False, True, True]
    assert log.count("open 1.2.2") == 1, "it is not tried again for that"
    assert log.index("open 1.2.2") < log.index("answer 1.2.1")


def test_what_was_opened_for_an_association_that_is_lost_is_opened_anew() -> None:
    log: list[str] = []
    peer = ScriptedPeer(verdicts={"1.2.1": [lost()]})
    outcomes = list(send(peer, PEER, samples(3, log)))
    assert [outcome.is_success for outcome in outcomes] == [True, True, True]
    assert log.count("open 1.2.2") == 2
    assert sorted(entry.removeprefix("open ") for entry in log if entry.startswith("open")) == (
        sorted(entry.removeprefix("close ") for entry in log if entry.startswith("close"))
    ), "all files are closed"


def test_an_outcome_says_in_which_transfer_syntax_the_instance_went() -> None:
    peer = ScriptedPeer(accepts=lambda _, transfer_syntax: transfer_syntax == IMPLICIT)
    private = Sample("1.2.9", transfer_syntax_uid="1.2.3")
    outcomes = {
        o.sendable.sop_instance_uid: o for o in send(peer, PEER, [*samples(1, []), private])
    }
    assert outcomes["1.2.1"].sent_as == IMPLICIT
    assert outcomes["1.2.9"].sent_as is None, "it did not go"


def test_nothing_is_decompressed_while_an_answer_waits() -> None:
    log: list[str] = []
    peer = noting_peer(log)
    peer.accepts = lambda _, transfer_syntax: transfer_syntax == IMPLICIT
    assert all(outcome.is_success for outcome in send(peer, PEER, samples(2, log)))
    assert log[:3] == ["open 1.2.1", "close 1.2.1", "answer 1.2.1"]


def test_leaving_early_closes_what_was_opened_ahead() -> None:
    log: list[str] = []
    outcomes = send(ScriptedPeer(), PEER, samples(3, log))
    next(outcomes)
    assert log[-1] == "open 1.2.2"
    outcomes.close()
    assert log[-1] == "close 1.2.2"


def test_leaving_a_given_association_early_does_so_too() -> None:
    log: list[str] = []
    outcomes = send_on(channel_of(ScriptedPeer()), samples(3, log), Sending())
    next(outcomes)
    outcomes.close()
    assert log[-1] == "close 1.2.2"


def test_a_selection_that_fails_ahead_does_so_in_its_turn() -> None:
    def failing() -> Iterator[Sendable]:
        yield from samples(2, [])
        raise IndexFailure("disk I/O error")

    outcomes = send_on(channel_of(ScriptedPeer()), failing(), Sending())
    assert [next(outcomes).is_success, next(outcomes).is_success] == [True, True]
    with pytest.raises(IndexFailure):
        next(outcomes)


@dataclass
class Worked:
    """What a codec is asked for; its answer is under another UID where that is lossy."""

    log: list[str]
    spool: IO[bytes]
    target_uid: str
    is_done: bool = True

    def __enter__(self) -> "Worked":
        return self

    def __exit__(self, *_details: object) -> None:
        pass

    def result(self, tick: Tick) -> DatasetSource:
        if self.target_uid == JPEG_LS:
            raise TranscodingError("not fit for it")
        uid = "9.9" if self.target_uid == JPEG else None
        return DatasetSource(io.BytesIO(b"decoded"), 7, uid)


class Codecs(RealCodecs):
    def __init__(self, log: list[str]) -> None:
        super().__init__(2)
        self.log = log

    def begin(self, source: DatasetSource, conversion: Conversion, spool: IO[bytes]) -> Any:
        self.log.append(f"begin {len([line for line in self.log if 'begin' in line]) + 1}")
        return Worked(self.log, spool, conversion.target_uid)


def test_codecs_work_on_the_next_instances_while_one_is_sent() -> None:
    log: list[str] = []
    peer = noting_peer(log)
    channel = channel_of(peer)
    sending = Sending(codecs=Codecs(log))
    outcomes = list(send_on(channel, samples(4, [], transfer_syntax_uid=RLE), sending))
    assert all(outcome.is_success for outcome in outcomes)
    assert log[:4] == ["begin 1", "begin 2", "begin 3", "answer 1.2.1"]
    assert log.count("begin 4") == 1
    assert peer.received == ["1.2.1", "1.2.2", "1.2.3", "1.2.4"]


def test_a_lossy_copy_goes_under_its_own_uid_and_is_counted_under_the_first() -> None:
    peer = ScriptedPeer()
    peer(PEER, [ProposedContext(CT, (JPEG,))])
    sending = Sending(plan.Wishes((JPEG,), may_lose=True), codecs=Codecs([]), priority=1)
    (outcome,) = send_on(peer.channels[0], samples(1, []), sending)
    ((operation, _),) = peer.channels[0].stored
    assert (operation.sop_instance_uid, operation.priority) == ("9.9", 1)
    assert (outcome.sendable.sop_instance_uid, outcome.sent_as) == ("1.2.1", JPEG)


def test_what_is_not_fit_for_compression_goes_in_the_next_transfer_syntax() -> None:
    peer = ScriptedPeer()
    peer(PEER, [ProposedContext(CT, (JPEG_LS,)), ProposedContext(CT, (IMPLICIT,))])
    sending = Sending(plan.Wishes((JPEG_LS, IMPLICIT)), codecs=Codecs([]))
    (outcome,) = send_on(peer.channels[0], samples(1, []), sending)
    assert outcome.sent_as == IMPLICIT


class Refusing(Codecs):
    """They cannot read what is stored."""

    def begin(self, source: DatasetSource, conversion: Conversion, spool: IO[bytes]) -> Any:
        self.log.append(conversion.target_uid)
        return Worked(self.log, spool, JPEG_LS)


@pytest.mark.parametrize(
    ("wanted", "tried", "sent_as"),
    [
        ((EXPLICIT, IMPLICIT, RLE), [EXPLICIT], RLE),
        ((EXPLICIT, JPEG_LS), [EXPLICIT], None),
        ((JPEG_LS, RLE), [JPEG_LS], RLE),
    ],
)
def test_what_cannot_be_decompressed_goes_as_it_is_stored(
    wanted: tuple[str, ...], tried: list[str], sent_as: str | None
) -> None:
    log: list[str] = []
    peer = ScriptedPeer()
    peer(PEER, [ProposedContext(CT, (uid,)) for uid in wanted])
    sending = Sending(plan.Wishes(wanted), codecs=Refusing(log))
    (outcome,) = send_on(peer.channels[0], samples(1, [], transfer_syntax_uid=RLE), sending)
    assert (log, outcome.sent_as) == (tried, sent_as)
