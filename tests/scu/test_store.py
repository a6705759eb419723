import itertools
from collections.abc import Iterator

import pytest

from pacsnode.dicom.message import Response, Suboperation, Tick
from pacsnode.errors import (
    AssociationLost,
    AssociationRejected,
    InstanceMissing,
    NoPresentationContext,
    PeerTimeout,
    PeerUnreachable,
    TranscodingError,
)
from pacsnode.scu import plan, sender, tasks
from pacsnode.scu.sendable import Originator, Sending
from pacsnode.scu.store import send, send_on
from tests.scu.scripted import (
    CT,
    EXPLICIT,
    IMPLICIT,
    JPEG,
    MPEG,
    MR,
    PEER,
    RLE,
    Sample,
    ScriptedChannel,
    ScriptedPeer,
    lost,
)


def samples(count: int, **more: str) -> list[Sample]:
    return [Sample(f"1.2.{number}", **more) for number in range(1, count + 1)]


def test_instances_go_out_in_order_on_one_association_that_is_released() -> None:
    peer = ScriptedPeer()
    outcomes = list(send(peer, PEER, samples(5)))
    assert all(outcome.is_success for outcome in outcomes)
    assert peer.received == ["1.2.1", "1.2.2", "1.2.3", "1.2.4", "1.2.5"]
    assert [channel.end for channel in peer.channels] == ["released"]


def test_nothing_to_send_opens_no_association() -> None:
    peer = ScriptedPeer()
    assert list(send(peer, PEER, [])) == []
    assert peer.attempts == 0


def test_stored_bytes_leave_as_they_are() -> None:
    peer = ScriptedPeer()
    data = bytes(range(256))
    list(send(peer, PEER, [Sample("1.2", transfer_syntax_uid=JPEG, data=data)]))
    assert peer.channels[0].datasets == {"1.2": data}
    assert peer.channels[0].stored[0][0].context.transfer_syntax == JPEG


def test_a_refused_transfer_syntax_is_brought_into_an_accepted_one() -> None:
    peer = ScriptedPeer(accepts=lambda _, transfer_syntax: transfer_syntax == IMPLICIT)
    outcomes = list(send(peer, PEER, [Sample("1.2")]))
    assert outcomes[0].is_success
    assert peer.channels[0].datasets == {"1.2": b"\x08\x00\x60\x00\x02\x00\x00\x00CT"}


def test_the_peers_own_list_of_transfer_syntaxes_is_followed() -> None:
    from dataclasses import replace

    peer = ScriptedPeer()
    list(send(peer, replace(PEER, transfer_syntaxes=(IMPLICIT,)), [Sample("1.2")]))
    assert peer.channels[0].stored[0][0].context.transfer_syntax == IMPLICIT


def test_a_bad_instance_fails_alone() -> None:
    bad = Sample("1.2.9", error=InstanceMissing("no file"))
    unreadable = Sample("1.2.10", error=PermissionError(13, "Permission denied"))
    peer = ScriptedPeer()
    outcomes = list(send(peer, PEER, [*samples(2), bad, unreadable, Sample("1.2.11")]))
    assert [outcome.is_failure for outcome in outcomes] == [False, False, True, True, False]
    assert outcomes[2].text == "no file"
    assert "Permission denied" in outcomes[3].text
    assert peer.attempts == 1


def test_a_dataset_that_cannot_be_decompressed_fails_alone() -> None:
    peer = ScriptedPeer(accepts=lambda _, transfer_syntax: transfer_syntax == EXPLICIT)
    broken = Sample("1.2.9", transfer_syntax_uid=RLE, data=b"\x08\x00\x60\x00CS\xff\x00")
    outcomes = list(send(peer, PEER, [broken, Sample("1.2.1")]))
    assert isinstance(outcomes[0].error, TranscodingError)
    assert outcomes[1].is_success


def test_an_answer_of_failure_is_told_with_its_comment() -> None:
    peer = ScriptedPeer(verdicts={"1.2.1": [Response(0xC123, "no thanks")]})
    (outcome,) = send(peer, PEER, samples(1))
    assert outcome.is_failure
    assert outcome.text == "answered C123: no thanks"
    assert peer.attempts == 1


def test_a_warning_is_no_failure() -> None:
    peer = ScriptedPeer(verdicts={"1.2.1": [0xB000]})
    (outcome,) = send(peer, PEER, samples(1))
    assert outcome.is_warning
    assert not outcome.is_failure


