"""What the index finds is what a plain reading of the matching rules finds, whatever was stored and
whatever is asked."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pacsnode import index as index_room
from pacsnode.dicom.level import Level
from pacsnode.dicom.query import Key, Query
from pacsnode.index import Match, candidates, selections
from tests.index.instances import CT, MR, Made, key, make, matches, query
from tests.index.reference import Archive, fold

NAMES = (
    "",
    "DOE^JOHN",
    "Doe^Jöhn",
    "DOE^JANE^^^",
    "DOERING^ANN",
    "MÜLLER",
    "Yamada^Tarou=山田^太郎=やまだ^たろう",
    "[DOE",
    "DOE_%^X",
)
IDS = ("", "A1", "a1", "A2", "A1\\A2", "A[1]", "100%", "A_1", "A 1")
DATES = ("", "20200101", "20200131", "20200201", "20211231")
TIMES = ("", "080000", "120000", "235959")
TEXTS = ("", "HEAD", "head", "HEAD [contrast]", "HEAD\\NECK", "KÖPF", "100%_A")
MODALITIES = ("CT", "MR", "CT\\MR", "")
STEPS = ("", "S1", "S2")

COLUMNS = {
    "PatientName": NAMES,
    "PatientID": IDS,
    "PatientBirthDate": DATES[:2],
    "StudyDate": DATES,
    "StudyTime": TIMES,
    "AccessionNumber": IDS,
    "StudyDescription": TEXTS,
    "Modality": MODALITIES,
    "SeriesDescription": TEXTS,
    "InstanceNumber": ("", "1", "2", "10"),
    "ContentDate": DATES,
}
ROWS = st.fixed_dictionaries(
    {
        "study": st.integers(1, 4),
        "series": st.integers(1, 2),
        "requests": st.lists(st.tuples(st.sampled_from(STEPS), st.sampled_from(STEPS)), max_size=2),
        **{keyword: st.sampled_from(pool) for keyword, pool in COLUMNS.items()},
    }
)


def archive_of(rows: list[dict]) -> list[Made]:
    made = []
    for number, row in enumerate(rows):
        values = {keyword: row[keyword] for keyword in COLUMNS}
        study = f"1.2.{row['study']}"
        series = f"{study}.{row['series']}"
        made.append(
            make(
                study,
                series,
                f"{series}.{number}",
                sop_class=CT if number % 2 else MR,
                received_at=1000 + number,
                requests=tuple(row["requests"]),
                **values,
            )
        )
    return made


def wildcards(pool: tuple[str, ...]) -> st.SearchStrategy[str]:
    """A value of the pool with some of it replaced by wildcards."""
    values = [value for joined in pool for value in joined.split("\\") if value]

    def blur(value: str, start: int, end: int, sign: str) -> str:
        start, end = sorted((start % (len(value) + 1), end % (len(value) + 1)))
        return value[:start] + sign + value[end:]

    blurred = st.builds(
        blur, st.sampled_from(values), st.integers(0, 30), st.integers(0, 30), st.sampled_from("*?")
    )
    return st.sampled_from(values) | blurred


def ranges(pool: tuple[str, ...]) -> st.SearchStrategy[str]:
    bound = st.sampled_from(pool)
    open_or_closed = st.tuples(bound, bound).filter(any).map("-".join)
    return st.sampled_from([value for value in pool if value]) | open_or_closed


def keys_for(keyword: str) -> st.SearchStrategy[Key]:
    pool = COLUMNS[keyword]
    one = ranges(pool) if keyword.endswith(("Date", "Time")) else wildcards(pool)
    return st.lists(one, min_size=1, max_size=2).map(lambda values: key(keyword, *values))


STEP_VALUES = st.sampled_from(("S1", "S2", "S*", "?2", "T1"))
ITEMS = st.builds(
    lambda step, procedure: key(
        "RequestAttributesSequence",
        items=(
            *((key("ScheduledProcedureStepID", step),) if step else ()),
            *((key("RequestedProcedureID", procedure),) if procedure else ()),
        ),
    ),
    STEP_VALUES,
    STEP_VALUES | st.none(),
)
UIDS = {
    "StudyInstanceUID": st.integers(1, 5).map("1.2.{}".format),
    "SeriesInstanceUID": st.builds("1.2.{}.{}".format, st.integers(1, 4), st.integers(1, 2)),
    "SOPInstanceUID": st.builds(
        "1.2.{}.{}.{}".format, st.integers(1, 4), st.integers(1, 2), st.integers(0, 9)
    ),
}
BY_LEVEL = {
    Level.PATIENT: ("PatientName", "PatientID", "PatientBirthDate"),
    Level.STUDY: ("StudyDate", "StudyTime", "AccessionNumber", "StudyDescription"),
    Level.SERIES: ("Modality", "SeriesDescription"),
    Level.IMAGE: ("InstanceNumber", "ContentDate"),
}


@st.composite
def queries(draw: st.DrawFn) -> Query:
    """At any level, with keys of that level and those above."""
    level = draw(st.sampled_from(Level))
    columns = [keyword for upper in Level if upper <= level for keyword in BY_LEVEL[upper]]
    chosen = draw(st.lists(st.sampled_from(columns), max_size=3, unique=True))
    keys = [draw(keys_for(keyword)) for keyword in chosen]
    for upper, (keyword, values) in zip(tuple(Level)[1:], UIDS.items(), strict=True):
        if upper <= level and draw(st.integers(0, 4)) == 0:
            keys.append(key(keyword, *draw(st.lists(values, min_size=1, max_size=12))))
    if level >= Level.STUDY and draw(st.integers(0, 5)) == 0:
        keys.append(key("ModalitiesInStudy", draw(st.sampled_from(("CT", "MR", "C*", "US")))))
    if level >= Level.SERIES and draw(st.integers(0, 3)) == 0:
        keys.append(draw(ITEMS))
    return query(level, *keys)


def name(match: Match) -> tuple[str, ...]:
    if match.level > Level.PATIENT:
        uids = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
        return tuple(match.values[uid] for uid in uids[: match.level])
    values = match.values
    name = fold(values["PatientName"])
    return (values["PatientID"], values["IssuerOfPatientID"], name, values["PatientBirthDate"])


def names(found: set[tuple[str, ...]], level: Level) -> list[tuple[str, ...]]:
    return sorted(each[1:] if level == Level.PATIENT else each for each in found)


@pytest.mark.parametrize("is_large", [False, True], ids=["read at once", "streamed"])
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(ROWS, min_size=1, max_size=10), st.lists(queries(), min_size=5, max_size=15))
def test_what_is_found_is_what_the_rules_say(
    is_large: bool, rows: list[dict], asked: list[Query]
) -> None:
    reference = Archive()
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        if is_large:  # for what is taken for large here
            patch.setattr(candidates, "FEW", 0)
            patch.setattr(selections, "FIRST_STEP", 2)
            patch.setattr(selections, "STEP", 3)
        index = index_room.open(Path(folder) / "index.sqlite", fsync=False)
        for made in archive_of(rows):
            index.add(*made)
            reference.instances[made.instance.uids.sop_instance_uid] = made.instance
        for each in asked:
            expected = reference.select(each)
            assert sorted(map(name, matches(index, each))) == names(expected, each.level), each
            selected = [stored.uids for stored in index.select(each)]
            assert len(selected) == len(set(selected))
            assert set(selected) == reference.below(each), each
        index.close()


def test_of_a_patient_found_by_a_wrong_identifier_only_the_study_that_has_it_is_selected(
    index: index_room.Index,
) -> None:
    for study, uid, patient in (("1.1", "1", "A"), ("1.1", "2", "B"), ("1.2", "3", "A")):
        person = {"PatientID": patient, "PatientName": "DOE"}
        index.add(*make(study, f"{study}.1", uid, received_at=int(uid), **person))

    def selected(*keys: Key) -> list[str]:
        found = index.select(query(Level.PATIENT, *keys))
        return [stored.uids.sop_instance_uid for stored in found]

    assert selected(key("PatientID", "A")) == ["1", "2", "3"]
    assert selected(key("PatientID", "B")) == ["1", "2"]
    assert selected(key("PatientID", "B"), key("PatientName", "D*")) == ["1", "2"]
