"""The DICOM JSON Model (PS3.18 annex F): of parsed elements, as the index keeps them, and of
Datasets. A value that its VR forbids is written as text, never an error."""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pacsnode.dicom import dictionary
from pacsnode.dicom.character_set import CharacterSet
from pacsnode.dicom.elements import LONG_VRS, SHORT_VRS, Element, items_of
from pacsnode.dicom.values import (
    BINARY_VRS,
    Value,
    characters_of,
    plain_values,
    values_of,
    vr_in_use,
)
from pacsnode.errors import UnreadableDataset

if TYPE_CHECKING:
    from pydicom import DataElement, Dataset

Json = dict[str, Any]

_MAX_DEPTH = 16
_VRS = frozenset(vr.decode() for vr in SHORT_VRS | LONG_VRS)
_TAG = re.compile(r"[0-9A-Fa-f]{8}")
# As PS3.5 6.2 has IS and DS; Python would also take 1_000 and digits of other scripts.
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[Ee][+-]?\d+)?", re.ASCII)
_LONGEST_NUMBER = 64  # characters: four times what is allowed
_NAME_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
_NOT_OF_THE_MODEL = frozenset({0x00080005})  # JSON is UTF-8


def elements_to_json(elements: Iterable[Element], characters: CharacterSet, depth: int = 0) -> Json:
    """Attributes as they are kept: numbers in text stay text, so that nothing of them is lost;
    private ones and bytes are left out."""
    found: Json = {}
    for element in elements:
        if dictionary.is_private(element.tag) or element.tag in _NOT_OF_THE_MODEL:
            continue
        vr = vr_in_use(element)
        if vr == "SQ" and depth < _MAX_DEPTH:
            content: list[Any] = [
                elements_to_json(item, characters_of(item, characters), depth + 1)
                for item in items_of(element)
            ]
            found[f"{element.tag:08X}"] = _with_values(vr, content)
        elif vr != "SQ" and vr not in BINARY_VRS:
            values = values_of(element, vr, characters)
            found[f"{element.tag:08X}"] = value_to_json(vr, values, numbers_as_text=True)
    return found


def value_to_json(vr: str, values: Sequence[Value], *, numbers_as_text: bool = False) -> Json:
    """One attribute, without its tag."""
    if vr in BINARY_VRS:
        joined = b"".join(value for value in values if isinstance(value, bytes))
        return (
            {"vr": vr, "InlineBinary": base64.b64encode(joined).decode()} if joined else {"vr": vr}
        )
    return _with_values(vr, [_one_to_json(vr, value, numbers_as_text) for value in values])


def _with_values(vr: str, content: list[Any]) -> Json:
    return {"vr": vr, "Value": content} if content else {"vr": vr}


def _one_to_json(vr: str, value: Value, numbers_as_text: bool) -> Any:
    if value == "":
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return str(value).replace("nan", "NaN")  # F.2.5: JSON has no such numbers
    if vr == "PN":
        groups = zip(_NAME_GROUPS, str(value).split("=", 2), strict=False)
        return {name: group for name, group in groups if group}
    if vr in ("IS", "DS") and not numbers_as_text:
        return _number(str(value))
    return value


def _number(text: str) -> int | float | str:
    """A number in text, or the text where it is none, or none that JSON has."""
    if len(text) > _LONGEST_NUMBER or not _NUMBER.fullmatch(text):
        return text
    try:
        return int(text)
    except ValueError:
        number = float(text)
    return number if math.isfinite(number) else text


def dataset_to_json(dataset: Dataset) -> Json:
    """A Dataset of decode_dataset, numbers as numbers, for people and programs."""
    return {
        f"{element.tag:08X}": _element_to_json(element)
        for element in dataset
        if element.tag not in _NOT_OF_THE_MODEL
    }


def _element_to_json(element: DataElement) -> Json:
    if element.VR == "SQ":
        return _with_values("SQ", [dataset_to_json(item) for item in element.value or ()])
    return value_to_json(element.VR, plain_values(element))


def dataset_from_json(document: str | Mapping[str, Any]) -> Dataset:
    """The Dataset of a DICOM JSON object, or of its text. Raises UnreadableDataset where it
    is none."""
    try:
        attributes = json.loads(document) if isinstance(document, str) else document
    except (ValueError, RecursionError) as error:
        raise UnreadableDataset(f"no JSON: {error}") from error
    return _dataset_from_json(attributes, 0)


def _dataset_from_json(attributes: Any, depth: int) -> Dataset:
    from pydicom import Dataset

    from pacsnode.dicom.encode import element_of

    if not isinstance(attributes, Mapping):
        raise UnreadableDataset("a DICOM JSON dataset is an object")
    dataset = Dataset()
    for tag, attribute in attributes.items():
        if not _TAG.fullmatch(tag):
            raise UnreadableDataset(f"{tag!r} is no tag")
        if not isinstance(attribute, Mapping):
            raise UnreadableDataset(f"{tag}: an attribute is an object")
        vr = attribute.get("vr", "UN")
        try:
            values = _values_from_json(attribute, vr, depth)
            dataset.add(element_of(int(tag, 16), vr, values))
        except (ValueError, TypeError) as error:
            raise UnreadableDataset(f"{tag}: no value of VR {vr}: {error}") from error
    return dataset


def _values_from_json(attribute: Mapping[str, Any], vr: str, depth: int) -> Sequence[Any]:
    """Raises ValueError and TypeError for what is no value, UnreadableDataset."""
    if vr not in _VRS:
        raise ValueError("there is no such VR")
    if vr in BINARY_VRS:
        binary = attribute.get("InlineBinary")
        return () if binary is None else (base64.b64decode(binary),)
    content = attribute.get("Value", ())
    if vr == "SQ":
        if depth >= _MAX_DEPTH:
            raise ValueError("sequences in sequences without end")
        return [_dataset_from_json(item, depth + 1) for item in content]
    if vr == "PN":
        return [text_of(one) for one in content]
    if any(isinstance(one, Mapping | list) for one in content):
        raise TypeError("an object or an array")
    return ["" if one is None else one for one in content]


def text_of(value: Any) -> str:
    """A value of the model, no item, as text: a person name with its component groups."""
    if isinstance(value, Mapping):
        return "=".join(value.get(name) or "" for name in _NAME_GROUPS).rstrip("=")
    return "" if value is None else str(value)


def dumps(document: Json) -> str:
    """JSON text, as short as it gets, in Unicode."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))
