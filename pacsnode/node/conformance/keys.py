"""The keys of the query/retrieve information models (PS3.4 C.6): of which kind each is, how it is
matched, and whether the index has it."""

from collections.abc import Iterator

from pydicom.datadict import dictionary_description, dictionary_VR, tag_for_keyword

from pacsnode.dicom.level import (
    COLUMNS,
    COMPUTED,
    OF_THE_ANSWER,
    OTHERS,
    REQUEST_ATTRIBUTES,
    REQUIRED_KEYS,
    UNIQUE_KEYS,
    Level,
)
from pacsnode.dicom.match import WILDCARD_VRS
from pacsnode.dicom.query import NOT_MATCHED, Model
from pacsnode.node.conformance.document import Table, table

UNIQUE, REQUIRED, OPTIONAL, OF_NO_MODEL = "U", "R", "O", "-"
RETURNED_ONLY = "returned only"
RANGE_VRS = frozenset({"DA", "TM", "DT"})

INDEXED, BESIDE, COMPUTED_FROM_BELOW, OF_ANSWER = (
    "indexed", "kept beside the index", "computed", "of the answer"
)  # fmt: skip

KEY_COLUMNS = (
    "Attribute", "Tag", "VR", "Patient Root", "Study Root", "Patient/Study Only", "Matching",
    "Where from",
)  # fmt: skip
MODELS = (Model.PATIENT_ROOT, Model.STUDY_ROOT, Model.PATIENT_STUDY_ONLY)


def key_table(level: Level) -> Table:
    """The keys of a level, those of the answer aside."""
    return table(f"Keys of the {level.word} Level", KEY_COLUMNS, _rows(level))


def answer_table() -> Table:
    """What says something about an answer, at any level."""
    rows = (
        (name_of(keyword), tag_of(keyword), dictionary_VR(keyword), matching_of(keyword))
        for keyword in OF_THE_ANSWER
    )
    return table("Keys of Every Level", ("Attribute", "Tag", "VR", "Matching"), rows)


def _rows(level: Level) -> Iterator[tuple[str, ...]]:
    for keyword in COLUMNS[level]:
        yield _row(keyword, level, matching_of(keyword), INDEXED)
    for keyword in COMPUTED[level]:
        yield _row(keyword, level, matching_of(keyword), COMPUTED_FROM_BELOW)
    for keyword in OTHERS[level]:
        yield _row(keyword, level, matching_of(keyword), _place_of(keyword))


def _row(keyword: str, level: Level, matching: str, place: str) -> tuple[str, ...]:
    kinds = (kind_of(keyword, level, model) for model in MODELS)
    vr = dictionary_VR(keyword)
    return (name_of(keyword), tag_of(keyword), vr, *kinds, matching, place)


def _place_of(keyword: str) -> str:
    if keyword != "RequestAttributesSequence":
        return BESIDE
    return f"{BESIDE}; {' and '.join(map(name_of, REQUEST_ATTRIBUTES))} of its items indexed"


def kind_of(keyword: str, level: Level, model: Model) -> str:
    """U, R, O as PS3.4 C.6 has them; - where the model does not have the level. In the Study Root
    model what is of the patient is asked for at the study level."""
    if level is Level.PATIENT and model is Model.STUDY_ROOT:
        return REQUIRED if keyword in (*REQUIRED_KEYS[level], UNIQUE_KEYS[level]) else OPTIONAL
    if level not in model.levels:
        return OF_NO_MODEL
    if keyword == UNIQUE_KEYS[level]:
        return UNIQUE
    return REQUIRED if keyword in REQUIRED_KEYS[level] else OPTIONAL


def matching_of(keyword: str) -> str:
    """The types of matching (PS3.4 C.2.2.2) besides universal, which every key has."""
    vr = dictionary_VR(keyword)
    if keyword in NOT_MATCHED:
        return RETURNED_ONLY
    if vr == "SQ":
        return "sequence"
    if vr == "UI":
        return "list of UID"
    if vr in RANGE_VRS:
        return "single value, range"
    return "single value, wild card" if vr in WILDCARD_VRS else "single value"


def name_of(keyword: str) -> str:
    return dictionary_description(keyword)


def tag_of(keyword: str) -> str:
    tag = tag_for_keyword(keyword) or 0
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
