"""The association acceptance policy: which presentation contexts the node accepts, what it agrees
on beside them, and how it answers each service."""

from pacsnode.config.model import Configuration
from pacsnode.dicom.commitment import (
    ALL_COMMITTED,
    FAILURES_EXIST,
    MOST_REFERENCES,
    REQUEST_STORAGE_COMMITMENT,
    STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE,
)
from pacsnode.dicom.level import Level
from pacsnode.jobs.commit import PAUSES
from pacsnode.net.contexts import Service
from pacsnode.net.messages import LONGEST_IDENTIFIER
from pacsnode.node.conformance import (
    contexts,
    failures,
    keys,
    negotiation,
    policies,
    settings,
    statuses,
)
from pacsnode.node.conformance.document import (
    Block,
    Items,
    Paragraph,
    Section,
    Table,
    paragraphs,
    table,
)
from pacsnode.scp.store import COMMENTS


def acceptance_policy(configuration: Configuration) -> Section:
    return Section(
        "Association Acceptance Policy",
        sections=(
            _general(configuration),
            _presentation_contexts(),
            negotiation.extended_negotiation(),
            Section(
                "SOP Specific Conformance: Verification",
                (statuses.status_table(Service.ECHO),),
            ),
            _storage(configuration),
            _query(),
            _retrieve(),
            _commitment(configuration),
        ),
    )


def _general(configuration: Configuration) -> Section:
    access = configuration.access
    networks = ", ".join(map(str, access.networks or ())) or "all networks"
    return Section(
        "General",
        (
            Paragraph(f"Connections are taken from {networks}; others are closed at once."),
            policies.rejections(configuration),
            *paragraphs(
                "A caller that has a right to some service gets its association with all "
                "presentation contexts that the node knows; a request of a service that it has no "
                "right to is answered 0124. AE titles are compared after spaces and NULs at their "
                "ends are taken off, upper and lower case apart.",
                f"The unknown callers' services are: "
                f"{settings.services_text(access.unknown_callers)}. "
                "Rights of Callers, in the overview, has all.",
            ),
            failures.as_acceptor(configuration),
            statuses.common_table(),
            *paragraphs(
                "A failure, and the warning B000, has an Error Comment (0000,0902) in ASCII that "
                "says what is wrong."
            ),
        ),
    )


def _presentation_contexts() -> Section:
    others = [service for service in Service if service is not Service.STORE]
    return Section(
        "Accepted Presentation Contexts",
        (
            contexts.accepted_table("Accepted Presentation Contexts: All but Storage", others),
            contexts.transfer_syntax_table(
                "Accepted Transfer Syntaxes of Storage SOP Classes", Service.STORE
            ),
            *paragraphs(
                "Each Storage SOP Class, see Network Services: Storage, is accepted in each of "
                "these transfer syntaxes, in private ones, in the role SCP, and as SCU where the "
                "requestor proposes to be SCP (C-GET). Of several transfer syntaxes in one "
                "presentation context the requestor's first that is among those listed is taken. "
                "A presentation context of an unknown SOP class is answered with result 3 "
                "(abstract-syntax-not-supported), one without a transfer syntax of those listed "
                "with 4 (transfer-syntaxes-not-supported)."
            ),
        ),
    )


def _storage(configuration: Configuration) -> Section:
    storage = configuration.storage
    durable = "on stable storage" if storage.fsync else "handed to the operating system"
    return Section(
        "SOP Specific Conformance: Storage",
        (
            *paragraphs(
                "Conforms at Level 2 (Full): all attributes are kept, private ones too. The "
                "dataset is stored byte for byte in the transfer syntax that it was received in; "
                "no attribute is coerced, no digital signature is broken. The node works as a "
                "long-term store; instances are removed by its administrator alone.",
                f"A C-STORE is answered 0000 when the instance is {durable} and indexed. "
                f"It is refused with A700 while there are less than {storage.min_free:,} bytes of "
                "free space.",
                "An instance is refused for its content only where its SOP Instance, Study "
                "Instance or Series Instance UID is missing or over 128 bytes long; other "
                "violations of the standard are stored as they are.",
                f"An instance whose SOP Instance UID is here already with other bytes: "
                f"{_DUPLICATES[storage.on_duplicate]}. With the same bytes: "
                f"{_SAME_BYTES[storage.on_duplicate]}.",
            ),
            statuses.status_table(Service.STORE),
            _comments(),
        ),
    )


_DUPLICATES = {
    "keep": "answered 0000; the first stays in place, the newcomer is set aside for a person to "
    "decide on",
    "replace": "answered 0000; the newcomer takes the place of the first",
    "reject": "answered 0111; the first stays in place",
}
_SAME_BYTES = {
    "keep": "answered 0000, nothing changes",
    "replace": "answered 0000, nothing changes",
    "reject": "answered 0111, nothing changes",
}


