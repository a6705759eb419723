"""The implementation model: what the application entity does, for whom, and in which order."""

from typing import NamedTuple

from pacsnode.config.model import Configuration
from pacsnode.net.contexts import Service
from pacsnode.node.conformance import sequences
from pacsnode.node.conformance.document import Figure, Items, Section, paragraphs
from pacsnode.node.conformance.opening import NAMES
from pacsnode.node.conformance.statuses import title_of

LOCAL, REMOTE, ARROW = 30, 32, 20  # characters of the figure's columns


class Activity(NamedTuple):
    """A real-world activity on this side, the message, and the one on the other side."""

    here: str
    message: str
    there: str
    comes_in: bool


def activities() -> list[Activity]:
    """Those of the figure: of each service first what is asked of the node, then what it asks."""
    listed = []
    for service in Service:
        message = title_of(service)
        for_it, by_it = _DONE[service]
        listed.append(Activity(for_it, message, f"ask: {NAMES[service]}", comes_in=True))
        listed.append(Activity(by_it, message, f"answer: {NAMES[service]}", comes_in=False))
    report = "N-EVENT-REPORT"
    listed.append(Activity("report on commitment", report, "take the report", comes_in=False))
    listed.append(Activity("take a report", report, "report on commitment", comes_in=True))
    return listed


_DONE = {
    Service.ECHO: ("answer", "pacsnode echo, check"),
    Service.STORE: ("store and index", "send (C-MOVE, pacsnode send)"),
    Service.FIND: ("look up in the index", "pacsnode find, get"),
    Service.MOVE: ("send to a remote AE", "pacsnode move"),
    Service.GET: ("send back by C-STORE", "pacsnode get"),
    Service.COMMIT: ("note, check every byte", "pacsnode commit"),
}


def implementation_model(configuration: Configuration) -> Section:
    title = configuration.ae_title
    return Section(
        "Implementation Model",
        sections=(
            Section(
                "Application Data Flow",
                (
                    *paragraphs(
                        f"There is one application entity, {title}. On the left what it does, on "
                        "the right what happens at the remote application entity; the arrow goes "
                        "from the one that asks."
                    ),
                    Figure("Application Data Flow", _drawing(title)),
                ),
            ),
            Section(
                "Functional Definition of AEs",
                (
                    *paragraphs(
                        f"{title} waits for associations as long as `pacsnode serve` runs. It "
                        "opens associations itself for the sub-operations of a C-MOVE, for reports "
                        "on storage commitment, and for the commands of its command line."
                    ),
                    Items(_functions(configuration)),
                ),
            ),
            Section(
                "Sequencing of Real-World Activities",
                (Items(_SEQUENCES), sequences.storing(title), sequences.moving(title)),
            ),
        ),
    )


def _drawing(title: str) -> str:
    """One line an activity, between the two sides of the DICOM interface."""
    head = f"{title:<{LOCAL}} {'DICOM interface':^{ARROW}} {'remote AE'}"
    lines = [head.rstrip(), "-" * (LOCAL + ARROW + REMOTE)]
    lines += [f"{one.here:<{LOCAL}} {_arrow(one)} {one.there}".rstrip() for one in activities()]
    return "\n".join(lines)


def _arrow(activity: Activity) -> str:
    middle = f" {activity.message} ".center(ARROW - 2, "-")
    return f"<-{middle}" if activity.comes_in else f"{middle}->"


def _functions(configuration: Configuration) -> tuple[str, ...]:
    fsync = configuration.storage.fsync
    durable = "are on stable storage" if fsync else "were handed to the operating system"
    return (
        "Verification: answers C-ECHO.",
        f"Storage: writes the dataset as it comes; answers when instance and index row {durable}.",
        (
            "Query: answers from its index, which holds what instances say of patient, study, "
            "series and image; other attributes are read from the instances."
        ),
        "Retrieve: sends instances as stored, or recoded where the receiver does not take that.",
        (
            "Storage Commitment: reads every byte of each instance and compares it with the "
            "checksum made on receipt, then reports."
        ),
    )


_SEQUENCES = (
    "A C-FIND that is sent after the success of a C-STORE finds the instance.",
    (
        "Storage commitment may be asked for at any time after the C-STORE; also before it, when "
        "the report names what is not there. The report follows the answer to the N-ACTION."
    ),
    "C-MOVE and C-GET select what is there when they begin; what comes in later is not sent.",
    "Messages of one association are served one after the other, in their order.",
)
