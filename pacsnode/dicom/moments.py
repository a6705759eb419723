"""Dates and times of a query that are matched as pairs: where combined date-time matching is agreed
on, a range of dates and one of times are one range of moments (PS3.4 C.2.2.2.5.4); where timezone
query adjustment is, a stored date moves with its time (PS3.4 C.2.2.2.1.3).

Dates keep a place among the keys, as wide as it takes: an index finds by them what may match."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from pacsnode.dicom.date_time import range_with_offset, widened
from pacsnode.dicom.level import COLUMNS, Level

if TYPE_CHECKING:
    from pacsnode.dicom.query import Key, Query

TIMEZONE_OFFSET = 0x00080201  # Timezone Offset From UTC: of all dates and times of a dataset
FARTHEST = 2  # days: from -1400 to +1400 are 28 hours

_COLUMNS = frozenset(COLUMNS[Level.IMAGE])


class Moment(NamedTuple):
    """The key of a time, and of its date where that is asked for. `is_combined`: the two ranges are
    one."""

    date: Key | None
    time: Key
    is_combined: bool = False

    @property
    def level(self) -> Level:
        return self.time.level

    @property
    def is_in_files(self) -> bool:
        """Whether only an instance's file can tell."""
        keys = (self.time,) if self.date is None else (self.date, self.time)
        return any(key.level is Level.IMAGE and key.keyword not in _COLUMNS for key in keys)


def date_keyword(keyword: str) -> str:
    """Of the date that a time belongs to: StudyDate for StudyTime."""
    return keyword.replace("Time", "Date")


def with_moments(query: Query) -> Query:
    """The query, with its pairs taken out of `matching`."""
    is_combined, timezone = query.extensions.combined_date_time, query.timezone
    if not is_combined and timezone is None:
        return query
    dates = {key.keyword: key for key in query.returned if key.vr == "DA" and key.keyword}
    wanted = {key.tag for key in query.matching}
    moments = []
    for time in query.returned:
        if time.vr != "TM" or not time.keyword:
            continue
        day = dates.get(date_keyword(time.keyword))
        if day is not None and day.level != time.level:
            day = None
        asked = [key for key in (day, time) if key is not None and key.tag in wanted]
        one_range = is_combined and len(asked) == 2 and _have_one_form(*asked)
        if one_range or (asked and is_adjusted(time, timezone)):
            moments.append(Moment(day, time, one_range))
    return replace(query, matching=_others(query, moments), moments=tuple(moments))


def is_adjusted(key: Key, timezone: int | None) -> bool:
    """A birthday does not move with those who ask for it."""
    return timezone is not None and key.level > Level.PATIENT


def _have_one_form(day: Key, time: Key) -> bool:
    """Whether both are one range, open at the same end."""
    if len(day.values) != 1 or len(time.values) != 1:
        return False
    (days,), (times,) = day.values, time.values
    forms = [tuple(map(bool, text.partition("-"))) for text in (days, times)]
    return forms[0] == forms[1] and "-" in days


def _others(query: Query, moments: Sequence[Moment]) -> tuple[Key, ...]:
    """What is left to match: of pairs the dates alone, as wide as the timezone makes them."""
    times = {moment.time.tag for moment in moments}
    days = {moment.date.tag: moment for moment in moments if moment.date is not None}
    left = []
    for key in query.matching:
        if key.tag in days:
            moves = is_adjusted(key, query.timezone)
            wide = [widened(value, FARTHEST) for value in key.values] if moves else [*key.values]
            if all(wide):
                left.append(replace(key, values=tuple(value for value in wide if value)))
        elif key.tag not in times:
            left.append(key if query.timezone is None else _explicit(key, query.timezone))
    return tuple(left)


def _explicit(key: Key, timezone: int) -> Key:
    """DTs of a query, also those in sequences, say their offset."""
    if key.items:
        return replace(key, items=tuple(_explicit(item, timezone) for item in key.items))
    if key.vr != "DT" or key.is_universal:
        return key
    return replace(key, values=tuple(range_with_offset(value, timezone) for value in key.values))
