"""The words of an association's line in the log."""

from pacsnode.dicom import status
from pacsnode.dicom.message import Answer
from pacsnode.net.tally import Tally


def test_it_says_what_was_asked_and_how_it_went() -> None:
    tally = Tally()
    assert str(tally) == "nothing asked"
    tally.count("store", Answer(status.SUCCESS))
    tally.count("store", Answer(status.OUT_OF_RESOURCES))
    tally.count("find", Answer(status.PENDING))
    tally.count("find", Answer(status.SUCCESS))
    tally.break_off("move")
    assert str(tally) == ("2 C-STORE, 1 failed; 1 C-FIND with 1 matches; 1 C-MOVE broken off")
