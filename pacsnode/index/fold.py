"""How the rows of a study and a series come from what their instances say, in order of receipt:
an empty attribute is filled, a value is never replaced, patients are never mixed."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple

from pacsnode.dicom.instance import Instance
from pacsnode.dicom.level import COLUMNS, Level
from pacsnode.dicom.text import fold_name

PATIENT_COLUMNS = COLUMNS[Level.PATIENT]
STUDY_COLUMNS = COLUMNS[Level.STUDY]
SERIES_COLUMNS = COLUMNS[Level.SERIES]

# Not keywords, so that they cannot be taken for one.
PATIENT_OTHERS = "patient_others"
OTHERS = "others"
ALIASES = "aliases"

_SEPARATOR = "\\"  # between the values of an element

# What says who the patient is; a study is found by every value of the first two.
ALIASED = ("PatientID", "PatientName")
_PERSON = (*ALIASED, "IssuerOfPatientID", "PatientBirthDate")

State = dict[str, str]
Aliases = dict[str, dict[str, None]]  # values by keyword, in the order in which they came


# Headers are remembered, as many as these, none of them longer: the instances of a series say the
# same of it and of its study.
_REMEMBERED = 256
_LONGEST_REMEMBERED = 8 << 10  # characters


class Header(NamedTuple):
    """What one instance says of its study, or of its series. Not to be changed."""

    state: Mapping[str, str]
    content: str
    digest: bytes


_OF_STUDY = (*PATIENT_COLUMNS, *STUDY_COLUMNS)
_STUDY_STATE = (*_OF_STUDY, PATIENT_OTHERS, OTHERS)
_SERIES_STATE = (*SERIES_COLUMNS, OTHERS)


def study_header(instance: Instance) -> Header:
    values, others = instance.values, instance.others
    texts = [_SEPARATOR.join(values.get(keyword, ())) for keyword in _OF_STUDY]
    texts[_OF_STUDY.index("StudyInstanceUID")] = instance.uids.study_instance_uid
    texts.append(others.get(Level.PATIENT, ""))
    texts.append(others.get(Level.STUDY, ""))
    return _header(_STUDY_STATE, tuple(texts))


def series_header(instance: Instance) -> Header:
    values = instance.values
    texts = [_SEPARATOR.join(values.get(keyword, ())) for keyword in SERIES_COLUMNS]
    texts[SERIES_COLUMNS.index("SeriesInstanceUID")] = instance.uids.series_instance_uid
    texts.append(instance.others.get(Level.SERIES, ""))
    return _header(_SERIES_STATE, tuple(texts), instance.sop_class_uid)


def _header(keywords: tuple[str, ...], texts: tuple[str, ...], sop_class_uid: str = "") -> Header:
    if sum(map(len, texts)) > _LONGEST_REMEMBERED:
        return _new_header(keywords, texts, sop_class_uid)
    return _remembered_header(keywords, texts, sop_class_uid)


def _new_header(keywords: tuple[str, ...], texts: tuple[str, ...], sop_class_uid: str) -> Header:
    state = dict(zip(keywords, texts, strict=True))
    content = json.dumps(state, ensure_ascii=False)
    digest = hashlib.blake2b((sop_class_uid + content).encode("utf-8", "surrogatepass"))
    return Header(state, content, digest.digest()[:16])


_remembered_header = lru_cache(maxsize=_REMEMBERED)(_new_header)


def fold_studies(contents: Iterable[str]) -> State:
    """The state of a study from its headers' contents, earliest first."""
    state: State = {}
    aliases: Aliases = {}
    for content in contents:
        state = _fold_study(state, aliases, json.loads(content))
    return {**state, ALIASES: _text_of(aliases)}


def fold_study(state: Mapping[str, str], said: Mapping[str, str]) -> State:
    """`state` with what one more header says."""
    aliases = {keyword: dict.fromkeys(values) for keyword, values in aliases_of(state).items()}
    folded = _fold_study(state, aliases, said)
    return {**folded, ALIASES: _text_of(aliases)}


def _fold_study(state: Mapping[str, str], aliases: Aliases, said: Mapping[str, str]) -> State:
    """The new state; `aliases` grows. Attributes of the patient are filled only from headers that
    contradict none of those that say who the patient is: otherwise one's PatientID could come to
    stand beside another's name."""
    if not state:
        return dict(said)
    folded = dict(state)
    _fill(folded, said, STUDY_COLUMNS, OTHERS)
    if all(_agree(keyword, folded[keyword], said[keyword]) for keyword in _PERSON):
        _fill(folded, said, PATIENT_COLUMNS, PATIENT_OTHERS)
    for keyword in ALIASED:
        value, own = said[keyword], folded[keyword]
        if value and not (own and _agree(keyword, own, value)):
            aliases.setdefault(keyword, {})[value] = None
    return folded


def fold_series(state: Mapping[str, str], said: Mapping[str, str]) -> State:
    if not state:
        return dict(said)
    folded = dict(state)
    _fill(folded, said, SERIES_COLUMNS, OTHERS)
    return folded


def fold_all_series(contents: Iterable[str]) -> State:
    """The state of a series from its headers' contents, earliest first."""
    state: State = {}
    for content in contents:
        state = fold_series(state, json.loads(content))
    return state


def _fill(state: State, said: Mapping[str, str], keywords: Iterable[str], others: str) -> None:
    for keyword in keywords:
        if not state[keyword]:
            state[keyword] = said[keyword]
    if said[others] and said[others] != state[others]:
        state[others] = _fill_others(state[others], said[others])


def _fill_others(known: str, said: str) -> str:
    """DICOM JSON objects: an attribute that is absent or has nothing but its VR is filled."""
    if not known:
        return said
    attributes = json.loads(known)
    before = len(attributes)
    changed = False
    for tag, element in json.loads(said).items():
        if len(attributes.get(tag, ())) < 2 and (tag not in attributes or len(element) > 1):
            attributes[tag] = element
            changed = True
    if not changed:
        return known
    if len(attributes) > before:
        attributes = dict(sorted(attributes.items()))
    return json.dumps(attributes, ensure_ascii=False, separators=(",", ":"))


def _agree(keyword: str, one: str, other: str) -> bool:
    if not one or not other or one == other:
        return True
    return keyword == "PatientName" and fold_name(one) == fold_name(other)


def aliases_of(state: Mapping[str, str]) -> dict[str, list[str]]:
    """PatientIDs and names of a study's instances that differ from the study's own."""
    text = state.get(ALIASES)
    return json.loads(text) if text else {}


def _text_of(aliases: Aliases) -> str:
    lists = {keyword: list(values) for keyword, values in aliases.items()}
    return json.dumps(lists, ensure_ascii=False) if lists else ""


def identity(state: Mapping[str, str]) -> str:
    """What two studies must share to be one patient's. Without a PatientID none share it."""
    if not state["PatientID"]:
        return json.dumps([state["StudyInstanceUID"]])
    return json.dumps(
        [
            state["PatientID"],
            state["IssuerOfPatientID"],
            fold_name(state["PatientName"]),
            state["PatientBirthDate"],
        ],
        ensure_ascii=False,
    )
