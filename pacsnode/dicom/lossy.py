"""What a dataset says of itself once its pixels have lost something (PS3.3 C.7.6.1.1.2 and
C.7.6.1.1.5): another instance, derived from the one that is stored."""

import io
import uuid
from collections.abc import Callable

from pacsnode.dicom.codecs import Codec
from pacsnode.dicom.recode import Edit, Edits
from pacsnode.dicom.stream import (
    DERIVATION_CODE,
    DERIVATION_DESCRIPTION,
    EXPLICIT_LITTLE,
    IMAGE_TYPE,
    IS_LOSSY,
    ITEM,
    ITEM_END,
    LOSSY_METHOD,
    LOSSY_RATIO,
    SEQUENCE_END,
    SOP_CLASS_UID,
    SOP_INSTANCE_UID,
    SOURCE_IMAGES,
    UNDEFINED,
    Scope,
    Writer,
)

SMALLEST_VALUE, LARGEST_VALUE = 0x0028_0106, 0x0028_0107
REFERENCED_CLASS, REFERENCED_INSTANCE = 0x0008_1150, 0x0008_1155
PURPOSE = 0x0040_A170
CODE_VALUE, CODING_SCHEME, CODE_MEANING = 0x0008_0100, 0x0008_0102, 0x0008_0104
LONGEST_DESCRIPTION = 1024  # bytes (VR ST)
RATIO_WIDTH = 16  # bytes: as many as a DS may have
COMPRESSION = "113040", "Lossy Compression"
PREDECESSOR = "121320", "Uncompressed predecessor"


def derived_uid(original: str, target_uid: str, parameters: str) -> str:
    """The same for the same copy of the same instance, however often it is sent."""
    name = f"{original} {target_uid} {parameters}"
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, name).int}"


def loss_edits(
    scope: Scope, codec: Codec, sop_instance_uid: str, before_ratio: Callable[[], object]
) -> Edits:
    """The changes to the dataset that `scope` is of. The ratio is known when its pixels have been
    written, which is after its place: `before_ratio` is called there; see `with_ratio`."""
    text = codec.parameters + ", by the archive"
    values: dict[int, Edit | None] = {
        IMAGE_TYPE: _edit("CS", _image_type(scope)),
        SOP_INSTANCE_UID: _edit("UI", sop_instance_uid.encode()),
        DERIVATION_DESCRIPTION: _edit("ST", _appended(scope, DERIVATION_DESCRIPTION, text, b"; ")),
        SMALLEST_VALUE: None,  # which they may no longer be
        LARGEST_VALUE: None,
        IS_LOSSY: _edit("CS", b"01"),
        LOSSY_RATIO: Edit("DS", with_ratio(scope, 1), before_ratio),
        LOSSY_METHOD: _edit("CS", _appended(scope, LOSSY_METHOD, codec.method, b"\\")),
    }
    items = {SOURCE_IMAGES: _source(scope), DERIVATION_CODE: _item(_code(*COMPRESSION))}
    return Edits(values, items)


def with_ratio(scope: Scope, ratio: float) -> bytes:
    """Lossy Image Compression Ratio, always of the same length."""
    text = f"{ratio:.2f}"[:RATIO_WIDTH].ljust(RATIO_WIDTH)
    return _even(_appended(scope, LOSSY_RATIO, text, b"\\"))


def _appended(scope: Scope, tag: int, text: str, separator: bytes) -> bytes:
    said = scope.values.get(tag, b"").strip(b" \0")
    if tag == DERIVATION_DESCRIPTION:
        said = said[: LONGEST_DESCRIPTION - len(separator) - len(text)]
    return separator.join(part for part in (said, text.encode("ascii")) if part)


def _image_type(scope: Scope) -> bytes:
    """The first value says whether it is derived, the second where from."""
    _, _, others = scope.values.get(IMAGE_TYPE, b"").strip(b" \0").partition(b"\\")
    return b"DERIVED\\" + (others or b"PRIMARY")


def _even(value: bytes, padding: bytes = b" ") -> bytes:
    return value + padding * (len(value) % 2)


def _edit(vr: str, value: bytes) -> Edit:
    return Edit(vr, _even(value, b"\0" if vr == "UI" else b" "))


def _source(scope: Scope) -> bytes:
    """An item of Source Image Sequence: the instance as it is stored."""
    return _item(
        _element(REFERENCED_CLASS, "UI", _even(scope.text(SOP_CLASS_UID).encode(), b"\0"))
        + _element(REFERENCED_INSTANCE, "UI", _even(scope.text(SOP_INSTANCE_UID).encode(), b"\0"))
        + _sequence(PURPOSE, _item(_code(*PREDECESSOR)))
    )


def _code(value: str, meaning: str) -> bytes:
    return (
        _element(CODE_VALUE, "SH", _even(value.encode()))
        + _element(CODING_SCHEME, "SH", b"DCM ")
        + _element(CODE_MEANING, "LO", _even(meaning.encode()))
    )


def _element(tag: int, vr: str, value: bytes, length: int | None = None) -> bytes:
    encoded = io.BytesIO()
    Writer(encoded.write, EXPLICIT_LITTLE).header(tag, vr, len(value) if length is None else length)
    return encoded.getvalue() + value


def _sequence(tag: int, item: bytes) -> bytes:
    return _element(tag, "SQ", item, UNDEFINED) + _delimiter(SEQUENCE_END, 0)


def _item(content: bytes) -> bytes:
    return _delimiter(ITEM, UNDEFINED) + content + _delimiter(ITEM_END, 0)


def _delimiter(tag: int, length: int) -> bytes:
    encoded = io.BytesIO()
    Writer(encoded.write, EXPLICIT_LITTLE).delimiter(tag, length)
    return encoded.getvalue()
