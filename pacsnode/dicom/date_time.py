"""Dates and times in the words of a dataset, moved from one offset from UTC to another. Offsets are
minutes; what is no date, or no time, is left as it stands."""

import re
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock_time

MINUTES_A_DAY = 24 * 60

_OFFSET = re.compile(r"([+-])(0\d|1[0-4])([0-5]\d)")  # -1200 to +1400 (PS3.3 C.12.1.1.8), and some
_DATE = re.compile(r"(\d{4})(\.?)(\d\d)\2(\d\d)")
_TIME = re.compile(r"([01]\d|2[0-3])(?:(:?)([0-5]\d)(?:\2([0-5]\d|60)(?:\.\d{1,6})?)?)?")
_DATETIME = re.compile(r"\d{4}(?:\d\d(?:\d\d(?:\d\d(?:\d\d(?:\d\d(?:\.\d{1,6})?)?)?)?)?)?")
_HAS_OFFSET = re.compile(f"(?:{_DATETIME.pattern})(?:{_OFFSET.pattern})")
_MAY_HAVE_OFFSET = re.compile(f"(?:{_DATETIME.pattern})(?:{_OFFSET.pattern})?")


def offset_of(text: str) -> int | None:
    """Of a Timezone Offset From UTC (0008,0201), +0130 say; None where it is none."""
    found = _OFFSET.fullmatch(text.strip(" \0"))
    if found is None:
        return None
    sign, hours, minutes = found.groups()
    offset = int(hours) * 60 + int(minutes)
    return -offset if sign == "-" else offset


def offset_text(offset: int) -> str:
    hours, minutes = divmod(abs(offset), 60)
    return f"{'-' if offset < 0 else '+'}{hours:02d}{minutes:02d}"


def offset_here(day: str, time: str = "") -> int:
    """This machine's own offset at that moment, or now where it is none: what has no offset was
    said in the archive's local time, as far as one can know."""
    moment = datetime.now()  # local time is what is asked for
    found, clock = _day(day), _TIME.fullmatch(time)
    if found is not None:
        hours, minutes = (int(clock[1]), int(clock[3] or 0)) if clock else (12, 0)
        moment = datetime.combine(found, clock_time(hours, minutes))
    try:
        offset = moment.astimezone().utcoffset()
    except (OverflowError, ValueError, OSError):  # years that no clock of the system knows
        offset = datetime.now(UTC).astimezone().utcoffset()
    return round(offset.total_seconds() / 60) if offset is not None else 0


def moved(day: str, time: str, stored: int | None, to: int) -> tuple[str, str]:
    """A date (DA) and its time (TM), which were said at the offset `stored` (None: this machine's),
    as they are said at the offset `to`. Without a time the day stays."""
    clock = _TIME.fullmatch(time.strip())
    if clock is None:
        return day, time
    origin = offset_here(day.strip(), time.strip()) if stored is None else stored
    if origin == to:
        return day, time
    hours, colon, minutes, _ = clock.groups()
    days, minute = divmod(int(hours) * 60 + int(minutes or 0) + to - origin, MINUTES_A_DAY)
    hours, rest = f"{minute // 60:02d}", f"{minute % 60:02d}"
    tail = time.strip()[clock.end(3) :] if minutes else ""
    shown = f"{hours}{colon or ''}{rest}{tail}" if minutes or minute % 60 else hours
    return _days_later(day, days), shown


def _days_later(text: str, days: int) -> str:
    found = _day(text.strip())
    if found is None or not days:
        return text
    try:
        return f"{found + timedelta(days):%Y%m%d}".rjust(8, "0")
    except OverflowError:
        return text


def _day(text: str) -> date | None:
    found = _DATE.fullmatch(text)
    if found is None:
        return None
    try:
        return date(int(found[1]), int(found[3]), int(found[4]))
    except ValueError:
        return None


def with_offset(text: str, offset: int | None) -> str:
    """A DT that says its offset: its own, else this one (None: this machine's)."""
    bare = text.strip()
    if not _DATETIME.fullmatch(bare):
        return text
    if offset is None:
        offset = offset_here(bare[:8], bare[8:12])
    return f"{bare}{offset_text(offset)}"


def range_with_offset(wanted: str, offset: int) -> str:
    """A key's DT, or range of them, each of which says its offset: its own, else this one. What
    can be read as a DT with an offset of its own is one, not a range up to a year before 1500."""
    if _HAS_OFFSET.fullmatch(wanted.strip()):
        return wanted
    for hyphen in re.finditer("-", wanted):
        ends = wanted[: hyphen.start()].strip(), wanted[hyphen.end() :].strip()
        if any(ends) and all(_MAY_HAVE_OFFSET.fullmatch(end) for end in ends if end):
            return "-".join(with_offset(end, offset) for end in ends)
    return with_offset(wanted, offset)


def widened(wanted: str, days: int) -> str | None:
    """A key's DA, or range of them, that begins and ends so many days earlier and later; None where
    it is none."""
    low, hyphen, high = (part.strip() for part in wanted.partition("-"))
    first, last = _day(low), _day(high if hyphen else low)
    if (low and first is None) or (high and last is None) or not (first or last):
        return None
    begin = _days_later(low, -days) if first else ""
    end = _days_later(high if hyphen else low, days) if last else ""
    return f"{begin}-{end}"
