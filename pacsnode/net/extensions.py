"""SOP Class Extended Negotiation of queries and retrieves as bytes (PS3.4 C.5.1.1, C.5.2.1 and
C.5.3.1): one for each thing that can be agreed on, 1 where it is asked for or agreed to."""

from pacsnode.dicom.message import BASELINE, Extensions
from pacsnode.net.contexts import Service, service_of

# The field of message.Extensions behind each byte; "": understood, and turned down, as enhanced
# multi-frame images are not converted. More bytes than these are not answered, which says 0.
FIELDS = {
    Service.FIND: ("relational", "combined_date_time", "fuzzy_names", "timezone_adjustment", ""),
    Service.MOVE: ("relational", ""),
    Service.GET: ("relational", ""),
}


def agreed(sop_class_uid: str, information: bytes) -> Extensions:
    """What is agreed on where this was asked for, or answered to what was."""
    return Extensions(
        **{
            field: byte == 1
            for field, byte in zip(_fields(sop_class_uid), information, strict=False)
            if field
        }
    )


def answer(sop_class_uid: str, asked: bytes) -> bytes:
    """As many bytes as were asked for and are understood; none where there is nothing to answer: of
    another SOP class, or of no bytes."""
    return _encoded(sop_class_uid, agreed(sop_class_uid, asked))[: len(asked)]


def proposal(sop_class_uid: str, extensions: Extensions) -> bytes:
    """What asks for `extensions`: no more bytes than it takes, as old peers know the first alone;
    none for the baseline."""
    return b"" if extensions == BASELINE else _encoded(sop_class_uid, extensions).rstrip(b"\0")


def both(one: Extensions, other: Extensions) -> Extensions:
    return Extensions(*(ours and theirs for ours, theirs in zip(one, other, strict=True)))


def _encoded(sop_class_uid: str, extensions: Extensions) -> bytes:
    return bytes(bool(field and getattr(extensions, field)) for field in _fields(sop_class_uid))


def _fields(sop_class_uid: str) -> tuple[str, ...]:
    service = service_of(sop_class_uid)
    return FIELDS.get(service, ()) if service is not None else ()
