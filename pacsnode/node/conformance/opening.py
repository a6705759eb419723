"""What stands at the beginning: the cover, the overview, the introduction."""

from datetime import date

from pacsnode import __version__
from pacsnode.config.model import Configuration
from pacsnode.dicom.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from pacsnode.net.contexts import Service
from pacsnode.node.conformance import contexts, registry, settings
from pacsnode.node.conformance.document import (
    Block,
    Contents,
    Items,
    Paragraph,
    Section,
    Table,
    paragraphs,
)

STANDARD = "DICOM PS3.2, Conformance"


def cover(configuration: Configuration, day: date) -> tuple[Block, ...]:
    """Whose statement this is, and when it was written."""
    facts = (
        ("Product", "pacsnode"),
        ("Version", __version__),
        ("AE Title", configuration.ae_title),
        ("Implementation Class UID", IMPLEMENTATION_CLASS_UID),
        ("Implementation Version Name", IMPLEMENTATION_VERSION_NAME),
        ("Date", day.isoformat()),
    )
    written = (
        "Written by `pacsnode conformance` from this node's configuration and from the tables that "
        "the program itself works by: it holds for this version with this configuration. After a "
        "change of either, have it written anew."
    )
    return (Table("The Product", ("Item", "Value"), facts), Paragraph(written))


def overview(configuration: Configuration) -> Section:
    syntaxes = len(registry.transfer_syntaxes(Service.STORE))
    classes = len(registry.sop_classes(Service.STORE))
    return Section(
        "Conformance Statement Overview",
        (
            Paragraph(
                "pacsnode is a DICOM archive: it receives instances over the network, keeps them "
                "byte for byte as they came, answers queries, and sends instances on request to "
                "the requester or to a third application entity. It commits to the safekeeping of "
                "what it has. From its command line it echoes, sends, queries, retrieves, and "
                "asks for storage commitment itself."
            ),
            Paragraph(
                f"It takes {classes} Storage SOP Classes of the standard, private ones, and those "
                f"that a later edition of the standard may add, in {syntaxes} transfer syntaxes of "
                "the standard and in private ones. It changes no instance that it keeps."
            ),
            *(_service_table(service) for service in Service),
            settings.rights_table(configuration),
            *paragraphs(
                "Not supported: Media Storage, Modality Worklist, Modality Performed Procedure "
                "Step, Instance Availability Notification, Unified Procedure Step, Print "
                "Management, Composite Instance Root Retrieve, DICOMweb."
            ),
        ),
    )


def _service_table(service: Service) -> Table:
    return contexts.sop_class_table(f"Network Services: {NAMES[service]}", service)


NAMES = {
    Service.ECHO: "Verification",
    Service.STORE: "Storage",
    Service.FIND: "Query",
    Service.MOVE: "Retrieve by C-MOVE",
    Service.GET: "Retrieve by C-GET",
    Service.COMMIT: "Storage Commitment",
}


def sop_classes() -> Section:
    return Section(
        "SOP Classes",
        paragraphs(
            "Those of the tables Network Services in the overview, in the roles that they name."
        ),
    )


def contents() -> Section:
    return Section("Table of Contents", (Contents(),))


def introduction() -> Section:
    return Section(
        "Introduction",
        sections=(
            Section(
                "Audience",
                paragraphs(
                    "Those who connect pacsnode with other equipment: they are expected to know "
                    "the DICOM standard and its terms."
                ),
            ),
            Section(
                "Remarks",
                paragraphs(
                    "That the statements of two products agree is necessary for them to work "
                    "together, and not sufficient: a connection has to be tested. This statement "
                    "does not say what the other product does with what it is sent."
                ),
            ),
            Section("Terms and Abbreviations", (Items(_TERMS),)),
            Section(
                "References",
                (
                    Items(
                        (
                            f"{STANDARD}: the structure of this statement",
                            "DICOM PS3.3 to PS3.8, PS3.10, PS3.15",
                            "RFC 9325, RFC 8996: TLS; RFC 5424, 5425, 5426: syslog",
                        )
                    ),
                ),
            ),
        ),
    )


_TERMS = (
    "AE: Application Entity, one end of an association, known by its AE title",
    "Association: a connection of two AEs, with what they have agreed on at its beginning",
    "DIMSE: the messages of DICOM (C-STORE, C-FIND, N-ACTION, …)",
    "PDU: the packets that messages travel in",
    "Presentation Context: a SOP class with the transfer syntax agreed on for it",
    "SCP, SCU: who provides a service, who uses it",
    "SOP Class: a kind of object with what can be done with it; SOP Instance: one such object",
    "Transfer Syntax: how datasets are written as bytes, and pixels compressed",
    "UID: the unique identifier of an instance, series, study, SOP class or transfer syntax",
)
