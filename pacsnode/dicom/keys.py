"""KEY[=VALUE] as people write it, into elements of an identifier. KEY is a keyword or a tag; a dot
leads into a sequence: RequestAttributesSequence.ScheduledProcedureStepID=17."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from pacsnode.dicom import dictionary
from pacsnode.dicom.character_set import SINGLE_VALUE_VRS
from pacsnode.dicom.level import OF_THE_ANSWER, Level, levels_by_keyword
from pacsnode.dicom.values import BINARY_VRS, NUMBER_FORMATS, plain_values
from pacsnode.errors import UsageError

if TYPE_CHECKING:
    from pydicom import Dataset

_TAG = re.compile(r"\(?([0-9A-Fa-f]{4}),?([0-9A-Fa-f]{4})\)?")
_LEVEL = "QueryRetrieveLevel"


def identifier(level: Level, keys: Iterable[str]) -> Dataset:
    """The identifier that asks for these keys at a level. A key given twice has both values. Raises
    UsageError, which names the key."""
    from pydicom import Dataset

    from pacsnode.dicom.encode import text_element

    dataset = Dataset()
    dataset.add(text_element(_LEVEL, (level.word,)))
    for key in keys:
        if not _is_text(key):
            raise UsageError(f"{key!r}: not text in the terminal's encoding")
        name, _, value = key.partition("=")
        path = [_tag(part, key) for part in re.sub(r"\[0\]", "", name).split(".")]
        _add(dataset, path, value.strip(), key)
    return dataset


def _is_text(key: str) -> bool:
    """Bytes of a command line that are no text arrive as lone surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in key)


def tags_of(keys: Iterable[str]) -> tuple[int, ...]:
    """The tags of the outermost attributes that keys name. Raises UsageError."""
    return tuple(_tag(re.split(r"[.=\[]", key, maxsplit=1)[0], key) for key in keys)


def _tag(name: str, key: str) -> int:
    name = name.strip()
    if found := _TAG.fullmatch(name):
        tag = int(found[1] + found[2], 16)
    else:
        tag = dictionary.tag_of(name)
    if not tag:
        raise UsageError(f"{key!r}: {name!r} is neither a keyword nor a tag{_hint(name)}")
    if tag >> 16 < 8 or tag & 0xFFFF == 0:
        raise UsageError(f"{key!r}: ({name}) cannot be a key")
    return tag


def _hint(name: str) -> str:
    near = get_close_matches(name, [*OF_THE_ANSWER, *levels_by_keyword()], n=1)
    return f"; did you mean {near[0]}?" if near else " (such as PatientID or 0010,0020)"


def _add(dataset: Dataset, path: list[int], value: str, key: str) -> None:
    from pydicom import Dataset

    from pacsnode.dicom.encode import element_of

    tag, *inner = path
    vr = dictionary.vr_of(tag)
    if not inner:
        if vr == "SQ" and value:
            raise UsageError(
                f"{key!r}: a sequence has keys of its own: {key.partition('=')[0]}.KEY"
            )
        if tag in dataset and (vr == "SQ" or not value):
            return
        dataset.add(element_of(tag, vr, _values(dataset, tag, vr, value, key)))
        return
    if vr != "SQ":
        raise UsageError(f"{key!r}: ({tag >> 16:04X},{tag & 0xFFFF:04X}) is no sequence")
    if tag not in dataset or not dataset[tag].value:
        dataset.add(element_of(tag, vr, [Dataset()]))
    _add(dataset[tag].value[0], inner, value, key)


def _values(dataset: Dataset, tag: int, vr: str, value: str, key: str) -> list[Any]:
    """The values so far with those of `value`. Numbers are checked: what cannot be encoded would
    be left out, and the key match everything."""
    if not value:
        return list(plain_values(dataset[tag])) if tag in dataset else []
    if vr in BINARY_VRS:
        return [value.encode()]
    before = list(plain_values(dataset[tag])) if tag in dataset else []
    added = [value] if vr in SINGLE_VALUE_VRS else value.split("\\")
    if vr == "AT":
        added = [f"{_tag(one, key):08X}" for one in added]
    for one in added if vr in NUMBER_FORMATS else ():
        _check_number(one, vr, key)
    return [*before, *added]


def _check_number(text: str, vr: str, key: str) -> None:
    try:
        struct.pack(NUMBER_FORMATS[vr], float(text) if vr in ("FL", "FD") else int(text))
    except (ValueError, OverflowError, struct.error) as error:
        raise UsageError(f"{key!r}: {text!r} is no value of VR {vr}") from error
