"""Matching as interface.md spells it, in plain Python, written without a look at the program's: a
second opinion on what a query selects."""

import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from pacsnode.dicom.instance import Instance, InstanceUIDs
from pacsnode.dicom.level import COLUMNS, Level
from pacsnode.dicom.query import Key, Query


def fold(text: str) -> str:
    plain = "".join(c for c in unicodedata.normalize("NFD", text) if not unicodedata.combining(c))
    groups = [group.strip().rstrip("^").strip() for group in plain.casefold().split("=")]
    return "=".join(groups).rstrip("=")


def pattern(text: str) -> re.Pattern[str]:
    translated = {"*": ".*", "?": "."}
    return re.compile("".join(translated.get(c, re.escape(c)) for c in text), re.DOTALL)


def name_fits(wanted: str, name: str) -> bool:
    wanted, name = fold(wanted), fold(name)
    if "=" not in wanted:
        return any(group and group_fits(wanted, group) for group in name.split("="))
    groups = [*name.split("="), "", ""]
    return all(
        group_fits(part, group)
        for part, group in zip(wanted.split("="), groups, strict=False)
        if part
    )


def group_fits(wanted: str, group: str) -> bool:
    """Trailing empty components do not count: `DOE^*` means any DOE, with other names or none."""
    if pattern(wanted).fullmatch(group):
        return True
    while wanted.endswith(("^", "^*")):
        wanted = wanted.removesuffix("*").removesuffix("^")
    return wanted == "" or pattern(wanted).fullmatch(group) is not None


def range_fits(wanted: str, value: str) -> bool:
    low, hyphen, high = wanted.partition("-")
    if not hyphen:
        return wanted == value
    return (not low or low <= value) and (not high or value <= high)


def text_fits(wanted: str, value: str) -> bool:
    return pattern(wanted.strip()).fullmatch(value.strip()) is not None


def number_fits(wanted: str, value: str) -> bool:
    """Numbers have no wildcards (PS3.4 C.2.2.2.4)."""
    return wanted.isdecimal() and int(wanted) == int(value)


FITS: Mapping[str, Callable[[str, str], bool]] = {
    "PN": name_fits,
    "DA": range_fits,
    "TM": range_fits,
    "UI": str.__eq__,
    "IS": number_fits,
}


def fits(key: Key, values: Iterable[str]) -> bool:
    if all(set(value) == {"*"} for value in key.values):
        return True
    fit = FITS.get(key.vr, text_fits)
    filled = [value for value in values if value]
    return any(fit(wanted, value) for wanted in key.values for value in filled)


PERSON = ("PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate")
Values = dict[str, tuple[str, ...]]


def agree(keyword: str, one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    if not one or not other:
        return True
    if keyword == "PatientName":
        return fold("\\".join(one)) == fold("\\".join(other))
    return one == other


class Archive:
    """Instances in order of receipt, and what a query selects of them."""

    def __init__(self) -> None:
        self.instances: dict[str, Instance] = {}

    def select(self, query: Query) -> set[tuple[str, ...]]:
        """The matches, each as the UIDs from the study down; a patient as who it is, with the
        Study Instance UID where there is no PatientID."""
        return {
            self.name(query.level, instance)
            for instance in self.instances.values()
            if all(self._meets(query, key, instance) for key in query.matching)
        }

    def below(self, query: Query) -> set[InstanceUIDs]:
        """All instances below the matches; of a patient only studies that have the PatientID and
        the name asked for."""
        found = self.select(query)
        of_study = replace(query, level=max(query.level, Level.STUDY))
        person = [key for key in query.matching if key.keyword in ("PatientID", "PatientName")]
        return {
            instance.uids
            for instance in self.instances.values()
            if self.name(query.level, instance) in found
            and all(self._meets(of_study, key, instance) for key in person)
        }

    def name(self, level: Level, instance: Instance) -> tuple[str, ...]:
        if level == Level.PATIENT:
            return self.identity(instance)
        return tuple(instance.uids[: int(level)])

    def identity(self, instance: Instance) -> tuple[str, ...]:
        person = self.person(self.study(instance))
        who = tuple("\\".join(person.get(keyword, ())) for keyword in PERSON)
        study = "" if person.get("PatientID") else instance.uids.study_instance_uid
        return (study, who[0], who[1], fold(who[2]), who[3])

    def study(self, instance: Instance) -> list[Instance]:
        uid = instance.uids.study_instance_uid
        return [i for i in self.instances.values() if i.uids.study_instance_uid == uid]

    def series(self, instance: Instance) -> list[Instance]:
        uids = instance.uids[:2]
        return [i for i in self.instances.values() if i.uids[:2] == uids]

    def patient(self, instance: Instance) -> list[Instance]:
        who = self.identity(instance)
        return [i for i in self.instances.values() if self.identity(i) == who]

    def person(self, instances: Sequence[Instance]) -> Values:
        """The first instance's, filled by those that contradict nothing known."""
        known: Values = {}
        for instance in instances:
            said = {keyword: instance.values.get(keyword, ()) for keyword in PERSON}
            if all(agree(keyword, known.get(keyword, ()), said[keyword]) for keyword in PERSON):
                known.update({k: v for k, v in said.items() if not known.get(k)})
        return known

    def first(self, keyword: str, instances: Sequence[Instance]) -> tuple[str, ...]:
        return next((i.values[keyword] for i in instances if keyword in i.values), ())

    def _meets(self, query: Query, key: Key, instance: Instance) -> bool:
        keyword = key.keyword
        if keyword == "ModalitiesInStudy":
            return fits(key, self.modalities(self.study(instance)))
        if keyword == "RequestAttributesSequence":
            return self._meets_items(key, instance)
        if keyword in ("PatientID", "PatientName"):
            of = self.patient if query.level == Level.PATIENT else self.study
            return fits(key, (v for i in of(instance) for v in i.values.get(keyword, ())))
        if keyword in PERSON:
            return fits(key, self.person(self.study(instance)).get(keyword, ()))
        if keyword in COLUMNS[Level.IMAGE]:
            return fits(key, instance.values.get(keyword, ()))
        among = self.series if keyword in COLUMNS[Level.SERIES] else self.study
        return fits(key, self.first(keyword, among(instance)))

    def modalities(self, instances: Sequence[Instance]) -> set[str]:
        return {m for i in instances for m in self.first("Modality", self.series(i)) if m}

    def _meets_items(self, key: Key, instance: Instance) -> bool:
        said = (json.loads(i.others[Level.SERIES]) for i in self.series(instance))
        items = next((each["00400275"]["Value"] for each in said if each), [])
        return any(
            all(fits(inner, item[f"{inner.tag:08X}"].get("Value", ())) for inner in key.items)
            for item in items
        )
