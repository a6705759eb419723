"""What is kept of the rows below is what can be counted, whatever happened and wherever a process
was killed. Random sequences of changes are in test_write.py."""

import os
import random
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from pacsnode import index as index_room
from pacsnode.dicom.level import Level
from pacsnode.index import Index, tally
from tests.index.counting import counted, lists, lists_of_series, tallies
from tests.index.instances import CT, MR, Made, key, make, matches, next_connection, query

PATIENT = (
    "NumberOfPatientRelatedStudies",
    "NumberOfPatientRelatedSeries",
    "NumberOfPatientRelatedInstances",
)
STUDY = ("NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances")
SERIES = ("NumberOfSeriesRelatedInstances",)


def answers(index: Index, level: Level, *keywords: str) -> list[tuple[str, ...]]:
    """Of each row the computed keys, several values joined by backslashes."""
    return [
        tuple("\\".join(match.computed[keyword]) for keyword in keywords)
        for match in matches(index, query(level, returned=keywords))
    ]


def fill(index: Index) -> None:
    """A patient with two studies, of three series and seven instances."""
    for number in range(7):
        study, series = f"1.{number % 2}", f"1.{number % 2}.{number % 3}"
        index.add(
            *make(study, series, str(number), PatientID="A", Modality=("CT", "MR")[number % 2])
        )


def test_counts_are_of_the_rows_below(index: Index) -> None:
    fill(index)
    assert answers(index, Level.PATIENT, *PATIENT) == [("2", "6", "7")]
    assert answers(index, Level.STUDY, *STUDY) == [("3", "4"), ("3", "3")]
    assert [count for (count,) in answers(index, Level.SERIES, *SERIES)].count("2") == 1


def test_a_lower_level_s_answer_has_the_counts_above_it(index: Index) -> None:
    fill(index)
    found = answers(index, Level.IMAGE, *PATIENT, *STUDY, *SERIES, "ModalitiesInStudy")
    assert {each[:5] for each in found} == {("2", "6", "7", "3", "4"), ("2", "6", "7", "3", "3")}
    assert {each[6] for each in found} == {"CT", "MR"}


def test_nothing_is_available_of_what_is_lost_to_the_last(index: Index) -> None:
    fill(index)
    for uid in ("0", "2", "4"):
        index.set_lost(uid, True)
    for level, expected in ((Level.PATIENT, {"ONLINE"}), (Level.STUDY, {"ONLINE"})):
        assert {each for (each,) in answers(index, level, "InstanceAvailability")} == expected
    index.set_lost("6", True)
    found = [each for (each,) in answers(index, Level.STUDY, "InstanceAvailability")]
    assert found == ["UNAVAILABLE", "ONLINE"]
    index.set_lost("2", False)
    assert {each for (each,) in answers(index, Level.STUDY, "InstanceAvailability")} == {"ONLINE"}


def test_a_study_that_turns_out_to_be_another_patient_s_takes_its_counts_along(
    index: Index,
) -> None:
    index.add(*make("1.1", "1.1.1", "1", received_at=10, PatientID="A", PatientName="DOE"))
    index.add(*make("1.2", "1.2.1", "2", received_at=20, PatientID="B", PatientName="ROE"))
    index.add(*make("1.2", "1.2.1", "3", received_at=5, PatientID="A", PatientName="DOE"))
    found = matches(index, query(Level.PATIENT, returned=PATIENT))
    assert [
        (match.values["PatientID"], *(match.computed[each][0] for each in PATIENT))
        for match in found
    ] == [("A", "2", "2", "3")]
    assert tallies(index) == counted(index)


def test_a_replacement_elsewhere_is_counted_where_it_is(index: Index) -> None:
    fill(index)
    index.set_lost("0", True)
    index.replace(*make("1.9", "1.9.1", "0", PatientID="C", Modality="US", length=5))
    assert tallies(index) == counted(index)
    assert lists(index) == lists_of_series(index)
    assert set(answers(index, Level.STUDY, "ModalitiesInStudy")) == {("CT",), ("MR",), ("US",)}


