"""The header of an instance: what the index keeps of it. Reading stops before pixel data."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import NamedTuple

from pacsnode.dicom.character_set import CharacterSet, character_set_of_text
from pacsnode.dicom.dictionary import tag_of, vr_of
from pacsnode.dicom.elements import Element, Form, Source, Walker, Window, forms_of, open_window
from pacsnode.dicom.json import dumps, elements_to_json
from pacsnode.dicom.level import COLUMNS, OTHERS, Level
from pacsnode.dicom.moments import TIMEZONE_OFFSET
from pacsnode.dicom.text import decode_uid
from pacsnode.dicom.values import SPECIFIC_CHARACTER_SET, characters_of, texts_of, vr_in_use
from pacsnode.errors import UnreadableDataset, UnusableUID


class InstanceUIDs(NamedTuple):
    """The UIDs that say which instance is meant and where it belongs. Untrusted text."""

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance's header. `values` has the columns of all four levels by keyword, each a tuple
    of its values as Unicode (NFC), trimmed; absent and empty elements have none. `others` has, for
    patient, study and series, the level's further attributes as a DICOM JSON object (text)."""

    uids: InstanceUIDs
    sop_class_uid: str
    values: Mapping[str, tuple[str, ...]]
    others: Mapping[Level, str]

    def first(self, keyword: str) -> str:
        """The first value of a column, or an empty text."""
        values = self.values.get(keyword)
        return values[0] if values else ""


class StoredInstance(NamedTuple):
    """What is known of an instance once it is stored: enough to find its file, plan its
    presentation context and check its bytes. `length` and `digest` (BLAKE3, 32 bytes) are those of
    the dataset as received; `received_at` is in microseconds since 1970 UTC."""

    uids: InstanceUIDs
    sop_class_uid: str
    transfer_syntax_uid: str
    source_ae_title: str
    length: int
    digest: bytes
    received_at: int
    is_lost: bool = False


_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
_UNTRIMMED = frozenset({*_UIDS, "SOPClassUID"})
_MAX_UID = 128
_BULK = 0x52000000  # functional groups, curves, pixel data: nothing of the levels stands there
_PIXEL_DATA = 0x7FE00000

# What the elements of a level say is remembered for so many groups of them, none of them longer:
# all instances of a series say the same of it, of its study and of its patient.
_REMEMBERED = 256
_LONGEST_REMEMBERED = 4 << 10  # bytes


class _Table(NamedTuple):
    """What is looked for, by tag."""

    levels: Mapping[int, Level]
    columns: Mapping[int, tuple[str, str]]  # keyword and VR
    wanted: frozenset[int]
    uids: tuple[int, ...]


class _Content(NamedTuple):
    """What a level's elements say: its columns, and its further attributes as DICOM JSON (text)."""

    values: Mapping[str, tuple[str, ...]]
    others: str


def read_instance(
    file: Source, transfer_syntax_uid: str, default_character_set: str | None, sop_class_uid: str
) -> Instance:
    """Read the header of the dataset that begins at the file's present position.
    `default_character_set` is assumed, and `sop_class_uid` taken, where the dataset has none.
    Nothing but what is searched or kept by level is looked at, and no value over 64 KiB. Raises
    UnreadableDataset, or UnusableUID."""
    window = open_window(file, transfer_syntax_uid)
    assumed = character_set_of_text(default_character_set)
    faults: list[UnreadableDataset] = []
    for form in forms_of(transfer_syntax_uid, window.at(0, 8)):
        for stop in (_BULK, _PIXEL_DATA):
            elements, fault = _header(window, form, stop)
            try:
                uids = _uids(elements)
            except UnusableUID as missing:
                faults.append(fault or missing)
                if fault:
                    break
                continue
            return _instance(uids, elements, assumed, sop_class_uid)
    raise faults[0]


@cache
def _table() -> _Table:
    columns = {
        tag_of(keyword): (keyword, vr_of(tag_of(keyword)))
        for keywords in COLUMNS.values()
        for keyword in keywords
    }
    levels = {
        tag_of(keyword): level for level in Level for keyword in (*COLUMNS[level], *OTHERS[level])
    }
    levels[TIMEZONE_OFFSET] = Level.SERIES  # no key, but kept: what dates and times were said at
    wanted = frozenset({SPECIFIC_CHARACTER_SET, *levels})
    return _Table(levels, columns, wanted, tuple(tag_of(keyword) for keyword in _UIDS))


def _header(
    window: Window, form: Form, stop: int
) -> tuple[dict[int, Element], UnreadableDataset | None]:
    """What could be read, and why reading ended where it did not end well. The first of two
    elements with one tag counts."""
    table = _table()
    found: dict[int, Element] = {}
    try:
        for element in Walker(window, form).walk(table.wanted, stop):
            found.setdefault(element.tag, element)
    except UnreadableDataset as fault:
        return found, fault
    return found, None


def _uids(elements: Mapping[int, Element]) -> InstanceUIDs:
    uids: list[str] = []
    for keyword, tag in zip(_UIDS, _table().uids, strict=True):
        element = elements.get(tag)
        uid = decode_uid(element.raw) if element else ""
        if not 0 < len(uid) <= _MAX_UID:
            what = f"is {len(uid)} bytes long" if uid else "is missing"
            raise UnusableUID(f"{keyword} {what}")
        uids.append(uid)
    return InstanceUIDs(*uids)


def _instance(
    uids: InstanceUIDs, elements: Mapping[int, Element], assumed: CharacterSet, sop_class_uid: str
) -> Instance:
    characters = characters_of(elements.values(), assumed)
    groups = _by_level(elements)
    values = dict(_content(tuple(groups.pop(Level.IMAGE)), characters).values)
    others: dict[Level, str] = {}
    for level, group in groups.items():
        content = _shared_content(tuple(group), characters)
        values.update(content.values)
        others[level] = content.others
    values.setdefault("SOPClassUID", (sop_class_uid,))
    return Instance(uids, values["SOPClassUID"][0], values, others)


def _by_level(elements: Mapping[int, Element]) -> dict[Level, list[Element]]:
    levels = _table().levels
    groups: dict[Level, list[Element]] = {level: [] for level in Level}
    for tag, element in elements.items():
        if tag != SPECIFIC_CHARACTER_SET:
            groups[levels[tag]].append(element)
    if TIMEZONE_OFFSET in elements:  # of a study's dates and times as of a series'
        groups[Level.STUDY].append(elements[TIMEZONE_OFFSET])
    return groups


def _shared_content(elements: tuple[Element, ...], characters: CharacterSet) -> _Content:
    if sum([len(element.raw) for element in elements]) > _LONGEST_REMEMBERED:
        return _content(elements, characters)
    return _remembered_content(elements, characters)


def _content(elements: tuple[Element, ...], characters: CharacterSet) -> _Content:
    columns = _table().columns
    values: dict[str, tuple[str, ...]] = {}
    others: list[Element] = []
    for element in elements:
        column = columns.get(element.tag)
        if column is None:
            others.append(element)
            continue
        keyword, known = column
        if keyword in _UNTRIMMED:
            uid = decode_uid(element.raw)
            texts: tuple[str, ...] = (uid,) if uid else ()
        else:
            texts = texts_of(element, vr_in_use(element, known), characters)
        if texts:
            values[keyword] = texts
    return _Content(values, dumps(elements_to_json(others, characters)))


_remembered_content = lru_cache(maxsize=_REMEMBERED)(_content)
