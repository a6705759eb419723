"""UIDs in the words of the standard (PS3.6)."""

from pydicom._uid_dict import UID_dictionary

LONGEST_UID = 64  # characters (PS3.5 9.1)

# What people say instead of "JPEG Lossless, Non-Hierarchical, First-Order Prediction (Process 14
# [Selection Value 1])".
_SHORT = {
    "1.2.840.10008.1.2": "Implicit VR Little Endian",
    "1.2.840.10008.1.2.1.99": "Deflated",
    "1.2.840.10008.1.2.2": "Explicit VR Big Endian",
    "1.2.840.10008.1.2.4.50": "JPEG Baseline",
    "1.2.840.10008.1.2.4.51": "JPEG Extended",
    "1.2.840.10008.1.2.4.57": "JPEG Lossless",
    "1.2.840.10008.1.2.4.70": "JPEG Lossless SV1",
    "1.2.840.10008.1.2.4.80": "JPEG-LS Lossless",
    "1.2.840.10008.1.2.4.81": "JPEG-LS Near-Lossless",
    "1.2.840.10008.1.2.4.90": "JPEG 2000 Lossless",
    "1.2.840.10008.1.2.4.91": "JPEG 2000",
    "1.2.840.10008.1.2.4.201": "HTJ2K Lossless",
    "1.2.840.10008.1.2.4.202": "HTJ2K Lossless RPCL",
    "1.2.840.10008.1.2.4.203": "HTJ2K",
}


def name_of(uid: str) -> str:
    """As the standard calls it, with the UID itself; of what strangers call one no more than a UID
    has."""
    known = UID_dictionary.get(uid)
    return f"{known[0]} ({uid})" if known else uid[:LONGEST_UID] or "an empty UID"


def word_of(uid: str) -> str:
    """As the standard calls it; itself where it calls it nothing."""
    return UID_dictionary[uid][0] if uid in UID_dictionary else uid or "no UID"


def short_name(uid: str) -> str:
    """Of a transfer syntax or a storage SOP class, without the words that most have."""
    if uid in _SHORT:
        return _SHORT[uid]
    name = word_of(uid)
    short = name.replace(" Storage", "")
    return short if short == "RT Image" else short.replace(" Image", "")
