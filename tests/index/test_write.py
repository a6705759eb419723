"""Rows come and go with instances: after any sequence of additions, replacements and removals the
index says what a dictionary of the same instances says."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pacsnode import index as index_room
from pacsnode.dicom.level import COLUMNS, Level
from pacsnode.index import Index, write
from tests.index.counting import counted, lists, lists_of_series, tallies
from tests.index.instances import CT, MR, Made, key, make, matches, next_connection, query
from tests.index.reference import Archive, fold

STUDY_KEYS = ("StudyDate", "StudyDescription")
SERIES_KEYS = ("Modality", "SeriesDescription")

DRAWN = st.fixed_dictionaries(
    {
        "study": st.sampled_from(("1.1", "1.2")),
        "series": st.sampled_from(("1", "2")),
        "number": st.integers(1, 4),
        "received_at": st.integers(1, 1000),
        "PatientID": st.sampled_from(("", "A", "B")),
        "PatientName": st.sampled_from(("", "DOE^JOHN", "doe^john", "ROE")),
        "PatientBirthDate": st.sampled_from(("", "19700101")),
        "StudyDate": st.sampled_from(("", "20200101", "20200102")),
        "StudyDescription": st.sampled_from(("", "HEAD")),
        "Modality": st.sampled_from(("", "CT", "MR")),
        "SeriesDescription": st.sampled_from(("", "S", "T")),
    }
)

PROCESS = st.integers(0, 1)


def made_from(drawn: dict, moment: int, uid: str) -> Made:
    values = {keyword: value for keyword, value in drawn.items() if keyword[0].isupper()}
    study = drawn["study"]
    return make(
        study,
        f"{study}.{drawn['series']}",
        uid,
        sop_class=CT if drawn["number"] % 2 else MR,
        received_at=moment,
        content=str(moment),
        **values,
    )


class IndexMachine(RuleBasedStateMachine):
    """Times of receipt are all different but in no order: clocks and associations are many. So are
    processes: each has the index open, and no step knows which of them took the one before."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.mkdtemp()
        path = Path(self.folder) / "index.sqlite"
        self.processes = [index_room.open(path, fsync=False) for _ in range(2)]
        self.known: dict[str, Made] = {}
        self.moments: set[int] = set()

    def teardown(self) -> None:
        for index in self.processes:
            index.close()
        shutil.rmtree(self.folder)

    def make(self, drawn: dict) -> Made:
        moment = drawn["received_at"] * 1000
        while moment in self.moments:
            moment += 1
        self.moments.add(moment)
        return made_from(drawn, moment, f"9.{drawn['number']}.{drawn['series']}.{drawn['study']}")

    @rule(drawn=DRAWN, process=PROCESS)
    def add(self, drawn: dict, process: int) -> None:
        made = self.make(drawn)
        uid = made.stored.uids.sop_instance_uid
        present = self.processes[process].add(*made)
        assert present == (self.known[uid].stored if uid in self.known else None)
        self.known.setdefault(uid, made)

    @rule(drawn=DRAWN, number=st.integers(1, 4), process=PROCESS)
    def replace(self, drawn: dict, number: int, process: int) -> None:
        made = self.make(drawn)
        if self.known:
            uid = sorted(self.known)[number % len(self.known)]
            made = made_from(drawn, made.stored.received_at, uid)
        uid = made.stored.uids.sop_instance_uid
        old = self.processes[process].replace(*made)
        assert old == (self.known[uid].stored if uid in self.known else None)
        self.known[uid] = made

    @rule(numbers=st.sets(st.integers(0, 15), max_size=4), process=PROCESS)
    def remove(self, numbers: set[int], process: int) -> None:
        uids = [uid for n, uid in enumerate(sorted(self.known)) if n in numbers]
        pending = self.processes[process].remove([*uids, "9.9.9"])
        assert [each.uids for each in pending] == [self.known[uid].stored.uids for uid in uids]
        for uid in uids:
            del self.known[uid]

    @rule(number=st.integers(0, 15), lost=st.booleans(), process=PROCESS)
    def mark(self, number: int, lost: bool, process: int) -> None:
        """Also what is not here: its file may be missing where its row is."""
        uids = [*sorted(self.known), "9.9.9"]
        uid = uids[number % len(uids)]
        self.processes[process].set_lost(uid, lost)
        if uid in self.known:
            made = self.known[uid]
            self.known[uid] = made._replace(stored=made.stored._replace(is_lost=lost))

    @rule(numbers=st.sets(st.integers(0, 15), max_size=4), process=PROCESS)
    def forget(self, numbers: set[int], process: int) -> None:
        uids = [uid for n, uid in enumerate(sorted(self.known)) if n in numbers]
        self.processes[process].forget(uids)
        for uid in uids:
            del self.known[uid]

    @invariant()
    def keeps_what_can_be_counted(self) -> None:
        index = self.processes[1]
        assert tallies(index) == counted(index)
        assert lists(index) == lists_of_series(index)

    @invariant()
    def agrees(self) -> None:
        index = self.processes[0]
        reference = Archive()
        by_time = sorted(self.known.values(), key=lambda made: made.stored.received_at)
        for made in by_time:
            reference.instances[made.stored.uids.sop_instance_uid] = made.instance
        assert patients(index) == expected_patients(reference)
        assert studies(index) == expected_studies(reference)
        assert series(index) == expected_series(reference)
        stored = {each.uids.sop_instance_uid: each for each in index.select(query(Level.STUDY))}
        assert stored == {uid: made.stored for uid, made in self.known.items()}
        statistics = index.statistics()
        assert statistics.instances == len(self.known)
        assert statistics.bytes == 1000 * len(self.known)


