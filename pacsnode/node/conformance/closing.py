"""What stands at the end: network interfaces, media, character sets, annexes."""

from pacsnode.config.model import Configuration
from pacsnode.dicom.character_set import UTF_8, character_set_of_text, defined_terms
from pacsnode.dicom.part10 import (
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    PRIVATE_INFORMATION_CREATOR_UID,
)
from pacsnode.node.conformance import checking, settings
from pacsnode.node.conformance.document import Section, Table, paragraphs, table


def network_interfaces(configuration: Configuration) -> Section:
    host = configuration.listen.host
    return Section(
        "Network Interfaces",
        paragraphs(
            f"DICOM upper layer over TCP/IP. Connections are taken at {host}, IPv4 or IPv6 as that "
            "address says; `::` is both. Remote AEs may be named by host name, IPv4 or IPv6 "
            "address; a name with several addresses is tried address by address. The physical "
            "network is that of the host."
        ),
    )


def configuration_section(configuration: Configuration) -> Section:
    return Section(
        "Configuration",
        sections=(
            Section(
                "AE Title/Presentation Address Mapping",
                (
                    settings.local_table(configuration),
                    settings.remote_table(configuration.modalities, configuration.ae_title),
                    *paragraphs(
                        "Remote AEs can be added and changed while the node runs; a change holds "
                        "for new associations."
                    ),
                ),
            ),
            Section("Parameters", (settings.parameter_table(configuration),)),
        ),
    )


def media_interchange() -> Section:
    return Section(
        "Media Interchange",
        paragraphs(
            "None: no Media Storage Application Profile is supported, no DICOMDIR read or written."
        ),
    )


def character_sets() -> Section:
    rows = ((term, _extensions_of(term)) for term in defined_terms())
    return Section(
        "Support of Character Sets",
        (
            table("Character Sets", ("Defined Term", "Code Extensions"), rows),
            *paragraphs(
                "All of these are understood in instances and identifiers, with code extensions "
                "where their terms say so. What is declared wrongly, or misspelt, is kept as it "
                "came and read as well as can be. Where nothing is declared, ASCII is assumed, or "
                "the Default Character Set of the remote AE that it came from.",
                "Answers to a query are in the character set of the query where that can hold "
                f"them, else in {UTF_8}; Specific Character Set (0008,0005) says which, whenever "
                "they hold anything but ASCII. Stored instances are sent in their own.",
            ),
        ),
    )


def _extensions_of(term: str) -> str:
    if term.startswith("ISO 2022"):
        return "Yes"
    alone = character_set_of_text(f"{term}\\ISO 2022 IR 87").numbers
    return "No, stands alone" if len(alone) == 1 else "No"


def annexes(configuration: Configuration) -> Section:
    return Section(
        "Annexes",
        sections=(
            Section(
                "IOD Contents",
                (
                    *paragraphs(_created(configuration)),
                    checking.test_object_table(),
                    *paragraphs(
                        "Attributes of received instances are used as the keys of SOP Specific "
                        "Conformance: Query say. No attribute is mapped, none coerced or modified."
                    ),
                ),
            ),
            Section(
                "Data Dictionary of Private Attributes",
                (
                    *paragraphs(
                        "None is added to datasets. The file meta information of stored files, "
                        "which never goes over the network, holds:"
                    ),
                    _file_meta(),
                ),
            ),
            Section(
                "Coded Terminology and Templates",
                paragraphs(
                    "None is used but in audit messages (PS3.16 context groups 400 to 405)."
                ),
            ),
            Section("Grayscale Image Consistency", paragraphs("Does not apply: nothing is shown.")),
            Section(
                "Standard Extended, Specialized and Private SOP Classes",
                paragraphs(
                    "None is defined by the node. Those of others are stored and sent as "
                    "instances of Storage SOP Classes."
                ),
            ),
            Section(
                "Private Transfer Syntaxes",
                paragraphs(
                    "None is defined by the node. Instances in those of others are stored, and "
                    "sent to whoever takes them as they are."
                ),
            ),
        ),
    )


def _created(configuration: Configuration) -> str:
    """Which SOP instances are made here."""
    lossy = [
        name
        for name, modality in configuration.modalities.items()
        if modality.lossy_compression == "allowed"
    ]
    created = (
        "The node itself creates no SOP instances; `pacsnode check PEER --move` makes the Test "
        "Object, a Secondary Capture image of nobody."
    )
    if lossy:
        created += (
            f" To {', '.join(lossy)} copies may be sent that were compressed with losses: each "
            "has a SOP Instance UID of its own, always the same for the same copy, and what the "
            "table Attributes of Lossy Copies says. They are not kept."
        )
    return created


def _file_meta() -> Table:
    return Table(
        "File Meta Information of Stored Files",
        ("Attribute", "Tag", "Value"),
        (
            ("Implementation Class UID", "(0002,0012)", IMPLEMENTATION_CLASS_UID),
            ("Implementation Version Name", "(0002,0013)", IMPLEMENTATION_VERSION_NAME),
            ("Source Application Entity Title", "(0002,0016)", "the caller's AE title"),
            ("Sending Application Entity Title", "(0002,0017)", "the caller's AE title"),
            ("Receiving Application Entity Title", "(0002,0018)", "the node's AE title"),
            (
                "Private Information Creator UID",
                "(0002,0100)",
                PRIVATE_INFORMATION_CREATOR_UID,
            ),
            (
                "Private Information",
                "(0002,0102)",
                "BLAKE3 of the dataset's bytes, their number, the time of receipt",
            ),
        ),
    )
