"""Dates and times in queries and answers, out of an archive with real files: as one range, and in
another timezone."""

import pytest
from pydicom import Dataset

from pacsnode.archive import Archive
from pacsnode.dicom.encode import decode_dataset, encode_dataset
from pacsnode.dicom.message import Extensions
from pacsnode.dicom.query import Model, parse_query
from tests.archive.test_find import EXPLICIT, dataset, store

COMBINED = Extensions(combined_date_time=True)
ADJUSTED = Extensions(timezone_adjustment=True)
BOTH = Extensions(combined_date_time=True, timezone_adjustment=True)


def found(
    archive: Archive, level: str, extensions: Extensions, offset: str = "", **keys: str
) -> list[Dataset]:
    """The answers, in the order of their Study Instance UIDs."""
    ds = Dataset()
    ds.QueryRetrieveLevel = level
    ds.StudyInstanceUID = keys.pop("StudyInstanceUID", "")
    if offset:
        ds.TimezoneOffsetFromUTC = offset
    for keyword, value in keys.items():
        setattr(ds, keyword, value)
    query = parse_query(
        encode_dataset(ds, EXPLICIT), EXPLICIT, Model.STUDY_ROOT, extensions=extensions
    )
    answers = [
        decode_dataset(answer, EXPLICIT)
        for page in archive.find(query, EXPLICIT)
        for answer in page
    ]
    return sorted(answers, key=lambda answer: str(answer.StudyInstanceUID))


def studies(answers: list[Dataset]) -> list[str]:
    return [str(answer.StudyInstanceUID) for answer in answers]


MOMENTS = [("20200101", "1100"), ("20200101", "1300"), ("20200102", "0900"), ("20200103", "1500")]


def test_studies_are_found_in_one_range_of_moments(archive: Archive) -> None:
    for number, (day, time) in enumerate(MOMENTS):
        store(archive, dataset(study=f"1.2.{number}", StudyDate=day, StudyTime=time))
    keys = {"StudyDate": "20200101-20200103", "StudyTime": "1200-1400"}
    assert studies(found(archive, "STUDY", COMBINED, **keys)) == ["1.2.1", "1.2.2"]
    assert studies(found(archive, "STUDY", Extensions(), **keys)) == ["1.2.1"], "each for itself"


@pytest.mark.parametrize(
    ("level", "day_keyword", "time_keyword"),
    [
        ("STUDY", "PatientBirthDate", "PatientBirthTime"),
        ("SERIES", "SeriesDate", "SeriesTime"),
        ("SERIES", "PerformedProcedureStepEndDate", "PerformedProcedureStepEndTime"),
        ("IMAGE", "ContentDate", "ContentTime"),
        ("IMAGE", "AcquisitionDate", "AcquisitionTime"),
    ],
    ids=[
        "column and further attribute",
        "columns",
        "further attributes",
        "columns of images",
        "files",
    ],
)
def test_wherever_the_index_or_a_file_has_them(
    archive: Archive, level: str, day_keyword: str, time_keyword: str
) -> None:
    for number, (day, time) in enumerate(MOMENTS):
        store(archive, dataset(study=f"1.2.{number}", **{day_keyword: day, time_keyword: time}))
    uids = [f"1.2.{number}" for number in range(4)]
    keys = {
        "StudyInstanceUID": "\\".join(uids),
        day_keyword: "20200101-20200103",
        time_keyword: "1200-1400",
    }
    assert studies(found(archive, level, COMBINED, **keys)) == ["1.2.1", "1.2.2"]
    adjusted = {**keys, day_keyword: "20200101-20200103", time_keyword: "1300-1500"}
    for uid in uids:
        store(archive, dataset(2, study=uid, TimezoneOffsetFromUTC="+0000"))
    if level == "SERIES":  # the first instance has no offset of its own, its series has one now
        assert studies(found(archive, level, BOTH, "+0100", **adjusted)) == ["1.2.1", "1.2.2"]


