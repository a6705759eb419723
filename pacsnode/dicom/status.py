"""DIMSE status codes by name (PS3.7 annex C, PS3.4 B.2.3, C.4)."""

SUCCESS = 0x0000
DUPLICATE_SOP_INSTANCE = 0x0111
SOP_CLASS_NOT_SUPPORTED = 0x0122
NOT_AUTHORISED = 0x0124
UNRECOGNISED_OPERATION = 0x0211

OUT_OF_RESOURCES = 0xA700
CANNOT_COUNT_MATCHES = 0xA701
CANNOT_PERFORM_SUBOPERATIONS = 0xA702
MOVE_DESTINATION_UNKNOWN = 0xA801
DATASET_DOES_NOT_MATCH = 0xA900
SUBOPERATIONS_COMPLETE_WITH_FAILURES = 0xB000
CANNOT_UNDERSTAND = 0xC000
PROCESSING_FAILURE = 0xC001

CANCELLED = 0xFE00
PENDING = 0xFF00
PENDING_KEYS_IGNORED = 0xFF01


def is_pending(status: int) -> bool:
    return status in (PENDING, PENDING_KEYS_IGNORED)


def is_warning(status: int) -> bool:
    """Stored, but not quite as sent: B000 and its kin, 0001, 0107, 0116 (PS3.7 C.1.2)."""
    return status >> 12 == 0xB or status in (0x0001, 0x0107, 0x0116)


def is_success(status: int) -> bool:
    return status == SUCCESS


def text(status: int) -> str:
    """The code as people write it: 4 hexadecimal digits."""
    return f"{status:04X}"
