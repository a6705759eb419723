"""The inverted list: which values studies and series are searched by, in the form in which they
are compared. What it selects is a superset of what matches; dicom/match.py has the last word."""

import json
from collections.abc import Iterator, Mapping

from pacsnode.dicom.level import REQUEST_ATTRIBUTES
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
            yield keyword, value
