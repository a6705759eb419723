"""An identifier (PS3.4 C.4) as a Query: which keys narrow, return, are ignored."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from io import BytesIO

from pacsnode.dicom import dictionary
from pacsnode.dicom.character_set import CharacterSet, character_set_of_text
from pacsnode.dicom.date_time import offset_of
from pacsnode.dicom.elements import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    UNDEFINED,
    Element,
    Walker,
    forms_of,
    items_of,
    open_window,
)
from pacsnode.dicom.level import COLUMNS, COMPUTED, OF_THE_ANSWER, UNIQUE_KEYS, Level, level_of
from pacsnode.dicom.message import BASELINE, Extensions
from pacsnode.dicom.moments import TIMEZONE_OFFSET, Moment, with_moments
from pacsnode.dicom.values import SPECIFIC_CHARACTER_SET, characters_of, texts_of, vr_in_use
from pacsnode.errors import InvalidQuery, UnreadableDataset, UnreadableIdentifier


class Model(Enum):
    """The information models (PS3.4 C.6) with the levels that each has, top first."""

    PATIENT_ROOT = (Level.PATIENT, Level.STUDY, Level.SERIES, Level.IMAGE)
    STUDY_ROOT = (Level.STUDY, Level.SERIES, Level.IMAGE)
    PATIENT_STUDY_ONLY = (Level.PATIENT, Level.STUDY)

    @property
    def levels(self) -> tuple[Level, ...]:
        levels: tuple[Level, ...] = self.value
        return levels


@dataclass(frozen=True, slots=True)
class Key:
    """One element of an identifier. `values` are Unicode (NFC), trimmed, one entry a value; none
    means universal matching. `items` are the keys inside the single item of a sequence."""

    tag: int
    keyword: str  # "" for an attribute that the data dictionary does not know
    vr: str
    level: Level
    values: tuple[str, ...] = ()
    items: tuple["Key", ...] = ()
    is_fuzzy: bool = False  # a person name by its words and sounds (PS3.4 C.2.2.2.1)

    @property
    def is_universal(self) -> bool:
        """No value, or nothing but `*` (PS3.4 C.2.2.2.3); a sequence of universal keys."""
        if self.items:
            return all(item.is_universal for item in self.items)
        return not self.values or all(set(value) == {"*"} for value in self.values)


@dataclass(frozen=True, slots=True)
class Query:
    """A query at one level. `matching` narrows, in the order of the identifier; `returned` holds
    every key that an answer of this level can hold; `ignored` those of lower levels, and those
    whose value only every instance's file could tell (the answers are then FF01). `moments` narrow
    too: pairs of a date and its time. What has to do with time is compared, and answered, as it is
    said at the offset `timezone` from UTC (minutes); None: as it was stored."""

    level: Level
    model: Model
    matching: tuple[Key, ...]
    returned: tuple[Key, ...] = ()
    ignored: tuple[Key, ...] = ()
    character_set: tuple[str, ...] = field(default=())
    extensions: Extensions = BASELINE
    timezone: int | None = None
    moments: tuple[Moment, ...] = ()

    def key(self, keyword: str) -> Key | None:
        """The matching key of this keyword."""
        return next((key for key in self.matching if key.keyword == keyword), None)


# What a query says about itself rather than about what it looks for (PS3.4 C.4.1.1.3).
_NO_KEYS = frozenset({"SpecificCharacterSet", "TimezoneOffsetFromUTC", "QueryRetrieveLevel"}) | {
    "QueryRetrieveView",
    "DataSetTrailingPadding",
}
_QUERY_RETRIEVE_LEVEL = 0x00080052
_UNIQUE = frozenset(UNIQUE_KEYS.values())
_UIDS = frozenset({"StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"})
# Computed, and not matched: workstations send back what they were answered before. C-FIND takes
# these keys as if they had no value (PS3.4 C.2.2.1.3). A retrieve would send more than they ask
# for and refuses them, but for those that say where an instance is rather than which.
_FIGURES = frozenset(keyword for keywords in COMPUTED.values() for keyword in keywords) - {
    "ModalitiesInStudy"
}
NOT_MATCHED = _FIGURES.union(OF_THE_ANSWER)
_DELIMITER = 8  # bytes: all that a sequence of undefined length has to hold
_MAX_DEPTH = 8
# A deflated identifier of 64 KB may hold eight million: they have to be paid for.
_FEW_KEYS, _SHORTEST_KEY = 1000, 8  # elements; bytes of one
_TOO_DEEP = "the identifier has sequences in sequences without end"
_MAX_TEXT = 4096  # what patterns cost grows with their length
_MAX_PATTERNS = 1000  # and with their number; values to be found as they are cost nothing
_PATTERN_VRS = frozenset({"PN", "DA", "TM", "DT"})


def parse_query(
    identifier: bytes,
    transfer_syntax_uid: str,
    model: Model,
    *,
    retrieve: bool = False,
    default_character_set: str | None = None,
    extensions: Extensions = BASELINE,
) -> Query:
    """The query that an identifier asks. Raises UnreadableIdentifier; InvalidQuery where level or
    keys are not what the model allows, and for a retrieve also where nothing definite is asked for
    or a key with a value cannot be matched."""
    elements = _elements(identifier, transfer_syntax_uid)
    characters = characters_of(elements, character_set_of_text(default_character_set))
    level = _level(elements, model, characters)
    keys = tuple(
        _key(element, characters, level, extensions)
        for element in elements
        if element.tag & 0xFFFF and element.tag >> 16 > 7
        if dictionary.keyword_of(element.tag) not in _NO_KEYS
    )
    timezone = _timezone(elements, characters) if extensions.timezone_adjustment else None
    query = _sorted(keys, level, model, characters)
    query = with_moments(replace(query, extensions=extensions, timezone=timezone))
    return _retrieval(query) if retrieve else query


def query_from_keys(
    level: Level,
    model: Model,
    keys: Iterable[str],
    *,
    retrieve: bool = False,
    extensions: Extensions = BASELINE,
) -> Query:
    """The query of keys as they stand on a command line: see keys.identifier. Raises UsageError and
    InvalidQuery."""
    from pacsnode.dicom.encode import encode_dataset
    from pacsnode.dicom.keys import identifier

    encoded = encode_dataset(identifier(level, keys), EXPLICIT_VR_LITTLE_ENDIAN)
    return parse_query(
        encoded, EXPLICIT_VR_LITTLE_ENDIAN, model, retrieve=retrieve, extensions=extensions
    )


def _elements(identifier: bytes, transfer_syntax_uid: str) -> list[Element]:
    window = open_window(BytesIO(identifier), transfer_syntax_uid)
    faults: list[UnreadableDataset] = []
    for form in forms_of(transfer_syntax_uid, window.at(0, 8)):
        walker = Walker(window, form, _FEW_KEYS + len(identifier) // _SHORTEST_KEY)
        elements: dict[int, Element] = {}
        try:
            # However long a key says it is, it is read: one passed over would narrow nothing. Of
            # two with one tag the first counts, as in an instance.
            for element in walker.walk(longest=UNDEFINED):
                elements.setdefault(element.tag, element)
                if walker.deepest > _MAX_DEPTH:
                    raise UnreadableIdentifier(_TOO_DEEP)
        except UnreadableDataset as fault:
            faults.append(fault)
            continue
        return list(elements.values())
    raise UnreadableIdentifier(f"the identifier cannot be read: {faults[0]}") from faults[0]


def _level(elements: Sequence[Element], model: Model, characters: CharacterSet) -> Level:
    element = next((one for one in elements if one.tag == _QUERY_RETRIEVE_LEVEL), None)
    texts = texts_of(element, "CS", characters) if element else ()
    words = ", ".join(level.word for level in model.levels)
    if not texts:
        raise InvalidQuery(f"Query/Retrieve Level (0008,0052) missing: {words}")
    level = next((level for level in Level if level.word == texts[0]), None)
    if len(texts) > 1 or level not in model.levels:
        raise InvalidQuery(f"Query/Retrieve Level {texts[0][:16]!r} is none of {words}")
    return level


def _timezone(elements: Sequence[Element], characters: CharacterSet) -> int | None:
    """In which timezone the query is meant (PS3.4 C.4.1.1.3.1); None where it does not say."""
    element = next((one for one in elements if one.tag == TIMEZONE_OFFSET), None)
    texts = [text for text in texts_of(element, "SH", characters) if text] if element else []
    if not texts:
        return None
    offset = offset_of(texts[0])
    if offset is None or len(texts) > 1:
        raise InvalidQuery(f"Timezone Offset From UTC {texts[0][:16]!r} is not like +0130")
    return offset


def _key(
    element: Element,
    characters: CharacterSet,
    level: Level,
    extensions: Extensions,
    depth: int = 0,
) -> Key:
    """An element as a key. Those of the answer, and what names a private block, are of the level
    asked; those in an item, of their sequence's."""
    keyword = dictionary.keyword_of(element.tag)
    of_query = keyword in OF_THE_ANSWER or dictionary.is_private_creator(element.tag)
    if depth == 0 and not of_query:
        level = level_of(keyword)
    vr = vr_in_use(element)
    if vr != "SQ":
        values = (
            () if dictionary.is_private_creator(element.tag) else _texts(element, vr, characters)
        )
        is_fuzzy = vr == "PN" and extensions.fuzzy_names
        return Key(element.tag, keyword, vr, level, values, is_fuzzy=is_fuzzy)
    item = next(items_of(element), None)
    if item is None and len(element.raw) > _DELIMITER:
        raise UnreadableIdentifier(
            f"the sequence ({element.tag:08X}) of the identifier has no items"
        )
    if depth >= _MAX_DEPTH:
        raise UnreadableIdentifier(_TOO_DEEP)
    item = item or ()
    inside = characters_of(item, characters)
    items = tuple(
        _key(inner, inside, level, extensions, depth + 1)
        for inner in item
        if inner.tag & 0xFFFF and inner.tag != SPECIFIC_CHARACTER_SET
    )
    return Key(element.tag, keyword, vr, level, items=items)


