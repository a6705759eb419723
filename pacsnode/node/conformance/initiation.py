"""The association initiation policy: the activities for which the node opens associations, and what
it proposes on them."""

from pacsnode.config.model import Configuration
from pacsnode.dicom.message import Extensions
from pacsnode.jobs.commit import PROPOSAL as REPORT_PROPOSAL
from pacsnode.net import extensions
from pacsnode.node.conformance import checking, contexts, failures, recoding, registry, statuses
from pacsnode.node.conformance.document import Block, Paragraph, Section, paragraphs
from pacsnode.scu.commit import MOST_REFERENCES
from pacsnode.scu.commit import PROPOSAL as COMMIT_PROPOSAL
from pacsnode.scu.echo import PROPOSAL as ECHO_PROPOSAL
from pacsnode.scu.models import Service as Asked

SENT_DEFAULT = "Proposed Transfer Syntaxes, Send Instances"


def initiation_policy(configuration: Configuration) -> Section:
    return Section(
        "Association Initiation Policy",
        (
            *paragraphs(
                "The node proposes one transfer syntax, or those of no pixel compression, in each "
                "presentation context; it names itself to a remote AE as Remote AE Titles says, "
                "and proposes neither an asynchronous operations window nor a user identity. "
                "`pacsnode trace replay`, which is for tests, proposes what was recorded."
            ),
            statuses.response_table(),
            failures.as_initiator(configuration),
        ),
        (
            _activity(
                "Verify",
                "`pacsnode echo PEER` asks whether a remote AE is there.",
                contexts.proposed_table("Proposed Presentation Contexts, Verify", [ECHO_PROPOSAL]),
            ),
            checking.checking(),
            _send(configuration),
            _activity(
                "Query",
                "`pacsnode find PEER` asks for what matches, in one of the models. Keys are those "
                "of the command line. With `--fuzzy` it proposes fuzzy semantic matching, with "
                f"Service Class Application Information {_fuzzy()}.",
                contexts.proposed_table(
                    "Proposed Presentation Contexts, Query",
                    contexts.query_proposals(Asked.FIND),
                ),
            ),
            _activity(
                "Have Instances Moved",
                "`pacsnode move PEER --to AE` asks a remote AE to send instances to a third.",
                contexts.proposed_table(
                    "Proposed Presentation Contexts, Have Instances Moved",
                    contexts.query_proposals(Asked.MOVE),
                ),
            ),
            _get(),
            *_commitment(),
        ),
    )


def _commitment() -> tuple[Section, ...]:
    return (
        _activity(
            "Request Storage Commitment",
            "`pacsnode commit PEER` asks a remote AE to keep instances safe, "
            f"{MOST_REFERENCES:,} with each N-ACTION, and waits for its report, on the same "
            "association or on one that the remote AE opens to the node.",
            contexts.proposed_table(
                "Proposed Presentation Contexts, Request Storage Commitment",
                [COMMIT_PROPOSAL],
            ),
            statuses.report_table(),
        ),
        _activity(
            "Report Storage Commitment",
            "A report that is due on a new association goes out on one of its own.",
            contexts.proposed_table(
                "Proposed Presentation Contexts, Report Storage Commitment",
                [REPORT_PROPOSAL],
            ),
        ),
    )


def _activity(name: str, what: str, *blocks: Block) -> Section:
    return Section(f"Activity: {name}", (Paragraph(what), *blocks))


def _send(configuration: Configuration) -> Section:
    blocks: list[Block] = [
        *paragraphs(
            "The sub-operations of a C-MOVE, and `pacsnode send PEER`. The presentation contexts "
            "are those that the instances to be sent take: for each SOP class and transfer syntax "
            "among them, those of the table, each transfer syntax in a context of its own, in the "
            "role SCU. The first that the remote AE accepts is used.",
            f"SOP classes: all of Network Services: {_STORAGE}, and private ones.",
        ),
        contexts.sent_table(SENT_DEFAULT, None),
    ]
    for name, modality in configuration.modalities.items():
        if modality.transfer_syntaxes is not None:
            may_lose = modality.lossy_compression == "allowed"
            title = f"{SENT_DEFAULT} to {name}"
            blocks.append(contexts.sent_table(title, modality.transfer_syntaxes, may_lose=may_lose))
    blocks += (
        recoding.recoding_table(),
        *paragraphs(
            "Every transfer syntax that is read can be recoded into each that is made; an instance "
            "whose pixel data do not fit a codec goes in the next of the transfer syntaxes that "
            "the remote AE has accepted, or fails alone. Pixels are compressed with losses only "
            "for a remote AE whose configuration says so."
        ),
    )
    if any(one.lossy_compression == "allowed" for one in configuration.modalities.values()):
        blocks.append(recoding.lossy_copy_table())
    return Section("Activity: Send Instances", tuple(blocks))


_STORAGE = "Storage"


def _get() -> Section:
    return _activity(
        "Get Instances",
        "`pacsnode get PEER` asks a remote AE, by C-FIND where it answers that, for the SOP "
        "classes of what is wanted, then for the instances, which come back on the same "
        "association. The table has the contexts of one SOP class; where there are several they "
        "share the room that an association has, several transfer syntaxes to a context.",
        contexts.proposed_table(
            "Proposed Presentation Contexts, Get Instances", contexts.query_proposals(Asked.GET)
        ),
        contexts.proposed_table(
            f"Proposed Storage Contexts, Get Instances, of {_example()}", contexts.get_proposals()
        ),
    )


def _fuzzy() -> str:
    asked = extensions.proposal(
        contexts.query_proposals(Asked.FIND)[0].abstract_syntax, Extensions(fuzzy_names=True)
    )
    return asked.hex(" ").upper()


def _example() -> str:
    return registry.name_of(contexts.ANY_STORED)