def patients(index: Index) -> list[tuple]:
    counts = (
        "NumberOfPatientRelatedStudies",
        "NumberOfPatientRelatedSeries",
        "NumberOfPatientRelatedInstances",
    )
    return sorted(
        (
            match.values["PatientID"],
            fold(match.values["PatientName"]),
            match.values["PatientBirthDate"],
            *(int(match.computed[count][0]) for count in counts),
        )
        for match in matches(index, query(Level.PATIENT, returned=counts))
    )


def expected_patients(reference: Archive) -> list[tuple]:
    groups: dict[tuple, list] = {}
    for instance in reference.instances.values():
        groups.setdefault(reference.identity(instance), []).append(instance)
    return sorted(
        (
            who[1],
            who[3],
            who[4],
            len({i.uids[:1] for i in group}),
            len({i.uids[:2] for i in group}),
            len(group),
        )
        for who, group in groups.items()
    )


def studies(index: Index) -> dict[str, tuple]:
    computed = (
        "NumberOfStudyRelatedSeries",
        "NumberOfStudyRelatedInstances",
        "ModalitiesInStudy",
        "SOPClassesInStudy",
    )
    return {
        match.values["StudyInstanceUID"]: (
            *(match.values[keyword] for keyword in (*COLUMNS[Level.PATIENT], *STUDY_KEYS)),
            *(match.computed[keyword] for keyword in computed),
        )
        for match in matches(index, query(Level.STUDY, returned=computed))
    }


def expected_studies(reference: Archive) -> dict[str, tuple]:
    found = {}
    for instance in reference.instances.values():
        study = reference.study(instance)
        person = reference.person(study)
        found[instance.uids.study_instance_uid] = (
            *("\\".join(person.get(keyword, ())) for keyword in COLUMNS[Level.PATIENT]),
            *("\\".join(reference.first(keyword, study)) for keyword in STUDY_KEYS),
            (str(len({i.uids[:2] for i in study})),),
            (str(len(study)),),
            tuple(sorted(reference.modalities(study))),
            tuple(sorted({i.sop_class_uid for i in study})),
        )
    return found


def series(index: Index) -> dict[tuple[str, str], tuple]:
    count = "NumberOfSeriesRelatedInstances"
    return {
        (match.values["StudyInstanceUID"], match.values["SeriesInstanceUID"]): (
            *(match.values[keyword] for keyword in SERIES_KEYS),
            match.computed[count],
        )
        for match in matches(index, query(Level.SERIES, returned=(count,)))
    }


def expected_series(reference: Archive) -> dict[tuple[str, str], tuple]:
    found = {}
    for instance in reference.instances.values():
        among = reference.series(instance)
        found[instance.uids[:2]] = (
            *("\\".join(reference.first(keyword, among)) for keyword in SERIES_KEYS),
            (str(len(among)),),
        )
    return found


IndexMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestIndexMachine = IndexMachine.TestCase


def test_an_added_instance_is_found_by_its_uid(index: Index) -> None:
    made = make()
    assert index.add(*made) is None
    assert index.instance(made.stored.uids.sop_instance_uid) == made.stored
    assert index.instance("1.2.3") is None


