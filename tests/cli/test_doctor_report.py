"""What people read at the end of `pacsnode check PEER`."""

import pytest

from pacsnode.cli.doctor_report import Report
from pacsnode.dicom.message import Peer
from pacsnode.scu.doctor.case import Ours
from pacsnode.scu.doctor.steps import Cause, failed

PEER = Peer("ARCHIVE", "ARCHIVE", "10.0.0.5", 104, "PACSNODE")
OURS = Ours("PACSNODE", "10.0.0.1", 11112)


def test_lines_that_two_steps_have_in_common_are_said_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    report = Report(PEER, "text")
    for name in ("C-ECHO", "C-STORE"):
        report.add(failed(name, Cause.UNANSWERED, f"no answer to {name} within 60 s"))
    report.add(failed("arrival", Cause.OWN_TITLE, "called X"))
    assert report.end(OURS) == 1
    said = capsys.readouterr().out
    assert said.count("timeouts:") == 1
    assert "C-STORE failed. To change in our configuration: what has been said above." in said
    assert said.count("To the administrator of the other side:") == 3
    assert "check_called_ae_title: false" in said
