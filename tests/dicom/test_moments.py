"""Dates and times of a query as pairs, and what meets them."""

from datetime import date, time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pacsnode.dicom.date_time import moved, offset_text
from pacsnode.dicom.encode import encode_dataset
from pacsnode.dicom.keys import identifier
from pacsnode.dicom.level import Level
from pacsnode.dicom.match import matches
from pacsnode.dicom.match_moments import moment_matcher
from pacsnode.dicom.message import BASELINE, Extensions
from pacsnode.dicom.query import Model, Query, parse_query
from pacsnode.errors import InvalidQuery
from tests.dicom.raw import EXPLICIT, element

COMBINED = Extensions(combined_date_time=True)
ADJUSTED = Extensions(timezone_adjustment=True)
BOTH = Extensions(combined_date_time=True, timezone_adjustment=True)


def query(
    *keys: str,
    extensions: Extensions = BASELINE,
    offset: str | None = None,
    level: Level = Level.STUDY,
    model: Model = Model.STUDY_ROOT,
) -> Query:
    dataset = identifier(level, keys)
    if offset is not None:
        dataset.TimezoneOffsetFromUTC = offset
    return parse_query(encode_dataset(dataset, EXPLICIT), EXPLICIT, model, extensions=extensions)


def meets(asked: Query, day: str, clock: str, stored: int | None = None) -> bool:
    """Whether a study of that date and time is one that is meant."""
    (moment,) = asked.moments
    is_met = moment_matcher(moment, asked.timezone)([day], [clock], stored)
    others = {key.keyword: key for key in asked.matching}
    if is_met and "StudyDate" in others:
        assert matches(others["StudyDate"], [day]), "the index would not find it"
    return is_met


RANGE = ("StudyDate=20200101-20200103", "StudyTime=1200-1400")


@pytest.mark.parametrize(
    ("day", "clock", "expected"),
    [
        ("20200101", "1159", False), ("20200101", "120000", True), ("20200101", "2359", True),
        ("20200102", "0000", True), ("20200102", "1159", True), ("20200102", "2000", True),
        ("20200103", "0000", True), ("20200103", "140059.99", True), ("20200103", "1401", False),
        ("20191231", "1300", False), ("20200104", "1300", False), ("20200102", "", False),
        ("", "1300", False), ("2020.01.02", "01:00:00", True),
    ],
)  # fmt: skip
def test_a_range_of_dates_and_one_of_times_are_one_range(
    day: str, clock: str, expected: bool
) -> None:
    assert meets(query(*RANGE, extensions=COMBINED), day, clock) == expected


def test_without_negotiation_each_is_for_itself() -> None:
    asked = query(*RANGE)
    assert asked.moments == ()
    assert [key.keyword for key in asked.matching] == ["StudyDate", "StudyTime"]


@pytest.mark.parametrize(
    ("days", "times", "inside", "outside"),
    [
        ("20200101-", "1200-", ("20200102", "0100"), ("20200101", "1100")),
        ("-20200103", "-1400", ("20200102", "2300"), ("20200103", "1500")),
    ],
)
def test_ranges_that_are_open_at_one_end_are_combined_too(
    days: str, times: str, inside: tuple[str, str], outside: tuple[str, str]
) -> None:
    asked = query(f"StudyDate={days}", f"StudyTime={times}", extensions=COMBINED)
    assert meets(asked, *inside)
    assert not meets(asked, *outside)


@pytest.mark.parametrize(
    "keys",
    [
        ("StudyDate=20200101-20200103", "StudyTime=1200-"),
        ("StudyDate=20200101-", "StudyTime=-1200"),
        ("StudyDate=20200101", "StudyTime=1200-1400"),
        ("StudyDate=20200101-20200103", "StudyTime=12"),
        ("StudyDate=20200101-20200103", "SeriesTime=1200-1400"),
        ("StudyDate=20200101-20200103", "StudyTime"),
        ("StudyTime=1200-1400",),
    ],
)
def test_what_is_not_the_same_form_of_range_is_not_combined(keys: tuple[str, ...]) -> None:
    asked = query(*keys, extensions=COMBINED, level=Level.SERIES)
    assert asked.moments == ()
    assert asked.matching == query(*keys, level=Level.SERIES).matching


@pytest.mark.parametrize(
    ("level", "day", "clock"),
    [
        (Level.SERIES, "SeriesDate", "SeriesTime"),
        (Level.SERIES, "PerformedProcedureStepStartDate", "PerformedProcedureStepStartTime"),
        (Level.SERIES, "PerformedProcedureStepEndDate", "PerformedProcedureStepEndTime"),
        (Level.IMAGE, "ContentDate", "ContentTime"),
        (Level.PATIENT, "PatientBirthDate", "PatientBirthTime"),
    ],
)
def test_every_date_that_has_a_time_is_combined(level: Level, day: str, clock: str) -> None:
    keys = f"{day}=20200101-20200102", f"{clock}=10-12"
    asked = query(*keys, extensions=COMBINED, level=level, model=Model.PATIENT_ROOT)
    (moment,) = asked.moments
    assert moment.date is not None
    assert (moment.date.keyword, moment.time.keyword, moment.is_combined) == (day, clock, True)
    assert [key.keyword for key in asked.matching] == [day], "the index finds by the date"


