"""The inverted list: which values studies and series are searched by, in the form in which they
are compared. What it selects is a superset of what matches; dicom/match.py has the last word."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from pacsnode.dicom.dictionary import tag_of
from pacsnode.dicom.json import text_of
from pacsnode.dicom.level import REQUEST_ATTRIBUTES
from pacsnode.dicom.match import WILDCARD_VRS, date_bounds, normal_date
from pacsnode.dicom.names import LONGEST, WantedWord, fuzzy_name, name_pattern, words_of
from pacsnode.dicom.query import Key
from pacsnode.dicom.text import fold_name, trimmed
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
NAMES = ("PatientName", "ReferringPhysicianName")
# The kinds of a name's words, for fuzzy matching: lower-case as they are spelled, in capitals as
# they sound.
_WORDS = {"PatientName": "PatientName words", "ReferringPhysicianName": "ReferringPhysician words"}
# In place of the words of a name that is longer than any, of which there may be thousands: no word
# has a space.
_TOO_LONG = " "
_DATES = ("StudyDate", "PatientBirthDate", "PerformedProcedureStepStartDate")


def of_study(state: Mapping[str, str]) -> set[Term]:
    return _of_columns(STUDY_TERMS, state)


def of_names(state: Mapping[str, str]) -> set[Term]:
    """Those of a study that its names make."""
    return _of_columns(NAMES, state)


def _of_columns(keywords: Sequence[str], state: Mapping[str, str]) -> set[Term]:
    terms = {term for keyword in keywords for term in _terms(keyword, state[keyword])}
    for keyword, values in fold.aliases_of(state).items():
        if keyword in keywords:
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
        if keyword in NAMES:
            name = trimmed(value)
            of_name = _name_terms if len(name) <= LONGEST else _long_name_terms
            yield from of_name(keyword, name)
        elif value:
            yield keyword, (normal_date(value) or value) if keyword in _DATES else value


@lru_cache(maxsize=256)
def _name_terms(keyword: str, name: str) -> tuple[Term, ...]:
    """Remembered, for a state has the names of the one before it, and physicians refer often."""
    found: list[Term] = []
    for group in _groups(name):
        words = words_of(group)
        found.append((keyword, group))
        found += [(_WORDS[keyword], word) for word in (*words.spellings, *words.sounds)]
    return tuple(found)


def _long_name_terms(keyword: str, name: str) -> tuple[Term, ...]:
    return (*((keyword, group) for group in _groups(name)), (_WORDS[keyword], _TOO_LONG))


def _groups(name: str) -> Iterator[str]:
    return filter(None, fold_name(name).split("="))


class Span(NamedTuple):
    """Terms of a kind from `low` to `high`, both included, that fit `pattern` (of GLOB; empty: all
    do)."""

    kind: str
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


def selections(key: Key) -> list[list[Span]]:
    """What is known of rows that a key matches: each of them has a term of every selection. None
    where the key cannot be looked up."""
    if not _has_usual_vr(key):
        return []
    by_value = [_selections(key, value) for value in key.values]
    if not all(by_value):
        return []
    # Of several values one has to match: of each the selection with the longest term.
    found = by_value[0]
    if len(by_value) > 1:
        chosen = (max(selections, key=_length) for selections in by_value)
        found = [[span for spans in chosen for span in spans]]
    is_short = all(sum(not span.is_single for span in spans) <= _MAX_SPANS for spans in found)
    return found if is_short else []


def _length(spans: Sequence[Span]) -> int:
    return max(len(span.low) for span in spans)


def _has_usual_vr(key: Key) -> bool:
    """A key is matched by the VR that it came with; terms know only their own."""
    if key.keyword in NAMES:
        return key.vr == "PN"
    if key.keyword in _DATES:
        return key.vr == "DA"
    return key.vr in WILDCARD_VRS and key.vr != "PN"


def _selections(key: Key, value: str) -> list[list[Span]]:
    if key.keyword in _DATES:
        low, high = date_bounds(value) or (value, value)
        return [[Span(key.keyword, low, high)]]
    if key.keyword not in NAMES:
        return [[_text(key.keyword, value)]]
    return _of_words(key.keyword, value) if key.is_fuzzy else _of_name(key.keyword, value)


def _of_name(keyword: str, name: str) -> list[list[Span]]:
    """A name that fits the key has, somewhere, a group that fits the key's first one."""
    patterns = next((patterns for patterns in name_pattern(name).groups if patterns), ())
    return [[_text(keyword, pattern) for pattern in patterns]] if patterns else []


def _of_words(keyword: str, name: str) -> list[list[Span]]:
    """A selection for each word that can be looked up, of the first group that has words. What
    matches without fuzziness has these words too, whatever its wildcards stand for."""
    kind = _WORDS[keyword]
    words = next((group for group in fuzzy_name(name).groups if group), None) or ()
    if found := [spans for spans in (_spans_of_word(kind, word) for word in words) if spans]:
        return [[*spans, Span(kind, _TOO_LONG, _TOO_LONG)] for spans in found]
    # There are no words, or the one looked at begins with a wildcard.
    of_word = [_text(kind, word.spellings[0]) for word in words[:1]]
    return [[*spans, *of_word] for spans in _of_name(keyword, name)]


def _spans_of_word(kind: str, word: WantedWord) -> list[Span]:
    if not word.is_pattern:
        return [Span(kind, term, term) for term in sorted({*word.spellings, *word.sounds})]
    prefix = _before_wildcards(word.spellings[0])
    return [Span(kind, prefix, prefix + _LAST_CHARACTER)] if prefix else []


def _text(kind: str, pattern: str) -> Span:
    prefix = _before_wildcards(pattern)
    if prefix == pattern:
        return Span(kind, pattern, pattern)
    # To GLOB `*` and `?` mean the same, but brackets do not mean themselves.
    glob = re.sub(r"\*+", "*", pattern).replace("[", "[[]")
    glob = glob if glob.count("*") <= _MAX_STARS else ""
    return Span(kind, prefix, prefix + _LAST_CHARACTER, glob)


def _before_wildcards(pattern: str) -> str:
    return re.split(r"[*?]", pattern, maxsplit=1)[0]
