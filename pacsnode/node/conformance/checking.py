"""The activity of the connection doctor: what it proposes, and the object that it makes."""

from collections.abc import Iterator
from datetime import datetime

from pydicom.datadict import dictionary_description

from pacsnode.dicom.elements import EXPLICIT_VR_LITTLE_ENDIAN
from pacsnode.dicom.encode import decode_dataset
from pacsnode.dicom.message import ProposedContext
from pacsnode.node.conformance import contexts, registry
from pacsnode.node.conformance.document import Block, Section, Table, paragraphs, table
from pacsnode.scu.doctor.classes import COMMON, TRANSFER_SYNTAXES
from pacsnode.scu.doctor.sample import make
from pacsnode.scu.doctor.talk import SERVICES
from pacsnode.scu.models import UNCOMPRESSED

ACTIVITY = "Check a Connection"
_MADE_ANEW = frozenset({"StudyDate", "StudyTime"})


def checking() -> Section:
    proposed = [ProposedContext(uid, UNCOMPRESSED[::-1]) for uid in SERVICES]
    blocks: tuple[Block, ...] = (
        *paragraphs(
            "`pacsnode check PEER` opens an association for the services of the first table, "
            "sends a C-ECHO and a C-FIND for a study that nobody has, then opens others on which "
            "nothing is sent: for each SOP class of the second table with each transfer syntax of "
            "the third, in contexts of their own, as SCU; and, where the remote AE does C-GET, for "
            "these SOP classes as SCP. With `--all` it asks for all Storage SOP Classes. With "
            "`--move` the Test Object, see IOD Contents, is stored at the remote AE, which is then "
            "asked to move it to the node."
        ),
        contexts.proposed_table(f"Proposed Presentation Contexts, {ACTIVITY}", proposed),
        _names(f"Proposed Storage SOP Classes, {ACTIVITY}", COMMON),
        _names(f"Proposed Storage Transfer Syntaxes, {ACTIVITY}", TRANSFER_SYNTAXES),
    )
    return Section(f"Activity: {ACTIVITY}", blocks)


def _names(title: str, uids: "tuple[str, ...] | dict[str, str]") -> Table:
    return table(title, ("Name", "UID"), ((registry.name_of(uid), uid) for uid in uids))


def test_object_table() -> Table:
    """The instance that `check --move` makes, attribute by attribute."""
    return table("Test Object", ("Attribute", "Tag", "VR", "Value"), _attributes())


def _attributes() -> Iterator[tuple[str, ...]]:
    made, again = (
        decode_dataset(make(datetime.min).data, EXPLICIT_VR_LITTLE_ENDIAN) for _ in range(2)
    )
    for element in made:
        tag = int(element.tag)
        is_new = element.value != again[tag].value or element.keyword in _MADE_ANEW
        if element.keyword == "PixelData":
            value = "a gradient"
        elif is_new:
            value = "made anew"
        else:
            value = str(element.value) if element.value is not None else ""
        where = f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
        yield dictionary_description(tag), where, str(element.VR), value or "empty"
