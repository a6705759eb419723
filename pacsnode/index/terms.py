"""The inverted list: which values studies and series are searched by, in the form in which they
are compared. What it selects is a superset of what matches; dicom/match.py has the last word."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from pacsnode.dicom.dictionary import tag_of
from pacsnode.dicom.json import text_of
from pacsnode.dicom.level import REQUEST_ATTRIBUTES
from pacsnode.dicom.match import WILDCARD_VRS, date_bounds, normal_date
from pacsnode.dicom.names import name_pattern
from pacsnode.dicom.query import Key
from pacsnode.dicom.text import fold_name
from pacsnode.index import fold

Term = tuple[str, str]

# In the order in which keys are likely to select little.
STUDY_TERMS = (
    "PatientID",
    "AccessionNumber",
    "PatientName",
    "StudyDate",
    "StudyID",
    "PatientBirthDate",
    "ReferringPhysicianName",
)
_SEQUENCE = "RequestAttributesSequence"
SERIES_TERMS = (*REQUEST_ATTRIBUTES, "PerformedProcedureStepStartDate")
_NAMES = ("PatientName", "ReferringPhysicianName")
_DATES = ("StudyDate", "PatientBirthDate", "PerformedProcedureStepStartDate")


def of_study(state: Mapping[str, str]) -> set[Term]:
    terms = {term for keyword in STUDY_TERMS for term in _terms(keyword, state[keyword])}
    for keyword, values in fold.aliases_of(state).items():
        for value in values:
            terms.update(_terms(keyword, value))
    return terms


def of_series(state: Mapping[str, str]) -> set[Term]:
    terms = set(_terms("PerformedProcedureStepStartDate", state["PerformedProcedureStepStartDate"]))
    others = json.loads(state[fold.OTHERS] or "{}")
    for item in others.get(_tag_text(_SEQUENCE), {}).get("Value", ()):
        for keyword in REQUEST_ATTRIBUTES:
            for value in item.get(_tag_text(keyword), {}).get("Value", ()):
                terms.update(_terms(keyword, text_of(value)))
    return terms


def _tag_text(keyword: str) -> str:
    return f"{tag_of(keyword):08X}"


def _terms(keyword: str, values: str) -> Iterator[Term]:
    for value in values.split("\\"):
        if keyword in _NAMES:
            yield from ((keyword, group) for group in fold_name(value).split("=") if group)
        elif value:
            yield keyword, (normal_date(value) or value) if keyword in _DATES else value


class Span(NamedTuple):
    """Terms from `low` to `high`, both included, that fit `pattern` (of GLOB; empty: all do)."""

    low: str
    high: str
    pattern: str = ""

    @property
    def is_single(self) -> bool:
        return self.low == self.high


_LAST_CHARACTER = "\U0010ffff"
_MAX_SPANS = 100
_MAX_STARS = 4  # GLOB's time grows with their power


def searched(keys: Iterable[Key]) -> Iterator[Key]:
    """The keys whose keyword may be a kind of term. One keyword may stand in an item and outside:
    AccessionNumber is searched by as the study's, the ids of a request as an item's."""
    for key in keys:
        if key.keyword == _SEQUENCE:
            inner = (item for item in key.items if item.keyword in REQUEST_ATTRIBUTES)
            yield from (item for item in inner if not item.is_universal)
        elif not key.is_universal and key.keyword not in REQUEST_ATTRIBUTES:
            yield key


def spans(key: Key) -> list[Span]:
    """Terms among which are those of every row that the key matches; none where the key cannot be
    looked up."""
    if not _has_usual_vr(key):
        return []
    found: list[Span] = []
    for value in key.values:
        of_value = list(_spans(key, value))
        if not of_value:
            return []
        found += of_value
    return found if sum(not span.is_single for span in found) <= _MAX_SPANS else []


def _has_usual_vr(key: Key) -> bool:
    """A key is matched by the VR that it came with; terms know only their own."""
    if key.keyword in _NAMES:
        return key.vr == "PN"
    if key.keyword in _DATES:
        return key.vr == "DA"
    return key.vr in WILDCARD_VRS and key.vr != "PN"


def _spans(key: Key, value: str) -> Iterator[Span]:
    if key.keyword in _DATES:
        bounds = date_bounds(value)
        yield Span(*bounds) if bounds else Span(value, value)
    elif key.keyword in _NAMES:
        # A name that fits the key has, somewhere, a group that fits the key's first one.
        groups = name_pattern(value).groups
        yield from map(_text, next((patterns for patterns in groups if patterns), ()))
    else:
        yield _text(value)


def _text(pattern: str) -> Span:
    prefix = re.split(r"[*?]", pattern, maxsplit=1)[0]
    if prefix == pattern:
        return Span(pattern, pattern)
    # To GLOB `*` and `?` mean the same, but brackets do not mean themselves.
    glob = re.sub(r"\*+", "*", pattern).replace("[", "[[]")
    return Span(prefix, prefix + _LAST_CHARACTER, glob if glob.count("*") <= _MAX_STARS else "")