def test_modalities_are_those_of_the_series_that_are_left(index: Index) -> None:
    for number, modality in enumerate(("CT", "SR\\CT", "PT")):
        index.add(
            *make(
                series=f"1.2.1.{number}", uid=str(number), Modality=modality, StudyDate="20200101"
            )
        )
    assert answers(index, Level.STUDY, "ModalitiesInStudy") == [("CT\\PT\\SR",)]
    index.remove(["1"])
    assert answers(index, Level.STUDY, "ModalitiesInStudy") == [("CT\\PT",)]
    asked = query(Level.STUDY, key("ModalitiesInStudy", "SR"), key("StudyDate", "20200101"))
    assert not list(matches(index, asked))
    assert lists(index) == lists_of_series(index)


def test_a_series_is_found_by_its_modality_and_the_study_s_date(index: Index) -> None:
    for study, date in (("1.1", "20200101"), ("1.2", "20200102")):
        for number, modality in enumerate(("CT", "MR")):
            uids = (study, f"{study}.{number}", f"{study}.{number}.1")
            index.add(*make(*uids, Modality=modality, StudyDate=date))
    asked = query(Level.SERIES, key("Modality", "MR"), key("StudyDate", "20200102-20200131"))
    found = [match.values["SeriesInstanceUID"] for match in matches(index, asked)]
    assert found == ["1.2.1"]


def test_what_a_note_says_of_no_instance_counts_for_none(index: Index) -> None:
    fill(index)
    index.set_lost("unknown", True)
    assert tallies(index) == counted(index)
    index.add(*make("1.0", "1.0.0", "unknown", PatientID="A"))
    assert tallies(index) == counted(index)


def test_recounted_they_are_what_was_kept(index: Index) -> None:
    fill(index)
    index.set_lost("3", True)
    kept = tallies(index)
    with index._database.writing() as connection:
        connection.execute("UPDATE tally SET number_of_instances = 99, number_of_lost = 7")
        connection.execute("DELETE FROM tally WHERE series > 3")
        tally.recount(connection)
    assert tallies(index) == kept == counted(index)


def test_an_index_without_rows_keeps_nothing(index: Index) -> None:
    fill(index)
    index.remove([str(number) for number in range(7)])
    assert tallies(index) == {}


# Processes that are killed


def changes(chance: random.Random) -> list[Callable[[Index], object]]:
    """Some of which another process does not see the end."""

    def made() -> Made:
        study, series, number = (chance.randrange(3) for _ in range(3))
        return make(
            f"1.{study}",
            f"1.{study}.{series}",
            str(number + 3 * study),
            sop_class=chance.choice((CT, MR)),
            received_at=chance.randrange(10**6),
            PatientID=chance.choice("AB"),
            Modality=chance.choice(("CT", "MR", "CT\\PT")),
            StudyDate=chance.choice(("20200101", "")),
            content=str(chance.random()),
        )

    def change() -> Callable[[Index], object]:
        one, uids = made(), [str(chance.randrange(9)) for _ in range(2)]
        lost = chance.random() < 0.5
        return chance.choice(
            (
                lambda index: index.add(*one),
                lambda index: index.add(*one),
                lambda index: index.replace(*one),
                lambda index: index.remove(uids),
                lambda index: index.set_lost(uids[0], lost),
            )
        )

    return [change() for _ in range(60)]


@pytest.mark.parametrize("seed", range(12))
def test_killed_at_any_statement_what_is_kept_is_what_can_be_counted(path: Path, seed: int) -> None:
    """At one of each transaction's own, also between an instance's row and what counts it."""
    chance = random.Random(seed)
    killed = 0
    for _ in range(4):
        at, work = chance.randrange(20, 400), changes(chance)
        child = os.fork()
        if child == 0:
            try:
                _work_until_killed(path, work, at)
            finally:
                os._exit(0)
        ended = os.waitpid(child, 0)[1]
        killed += os.WIFSIGNALED(ended)
        index = index_room.open(path, fsync=False)
        assert tallies(index) == counted(index)
        assert lists(index) == lists_of_series(index)
        index.check()
        index.close()
    assert killed > 1


def _work_until_killed(path: Path, work: list[Callable[[Index], object]], at: int) -> None:
    index = index_room.open(path, fsync=False)
    left = [at]

    def step(_statement: str) -> None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    connection: sqlite3.Connection = next_connection(index)
    connection.set_trace_callback(step)
    for change in work:
        change(index)