def test_a_study_is_found_and_answered_in_the_timezone_of_the_query(archive: Archive) -> None:
    london = {"StudyDate": "20240101", "StudyTime": "233000", "TimezoneOffsetFromUTC": "+0000"}
    tokyo = {"StudyDate": "20240102", "StudyTime": "083000.5", "TimezoneOffsetFromUTC": "+0900"}
    later = {"StudyDate": "20240102", "StudyTime": "0030", "TimezoneOffsetFromUTC": "+0000"}
    for number, values in enumerate((london, tokyo, later)):
        store(archive, dataset(study=f"1.2.{number}", **values))
    answers = found(
        archive, "STUDY", ADJUSTED, "+0100", StudyDate="20240102", StudyTime="0030-0031"
    )
    assert studies(answers) == ["1.2.0", "1.2.1"]
    assert [(a.StudyDate, a.StudyTime) for a in answers] == [
        ("20240102", "003000"),
        ("20240102", "003000.5"),
    ]
    assert {a.TimezoneOffsetFromUTC for a in answers} == {"+0100"}


def test_study_and_series_of_different_timezones_are_answered_in_one(archive: Archive) -> None:
    first = {"StudyDate": "20240101", "StudyTime": "1200", "TimezoneOffsetFromUTC": "+0000"}
    second = {"SeriesDate": "20240101", "SeriesTime": "1330", "TimezoneOffsetFromUTC": "+0100"}
    store(archive, dataset(study="1.2.1", **first))
    other = dataset(2, study="1.2.1", **second)
    other.SeriesInstanceUID = "1.2.1.77"
    store(archive, other)
    keys = {"StudyTime": "", "SeriesTime": "1230", "SeriesDate": "", "StudyDate": ""}
    (answer,) = found(archive, "SERIES", ADJUSTED, "-0000", **keys)
    assert (answer.StudyTime, answer.SeriesTime) == ("1200", "1230")
    assert answer.TimezoneOffsetFromUTC == "+0000"


def test_what_only_files_tell_is_found_and_answered_so_too(archive: Archive) -> None:
    values = {
        "AcquisitionDate": "20240101",
        "AcquisitionTime": "2330",
        "AcquisitionDateTime": "20240101233000",
        "FrameReferenceDateTime": "20240101233000-0500",
        "TimezoneOffsetFromUTC": "+0000",
    }
    store(archive, dataset(study="1.2.1", **values))
    keys = {
        "AcquisitionDate": "20240102",
        "AcquisitionTime": "0030",
        "AcquisitionDateTime": "20240102003000",
        "FrameReferenceDateTime": "",
        "StudyInstanceUID": "1.2.1",
    }
    (answer,) = found(archive, "IMAGE", ADJUSTED, "+0100", **keys)
    assert (answer.AcquisitionDate, answer.AcquisitionTime) == ("20240102", "0030")
    assert answer.AcquisitionDateTime == "20240101233000+0000", "says its offset itself"
    assert answer.FrameReferenceDateTime == "20240101233000-0500"
    assert found(archive, "IMAGE", ADJUSTED, "+0000", **keys) == []


def test_without_negotiation_answers_are_as_stored(archive: Archive) -> None:
    values = {"StudyDate": "20240101", "StudyTime": "2330", "TimezoneOffsetFromUTC": "+0000"}
    store(archive, dataset(study="1.2.1", **values))
    for extensions, offset in ((Extensions(), "+0100"), (ADJUSTED, "")):
        (answer,) = found(archive, "STUDY", extensions, offset, StudyDate="20240101", StudyTime="")
        assert (answer.StudyDate, answer.StudyTime) == ("20240101", "2330")
        assert "TimezoneOffsetFromUTC" not in answer


def test_an_answer_without_times_names_no_timezone(archive: Archive) -> None:
    store(archive, dataset(study="1.2.1"))
    (answer,) = found(archive, "STUDY", ADJUSTED, "+0100", PatientID="4711")
    assert "TimezoneOffsetFromUTC" not in answer
