"""The dates and times of answers, as they are said in the query's timezone (Timezone query
adjustment, PS3.4 C.4.1.1.3.2). An answer can name one offset from UTC, while its study and its
series may have been received with others."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from pydicom import Dataset

from pacsnode.dicom.date_time import moved, offset_of, offset_text
from pacsnode.dicom.json import text_of
from pacsnode.dicom.level import Level
from pacsnode.dicom.moments import TIMEZONE_OFFSET, date_keyword, is_adjusted
from pacsnode.dicom.query import Key, Query
from pacsnode.dicom.template import Given, Slot
from pacsnode.index import Match

# The value of one element, out of a match and what its file says.
Source = Callable[[Match, Dataset], Given]

# What answers consist of, by tag; without a source for what is the same in all of them.
Elements = dict[int, tuple[Slot, Source | None]]

Attributes = Mapping[str, Any]
AttributesOf = Callable[[Match, Level], Attributes]

DATE, TIME = 0, 1


def in_timezone(
    elements: Elements, query: Query, in_file: Collection[Key], attributes_of: AttributesOf
) -> None:
    """Let times, with their dates where these are asked for too, move to the query's timezone, and
    name it; where it has none, nothing is changed. What is `in_file` has moved on being read."""
    timezone = query.timezone
    if timezone is None:
        return
    days = {key.keyword: key for key in query.returned if key.vr == "DA"}
    for time in query.returned:
        if time.vr != "TM" or time in in_file or not is_adjusted(time, timezone):
            continue
        pair = (days.get(date_keyword(time.keyword)), time)
        sources = [elements[key.tag][1] if key is not None else None for key in pair]
        for part, key in enumerate(pair):
            if key is not None:
                move = _Mover(sources, part, timezone, time.level, attributes_of)
                elements[key.tag] = elements[key.tag][0], move
    if any(key.vr in ("TM", "DT", "SQ") for key in query.returned):
        elements[TIMEZONE_OFFSET] = Slot(TIMEZONE_OFFSET, "SH", offset_text(timezone)), None


class _Mover:
    """The source of a date or of its time (`part`), out of the sources of both."""

    def __init__(
        self,
        sources: Sequence[Source | None],
        part: int,
        timezone: int,
        level: Level,
        attributes_of: AttributesOf,
    ) -> None:
        self._sources = sources
        self._part = part
        self._timezone = timezone
        self._level = min(level, Level.SERIES)  # the index knows no offsets of single instances
        self._attributes_of = attributes_of

    def __call__(self, match: Match, header: Dataset) -> Given:
        given = [source(match, header) if source is not None else "" for source in self._sources]
        day, time = given
        if not isinstance(day, str) or not isinstance(time, str) or not time:
            return given[self._part]
        days, times = day.split("\\"), time.split("\\")
        if len(days) != len(times):
            return given[self._part]
        stored = self._stored_offset(match)
        pairs = zip(days, times, strict=True)
        return "\\".join(moved(*pair, stored, self._timezone)[self._part] for pair in pairs)

    def _stored_offset(self, match: Match) -> int | None:
        attributes = self._attributes_of(match, self._level)
        values = attributes.get(f"{TIMEZONE_OFFSET:08X}", {}).get("Value", ())
        return offset_of(text_of(values[0])) if values else None
