"""Flags, pending steps, conflicts, lost marks: kept, and carried into a rebuilt index."""

from pathlib import Path

from pacsnode import index as index_room
from pacsnode.dicom.instance import InstanceUIDs
from pacsnode.dicom.level import Level
from pacsnode.index import Index
from pacsnode.index.tables import NOTES
from tests.index.instances import key, make, matches, query

UIDS = InstanceUIDs("1.2.1", "1.2.1.1", "1.2.1.1.1")


def availability(index: Index, level: Level) -> list[tuple[str, ...]]:
    asked = query(level, returned=("InstanceAvailability",))
    return [match.computed["InstanceAvailability"] for match in matches(index, asked)]


def test_a_lost_instance_is_unavailable_until_it_is_back(index: Index) -> None:
    index.add(*make(uid="1"))
    index.add(*make(uid="2"))
    index.set_lost("1", True)
    index.set_lost("1", True)
    lost = index.instance("1")
    assert lost is not None
    assert lost.is_lost
    assert availability(index, Level.IMAGE) == [("UNAVAILABLE",), ("ONLINE",)]
    assert availability(index, Level.SERIES) == [("ONLINE",)]
    index.set_lost("2", True)
    for level in (Level.PATIENT, Level.STUDY, Level.SERIES):
        assert availability(index, level) == [("UNAVAILABLE",)]
    assert index.statistics().lost == 2
    index.set_lost("1", False)
    assert availability(index, Level.STUDY) == [("ONLINE",)]


def test_a_flag_is_kept_once(index: Index) -> None:
    index.flag("odd", UIDS, "something")
    index.flag("odd", UIDS, "something")
    index.flag("odd", UIDS, "something else")
    assert [(flag.kind, flag.uids, flag.text) for flag in index.flags()] == [
        ("odd", UIDS, "something"),
        ("odd", UIDS, "something else"),
    ]


def test_a_study_that_goes_takes_its_flags_along(index: Index) -> None:
    index.add(*make())
    index.flag("odd", UIDS, "something")
    index.remove([UIDS.sop_instance_uid])
    assert not list(index.flags())


def test_many_flags_and_conflicts_are_read_page_by_page(index: Index) -> None:
    for number in range(1001):
        index.flag("odd", UIDS, str(number))
        index.add_conflict(f"{number}.dcm", UIDS, "CT1", number)
    assert [flag.text for flag in index.flags()] == [str(number) for number in range(1001)]
    assert [each.received_at for each in index.conflicts()] == list(range(1001))


def test_a_patient_that_differs_inside_a_study_is_flagged_and_found_by_both(index: Index) -> None:
    index.add(*make(uid="1", received_at=1, PatientID="A", PatientName="DOE^JOHN"))
    index.add(*make(uid="2", received_at=2, PatientID="B", PatientName="doe^john^"))
    index.add(*make(uid="3", received_at=3, PatientID="B", PatientName="ROE"))
    for level in (Level.PATIENT, Level.STUDY, Level.SERIES):
        for wanted in (key("PatientID", "A"), key("PatientID", "B"), key("PatientName", "ROE")):
            (match,) = matches(index, query(level, wanted))
            assert match.values["PatientID"] == "A"
            assert match.values["PatientName"] == "DOE^JOHN"
    assert [flag.text for flag in index.flags()] == [
        "PatientID is 'A' and 'B' in one study",
        "PatientName is 'DOE^JOHN' and 'ROE' in one study",
    ]
    index.remove(["2", "3"])
    assert not list(matches(index, query(Level.STUDY, key("PatientID", "B"))))
    assert not list(index.flags())


def test_a_flag_stands_as_long_as_what_it_says(index: Index) -> None:
    for number, patient in enumerate("ABC"):
        index.add(*make(uid=patient, received_at=number, PatientID=patient))
    index.remove(["B"])
    assert [flag.text for flag in index.flags()] == ["PatientID is 'A' and 'C' in one study"]
    index.add(*make(uid="D", received_at=9, PatientID="D"))
    index.remove(["A"])
    assert [flag.text for flag in index.flags()] == ["PatientID is 'C' and 'D' in one study"]


def test_salvaging_carries_every_note_once(index: Index, tmp_path: Path) -> None:
    index.add(*make(uid="1"))
    index.add(*make(uid="2"))
    index.flag("odd", UIDS, "something")
    index.add_conflict("1.dcm", UIDS, "CT1", 5)
    index.set_lost("1", True)
    (pending,) = index.remove(["2"])
    new = index_room.open(tmp_path / "new.sqlite", fsync=False)
    old_path = Path(index._database.database)
    assert index_room.salvage(old_path, new) == []
    assert index_room.salvage(old_path, new) == []
    assert [flag.text for flag in new.flags()] == ["something"]
    assert [each.name for each in new.conflicts()] == ["1.dcm"]
    assert [each.uids for each in new.pending()] == [pending.uids]
    assert new.statistics().lost == 1
    new.add(*make(uid="1"))
    assert new.statistics().lost == 0
    new.close()


def test_salvaging_from_nothing_and_from_rubbish(index: Index, tmp_path: Path) -> None:
    assert index_room.salvage(tmp_path / "none.sqlite", index) == []
    assert not (tmp_path / "none.sqlite").exists()
    rubbish = tmp_path / "rubbish.sqlite"
    rubbish.write_bytes(b"rubbish" * 1000)
    faults = index_room.salvage(rubbish, index)
    assert len(faults) == len(NOTES)
    assert all(str(rubbish) in fault for fault in faults)


def test_salvaging_reads_around_pages_that_are_damaged(index: Index, tmp_path: Path) -> None:
    """From both ends: one bad page costs what is on it."""
    for number in range(600):
        index.flag("odd", UIDS, f"{number} {'x' * 100}")
    path = Path(index._database.database)
    index.close()
    size = 4096
    damaged = next(
        page
        for page in range(2, path.stat().st_size // size)
        if b"300 xxx" in path.read_bytes()[page * size : (page + 1) * size]
        and path.read_bytes()[page * size] == 13  # a leaf of a table
    )
    with path.open("r+b") as file:
        file.seek(damaged * size)
        file.write(bytes(size))
    new = index_room.open(tmp_path / "new.sqlite", fsync=False)
    (fault,) = index_room.salvage(path, new)
    assert "flag" in fault
    numbers = [int(flag.text.split()[0]) for flag in new.flags()]
    assert {0, 599} <= set(numbers)
    assert 300 not in numbers
    assert len(numbers) > 500
    assert numbers == sorted(numbers)
    new.close()


def test_what_is_no_more_in_the_old_index_goes_when_it_is_salvaged_again(
    index: Index, tmp_path: Path
) -> None:
    index.add_conflict("1.dcm", UIDS, "CT1", 5)
    index.add_conflict("2.dcm", UIDS, "CT1", 6)
    path = Path(index._database.database)
    new = index_room.open(tmp_path / "new.sqlite", fsync=False)
    index_room.salvage(path, new)
    index.forget_conflict("1.dcm")
    index_room.salvage(path, new)
    assert [each.name for each in new.conflicts()] == ["2.dcm"]
    new.close()