def test_what_is_asked_for_in_another_timezone_is_found() -> None:
    """23:30 in London on 1 January is 00:30 on the second in Paris."""
    asked = query("StudyDate=20240102", "StudyTime=0030", extensions=ADJUSTED, offset="+0100")
    assert meets(asked, "20240101", "233000", 0)
    assert meets(asked, "20240102", "0030", 60)
    assert not meets(asked, "20240102", "0030", 0)


def test_a_universal_time_takes_the_date_along_and_its_absence_does_not() -> None:
    adjusted = query("StudyDate=20240102", "StudyTime", extensions=ADJUSTED, offset="+0100")
    assert meets(adjusted, "20240101", "2330", 0)
    alone = query("StudyDate=20240102", extensions=ADJUSTED, offset="+0100")
    assert alone.moments == ()
    assert alone.matching == query("StudyDate=20240102").matching


def test_without_an_offset_in_the_identifier_nothing_is_adjusted() -> None:
    for offset in (None, ""):
        asked = query("StudyDate=20240102", "StudyTime=0030", extensions=ADJUSTED, offset=offset)
        assert (asked.timezone, asked.moments) == (None, ())


def test_an_offset_that_was_not_agreed_on_is_passed_by() -> None:
    asked = query("StudyDate=20240102", "StudyTime=0030", offset="+0100")
    assert (asked.timezone, asked.moments) == (None, ())


@pytest.mark.parametrize("offset", ["0100", "+01:00", "+2500", "Europe/Rome", "+0100\\+0200"])
def test_an_offset_that_is_none_is_refused_in_words(offset: str) -> None:
    asked = element(0x00080052, "CS", b"STUDY ")
    value = offset.encode() + b" " * (len(offset) % 2)
    identifier = asked + element(0x00080201, "SH", value)
    with pytest.raises(InvalidQuery, match=r"Timezone Offset From UTC .* is not like \+0130"):
        parse_query(identifier, EXPLICIT, Model.STUDY_ROOT, extensions=ADJUSTED)


def test_birthdays_do_not_move() -> None:
    keys = "PatientBirthDate=20240102", "PatientBirthTime=0030"
    asked = query(*keys, extensions=ADJUSTED, offset="+0100")
    assert asked.moments == ()
    assert [key.keyword for key in asked.matching] == ["PatientBirthDate", "PatientBirthTime"]


def test_a_time_alone_moves_by_itself() -> None:
    asked = query("StudyTime=0000-0100", extensions=ADJUSTED, offset="+0100")
    (moment,) = asked.moments
    assert moment.date is None
    assert moment_matcher(moment, asked.timezone)(["20240101"], ["2330"], 0)
    assert asked.matching == ()


def test_moments_of_a_query_say_their_offset() -> None:
    asked = query(
        "StudyInstanceUID=1.2",
        "AcquisitionDateTime=20240101-20240102",
        extensions=ADJUSTED,
        offset="+0100",
        level=Level.IMAGE,
    )
    key = asked.key("AcquisitionDateTime")
    assert key is not None
    assert key.values == ("20240101+0100-20240102+0100",)


def test_values_that_belong_together_are_tried_together() -> None:
    asked = query(*RANGE, extensions=COMBINED)
    meets_moment = moment_matcher(asked.moments[0], None)
    assert not meets_moment(["20191231", "20200101"], ["1300", "1100"], None)
    assert meets_moment(["20191231", "20200102"], ["1300", "1100"], None)
    assert not meets_moment([], [], None)


@example(date(2024, 1, 1), time(23, 59), -840, 840)
@example(date(2024, 1, 3), time(0, 1), 840, -840)
@given(
    st.dates(min_value=date(1900, 1, 3), max_value=date(2199, 12, 29)),
    st.times(),
    st.integers(-840, 840),
    st.integers(-840, 840),
)
def test_whatever_moves_into_a_range_has_its_date_in_the_wider_one(
    day: date, clock: time, stored: int, asked_at: int
) -> None:
    """The candidates of an index stay a superset."""
    day_text, time_text = f"{day:%Y%m%d}", f"{clock:%H%M%S}"
    there, then = moved(day_text, time_text, stored, asked_at)
    asked = query(
        f"StudyDate={there}",
        f"StudyTime={then}",
        extensions=BOTH,
        offset=offset_text(asked_at),
    )
    assert meets(asked, day_text, time_text, stored)


TEXTS = st.text(st.sampled_from("0123456789-+.:*? \\x"), max_size=30)


@given(TEXTS, TEXTS, TEXTS, st.lists(TEXTS, max_size=2), st.lists(TEXTS, max_size=2))
def test_whatever_is_asked_for_and_stored_is_matched_or_not(
    days: str, times: str, moment: str, stored_days: list[str], stored_times: list[str]
) -> None:
    """No fault: strangers ask, and modalities store, what is no date at all."""

    def raw(tag: int, vr: str, text: str) -> bytes:
        return element(tag, vr, text.encode() + b" " * (len(text) % 2))

    asked = parse_query(
        raw(0x00080020, "DA", days)
        + raw(0x0008002A, "DT", moment)
        + raw(0x00080030, "TM", times)
        + raw(0x00080052, "CS", "STUDY")
        + raw(0x00080201, "SH", "+0130"),
        EXPLICIT,
        Model.STUDY_ROOT,
        extensions=BOTH,
    )
    for each in asked.moments:
        for stored in (None, -720, 0):
            moment_matcher(each, asked.timezone)(stored_days, stored_times, stored)