def _texts(element: Element, vr: str, characters: CharacterSet) -> tuple[str, ...]:
    """The values to match; an empty one among several asks for nothing."""
    texts = tuple(text for text in texts_of(element, vr, characters) if text)
    if vr != "UI" and any(len(text) > _MAX_TEXT for text in texts):
        raise InvalidQuery(f"({element.tag:08X}) has a value that is longer than any to be found")
    patterns = sum(1 for text in texts if vr in _PATTERN_VRS or "*" in text or "?" in text)
    if vr != "UI" and patterns > _MAX_PATTERNS:
        raise InvalidQuery(f"({element.tag:08X}) has over {_MAX_PATTERNS} values to compare with")
    return texts


def _sorted(keys: Sequence[Key], level: Level, model: Model, characters: CharacterSet) -> Query:
    """Which keys narrow, are answered, cannot be honoured."""
    has_place = any(key.keyword in _UIDS and is_definite(key) for key in keys)
    matching: list[Key] = []
    returned: list[Key] = []
    ignored: list[Key] = []
    for key in keys:
        if key.level > level:
            ignored.append(key)
            continue
        returned.append(key)
        if key.is_universal or key.keyword in NOT_MATCHED:
            continue
        is_column = key.keyword in COLUMNS[key.level]
        needs_file = key.level is Level.IMAGE and not is_column
        (ignored if needs_file and not has_place else matching).append(key)
    return Query(level, model, tuple(matching), tuple(returned), tuple(ignored), characters.terms)


def is_definite(key: Key) -> bool:
    """Whether the key's values name what is wanted, with no wildcard in them."""
    return bool(key.values) and not any("*" in value or "?" in value for value in key.values)


def _retrieval(query: Query) -> Query:
    if not any(key.keyword in _UNIQUE and is_definite(key) for key in query.matching):
        unique_key = query.level.unique_key
        raise InvalidQuery(f"no definite {unique_key} (or unique key above it) is given")
    figures = (key for key in query.returned if key.keyword in _FIGURES)
    for key in (*query.ignored, *figures):
        if not key.is_universal:
            name = key.keyword or f"({key.tag:08X})"
            raise InvalidQuery(f"{name} cannot narrow a {query.level.word} retrieve")
    return replace(query, ignored=())
