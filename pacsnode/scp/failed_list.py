"""The Failed SOP Instance UID List of a retrieve (PS3.4 C.4.2.1.4.2), built by hand: the UIDs are
whatever was received."""

import struct
import zlib
from collections.abc import Iterable, Iterator

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
LONGEST_SHORT_VALUE = 65_534  # bytes of a UI element in Explicit VR (PS3.5 7.1.2)


def failed_list(sop_instance_uids: Iterable[str], transfer_syntax_uid: str) -> bytes:
    """An identifier with the list (0008,0058); in Explicit VR as many as its 16-bit length
    allows."""
    uids = (uid.encode("ascii", "replace") for uid in sop_instance_uids)
    is_implicit = transfer_syntax_uid == IMPLICIT_LITTLE
    value = b"\\".join(uids if is_implicit else _fitting(uids))
    value += b"\0" * (len(value) % 2)
    order = ">" if transfer_syntax_uid == EXPLICIT_BIG else "<"
    if is_implicit:
        return struct.pack("<HHL", 0x0008, 0x0058, len(value)) + value
    element = struct.pack(f"{order}HH2sH", 0x0008, 0x0058, b"UI", len(value)) + value
    return _deflated(element) if transfer_syntax_uid == DEFLATED else element


def _fitting(uids: Iterable[bytes]) -> Iterator[bytes]:
    length = -1
    for uid in uids:
        length += 1 + len(uid)
        if length > LONGEST_SHORT_VALUE:
            return
        yield uid


def _deflated(data: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    deflated = deflater.compress(data) + deflater.flush()
    return deflated + b"\0" * (len(deflated) % 2)