def test_a_second_instance_of_one_uid_changes_nothing(index: Index) -> None:
    first = make(PatientID="A")
    index.add(*first)
    assert index.add(*make(study="1.3", PatientID="B")) == first.stored
    assert [match.values["PatientID"] for match in matches(index, query(Level.STUDY))] == ["A"]


def test_replacing_every_instance_corrects_the_patient(index: Index) -> None:
    for number in range(3):
        index.add(*make(uid=f"1.{number}", PatientID="WRONG", PatientName="ROE"))
    for number in range(3):
        index.replace(
            *make(uid=f"1.{number}", PatientID="RIGHT", PatientName="DOE", received_at=2 * 10**15)
        )
    (patient,) = matches(index, query(Level.PATIENT))
    assert (patient.values["PatientID"], patient.values["PatientName"]) == ("RIGHT", "DOE")
    assert not list(matches(index, query(Level.STUDY, key("PatientID", "WRONG"))))
    assert not list(index.flags())


def test_a_replacement_elsewhere_leaves_a_note_of_the_old_place(index: Index) -> None:
    old, new = make(content="old"), make(series="1.2.1.2", content="new")
    index.add(*old)
    assert index.replace(*new) == old.stored
    (pending,) = index.pending()
    assert (pending.kind, pending.uids, pending.digest) == (
        "remove",
        old.stored.uids,
        old.stored.digest,
    )
    index.settle(pending)
    assert index.pending() == []


def test_a_replacement_in_place_settles_its_own_note(index: Index) -> None:
    old, new = make(content="old"), make(content="new")
    index.add(*old)
    begun = index.begin_replace(new.stored)
    assert index.pending() == [begun]
    assert (begun.kind, begun.digest) == ("replace", new.stored.digest)
    index.replace(*new)
    assert index.pending() == []
    assert index.instance(new.stored.uids.sop_instance_uid) == new.stored


def test_what_comes_again_is_not_removed_as_a_leftover(index: Index) -> None:
    made = make()
    index.add(*made)
    index.remove([made.stored.uids.sop_instance_uid])
    index.add(*made)
    assert index.pending() == []


def test_one_series_uid_in_two_studies_is_two_series(index: Index) -> None:
    index.add(*make(study="1.1", series="5", uid="1"))
    index.add(*make(study="1.2", series="5", uid="2"))
    found = list(matches(index, query(Level.SERIES, key("SeriesInstanceUID", "5"))))
    assert [match.values["StudyInstanceUID"] for match in found] == ["1.1", "1.2"]


@pytest.mark.parametrize("uid", ["", "../..", "1" * 128, "a'b", "1.2\n", "%", "É", "[*]"])
def test_strange_uids_are_kept_as_they_are(index: Index, uid: str) -> None:
    made = make(study=uid, series=uid, uid=uid)
    index.add(*made)
    assert index.instance(uid) == made.stored
    if uid:
        assert [s.uids for s in index.select(query(Level.IMAGE, key("SOPInstanceUID", uid)))] == [
            made.stored.uids
        ]
    index.remove([uid])
    assert index.is_empty()


def test_the_next_of_a_series_is_one_statement(index: Index) -> None:
    index.add(*make(uid="1", received_at=1))
    statements: list[str] = []
    connection = next_connection(index)
    connection.set_trace_callback(statements.append)
    index.add(*make(uid="2", received_at=1))
    index.add(*make(uid="3", received_at=2))
    connection.set_trace_callback(None)
    # Each is told again for the trigger that counts it.
    assert [text.split()[:3] for text in dict.fromkeys(statements)] == 2 * [
        ["INSERT", "INTO", "instance"]
    ]
    assert index.statistics()[:4] == (1, 1, 1, 3)


def test_one_that_comes_again_into_a_known_series_is_not_removed_as_a_leftover(
    index: Index,
) -> None:
    index.add(*make(uid="1"))
    index.add(*make(uid="2"))
    index.remove(["2"])
    assert index.add(*make(uid="2")) is None
    assert index.pending() == []


def test_one_that_comes_into_a_known_series_is_not_lost(index: Index) -> None:
    index.add(*make(uid="1"))
    index.set_lost("2", True)
    assert index.add(*make(uid="2")) is None
    stored = index.instance("2")
    assert stored is not None
    assert not stored.is_lost


