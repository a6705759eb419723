"""UIDs in the words of the standard (PS3.6)."""

from pydicom._uid_dict import UID_dictionary

LONGEST_UID = 64  # characters (PS3.5 9.1)


def name_of(uid: str) -> str:
    """As the standard calls it, with the UID itself; of what strangers call one no more than a UID
    has."""
    known = UID_dictionary.get(uid)
    return f"{known[0]} ({uid})" if known else uid[:LONGEST_UID] or "an empty UID"
