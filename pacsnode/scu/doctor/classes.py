"""What peers are asked for: the SOP classes that hospitals' networks carry every day, or every one
of the standard, in the transfer syntaxes that are seen with them."""

from collections.abc import Sequence
from functools import cache

from pydicom._uid_dict import UID_dictionary

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"

_COMMON = (
    ("1", "1.1", "1.2", "1.3"),  # CR, DX, MG, IO for presentation
    ("2", "2.1", "4", "4.1", "6.1", "3.1", "12.1", "12.2", "20", "128"),  # CT, MR, US, XA, RF, …
    ("7", "7.2", "7.4", "11.1", "104.1"),  # secondary captures, presentation states, PDF
    ("13.1.3", "66.4"),  # tomosynthesis, segmentation
    ("77.1.4", "77.1.5.1", "77.1.5.4"),  # photographs, eyes
    ("88.11", "88.22", "88.33", "88.59", "88.67"),  # reports, key objects, dose
    ("481.1", "481.2", "481.3", "481.5"),  # radiotherapy
    ("9.1.1",),  # ECG
)
COMMON = tuple(f"1.2.840.10008.5.1.4.1.1.{end}" for group in _COMMON for end in group)

TRANSFER_SYNTAXES = (
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.51",
    "1.2.840.10008.1.2.4.57",
    "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.81",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.91",
    "1.2.840.10008.1.2.4.201",
    "1.2.840.10008.1.2.4.202",
    "1.2.840.10008.1.2.4.203",
    "1.2.840.10008.1.2.5",
)


@cache
def every_class() -> Sequence[str]:
    """The standard's storage SOP classes that are not retired."""
    return tuple(
        uid
        for uid, (name, kind, _, retired, _) in UID_dictionary.items()
        if kind == "SOP Class"
        and uid.startswith("1.2.840.10008.5.1.4.")
        and "Storage" in name
        and not retired
    )
