"""Attribute matching (PS3.4 C.2.2.2) in plain Python, and the pieces of it that an index turns into
its own conditions: normal forms and bounds. What `matches` says is the truth; an index
may only select more.
"""

import re
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import NamedTuple

from pacsnode.dicom.names import fuzzy_name, how_like, is_like, matches_name, name_pattern
from pacsnode.dicom.query import Key
from pacsnode.dicom.text import fold_name, trimmed
from pacsnode.dicom.wildcards import has_wildcard, wildcard

# Where `*` and `?` stand for others (PS3.4 C.2.2.2.4). In all other VRs they are themselves, but
# for the lone `*`, which is universal everywhere.
WILDCARD_VRS = frozenset({"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})

_NUMBER_VRS = frozenset({"IS", "DS", "US", "SS", "UL", "SL", "UV", "SV", "FL", "FD"})

_Test = Callable[[str], bool]

_LOW, _HIGH = "", "\U0010ffff"
_DATE = re.compile(r"(\d{4})(\.?)(\d\d)\2(\d\d)")
_TIME = re.compile(r"(\d\d)(?:(:?)(\d\d)(?:\2(\d\d)(?:\.(\d{1,6}))?)?)?")
_DATETIME = re.compile(
    r"(\d{4})(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:\.(\d{1,6}))?)?)?)?)?)?"
    r"([+-](?:0\d|1[0-4])[0-5]\d)?"
)
_LONGEST_DATETIME_RANGE = 64  # characters: two of 26, a hyphen, spaces
_INTEGER = re.compile(r"([+-]?)0*((?!0)\d+|0)")  # one way only to share out zeros: no time is lost
_FIRST = ("0000", "01", "01", "00", "00", "00")
_LAST = ("9999", "12", "31", "23", "59", "59")


class Bounds(NamedTuple):
    """A range of normal forms, both ends included; to be compared as text."""

    low: str
    high: str


def matches(key: Key, values: Iterable[str]) -> bool:
    """Whether one of an attribute's values meets one of the key's. Universal keys meet all, also an
    absent attribute. Keys of sequences are matched item by item, through their `items`."""
    return matcher(key)(values)


def matcher(key: Key) -> Callable[[Iterable[str]], bool]:
    """`matches` of one key, prepared for many attributes."""
    if key.is_universal:
        return lambda values: True
    if key.items:
        return lambda values: False
    normal = _normal(key.vr)
    # However many values are to be found as they are, they take one look-up.
    same: set[str] = set()
    tests: list[_Test] = []
    for comparison in comparisons(key):
        if comparison.test is None:
            same.add(comparison.wanted)
        else:
            tests.append(comparison.test)

    def meets(value: str) -> bool:
        return normal(value) in same or any(test(value) for test in tests)

    return lambda values: any(meets(value) for value in values if value)


class Comparison(NamedTuple):
    """How one of a key's values is compared with an attribute's. `rule` says it to people; `wanted`
    is the key's value as it is compared, `normal` makes of the attribute's what is compared.
    `test` takes it as it is stored; None: what `normal` makes of it has to be `wanted`. `how` says
    of a value, where there is more to say, by what it matches or what it lacks."""

    rule: str
    wanted: str
    normal: Callable[[str], str]
    test: _Test | None = None
    how: Callable[[str], str] = lambda value: ""

    def met_by(self, value: str) -> bool:
        return self.normal(value) == self.wanted if self.test is None else self.test(value)


def comparisons(key: Key) -> list[Comparison]:
    """One for each value of a key that is neither universal nor a sequence."""
    if key.vr == "PN" and key.is_fuzzy:
        return [_of_fuzzy_name(wanted) for wanted in key.values]
    return [_comparison(key.vr, wanted) for wanted in key.values]


def _comparison(vr: str, wanted: str) -> Comparison:
    if vr == "DA":
        return _of_range("date", wanted, date_bounds(wanted), normal_date)
    if vr == "TM":
        return _of_range("time", wanted, time_bounds(wanted), normal_time)
    if vr == "DT" and len(wanted) <= _LONGEST_DATETIME_RANGE:
        return Comparison(
            "date and time", wanted, trimmed, lambda value: _matches_datetime(wanted, value)
        )
    if vr == "PN":
        return _of_name(wanted)
    if vr in WILDCARD_VRS and has_wildcard(wanted):
        expression = wildcard(wanted)
        return Comparison(
            "wildcards", wanted, trimmed, lambda value: bool(expression.fullmatch(trimmed(value)))
        )
    normal = _normal(vr)
    rule = "number" if vr in _NUMBER_VRS else "the same text"
    return Comparison(rule, normal(wanted), normal)


def _normal(vr: str) -> Callable[[str], str]:
    return normal_number if vr in _NUMBER_VRS else trimmed


def _of_name(wanted: str) -> Comparison:
    pattern = name_pattern(wanted)
    rule = "name, wildcards" if has_wildcard(wanted) else "name"
    return Comparison(rule, fold_name(wanted), _folded, lambda value: matches_name(pattern, value))


def _of_fuzzy_name(wanted: str) -> Comparison:
    """Whatever matches without fuzziness does so with it."""
    exact, fuzzy = _of_name(wanted), fuzzy_name(wanted)
    return exact._replace(
        rule="fuzzy name",
        test=lambda value: exact.met_by(value) or is_like(fuzzy, value),
        how=lambda value: "as it stands" if exact.met_by(value) else how_like(fuzzy, value),
    )


def _folded(value: str) -> str:
    return fold_name(trimmed(value))


def _of_range(
    what: str, wanted: str, bounds: Bounds | None, normal: Callable[[str], str | None]
) -> Comparison:
    """What is no date, or no time, matches its own text."""
    if bounds is None:
        return Comparison(f"the same text, for it is no {what}", wanted, trimmed)
    low, high = bounds

    def test(value: str) -> bool:
        found = normal(value)
        return found is not None and low <= found <= high

    rule = what if low == high else f"range of {what}s"
    shown = low if low == high else f"{low}-{high.replace(_HIGH, '')}"
    return Comparison(rule, shown, lambda value: normal(value) or trimmed(value), test)


def normal_date(text: str) -> str | None:
    """YYYYMMDD of a DA, also of ACR-NEMA's YYYY.MM.DD; None where it is no date."""
    found = _DATE.fullmatch(trimmed(text))
    return found[1] + found[3] + found[4] if found else None


def date_bounds(wanted: str) -> Bounds | None:
    """The dates that a key's value (a date, or a range, open ones too) matches; None where it is
    neither: then it matches its own text."""
    if single := normal_date(wanted):
        return Bounds(single, single)
    low, hyphen, high = trimmed(wanted).partition("-")
    first, last = normal_date(low), normal_date(high)
    if not hyphen or (low and not first) or (high and not last) or not (first or last):
        return None
    return Bounds(first or _LOW, last or _HIGH)


def normal_time(text: str) -> str | None:
    """HHMMSS.FFFFFF of a TM, the parts that it leaves out being 0 (PS3.4 C.2.2.2.1: times match by
    their meaning); also of ACR-NEMA's HH:MM:SS. None where it is no time."""
    return _time(text, "00", "0")


def _time(text: str, missing: str, digit: str) -> str | None:
    found = _TIME.fullmatch(trimmed(text))
    if not found:
        return None
    hours, _, minutes, seconds, fraction = found.groups()
    return f"{hours}{minutes or missing}{seconds or missing}.{(fraction or '').ljust(6, digit)}"


def time_bounds(wanted: str) -> Bounds | None:
    """As date_bounds; the end of a range is the last moment of what it names: -10 ends before
    11 o'clock."""
    if single := normal_time(wanted):
        return Bounds(single, single)
    low, hyphen, high = trimmed(wanted).partition("-")
    first, last = normal_time(low), _time(high, "59", "9")
    if not hyphen or (low and not first) or (high and not last) or not (first or last):
        return None
    return Bounds(first or _LOW, last or _HIGH)


def _matches_datetime(wanted: str, value: str) -> bool:
    """Offsets from UTC count where both sides have one; else local times are compared."""
    value = trimmed(value)
    is_local = not _has_offset(value) or not _has_offset(wanted)
    found = _datetime(value, _FIRST, is_local)
    single = _datetime(wanted, _FIRST, is_local)
    if found and single:
        return found == single
    for hyphen in re.finditer("-", wanted):
        low, high = wanted[: hyphen.start()].strip(), wanted[hyphen.end() :].strip()
        first, last = _datetime(low, _FIRST, is_local), _datetime(high, _LAST, is_local)
        if (first or not low) and (last or not high) and (first or last):
            return found is not None and (first or _LOW) <= found <= (last or _HIGH)
    return wanted == value


def _has_offset(text: str) -> bool:
    return bool(re.search(r"[+-](?:0\d|1[0-4])[0-5]\d\s*(?:-|$)", text))


def _datetime(text: str, missing: tuple[str, ...], is_local: bool) -> str | None:
    """YYYYMMDDHHMMSS.FFFFFF of a DT, in UTC unless local; None where it is none."""
    found = _DATETIME.fullmatch(text)
    if not found:
        return None
    *parts, fraction, offset = found.groups()
    digits = "".join(part or default for part, default in zip(parts, missing, strict=True))
    fraction = (fraction or "").ljust(6, "0" if missing is _FIRST else "9")
    if offset and not is_local:
        try:
            moment = datetime.strptime(digits, "%Y%m%d%H%M%S")
            minutes = int(offset[1:3]) * 60 + int(offset[3:5])
            moment -= timedelta(minutes=minutes if offset[0] == "+" else -minutes)
        except (ValueError, OverflowError):
            return None
        digits = f"{moment:%Y%m%d%H%M%S}".rjust(14, "0")
    return f"{digits}.{fraction}"


def normal_number(text: str) -> str:
    """A whole number without leading zeros and plus sign, another without needless zeros: numbers
    match by their meaning. What is no number stays as it is."""
    text = trimmed(text)
    if found := _INTEGER.fullmatch(text):
        sign = "-" if found[1] == "-" and found[2] != "0" else ""
        return sign + found[2]
    if "_" in text:  # a sign of Python's
        return text
    try:
        return repr(float(text) + 0.0).removesuffix(".0")  # -0.0 + 0.0 is 0.0
    except ValueError:
        return text
