"""UIDs to a place that cannot leave the storage tree, <study>/<series>/<sop>.dcm, and back."""

import re
from typing import Final

from blake3 import blake3

from pacsnode.dicom.instance import InstanceUIDs

SUFFIX: Final = ".dcm"

# Beside the study folders. None of them can be a component: those are digits and dots, or begin
# with HASHED.
INCOMING: Final = ".incoming"
ARCHIVE_ID: Final = ".archive-id"
CHANGES: Final = ".changes"
RESERVED: Final = frozenset({INCOMING, ARCHIVE_ID, CHANGES})

# Letters: no plain UID begins so. Lower case only, and hexadecimal digits after it: safe where
# names are compared without case.
HASHED: Final = "uid-"

_PLAIN = re.compile(r"(?!\.+\Z)[0-9.]{1,64}", re.ASCII)
_HASHED = re.compile(rf"{HASHED}[0-9a-f]{{64}}", re.ASCII)


def component(uid: str) -> str:
    """A UID as a name of one folder or file: as it stands where it is plain (PS3.5 9.1: digits and
    dots, at most 64), else hashed. Different UIDs have different names."""
    if _PLAIN.fullmatch(uid):
        return uid
    return HASHED + blake3(uid.encode("utf-8", "surrogatepass")).hexdigest()


def place(uids: InstanceUIDs) -> str:
    """Where an instance stands, relative to the tree."""
    study, series, sop = map(component, uids)
    return f"{study}/{series}/{sop}{SUFFIX}"


def is_place(name: str) -> bool:
    """Whether `place` could have given this name."""
    parts = name.removesuffix(SUFFIX).split("/")
    return (
        name.endswith(SUFFIX)
        and len(parts) == 3
        and all(_PLAIN.fullmatch(part) or _HASHED.fullmatch(part) for part in parts)
    )


def uids_of(name: str) -> InstanceUIDs | None:
    """The UIDs of a place, or None where one of them had to be hashed."""
    parts = name.removesuffix(SUFFIX).split("/")
    if len(parts) != 3 or not all(_PLAIN.fullmatch(part) for part in parts):
        return None
    return InstanceUIDs(*parts)


def temporary(uids: InstanceUIDs, unique: str) -> str:
    """A name in the incoming folder that tells where the file is to stand. 255 bytes at most."""
    return f"{place(uids).replace('/', '_')}_{unique}"


def place_of(temporary: str) -> str | None:
    """The place that the name of an incoming file tells, if it does."""
    parts = temporary.split("_")
    name = "/".join(parts[:3])
    return name if len(parts) == 4 and is_place(name) else None


def conflict_name(uids: InstanceUIDs, digest: bytes) -> str:
    """The name of an instance in the conflicts folder: the same bytes always have the same one, so
    that a modality that sends again and again does not fill the disk."""
    return f"{component(uids.sop_instance_uid)}.{digest.hex()[:32]}{SUFFIX}"
