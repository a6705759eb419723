"""Identifiers without what tells who a patient is: values become pseudonyms, the same ones for the
same values, so that it still can be seen what matched what. What is kept is named, by VR and by
keyword; everything else goes, so that an attribute nobody thought of gives nothing away."""

import re
from hashlib import blake2b

from pydicom import DataElement, Dataset

from pacsnode.dicom import dictionary
from pacsnode.dicom.encode import decode_dataset, element_of, encode_dataset
from pacsnode.dicom.values import NUMBER_FORMATS, SPECIFIC_CHARACTER_SET, plain_values
from pacsnode.errors import UnreadableDataset

# Of these VRs values stay that look as their VR says: a name in the place of a date goes too.
_KEPT_VRS = {
    "UI": re.compile(r"[0-9.*?]*"),
    "DA": re.compile(r"[0-9.\-*? ]*"),
    "TM": re.compile(r"[0-9.:\-*? ]*"),
    "DT": re.compile(r"[0-9.:+\-*? ]*"),
    "IS": re.compile(r"[0-9+\-*? ]*"),
    "DS": re.compile(r"[0-9.eE+\-*? ]*"),
    "AS": re.compile(r"[0-9]{0,3}[DWMY]?"),
    "CS": re.compile(r"[A-Z0-9_*? ]{0,16}"),
    "AE": re.compile(r".{0,16}"),
    "AT": re.compile(r"[0-9A-F]{8}"),
}
# Text that says nothing of a person.
_KEPT = frozenset(
    {
        "CodeMeaning", "CodeValue", "CodingSchemeDesignator", "CodingSchemeVersion",
        "Manufacturer", "ManufacturerModelName", "SoftwareVersions", "StationName",
        "TimezoneOffsetFromUTC",
    }
)  # fmt: skip
# Values of the VRs above that say much of one.
_REPLACED = frozenset(
    {
        "PatientBirthDate", "PatientBirthTime", "PatientBirthDateInAlternativeCalendar",
        "PatientDeathDateInAlternativeCalendar", "LastMenstrualDate",
    }
)  # fmt: skip
_BIRTH = re.compile(r"[0-9]{8}")
_WILDCARDS = re.compile(r"([*?])")
_SEPARATORS = re.compile(r"([\^=*?])")  # of a name, which keeps its form
_ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
_LETTERS = 8  # of a pseudonym: 40 bits
_KNOWN_LENGTHS = range(3, 65)  # characters: no other values are looked for in comments
_MOST_KNOWN = 10_000  # the last ones
_MAX_DEPTH = 16


class Pseudonyms:
    """Values to pseudonyms, by a secret `key` without which nobody can try names out."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._known: dict[str, str] = {}

    def of(self, text: str, vr: str = "LO") -> str:
        """Of a value: spaces around it do not count, nor the case of names. Wildcards stay, and so
        do the separators of a name's components."""
        separators = _SEPARATORS if vr == "PN" else _WILDCARDS
        parts = separators.split(text.strip())
        return "".join(
            part if separators.fullmatch(part) else self._word(part, vr) for part in parts if part
        )

    def birth_date(self, text: str) -> str:
        """A date for each date of a range; the order of two is not kept."""
        if not re.fullmatch(r"[0-9\-]*", text):
            return self.of(text)
        return _BIRTH.sub(lambda match: self._date(match[0]), text)

    def comment(self, text: str) -> str:
        """An Error Comment, less the values that have been replaced before."""
        for known in sorted(self._known, key=len, reverse=True):
            if known.casefold() in text.casefold():
                text = re.sub(re.escape(known), self._known[known], text, flags=re.IGNORECASE)
        return text

    def _word(self, text: str, vr: str) -> str:
        stripped = text.strip()
        if not stripped:
            return text
        number = self._number(stripped.casefold() if vr == "PN" else stripped)
        word = "".join(_ALPHABET[number >> 5 * place & 31] for place in range(_LETTERS))
        self._remember(stripped, word)
        return word

    def _remember(self, text: str, pseudonym: str) -> None:
        if len(text) not in _KNOWN_LENGTHS:
            return
        self._known[text] = pseudonym
        if len(self._known) > _MOST_KNOWN:
            del self._known[next(iter(self._known))]

    def _date(self, text: str) -> str:
        number = self._number(text)
        date = f"{1900 + number % 100}{1 + number // 100 % 12:02}{1 + number // 1200 % 28:02}"
        self._remember(text, date)
        return date

    def _number(self, text: str) -> int:
        digest = blake2b(text.encode("utf-8", "surrogatepass"), key=self._key, digest_size=8)
        return int.from_bytes(digest.digest(), "big")


def conceal(data: bytes, transfer_syntax_uid: str, pseudonyms: Pseudonyms) -> bytes | None:
    """A dataset with pseudonyms in it and without binary values; None where it cannot be read."""
    try:
        dataset = decode_dataset(data, transfer_syntax_uid)
        return encode_dataset(_concealed(dataset, pseudonyms, 0), transfer_syntax_uid)
    except (UnreadableDataset, UnicodeError):
        return None


def _concealed(dataset: Dataset, pseudonyms: Pseudonyms, depth: int) -> Dataset:
    concealed = Dataset()
    for element in dataset:
        if element.VR == "SQ":
            items = [] if depth > _MAX_DEPTH else element.value or []
            inner = [_concealed(item, pseudonyms, depth + 1) for item in items]
            concealed.add(element_of(int(element.tag), "SQ", inner))
        else:
            values = _values(element, pseudonyms)
            concealed.add(element_of(int(element.tag), element.VR, values))
    return concealed


def _values(element: DataElement, pseudonyms: Pseudonyms) -> list[str | int | float | bytes]:
    """By the data dictionary's VR: the one declared may be anything."""
    tag = int(element.tag)
    keyword, vr = dictionary.keyword_of(tag), dictionary.vr_of(tag)
    concealed: list[str | int | float | bytes] = []
    for value in plain_values(element):
        if isinstance(value, bytes):
            continue
        if not isinstance(value, str):
            concealed += [value] if vr in NUMBER_FORMATS else []
        elif keyword in _REPLACED:
            concealed.append(pseudonyms.birth_date(value))
        elif tag == SPECIFIC_CHARACTER_SET or keyword in _KEPT or _looks_like(vr, value):
            concealed.append(value)
        else:
            concealed.append(pseudonyms.of(value, vr))
    return concealed


def _looks_like(vr: str, value: str) -> bool:
    form = _KEPT_VRS.get(vr)
    return form is not None and form.fullmatch(value.strip()) is not None
