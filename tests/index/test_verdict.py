"""A verdict says of each study what a search says, key by key."""

import tempfile
from dataclasses import replace
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pacsnode import index as index_room
from pacsnode.dicom.instance import StoredInstance
from pacsnode.dicom.level import Level
from pacsnode.dicom.match import comparisons
from pacsnode.dicom.query import Key, Query
from pacsnode.index import Index, KeyVerdict
from tests.index.instances import key, make, matches, query
from tests.index.test_select import ROWS, archive_of, queries


def studies(index: Index, asked: Query) -> set[str]:
    """Those that a search finds anything in."""
    return {stored.uids.study_instance_uid for stored in index.select(asked)}


def fuzzily(asked: Query) -> Query:
    keys = tuple(replace(each, is_fuzzy=each.vr == "PN") for each in asked.matching)
    return replace(asked, matching=keys)


def is_told(verdict: KeyVerdict) -> bool:
    """Whether the values and how they are compared say the same as the verdict."""
    values = (*verdict.stored, *verdict.aliases)
    pairs = ((each, value) for each in comparisons(verdict.key) for value in values if value)
    return verdict.is_met == any(each.met_by(value) for each, value in pairs)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(ROWS, min_size=1, max_size=8),
    st.lists(queries() | queries().map(fuzzily), min_size=5, max_size=10),
)
def test_a_study_is_said_to_match_exactly_if_it_is_found(
    rows: list[dict], asked: list[Query]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        index = index_room.open(Path(folder) / "index.sqlite", fsync=False)
        for made in archive_of(rows):
            index.add(*made)
        known = {f"1.2.{row['study']}" for row in rows}
        for each in asked:
            # Of a patient only the studies that have the PatientID and name are selected, and a
            # patient is found by any study's.
            found = studies(index, each) if each.level > Level.PATIENT else None
            patients = {match.values["PatientID"] for match in matches(index, each)}
            for study in known:
                verdict = index.verdict(study, each)
                assert verdict is not None
                assert verdict.is_match == all(one.is_met for one in verdict.keys)
                compared = [one for one in verdict.keys if one.key.values]
                assert all(is_told(one) for one in compared if not one.key.is_universal), verdict
                if found is not None:
                    assert verdict.is_match == (study in found), (study, each)
                elif verdict.values["PatientID"]:
                    assert not verdict.is_match or verdict.values["PatientID"] in patients
        index.close()


def filled(index: Index) -> Index:
    """A study with a CT and an MR series; an instance of the second says another name."""
    person = {"PatientName": "DOE^JOHN", "PatientID": "P1"}
    index.add(*make("1.1", "1.1.1", "1.1.1.1", Modality="CT", SeriesNumber="1", **person))
    index.add(*make("1.1", "1.1.2", "1.1.2.1", Modality="MR", SeriesNumber="2", **person))
    other = {"PatientName": "Roe^Jane", "PatientID": "P1"}
    index.add(*make("1.1", "1.1.2", "1.1.2.2", Modality="MR", InstanceNumber="7", **other))
    return index


def asked(level: Level, *keys: Key) -> Query:
    return query(level, *keys)


def test_the_series_that_comes_nearest_is_the_one_that_is_told(index: Index) -> None:
    keys = (key("Modality", "MR"), key("SeriesNumber", "3"), key("PatientID", "P1"))
    verdict = filled(index).verdict("1.1", asked(Level.SERIES, *keys))
    assert verdict is not None
    assert not verdict.is_match
    assert [one.is_met for one in verdict.keys] == [True, False, True]
    assert verdict.values["SeriesInstanceUID"] == "1.1.2"
    assert verdict.first[Level.SERIES].uids.series_instance_uid == "1.1.2"
    assert verdict.first[Level.STUDY].uids.sop_instance_uid == "1.1.1.1"


def test_the_instance_that_matches_is_found_in_whatever_series(index: Index) -> None:
    verdict = filled(index).verdict("1.1", asked(Level.IMAGE, key("InstanceNumber", "7")))
    assert verdict is not None
    assert verdict.is_match
    assert verdict.first[Level.IMAGE].uids.sop_instance_uid == "1.1.2.2"


def test_of_several_values_that_another_instance_carries_each_is_an_alias(index: Index) -> None:
    index.add(*make(uid="1", received_at=1, PatientID="X"))
    index.add(*make(uid="2", received_at=2, PatientID="A\\B"))
    for level in Level:
        verdict = index.verdict("1.2.1", query(level, key("PatientID", "B")))
        assert verdict is not None
        assert verdict.keys[0].aliases == ("A", "B")
        assert is_told(verdict.keys[0])


def test_a_name_that_another_instance_carries_is_an_alias(index: Index) -> None:
    for level in (Level.PATIENT, Level.STUDY, Level.SERIES):
        verdict = filled(index).verdict("1.1", asked(level, key("PatientName", "ROE*")))
        assert verdict is not None
        (name,) = verdict.keys
        assert (name.is_met, name.stored, name.aliases) == (True, ("DOE^JOHN",), ("Roe^Jane",))


def test_files_are_asked_of_instances_that_nothing_else_excludes(index: Index) -> None:
    asked_of = []

    def match_file(stored: StoredInstance, keys: object) -> bool:
        asked_of.append(stored.uids.sop_instance_uid)
        return False

    keys = (key("Modality", "MR"), key("ImageType", "AXIAL"))
    verdict = filled(index).verdict("1.1", asked(Level.IMAGE, *keys), match_file)
    assert verdict is not None
    assert [one.is_met for one in verdict.keys] == [True, False]
    assert set(asked_of) == {"1.1.2.1", "1.1.2.2"}


def test_of_a_study_that_is_not_here_there_is_none(index: Index) -> None:
    assert index.verdict("9.9", asked(Level.STUDY, key("PatientID", "P1"))) is None
