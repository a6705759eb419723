"""What statuses mean, in words for people (PS3.7 annex C, PS3.4 B.2.3 and C.4)."""

from collections.abc import Mapping

from pacsnode.dicom import status

_GENERAL: Mapping[int, str] = {
    0x0000: "success",
    0x0001: "success, with optional attributes that are not supported",
    0x0105: "no such attribute",
    0x0106: "invalid attribute value",
    0x0107: "success, with attributes that were left out",
    0x0110: "processing failure",
    0x0111: "this instance is here already",
    0x0112: "no such instance",
    0x0113: "no such event type",
    0x0114: "no such argument",
    0x0115: "invalid argument",
    0x0116: "success, with an attribute value out of range",
    0x0117: "invalid instance UID",
    0x0118: "no such SOP class",
    0x0119: "the instance is of another SOP class",
    0x0120: "an attribute is missing",
    0x0121: "an attribute has no value",
    0x0122: "this SOP class is not supported",
    0x0123: "no such action",
    0x0124: "not authorised: the caller may not use this service",
    0x0131: "this transaction is known already",
    0x0210: "duplicate message ID",
    0x0211: "unknown operation",
    0x0212: "mistyped argument",
    0x0213: "resources are limited",
    0xA700: "out of resources",
    0xA701: "out of resources: cannot count the matches",
    0xA702: "out of resources: the sub-operations cannot be performed, or all have failed",
    0xA801: "the move destination is unknown",
    0xA900: "identifier or dataset do not match the SOP class",
    0xB000: "complete, but some sub-operations have failed",
    0xB006: "stored, with elements left out",
    0xB007: "stored, though the dataset does not match its SOP class",
    0xC000: "cannot understand it",
    0xFE00: "cancelled",
    0xFF00: "pending",
    0xFF01: "pending: some of the keys were ignored",
}
_RANGES: Mapping[int, str] = {
    0xA7: "out of resources",
    0xA9: "identifier or dataset do not match the SOP class",
    0xAA: "none of the frames asked for were found",
}


def words(code: int) -> str:
    """The meaning of a status."""
    exact = _GENERAL.get(code) or _RANGES.get(code >> 8)
    if exact is not None:
        return exact
    if code >> 12 == 0xC:
        return "cannot understand or process it"
    return "warning" if status.is_warning(code) else "failure"
