"""What the node does where communication fails, with the times that are configured."""

from pacsnode.config.model import Configuration
from pacsnode.node.conformance.document import Table
from pacsnode.scu.sender import LOST_IN_A_ROW

COLUMNS = ("What fails", "What the node does")


def as_acceptor(configuration: Configuration) -> Table:
    times = configuration.timeouts
    rows = (
        (
            f"no TLS handshake within {times.acse:g} s; after it, no A-ASSOCIATE-RQ within as long",
            "the connection is closed",
        ),
        (
            (
                f"a PDU is not complete {times.network:g} s after its first byte, or none of a "
                f"message comes for {times.dimse:g} s"
            ),
            "A-ABORT; of a C-STORE nothing is kept",
        ),
        (f"no message for {times.idle:g} s", "A-ABORT"),
        ("the requestor aborts or disconnects during a C-STORE", "nothing of it is kept"),
        (
            "the requestor aborts or disconnects during a C-FIND, C-MOVE or C-GET",
            "the operation ends; associations of its sub-operations are aborted",
        ),
        ("the node is stopped", "C-STOREs under way are finished, then all others get A-ABORT"),
    )
    return Table("Communication Failures, as Acceptor", COLUMNS, rows)


def as_initiator(configuration: Configuration) -> Table:
    times, hours = configuration.timeouts, configuration.commit.retry_hours
    rows = (
        (
            f"name, TCP or TLS: no connection within {times.connect:g} s",
            "a C-MOVE ends with A702, a command with exit code 3; the step is named",
        ),
        (
            f"A-ASSOCIATE-RJ, or no answer within {times.acse:g} s",
            "the same; a rejection's result, source and reason are logged",
        ),
        (
            "no presentation context for an instance is accepted",
            "that instance fails, the others go on",
        ),
        (
            f"A-ABORT, a lost connection, or no C-STORE response within {times.dimse:g} s",
            (
                "the instance is tried once more on a new association, the others go on there; "
                f"after {LOST_IN_A_ROW} lost associations in a row all that are left fail"
            ),
        ),
        (
            "a C-STORE response A7xx",
            "one new association is tried, then the instance has failed; the others go on",
        ),
        (
            "a report on storage commitment cannot be delivered",
            f"it is tried again, for {hours:g} hours",
        ),
    )
    return Table("Communication Failures, as Initiator", COLUMNS, rows)
