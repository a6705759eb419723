"""The inverted list: which values studies and series are searched by, in the form in which they
are compared. What it selects is a superset of what matches; dicom/match.py has the last word."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from pacsnode.dicom.level import REQUEST_ATTRIBUTES
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
    items = state[fold.REQUEST_ATTRIBUTES]
    for item in json.loads(items) if items else ():
        for keyword, value in zip(REQUEST_ATTRIBUTES, item, strict=True):
            terms.update(_terms(keyword, value))
    return terms


def _terms(keyword: str, values: str) -> Iterator[Term]:
    for value in values.split("\\"):
        if keyword in _NAMES:
            yield from ((keyword, fold_name(group)) for group in value.split("=") if group)
        elif value:
            yield keyword, _date(value) if keyword in _DATES else value


def _date(value: str) -> str:
    """YYYYMMDD, also of the form of ACR-NEMA, YYYY.MM.DD; anything else as it is."""
    return value.replace(".", "") if re.fullmatch(r"\d{4}\.\d\d\.\d\d", value) else value


class Span(NamedTuple):
    """Terms from `low` to `high`, both included, that fit `pattern` (of GLOB; empty: all do)."""

    low: str
    high: str
    pattern: str = ""


_LAST_CHARACTER = "\U0010ffff"
_MAX_SPANS = 100


def searched(keys: Iterable[Key]) -> Iterator[Key]:
    """The keys whose keyword may be a kind of term; those inside a sequence are of one item."""
    for key in keys:
        if key.keyword == fold.REQUEST_ATTRIBUTES:
            yield from (item for item in key.items if not item.is_universal)
        elif not key.is_universal:
            yield key


def spans(key: Key) -> list[Span]:
    """Terms among which are those of every row that the key matches; none where the key cannot be
    looked up."""
    if len(key.values) > _MAX_SPANS:
        return []
    found = []
    for value in key.values:
        span = _span(key, value)
        if span is None:
            return []
        found.append(span)
    return found


def _span(key: Key, value: str) -> Span | None:
    if key.keyword in _DATES:
        return _dates(value)
    if key.keyword in _NAMES:
        # Any group will do: a key of several groups has them in one name.
        value = next((group for group in map(fold_name, value.split("=")) if group.strip("*")), "")
    if not value:
        return None
    prefix = re.split(r"[*?]", value, maxsplit=1)[0]
    if prefix == value:
        return Span(value, value)
    # What a wildcard stands for may begin with what is trimmed from the ends of values.
    return Span(prefix.rstrip(" ^"), prefix.rstrip(" ^") + _LAST_CHARACTER, _glob(value))


def _glob(pattern: str) -> str:
    """`*` and `?` mean the same to GLOB; brackets do not mean themselves."""
    return pattern.replace("[", "[[]")


def _dates(value: str) -> Span | None:
    if "*" in value or "?" in value:
        return None
    low, hyphen, high = value.partition("-")
    if not hyphen:
        return Span(_date(value), _date(value))
    return Span(_date(low.strip()), _date(high.strip()) or _LAST_CHARACTER)
