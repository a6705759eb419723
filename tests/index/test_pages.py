"""Many rows: pages, order, lists of UIDs, what a change between two pages does."""

import tracemalloc

import pytest

from pacsnode.dicom.level import Level
from pacsnode.dicom.query import Key
from pacsnode.index import Index, candidates, selections
from tests.index.instances import key, make, matches, query


def fill(index: Index, studies: int, instances: int = 1) -> None:
    for study in range(studies):
        for number in range(instances):
            index.add(
                *make(
                    f"1.{study}",
                    f"1.{study}.1",
                    f"1.{study}.1.{number}",
                    PatientID=f"P{study}",
                    PatientName="DOE",
                    InstanceNumber=str(instances - number),
                )
            )


def test_every_row_is_found_once_over_many_pages(index: Index) -> None:
    fill(index, 1203)
    for asked in (query(Level.STUDY), query(Level.STUDY, key("PatientName", "D*"))):
        uids = [match.values["StudyInstanceUID"] for match in matches(index, asked)]
        assert uids == [f"1.{number}" for number in range(1203)]
    assert len(list(matches(index, query(Level.IMAGE, key("PatientName", "DOE"))))) == 1203


def test_a_broad_key_is_streamed_in_bounded_parts(index: Index, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(candidates, "FEW", 10)
    monkeypatch.setattr(selections, "FIRST_STEP", 3)
    monkeypatch.setattr(selections, "STEP", 7)
    fill(index, 100)
    for level in (Level.PATIENT, Level.STUDY, Level.SERIES):
        asked = query(level, key("PatientName", "D*"), key("PatientID", "P*"))
        assert len({match.values["PatientID"] for match in matches(index, asked)}) == 100


@pytest.mark.parametrize(
    "wanted",
    [key("PatientName", "*NOBODY*"), key("StudyDescription", "NOTHING"), key("PatientID", "P*")],
    ids=["among terms", "among rows", "in a level below"],
)
def test_who_asks_for_what_nobody_has_can_look_up_meanwhile(
    index: Index, wanted: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates, "FEW", 10)
    monkeypatch.setattr(selections, "FIRST_STEP", 20)
    monkeypatch.setattr(selections, "STEP", 20)
    fill(index, 700)
    pages = list(index.find(query(Level.SERIES, wanted, key("SeriesDescription", "NONE"))))
    assert pages == [[] for _ in pages]
    assert len(pages) > 1


def test_instances_leave_in_the_order_of_series_and_instance_numbers(index: Index) -> None:
    for series, number in (
        ("10", "2"),
        ("2", "10"),
        ("2", "9"),
        ("10", ""),
        ("10", "x"),
        ("2", "-1"),
    ):
        index.add(
            *make(
                series=f"1.2.1.{series}",
                uid=f"1.2.1.{series}.{number}",
                SeriesNumber=series,
                InstanceNumber=number,
            )
        )
    uids = [stored.uids.sop_instance_uid for stored in index.select(query(Level.STUDY))]
    ends = [".".join(uid.split(".")[3:]) for uid in uids]
    assert ends == ["2.-1", "2.9", "2.10", "10.2", "10.", "10.x"]


def test_a_series_of_over_a_page_is_selected_whole_and_in_order(index: Index) -> None:
    fill(index, 1, 1203)
    uids = [stored.uids.sop_instance_uid for stored in index.select(query(Level.STUDY))]
    assert uids == [f"1.0.1.{number}" for number in reversed(range(1203))]


def test_thousands_of_uids_are_one_query(index: Index) -> None:
    fill(index, 1, 3000)
    uids = [f"1.0.1.{number}" for number in range(40_000)]
    asked = query(Level.IMAGE, key("SOPInstanceUID", *uids, *uids))
    assert len(list(index.select(asked))) == 3000


def test_thousands_of_other_values_are_one_query(index: Index) -> None:
    fill(index, 300)
    asked = query(Level.STUDY, key("PatientID", *(f"P{number}" for number in range(100, 5000))))
    assert len(list(matches(index, asked))) == 200


def test_what_goes_while_answers_are_under_way_is_left_out(index: Index) -> None:
    fill(index, 200)
    found = matches(index, query(Level.SERIES, key("PatientName", "DOE")))
    seen = [next(found).values["StudyInstanceUID"]]
    index.remove([f"1.{number}.1.0" for number in range(100, 200)])
    seen += [match.values["StudyInstanceUID"] for match in found]
    assert seen[:50] == [f"1.{number}" for number in range(50)]
    assert set(seen) == {f"1.{number}" for number in range(100)}


def test_memory_stays_flat_however_much_matches(index: Index) -> None:
    fill(index, 3, 2000)

    def peak(limit: int) -> int:
        # The lesser of two: whatever else is loaded or runs in this process is no part of it.
        return min(peak_once(limit), peak_once(limit))

    def peak_once(limit: int) -> int:
        tracemalloc.start()
        for count, _ in enumerate(matches(index, query(Level.IMAGE))):
            if count == limit:
                break
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    assert peak(6000) < 1.5 * peak(600)


def test_wildcards_that_would_take_for_ever_do_not(index: Index) -> None:
    index.add(*make(PatientID="a" * 64, PatientName="a" * 64))
    for keyword in ("PatientID", "PatientName"):
        assert not list(matches(index, query(Level.STUDY, key(keyword, "*a" * 25 + "*b"))))
