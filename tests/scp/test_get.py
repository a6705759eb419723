import pytest

from pacsnode.dicom.message import Counters, ProposedContext
from pacsnode.errors import AssociationLost
from pacsnode.scp.get import get
from pacsnode.scu.plan import Wishes
from tests.scp.conftest import FakeArchive, Requester, stored
from tests.scu.scripted import CT, EXPLICIT, IMPLICIT, MR, PEER, ScriptedPeer, lost


def test_instances_go_back_on_the_callers_association_without_originator() -> None:
    peer = ScriptedPeer()
    channel = peer(PEER, [ProposedContext(CT, (EXPLICIT,))])
    (final,) = get(Requester().get(channel), FakeArchive([stored(1), stored(2)]))
    assert (final.status, final.counters) == (0, Counters(None, 2, 0, 0))
    operation, _ = peer.channels[0].stored[0]
    assert operation.move_originator_ae_title is None
    assert channel.is_open


def test_what_was_not_negotiated_fails_one_by_one() -> None:
    channel = ScriptedPeer()(
        PEER,
        [ProposedContext(CT, (EXPLICIT,)), ProposedContext(MR, (EXPLICIT,), as_scu=False)],
    )
    archive = FakeArchive([stored(1, MR), stored(2), stored(3, MR)])
    (final,) = get(Requester().get(channel), archive)
    assert final.status == 0xB000
    assert final.counters == Counters(None, 1, 2, 0)
    assert b"1.2.3.1\\1.2.3.3" in (final.identifier or b"")


def test_a_caller_that_proposed_no_role_is_named_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    channel = ScriptedPeer()(PEER, [ProposedContext(CT, (EXPLICIT,), as_scu=False)])
    (final,) = get(Requester().get(channel), FakeArchive([stored(1)]))
    assert (final.status, final.counters) == (0xA702, Counters(None, 0, 1, 0))
    assert "role selection" in caplog.text
    assert final.comment == f"Propose {CT} with the SCP role"
    assert (
        "WORKSTATION at 192.0.2.3: 1 instances did not go, as no presentation context was accepted "
        f"for them: 1 of CT Image Storage ({CT}) in Explicit VR Little Endian ({EXPLICIT}); it has "
        "to propose them with the SCP role (SCP/SCU Role Selection)"
    ) in caplog.text


def test_another_accepted_context_is_used_decompressed() -> None:
    peer = ScriptedPeer()
    channel = peer(PEER, [ProposedContext(CT, (IMPLICIT,))])
    (final,) = get(Requester().get(channel), FakeArchive([stored(1)]))
    assert final.status == 0
    assert peer.channels[0].stored[0][0].context.transfer_syntax == IMPLICIT


def test_the_callers_own_transfer_syntaxes_are_respected() -> None:
    peer = ScriptedPeer()
    channel = peer(PEER, [ProposedContext(CT, (EXPLICIT,)), ProposedContext(CT, (IMPLICIT,))])
    (final,) = get(Requester().get(channel), FakeArchive([stored(1)]), wishes=Wishes((IMPLICIT,)))
    assert final.status == 0
    assert peer.channels[0].stored[0][0].context.transfer_syntax == IMPLICIT


def test_a_caller_that_vanishes_ends_it() -> None:
    channel = ScriptedPeer(verdicts={"1.2.3.1": [lost()]})(PEER, [ProposedContext(CT, (EXPLICIT,))])
    with pytest.raises(AssociationLost):
        list(get(Requester().get(channel), FakeArchive([stored(1), stored(2)])))