@pytest.mark.parametrize("error", [lost(), PeerTimeout("60 s", "message")])
def test_a_lost_association_is_replaced_by_one_that_serves_all_that_follow(
    error: Exception,
) -> None:
    peer = ScriptedPeer(verdicts={"1.2.2": [error]})
    outcomes = list(send(peer, PEER, samples(5)))
    assert all(outcome.is_success for outcome in outcomes)
    assert peer.attempts == 2
    assert peer.received == ["1.2.1", "1.2.2", "1.2.3", "1.2.4", "1.2.5"]


def test_an_instance_that_kills_every_association_fails_and_the_rest_goes_on() -> None:
    peer = ScriptedPeer(verdicts={"1.2.2": [lost(), lost()]})
    outcomes = list(send(peer, PEER, samples(4)))
    assert [outcome.is_success for outcome in outcomes] == [True, False, True, True]
    assert peer.attempts == 3


def test_a_peer_that_loses_every_association_is_given_up() -> None:
    peer = ScriptedPeer(verdicts={f"1.2.{n}": [lost(), lost()] for n in range(1, 1001)})
    outcomes = list(send(peer, PEER, samples(1000)))
    assert len(outcomes) == 1000
    assert all(outcome.is_failure for outcome in outcomes)
    assert peer.attempts == sender.LOST_IN_A_ROW


def test_an_a7xx_answer_is_tried_once_more_on_a_fresh_association() -> None:
    peer = ScriptedPeer(verdicts={"1.2.2": [0xA700]})
    outcomes = list(send(peer, PEER, samples(3)))
    assert all(outcome.is_success for outcome in outcomes)
    assert [channel.end for channel in peer.channels] == ["released", "released"]


def test_a_peer_that_stays_full_gets_one_fresh_association_not_one_for_each_instance() -> None:
    peer = ScriptedPeer(verdicts={f"1.2.{n}": [0xA700, 0xA700] for n in range(1, 101)})
    outcomes = list(send(peer, PEER, samples(100)))
    assert {outcome.status for outcome in outcomes} == {0xA700}
    assert peer.attempts == 2


def test_where_no_fresh_association_can_be_opened_the_rest_fails_at_once() -> None:
    refused = AssociationRejected("no more", 2, 3, 2)
    peer = ScriptedPeer(verdicts={"1.2.2": [lost()]}, refusals=[None, refused])
    outcomes = list(send(peer, PEER, samples(4)))
    assert [outcome.is_success for outcome in outcomes] == [True, False, False, False]
    assert isinstance(outcomes[1].error, AssociationLost)
    assert outcomes[2].error is refused
    assert peer.attempts == 2


def test_an_unreachable_peer_is_tried_once_for_all_instances() -> None:
    peer = ScriptedPeer(refusals=[PeerUnreachable("refused", "tcp")])
    outcomes = list(send(peer, PEER, samples(2000)))
    assert len(outcomes) == 2000
    assert all(isinstance(outcome.error, PeerUnreachable) for outcome in outcomes)
    assert peer.attempts == 1


def test_a_peer_that_takes_none_of_some_classes_still_gets_the_others() -> None:
    classes = [f"1.2.840.10008.5.1.4.1.1.{number}" for number in range(100)]
    wanted = [Sample(f"1.2.{n}", uid, JPEG) for n, uid in enumerate(classes)]
    peer = ScriptedPeer(accepts=lambda uid, _: uid == classes[99])
    outcomes = list(send(peer, PEER, wanted))
    taken = [outcome.sendable.sop_class_uid for outcome in outcomes if outcome.is_success]
    assert taken == [classes[99]]
    failures = [outcome.error for outcome in outcomes if outcome.is_failure]
    assert all(isinstance(error, NoPresentationContext) for error in failures)


def test_more_kinds_than_128_contexts_go_over_several_associations_one_at_a_time() -> None:
    classes = [f"1.2.840.10008.5.1.4.1.1.{number}" for number in range(100)]
    wanted = [Sample(f"1.2.{n}", uid, JPEG) for n, uid in enumerate(classes)]
    peer = ScriptedPeer()
    outcomes = list(send(peer, PEER, wanted))
    assert all(outcome.is_success for outcome in outcomes)
    assert sorted(peer.received) == sorted(sample.sop_instance_uid for sample in wanted)
    assert peer.attempts == 3
    assert {channel.end for channel in peer.channels} == {"released"}


