"""How datasets change on the way to a receiver: which transfer syntaxes are read and made, and what
a copy says of itself that has lost something by compression."""

from collections.abc import Iterator

from pydicom.datadict import dictionary_description

from pacsnode.dicom.codecs import LOSSY
from pacsnode.dicom.lossy import loss_edits
from pacsnode.dicom.stream import Scope
from pacsnode.dicom.transcode import can_transcode
from pacsnode.net.contexts import Service
from pacsnode.node.conformance import registry
from pacsnode.node.conformance.document import Table, table

EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
RECODING_COLUMNS = ("Transfer Syntax", "UID", "Read", "Made", "Made with loss")


def recoding_table() -> Table:
    """From each of the transfer syntaxes that are read to each that is made."""
    return table("Recoding", RECODING_COLUMNS, _rows())


def _rows() -> Iterator[tuple[str, ...]]:
    for one in registry.transfer_syntaxes(Service.STORE):
        is_read = can_transcode(one.uid, EXPLICIT_VR_LITTLE_ENDIAN)
        is_made = can_transcode(EXPLICIT_VR_LITTLE_ENDIAN, one.uid)
        lossy = LOSSY[one.uid].parameters if one.uid in LOSSY else "No"
        if is_read or is_made or one.uid in LOSSY:
            yield one.text, one.uid, _word(is_read), _word(is_made), lossy


def _word(is_so: bool) -> str:
    return "Yes" if is_so else "No"


def lossy_copy_table() -> Table:
    """The attributes of a copy that differ from those of its source, pixels and their description
    aside."""
    edits = loss_edits(Scope(), next(iter(LOSSY.values())), "", lambda: None)
    changed = {tag: "removed" if edit is None else "set" for tag, edit in edits.values.items()}
    changed |= dict.fromkeys(edits.items, "an item is added")
    rows = (
        (dictionary_description(tag), f"({tag >> 16:04X},{tag & 0xFFFF:04X})", change)
        for tag, change in sorted(changed.items())
    )
    return table("Attributes of Lossy Copies", ("Attribute", "Tag", "Change"), rows)
