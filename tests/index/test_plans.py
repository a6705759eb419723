"""No query that a workstation asks reads a whole table."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pacsnode import index as index_room
from pacsnode.dicom.level import COMPUTED, Level
from pacsnode.dicom.query import Key
from pacsnode.index import Index, candidates, selections, write
from tests.index.instances import key, make, matches, next_connection, query

ASKED: dict[str, tuple[Key, ...]] = {
    "PatientID": (key("PatientID", "P1"),),
    "several PatientIDs": (key("PatientID", "P1", "P2"),),
    "AccessionNumber": (key("AccessionNumber", "A1"),),
    "name": (key("PatientName", "DOE^JOHN"),),
    "fuzzy name": (replace(key("PatientName", "JON^DOE"), is_fuzzy=True),),
    "beginning of a fuzzy name": (replace(key("PatientName", "JO*"), is_fuzzy=True),),
    "beginning of a name": (key("PatientName", "DOE*"),),
    "day": (key("StudyDate", "20200101"),),
    "period": (key("StudyDate", "20200101-20200131"),),
    "day and modality": (key("StudyDate", "20200101"), key("ModalitiesInStudy", "CT")),
    "period and modality": (
        key("StudyDate", "20200101-20200131"),
        key("ModalitiesInStudy", "CT"),
    ),
    "modality": (key("ModalitiesInStudy", "CT"),),
    "beginning of a modality": (key("ModalitiesInStudy", "C*"),),
    "day and modality of series": (key("StudyDate", "20200101"), key("Modality", "CT")),
    "name and period": (key("PatientName", "DOE*"), key("StudyDate", "20200101-20211231")),
    "birth date": (key("PatientBirthDate", "19700101"),),
    "referring physician": (key("ReferringPhysicianName", "R*"),),
    "middle of a name": (key("PatientName", "*OH*"),),
    "study": (key("StudyInstanceUID", "1.2.1"),),
    "series": (key("SeriesInstanceUID", "1.2.1.1"),),
    "study and series": (key("StudyInstanceUID", "1.2.1"), key("SeriesInstanceUID", "1.2.1.1")),
    "instance": (key("SOPInstanceUID", "1.2.1.1.1"),),
    "request": (key("RequestAttributesSequence", items=(key("ScheduledProcedureStepID", "S1"),)),),
}
CASES = [
    (level, title)
    for title, keys in ASKED.items()
    for level in Level
    if all(each.level <= level for each in keys)
]


@pytest.fixture
def index(path: Path) -> Iterator[Index]:
    opened = index_room.open(path, fsync=False)
    for number in range(4):
        opened.add(
            *make(
                f"1.2.{number}",
                f"1.2.{number}.1",
                f"1.2.{number}.1.1",
                requests=(("S1", "R1"),),
                PatientID=f"P{number}",
                PatientName="DOE^JOHN",
                StudyDate="20200101",
                AccessionNumber=f"A{number}",
                PatientBirthDate="19700101",
                ReferringPhysicianName="ROE^ANN",
                Modality="CT",
            )
        )
    opened.set_lost("1.2.3.1.1", True)
    yield opened
    opened.close()


def scans(index: Index, level: Level, keys: tuple[Key, ...]) -> list[str]:
    """What EXPLAIN QUERY PLAN says of every statement that finding and selecting run."""
    connection = next_connection(index)
    statements: list[str] = []
    computed = tuple(keyword for upper in Level if upper <= level for keyword in COMPUTED[upper])
    asked = query(level, *keys, returned=(*computed, "InstanceAvailability"))
    connection.set_trace_callback(statements.append)
    assert list(matches(index, asked))
    assert list(index.select(asked))
    connection.set_trace_callback(None)
    plans = [
        row[3]
        for statement in dict.fromkeys(statements)
        if statement.startswith("SELECT")
        for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}")
    ]
    assert plans
    return [plan for plan in plans if plan.startswith("SCAN") and "json_each" not in plan]


@pytest.mark.parametrize("few", [0, candidates.FEW], ids=["streamed", "few"])
@pytest.mark.parametrize(("level", "title"), CASES)
def test_a_definite_query_scans_no_table(
    index: Index, level: Level, title: str, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates, "FEW", few)
    harmless = ("SCAN lost", "SCAN (subquery", "SCAN CONSTANT ROW")
    found = [plan for plan in scans(index, level, ASKED[title]) if not plan.startswith(harmless)]
    assert found == []


def test_whether_a_row_has_another_term_is_looked_up_by_the_row(index: Index) -> None:
    """Not among all that have this term, which may be half of the archive."""
    name, date = selections.selections(Level.STUDY, ASKED["name and period"])
    connection = next_connection(index)
    statements: list[str] = []
    connection.set_trace_callback(statements.append)
    assert list(selections.stream(index._database, name, [date])) == [[1, 2, 3, 4]]
    connection.set_trace_callback(None)
    (asked,) = (text for text in statements if "EXISTS" in text)
    plans = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {asked}")]
    assert any(
        plan.startswith("SEARCH other USING COVERING INDEX studyterm_owner (owner=? AND kind=?")
        for plan in plans
    ), plans


def test_a_query_without_keys_goes_through_the_studies_by_their_ids(index: Index) -> None:
    assert not [plan for plan in scans(index, Level.IMAGE, ()) if "lost" not in plan]


def test_the_next_of_a_series_is_added_without_a_look_at_any_other(index: Index) -> None:
    plan = [
        row[3]
        for row in next_connection(index).execute(
            f"EXPLAIN QUERY PLAN {write.ADD_NEXT}", write.next_row(write.newcomer(*make()))
        )
    ]
    assert [step for step in plan if step.startswith("SEARCH")]
    assert not [step for step in plan if step.startswith("SCAN")]
