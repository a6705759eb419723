"""Dates and times moved from one offset from UTC to another."""

import os
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pacsnode.dicom.date_time import (
    moved,
    offset_here,
    offset_of,
    offset_text,
    range_with_offset,
    widened,
    with_offset,
)


@pytest.fixture
def in_tokyo() -> Iterator[None]:
    """A machine whose local time is nine hours ahead, all year."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = "Asia/Tokyo"
    time.tzset()
    yield
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("+0100", 60), ("-0330 ", -210), ("+1400\0", 840), ("0100", None), ("+01:00", None),
        ("+1500", None), ("+0160", None), ("", None), ("Z", None),
    ],
)  # fmt: skip
def test_an_offset_has_a_sign_and_four_digits(text: str, minutes: int | None) -> None:
    assert offset_of(text) == minutes


@given(st.integers(-14 * 60, 14 * 60))
def test_an_offset_is_read_as_it_is_written(minutes: int) -> None:
    assert offset_of(offset_text(minutes)) == minutes


@pytest.mark.parametrize(
    ("day", "clock", "stored", "to", "expected"),
    [
        ("20240101", "233000", 0, 60, ("20240102", "003000")),
        ("20240301", "003000.25", 60, 0, ("20240229", "233000.25")),
        ("20240101", "0900", 60, 60, ("20240101", "0900")),
        ("20240101", "10", 0, 330, ("20240101", "1530")),
        ("20240101", "10", 0, 120, ("20240101", "12")),
        ("2024.01.01", "23:30:00", 0, 60, ("20240102", "00:30:00")),
        ("20240101", "103060", 0, -840, ("20231231", "203060")),
        ("", "2330", 0, 60, ("", "0030")),
        ("no date", "2330", 0, 60, ("no date", "0030")),
        ("20240101", "", 0, 60, ("20240101", "")),
        ("20240101", "2500", 0, 60, ("20240101", "2500")),
        ("99991231", "2330", 0, 60, ("99991231", "0030")),
        ("20240230", "2330", 0, 60, ("20240230", "0030")),
    ],
)
def test_a_time_moves_and_takes_its_date_along(
    day: str, clock: str, stored: int, to: int, expected: tuple[str, str]
) -> None:
    assert moved(day, clock, stored, to) == expected


@given(
    st.dates().map(lambda day: f"{day:%Y%m%d}".rjust(8, "0")).filter(lambda d: "0003" < d < "9998"),
    st.times().map(lambda clock: f"{clock:%H%M%S.%f}"),
    st.integers(-840, 840),
    st.integers(-840, 840),
)
def test_there_and_back_is_the_same_moment(day: str, clock: str, one: int, other: int) -> None:
    assert moved(*moved(day, clock, one, other), other, one) == (day, clock)


def test_what_says_no_offset_was_said_in_local_time(in_tokyo: None) -> None:
    assert offset_here("20240101", "1200") == offset_here("") == 540
    assert moved("20240101", "0830", None, 0) == ("20231231", "2330")
    assert with_offset("20240101083000", None) == "20240101083000+0900"


def test_years_that_no_clock_knows_are_no_fault() -> None:
    assert isinstance(offset_here("00010101", "0000"), int)
    assert isinstance(offset_here("99991231", "2359"), int)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("20240101120000", "20240101120000-0330"),
        ("2024", "2024-0330"),
        ("20240101120000.5+0100", "20240101120000.5+0100"),
        ("no moment", "no moment"),
        ("", ""),
    ],
)
def test_a_datetime_without_an_offset_gets_one(text: str, expected: str) -> None:
    assert with_offset(text, -210) == expected


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("20240101-20240102", "20240101+0100-20240102+0100"),
        ("20240101-", "20240101+0100-"),
        ("-2024", "-2024+0100"),
        ("20240101", "20240101+0100"),
        ("20240101-0500", "20240101-0500"),
        ("20240101-0500-20240102-0500", "20240101-0500-20240102-0500"),
        ("20240101-0500-20240102", "20240101-0500-20240102+0100"),
        ("20240101 - 20240102+0200", "20240101+0100-20240102+0200"),
        ("-", "-"),
        ("2024*-2025", "2024*-2025"),
    ],
)
def test_both_ends_of_a_range_get_one(wanted: str, expected: str) -> None:
    assert range_with_offset(wanted, 60) == expected


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("20240101", "20231230-20240103"),
        ("20240229-20240301", "20240227-20240303"),
        ("-20240101", "-20240103"),
        ("20240101 - ", "20231230-"),
        ("2024.01.01-", "20231230-"),
        ("-", None),
        ("", None),
        ("2024*", None),
        ("20240101-x", None),
    ],
)
def test_dates_are_widened_where_they_are_dates(wanted: str, expected: str | None) -> None:
    assert widened(wanted, 2) == expected
