"""Whether a row meets a query's moments: a date and its time, said at the offset from UTC that the
study, or the series, was received with."""

import json
from typing import Any, NamedTuple

from pacsnode.dicom.date_time import offset_of
from pacsnode.dicom.json import text_of
from pacsnode.dicom.level import COLUMNS, Level
from pacsnode.dicom.match_moments import MeetsMoment, moment_matcher
from pacsnode.dicom.moments import TIMEZONE_OFFSET, Moment
from pacsnode.dicom.query import Key
from pacsnode.index.rows import Row


class OfMoment(NamedTuple):
    """What a row's date and time have to meet."""

    moment: Moment
    meets: MeetsMoment
    needs_offset: bool

    def met_by(self, row: Row) -> bool:
        day, time = self.moment.date, self.moment.time
        stored = _offset(row, self.moment.level) if self.needs_offset else None
        return self.meets(_values(row, day) if day is not None else (), _values(row, time), stored)


def of_moment(moment: Moment, timezone: int | None) -> OfMoment:
    return OfMoment(moment, moment_matcher(moment, timezone), timezone is not None)


def _values(row: Row, key: Key) -> list[str]:
    if key.keyword in COLUMNS[key.level]:
        text = row.values[key.keyword]
        return text.split("\\") if text else []
    return _others(row, key.level, key.tag)


def _offset(row: Row, level: Level) -> int | None:
    """The index knows no offsets of single instances: they have their series'."""
    texts = _others(row, min(level, Level.SERIES), TIMEZONE_OFFSET)
    return offset_of(texts[0]) if texts else None


def _others(row: Row, level: Level, tag: int) -> list[str]:
    attributes: dict[str, Any] = json.loads(row.others.get(level) or "{}")
    return [text_of(value) for value in attributes.get(f"{tag:08X}", {}).get("Value", ())]
