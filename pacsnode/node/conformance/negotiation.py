"""What is agreed on beside presentation contexts: extended negotiation, roles, operations window,
user identity."""

from collections.abc import Iterator

from pacsnode.dicom.message import Extensions
from pacsnode.net import extensions
from pacsnode.net.contexts import Service
from pacsnode.node.conformance import registry
from pacsnode.node.conformance.document import Section, Table, paragraphs, table
from pacsnode.node.conformance.policies import OUTSTANDING

EXTENSION_NAMES = {
    "relational": "relational queries and retrieval",
    "combined_date_time": "combined date-time matching",
    "fuzzy_names": "fuzzy semantic matching of person names",
    "timezone_adjustment": "timezone query adjustment",
}
_ASKED = bytes([1] * 16)  # for everything, known or not


def agreed(sop_class_uid: str) -> Extensions:
    """What a requestor gets that asks for all there is."""
    return extensions.agreed(sop_class_uid, _ASKED)


def agreed_text(sop_class_uid: str) -> str:
    names = [
        EXTENSION_NAMES[field]
        for field, is_agreed in agreed(sop_class_uid)._asdict().items()
        if is_agreed
    ]
    return ", ".join(names) or "none"


def extension_table() -> Table:
    """Which extensions of each query and retrieve SOP class are agreed to, byte by byte."""
    columns = ("SOP Class", "SOP Class UID", "Service Class Application Information", "Agreed to")
    return table("SOP Class Extended Negotiation", columns, _rows())


def _rows() -> Iterator[tuple[str, ...]]:
    for service in (Service.FIND, Service.MOVE, Service.GET):
        for one in registry.sop_classes(service):
            answer = extensions.answer(one.uid, _ASKED)
            yield one.text, one.uid, answer.hex(" ").upper(), agreed_text(one.uid)


def extended_negotiation() -> Section:
    return Section(
        "Extended Negotiation",
        (
            extension_table(),
            *paragraphs(
                "The Service Class Application Information is the answer to a requestor that asks "
                "for everything, a byte for each extension in the order of PS3.4; a shorter "
                "request gets as many bytes as it has. Without negotiation none of them holds, "
                "but relational queries are answered all the same.",
                "SCP/SCU Role Selection: see the roles of Accepted Presentation Contexts. "
                f"Asynchronous Operations Window: {OUTSTANDING} and {OUTSTANDING}. User Identity: "
                "a user name, with or without passcode, is taken as it is said, logged, and never "
                "verified; a Kerberos ticket, a SAML assertion or a JSON Web Token gets no "
                "positive response. SOP Class Common Extended Negotiation is not used.",
            ),
        ),
    )