def test_kinds_that_come_again_need_no_association_of_their_own() -> None:
    many = [
        Sample(f"1.2.{n}", CT if n // tasks.LOOK_AHEAD % 2 else MR)
        for n in range(6 * tasks.LOOK_AHEAD)
    ]
    peer = ScriptedPeer()
    assert all(outcome.is_success for outcome in send(peer, PEER, many))
    assert peer.attempts == 2


def test_what_cannot_be_sent_is_named_with_its_reason() -> None:
    peer = ScriptedPeer(accepts=lambda uid, syntax: uid == CT and syntax == EXPLICIT)
    wanted = [
        Sample("1.2.1"),
        Sample("1.2.2", MR),
        Sample("1.2.3", CT, MPEG),
        Sample("1.2.4", "not a UID"),
    ]
    texts = {o.sendable.sop_instance_uid: o.text for o in send(peer, PEER, wanted)}
    assert texts["1.2.1"] == ""
    assert texts["1.2.2"] == f"SOP class {MR} was not accepted"
    assert MPEG in texts["1.2.3"]
    assert "'not a UID'" in texts["1.2.4"]


def test_no_more_is_read_than_is_planned_ahead() -> None:
    read = itertools.count()

    def endless() -> Iterator[Sample]:
        for number in read:
            yield Sample(f"1.2.{number}")

    outcomes = send(ScriptedPeer(), PEER, endless())
    assert next(outcomes).is_success
    assert next(read) == tasks.LOOK_AHEAD
    outcomes.close()


def test_over_65535_instances_go_out() -> None:
    peer = ScriptedPeer()
    sent = sum(1 for outcome in send(peer, PEER, iter(samples(66_000))) if outcome.is_success)
    assert sent == 66_000
    assert peer.attempts == 1


def test_closing_early_releases_the_association() -> None:
    peer = ScriptedPeer()
    outcomes = send(peer, PEER, samples(5))
    next(outcomes)
    outcomes.close()
    assert peer.channels[0].end == "released"


def test_a_tick_that_raises_ends_everything_and_is_not_taken_for_the_peers_fault() -> None:
    """The requester of a C-MOVE vanishes: AssociationLost, but of another association."""
    ticks = itertools.count()

    def tick() -> None:
        if next(ticks) > 8:
            raise AssociationLost("the requester is gone")

    peer = ScriptedPeer()
    with pytest.raises(AssociationLost, match="the requester is gone"):
        list(send(peer, PEER, samples(5), tick=tick))
    assert peer.channels[0].end == "aborted"
    assert peer.attempts == 1


def test_ticks_come_while_an_instance_is_sent_found_and_decompressed() -> None:
    seen: list[str] = []

    def slow(operation: Suboperation, tick: Tick) -> int:
        before = len(seen)
        tick()
        assert len(seen) == before + 1
        return 0

    peer = ScriptedPeer(verdicts={"1.2.1": [slow]})
    assert all(o.is_success for o in send(peer, PEER, samples(1), tick=lambda: seen.append("")))


def test_the_move_originator_goes_along() -> None:
    peer = ScriptedPeer()
    list(send(peer, PEER, samples(1), originator=Originator("WORKSTATION", 7)))
    operation, _ = peer.channels[0].stored[0]
    assert operation.move_originator_ae_title == "WORKSTATION"
    assert operation.move_originator_message_id == 7


def test_an_association_that_closed_behind_an_instance_is_opened_anew() -> None:
    """A file that cannot be read to its end leaves half a message: the channel is closed then."""
    peer = ScriptedPeer(verdicts={"1.2.1": [OSError(5, "Input/output error")]})
    outcomes = list(send(peer, PEER, samples(2)))
    assert [outcome.is_success for outcome in outcomes] == [False, True]
    assert peer.attempts == 2


def test_on_a_given_association_nothing_is_retried_and_its_end_is_passed_on() -> None:
    peer = ScriptedPeer(verdicts={"1.2.1": [0xA700], "1.2.2": [lost()]})
    channel = peer(PEER, list(plan.contexts_of(plan.Kind(CT, EXPLICIT))))
    outcomes = send_on(channel, samples(3), Sending())
    assert next(outcomes).status == 0xA700
    with pytest.raises(AssociationLost):
        next(outcomes)
    assert peer.attempts == 1


def test_a_context_without_the_role_is_not_used() -> None:
    from pacsnode.dicom.message import Context

    channel = ScriptedChannel(ScriptedPeer(), [Context(1, CT, EXPLICIT, as_scu=False)])
    (outcome,) = send_on(channel, samples(1), Sending())
    assert isinstance(outcome.error, NoPresentationContext)
