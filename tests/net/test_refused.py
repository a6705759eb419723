"""What a peer offered and did not get, in words."""

import logging
from collections.abc import Callable

import pytest

from pacsnode.net import refused
from pacsnode.net.associate import AnsweredContext, ProposedContext
from pacsnode.net.listener import Listener
from tests.net import raw
from tests.net.raw import CT, IMPLICIT, STUDY_FIND, VERIFICATION, RawPeer
from tests.net.test_acceptor import wait_until_nobody_is_served

Serve = Callable[..., Listener]
Dial = Callable[[Listener], RawPeer]

WORKLIST = "1.2.840.10008.5.1.4.31"
JPEG, UNKNOWN = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.999"


def lines_of(
    caplog: pytest.LogCaptureFixture, listener: Listener, peer: RawPeer
) -> list[logging.LogRecord]:
    peer.send(raw.pdu(raw.RELEASE_RQ))
    assert peer.receive() == (raw.RELEASE_RP, bytes(4))
    peer.close()
    wait_until_nobody_is_served(listener)
    return [r for r in caplog.records if "did not get" in r.getMessage()]


def test_the_log_names_what_the_node_is_no_service_of(
    serve: Serve, dial: Dial, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    listener = serve()
    peer = dial(listener)
    peer.associate((1, VERIFICATION, [IMPLICIT]), (3, WORKLIST, [IMPLICIT]))
    (line,) = lines_of(caplog, listener, peer)
    assert line.levelno == logging.INFO
    assert line.getMessage() == (
        "RAW from 127.0.0.1 offered SOP classes that it did not get: Modality Worklist Information "
        f"Model - FIND ({WORKLIST}): no service of this node"
    )


def test_what_it_is_a_service_of_is_a_warning_with_the_transfer_syntaxes(
    serve: Serve, dial: Dial, caplog: pytest.LogCaptureFixture
) -> None:
    listener = serve()
    peer = dial(listener)
    peer.associate(
        (1, VERIFICATION, [IMPLICIT]),
        (3, CT, [UNKNOWN]),
        (5, STUDY_FIND, [JPEG]),
        (7, "1.2.3", [UNKNOWN, IMPLICIT]),
    )
    (line,) = lines_of(caplog, listener, peer)
    assert line.levelno == logging.WARNING
    text = line.getMessage()
    assert f"CT Image Storage ({CT}): not offered in transfer syntaxes that are known" in text
    assert f"but in {UNKNOWN};" in text
    assert f"that are not compressed, but in JPEG Baseline (Process 1) ({JPEG})" in text
    assert "1.2.3:" not in text, "it got that"


def test_a_class_that_came_in_another_context_is_not_missing() -> None:
    proposed = [ProposedContext(1, CT, (UNKNOWN,)), ProposedContext(3, CT, (IMPLICIT,))]
    answered = [AnsweredContext(1, 4, IMPLICIT), AnsweredContext(3, 0, IMPLICIT)]
    assert refused.refused(proposed, answered) is None


def test_the_line_stays_short_whatever_is_offered() -> None:
    proposed = [
        ProposedContext(n, f"1.2.840.10008.9.{n}" * 30, (UNKNOWN,) * 9) for n in range(1, 256, 2)
    ]
    answered = [AnsweredContext(context.context_id, 3, IMPLICIT) for context in proposed]
    found = refused.refused(proposed, answered)
    assert found is not None
    assert found.is_harmful, "it got nothing at all"
    assert found.text.endswith("; and 120 more")
    assert len(found.text) < 1000
