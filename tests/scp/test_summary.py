"""What a retrieve could not deliver as it is stored is said once, at its end."""

import logging

import pytest

from pacsnode.dicom.message import ProposedContext
from pacsnode.scp.get import get
from pacsnode.scp.summary import MOST_NAMED
from tests.scp.conftest import FakeArchive, Requester, stored
from tests.scp.test_retrieve import archive_of, run
from tests.scu.scripted import CT, EXPLICIT, IMPLICIT, MR, PEER, ScriptedPeer


@pytest.fixture(autouse=True)
def _at_info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name == "pacsnode.scp.summary"]


EXPLICIT_NAME = f"Explicit VR Little Endian ({EXPLICIT})"
IMPLICIT_NAME = f"Implicit VR Little Endian ({IMPLICIT})"


def test_what_went_as_it_is_stored_is_worth_no_line(caplog: pytest.LogCaptureFixture) -> None:
    run(archive_of(3))
    assert lines(caplog) == []


def test_what_went_recoded_is_counted_and_the_reason_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    run(archive_of(3), ScriptedPeer(accepts=lambda _, syntax: syntax == IMPLICIT))
    recoded, refused = lines(caplog)
    assert recoded == (
        "STORE@store.example:104: 3 instances went in another transfer syntax than they are stored "
        f"in: 3 of {EXPLICIT_NAME} to {IMPLICIT_NAME}"
    )
    assert refused == (
        f"STORE@store.example:104 did not accept: CT Image Storage ({CT}) in {EXPLICIT_NAME} "
        "(offered as modalities.STORE.transfer_syntaxes says)"
    )


def test_what_did_not_go_for_want_of_a_context_is_a_warning_that_says_what_to_do(
    caplog: pytest.LogCaptureFixture,
) -> None:
    archive = FakeArchive([stored(1), stored(2, MR), stored(3, MR)])
    run(archive, ScriptedPeer(accepts=lambda uid, _: uid != MR))
    warning = lines(caplog)[0]
    assert warning.startswith("STORE@store.example:104: 2 instances did not go")
    assert f"2 of MR Image Storage ({MR}) in {EXPLICIT_NAME}" in warning
    assert "enabled there; modalities.STORE.transfer_syntaxes" in warning
    assert f"MR Image Storage ({MR}) in" in lines(caplog)[1]


def test_a_destination_that_accepts_nothing_is_named_too(caplog: pytest.LogCaptureFixture) -> None:
    run(archive_of(2), ScriptedPeer(accepts=lambda *_: False))
    assert "2 instances did not go" in lines(caplog)[0]


def test_a_caller_that_gets_recoded_instances_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    channel = ScriptedPeer()(PEER, [ProposedContext(CT, (IMPLICIT,))])
    list(get(Requester().get(channel), FakeArchive([stored(1)])))
    (line,) = lines(caplog)
    assert line == (
        "WORKSTATION at 192.0.2.3: 1 instances went in another transfer syntax than they are "
        f"stored in: 1 of {EXPLICIT_NAME} to {IMPLICIT_NAME}"
    )


def test_many_kinds_do_not_make_a_long_line(caplog: pytest.LogCaptureFixture) -> None:
    classes = [f"1.2.3.{number}" for number in range(20)]
    archive = FakeArchive([stored(n, uid) for n, uid in enumerate(classes)])
    run(archive, ScriptedPeer(accepts=lambda *_: False))
    assert f"and {20 - MOST_NAMED} more" in lines(caplog)[0]
    assert all(len(line) < 1000 for line in lines(caplog))


def test_an_instance_that_the_destination_refused_is_not_counted_as_recoded(
    caplog: pytest.LogCaptureFixture,
) -> None:
    peer = ScriptedPeer(
        accepts=lambda _, syntax: syntax == IMPLICIT, verdicts={"1.2.3.0": [0xC001, 0xC001]}
    )
    run(archive_of(1), peer)
    assert lines(caplog) == []