@pytest.fixture
def other(path: Path, index: Index) -> Iterator[Index]:
    """The same index in another process."""
    opened = index_room.open(path, fsync=False)
    yield opened
    opened.close()


def test_a_series_that_another_process_made_anew_takes_the_next_instance(
    index: Index, other: Index
) -> None:
    index.add(*make(uid="1", PatientID="A"))
    index.add(*make(uid="2", PatientID="A"))
    other.remove(["1", "2"])
    other.add(*make("1.9", "1.9.1", "9", PatientID="B"))
    # Neither into what is no more, nor into what may have taken its number.
    assert index.add(*make(uid="3", PatientID="A")) is None
    found = {
        (stored.uids.sop_instance_uid, match.values["PatientID"])
        for match in matches(index, query(Level.STUDY))
        for stored in index.select(
            query(Level.STUDY, key("StudyInstanceUID", match.values["StudyInstanceUID"]))
        )
    }
    assert found == {("3", "A"), ("9", "B")}


def test_a_series_that_another_process_gave_to_another_patient_is_flagged(
    index: Index, other: Index
) -> None:
    index.add(*make(uid="1", PatientID="A"))
    other.remove(["1"])
    other.add(*make(uid="2", PatientID="B"))
    index.add(*make(uid="3", PatientID="A", received_at=2 * 10**15))
    assert [flag.text for flag in index.flags()] == ["PatientID is 'A' and 'B' in one study"]
    (study,) = matches(index, query(Level.STUDY))
    assert study.values["PatientID"] == "B"


def test_what_was_rolled_back_is_not_taken_for_known(index: Index) -> None:
    class Cut(Exception):
        pass

    made = make(uid="1")
    with pytest.raises(Cut), index._database.writing() as connection:  # noqa: PT012
        assert write.add(connection, write.newcomer(*made)) is None
        raise Cut
    index.add(*make("1.9", "1.9.1", "9", PatientID="B"))
    assert index.add(*make(uid="2")) is None
    assert index.statistics()[:4] == (2, 2, 2, 2)
    assert index.instance("1") is None


@pytest.mark.parametrize("keyword", ["StudyDescription", "SeriesDescription"])
def test_an_older_instance_of_a_known_series_makes_the_header_older(
    index: Index, other: Index, keyword: str
) -> None:
    """Of two headers the older counts, also where the oldest that had one went meanwhile."""

    def described() -> str:
        (series,) = matches(index, query(Level.SERIES, key("SeriesInstanceUID", "1.2.1.1")))
        return series.values[keyword]

    if keyword == "SeriesDescription":
        index.add(*make(series="9", uid="9", received_at=1))  # the study's header stays
    index.add(*make(uid="1", received_at=10, **{keyword: "HEAD"}))
    index.add(*make(uid="2", received_at=20, **{keyword: "NECK"}))
    index.add(*make(uid="3", received_at=30, **{keyword: "HEAD"}))
    other.remove(["1"])
    assert described() == "NECK"
    index.add(*make(uid="4", received_at=15, **{keyword: "HEAD"}))
    assert described() == "HEAD"


def test_one_series_uid_in_two_studies_takes_the_next_of_each(index: Index) -> None:
    for number in range(4):
        study = f"1.{number % 2}"
        index.add(*make(study=study, series="5", uid=str(number), PatientID=study))
    for study, uids in (("1.0", {"0", "2"}), ("1.1", {"1", "3"})):
        found = index.select(query(Level.STUDY, key("StudyInstanceUID", study)))
        assert {stored.uids.sop_instance_uid for stored in found} == uids


@pytest.mark.parametrize("differing", [{"StudyDescription": "X"}, {"SeriesDescription": "X"}])
def test_what_is_said_anew_is_kept_until_nobody_says_it(
    index: Index, differing: dict[str, str]
) -> None:
    """Each instance counts for the headers that it has, of series and study."""
    index.add(*make(uid="1", received_at=1))
    index.add(*make(uid="2", received_at=2, **differing))
    index.add(*make(uid="3", received_at=3, **differing))
    index.add(*make(uid="4", received_at=4))
    ((keyword, text),) = differing.items()
    for gone, expected in (("2", text), ("1", text), ("3", "")):
        index.remove([gone])
        (series,) = matches(index, query(Level.SERIES))
        assert series.values[keyword] == expected
