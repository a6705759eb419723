"""Whether a date and its time, as a row or a dataset has them, meet a query's Moment."""

from collections.abc import Callable, Iterable, Sequence
from itertools import product

from pacsnode.dicom.date_time import moved
from pacsnode.dicom.match import Bounds, date_bounds, matcher, normal_date, normal_time, time_bounds
from pacsnode.dicom.moments import Moment, is_adjusted
from pacsnode.dicom.query import Key

# Dates, their times, and the offset from UTC that both were said at (minutes; None: not known).
MeetsMoment = Callable[[Sequence[str], Sequence[str], int | None], bool]


def moment_matcher(moment: Moment, timezone: int | None) -> MeetsMoment:
    """Prepared for many."""
    meets = _pair_matcher(moment)
    to = timezone if is_adjusted(moment.time, timezone) else None

    def test(days: Sequence[str], times: Sequence[str], stored: int | None) -> bool:
        pairs = pairs_of(days, times)
        if to is None:
            return any(meets(day, time) for day, time in pairs)
        return any(meets(*moved(day, time, stored, to)) for day, time in pairs)

    return test


def pairs_of(days: Sequence[str], times: Sequence[str]) -> Iterable[tuple[str, str]]:
    """Values belong together by their places; where one side has more, each with each."""
    if len(days) == len(times):
        return zip(days, times, strict=True)
    return product(days or [""], times or [""])


def _pair_matcher(moment: Moment) -> Callable[[str, str], bool]:
    day, time = moment.date, moment.time
    if moment.is_combined and day is not None:
        bounds = combined_bounds(day.values[0], time.values[0])
        if bounds is not None:
            return _within(bounds)
    meets_day, meets_time = _key_matcher(day), _key_matcher(time)
    return lambda found_day, found_time: meets_day([found_day]) and meets_time([found_time])


def _key_matcher(key: Key | None) -> Callable[[Iterable[str]], bool]:
    return matcher(key) if key is not None else lambda values: True


def _within(bounds: Bounds) -> Callable[[str, str], bool]:
    def test(day: str, time: str) -> bool:
        found_day, found_time = normal_date(day), normal_time(time)
        if found_day is None or found_time is None:
            return False
        return bounds.low <= found_day + found_time <= bounds.high

    return test


def combined_bounds(days: str, times: str) -> Bounds | None:
    """Of moments as YYYYMMDDHHMMSS.FFFFFF; None where one of the two is no range."""
    of_days, of_times = date_bounds(days), time_bounds(times)
    if of_days is None or of_times is None:
        return None
    return Bounds(of_days.low + of_times.low, of_days.high + of_times.high)
