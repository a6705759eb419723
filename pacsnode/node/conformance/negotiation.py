"""What is agreed on beside presentation contexts: extended negotiation, roles, operations window,
user identity."""

from collections.abc import Iterator
from typing import NamedTuple

from pacsnode.dicom.message import Extensions
from pacsnode.net import extensions
from pacsnode.net.contexts import Service
from pacsnode.node.conformance import registry
from pacsnode.node.conformance.document import Section, Table, paragraphs, table
from pacsnode.node.conformance.policies import OUTSTANDING


class Extension(NamedTuple):
    """What the standard calls something that can be agreed on, and what it does here."""

    name: str
    effect: str


# By the fields of message.Extensions.
EXTENSIONS = {
    "relational": Extension(
        "relational queries and retrieval",
        "unique keys of upper levels may be missing, as they may without negotiation",
    ),
    "combined_date_time": Extension(
        "combined date-time matching",
        "a range of dates and one of times, both in the identifier, are one range of moments",
    ),
    "fuzzy_names": Extension(
        "fuzzy semantic matching of person names",
        "PN: the words of a key may come in any order, be spelled in other letters, or sound alike "
        "(Metaphone)",
    ),
    "timezone_adjustment": Extension(
        "timezone query adjustment",
        "dates and times of the identifier are in the timezone that it names in (0008,0201), and "
        "so are those of the answers, but for those of the patient",
    ),
}
_ASKED = bytes([1] * 16)  # for everything, known or not


def agreed(sop_class_uid: str) -> Extensions:
    """What a requestor gets that asks for all there is."""
    return extensions.agreed(sop_class_uid, _ASKED)


def agreed_text(sop_class_uid: str) -> str:
    names = [
        EXTENSIONS[field].name
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


def effect_table() -> Table:
    """What comes of those extensions that some SOP class agrees to."""
    agreed_to = {
        field
        for service in (Service.FIND, Service.MOVE, Service.GET)
        for one in registry.sop_classes(service)
        for field, is_agreed in agreed(one.uid)._asdict().items()
        if is_agreed
    }
    rows = (extension for field, extension in EXTENSIONS.items() if field in agreed_to)
    return table("Effects of Extended Negotiation", ("Agreed to", "Effect"), rows)


def extended_negotiation() -> Section:
    return Section(
        "Extended Negotiation",
        (
            extension_table(),
            effect_table(),
            *paragraphs(
                "The Service Class Application Information is the answer to a requestor that asks "
                "for everything, a byte for each extension in the order of PS3.4; a shorter "
                "request gets as many bytes as it has. Enhanced multi-frame image conversion is "
                "not supported.",
                "SCP/SCU Role Selection: see the roles of Accepted Presentation Contexts. "
                f"Asynchronous Operations Window: {OUTSTANDING} and {OUTSTANDING}. User Identity: "
                "a user name, with or without passcode, is taken as it is said, logged, and never "
                "verified; a Kerberos ticket, a SAML assertion or a JSON Web Token gets no "
                "positive response. SOP Class Common Extended Negotiation is not used.",
            ),
        ),
    )