def _comments() -> Table:
    rows = {
        (statuses.answered(Service.STORE, error), comment) for error, comment in COMMENTS.items()
    }
    return table("C-STORE: Error Comments", ("Status Code", "Error Comment"), iter(sorted(rows)))


def _query() -> Section:
    blocks: list[Block] = [
        *paragraphs(
            "Keys: U is a unique key, R a required one, O an optional one (PS3.4 C.6). All of them "
            "are returned, and matched as the tables say, at the level of the query and as "
            "keys of the levels above it. Every key also takes universal matching; a "
            "key with several values matches where any of them does, and so does an attribute "
            "with several."
        ),
        *(keys.key_table(level) for level in Level),
        keys.answer_table(),
        *paragraphs(
            "Any other attribute, also a private one, is of the IMAGE level: it is returned from "
            "the instance itself, and matched where the query names a Study, Series or SOP "
            "Instance UID. A key with a value that cannot be matched, because it belongs to a "
            "lower level or because no such UID narrows the query, is ignored, and all answers of "
            "that query have the status FF01."
        ),
        Items(_MATCHING),
        statuses.status_table(Service.FIND),
    ]
    return Section("SOP Specific Conformance: Query", tuple(blocks))


_MATCHING = (
    (
        "PN: without regard to upper and lower case, accents, full and half width, the shape of "
        "apostrophes and hyphens, and empty components at the end; else exact, unless * or ? stand "
        "in it. A key of one component group is tried against each stored group, a key with = "
        "group by group."
    ),
    (
        "Other texts: upper and lower case apart. Leading and trailing spaces do not count; * "
        "stands for any characters, ? for one."
    ),
    (
        "DA, TM, DT: single values and ranges, also open ones. Date and time ranges count each for "
        "itself, unless combined matching is negotiated."
    ),
    "Numbers: by their value, however they are written.",
    "Character sets: a key in any of those supported matches data stored in any other.",
    "A missing unique key of an upper level is no error: the query is then relational.",
    (
        "Patients: an answer at the PATIENT level stands for one Patient ID, issuer, name and "
        "birth date; studies without a Patient ID never merge."
    ),
    f"An identifier may have {LONGEST_IDENTIFIER >> 20} MiB.",
)


def _retrieve() -> Section:
    return Section(
        "SOP Specific Conformance: Retrieve",
        (
            *paragraphs(
                "An identifier needs the Query/Retrieve Level and at least one unique key with "
                "definite values; lists of UIDs are taken. Further keys narrow as in a query; one "
                "that cannot be matched is refused with A900, so that never more is sent than was "
                "asked for.",
                "C-MOVE: the destination is a remote AE of the configuration, see Remote AE "
                "Titles. Its associations are opened for the C-MOVE and propose what Activity: "
                "Send Instances says; each C-STORE names the Move Originator's AE title and "
                "message ID.",
                "C-GET: the sub-operations use the presentation contexts of the association for "
                "which the requestor has proposed, by role selection, to be SCP. An instance "
                "without such a context is a failed sub-operation; the others go on.",
                "An instance whose transfer syntax the receiver does not take is recoded as "
                "Activity: Send Instances says, on the way; what is stored does not change.",
            ),
            statuses.status_table(Service.MOVE),
            statuses.status_table(Service.GET),
            *paragraphs(
                "A counter above 65,535 is left out. The Failed SOP Instance UID List has as many "
                "UIDs as fit into 65,534 bytes where the transfer syntax is of explicit VR."
            ),
        ),
    )


def _commitment(configuration: Configuration) -> Section:
    pauses = ", ".join(f"{pause:g}" for pause in PAUSES)
    hours = f"{configuration.commit.retry_hours:g}"
    return Section(
        "SOP Specific Conformance: Storage Commitment Push Model",
        (
            *paragraphs(
                f"N-ACTION with Action Type ID {REQUEST_STORAGE_COMMITMENT} on the SOP Instance "
                f"{STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE}, with {MOST_REFERENCES:,} references "
                "at most. Instances of every Storage SOP Class are committed to, for as long as "
                "the node keeps them, which is until its administrator removes them. Storage Media "
                "File-Set ID and UID are not used.",
                "The report goes to the AE title that asked, as Rights of Callers says: on a new "
                "association that the node opens, or on the one that asked, where that still "
                "stands. To callers that are no remote AE of the configuration: on the latter.",
                f"A report that cannot be delivered is tried again after {pauses} seconds, then "
                f"each time after the last of these, for {hours} hours, also after a restart.",
            ),
            statuses.status_table(Service.COMMIT),
            _event_types(),
            statuses.reason_table(),
        ),
    )


def _event_types() -> Table:
    rows = (
        (str(ALL_COMMITTED), "Storage Commitment Request Successful", "all instances are kept"),
        (
            str(FAILURES_EXIST),
            "Storage Commitment Request Complete - Failures Exist",
            "some are not, each with its Failure Reason",
        ),
    )
    return Table("N-EVENT-REPORT: Event Types", ("Event Type ID", "Name", "When"), rows)
