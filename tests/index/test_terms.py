"""What is searched by selects no less than what matches, names above all."""

import sqlite3
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pacsnode.dicom.level import Level
from pacsnode.dicom.match import matches as is_met
from pacsnode.dicom.query import Key
from pacsnode.dicom.text import trimmed
from pacsnode.index import Index, fold, terms
from tests.index.instances import key, make, matches, query

PARTS = (
    *("Müller", "MUELLER", "Muller", "Mü", "ue", "O'Brien", "O’Brien", "OBRIEN", "O", "Brien"),
    *("Jean-Pierre", "JEAN PIERRE", "Jeanpierre", "Doe", "John", "van der", "J.", "Şahin", "æ"),
    *("山田", "太郎", "やまだ", "ﾔﾏﾀﾞ", "ヤマダ", "홍길동", "Иванов", "Ёлкин", "ΠΑΠΑΣ", "ь"),
    *("", "-", ".", ",", " ", "'", "[a]", "\u200f", "\u0301", "カ゛"),
)
NAMES = st.lists(st.tuples(st.sampled_from(PARTS), st.sampled_from("^^^=- ,")), max_size=6).map(
    lambda parts: "".join(part for pair in parts for part in pair)
)


@st.composite
def wanted(draw: st.DrawFn, name: str) -> str:
    """A name, its components in some order, with some of it replaced by wildcards."""
    components = draw(st.permutations(name.split("^"))) if draw(st.booleans()) else [name]
    text = "^".join(components)
    for _ in range(draw(st.integers(0, 2))):
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(len(text), start + 4)))
        text = text[:start] + draw(st.sampled_from("*?^ -'")) + text[end:]
    return trimmed(text)


PAIRS = NAMES.flatmap(lambda name: st.tuples(st.just(name), wanted(name) | NAMES.map(trimmed)))


def fuzzy_of(exact: Key) -> Key:
    return replace(exact, is_fuzzy=True)


def is_selected(of_study: set[terms.Term], key: Key) -> bool:
    connection = sqlite3.connect(":memory:")
    try:
        return all(
            any(_is_in(connection, span, term) for span in spans for term in of_study)
            for spans in terms.selections(key)
        )
    finally:
        connection.close()


def _is_in(connection: sqlite3.Connection, span: terms.Span, term: terms.Term) -> bool:
    kind, value = term
    if kind != span.kind or not span.low <= value <= span.high:
        return False
    glob = (value, span.pattern or "*")
    return bool(connection.execute("SELECT ? GLOB ?", glob).fetchone()[0])


def state(**values: str) -> dict[str, str]:
    return {**dict.fromkeys(terms.STUDY_TERMS, ""), fold.ALIASES: "", **values}


@settings(max_examples=400, deadline=None)
@given(PAIRS, st.booleans(), st.sampled_from(("PatientName", "ReferringPhysicianName")))
def test_a_name_that_matches_is_among_the_candidates(
    pair: tuple[str, str], is_fuzzy: bool, keyword: str
) -> None:
    name, text = pair
    if not text or set(text) == {"*"}:
        return
    asked = fuzzy_of(key(keyword, text)) if is_fuzzy else key(keyword, text)
    if is_met(asked, [name]):
        assert is_selected(terms.of_study(state(**{keyword: name})), asked)


@settings(max_examples=200, deadline=None)
@given(st.lists(PAIRS, min_size=2, max_size=3))
def test_so_is_one_that_matches_one_of_several(pairs: list[tuple[str, str]]) -> None:
    values = tuple(text for _, text in pairs if text and set(text) != {"*"})
    asked = fuzzy_of(key("PatientName", *values))
    if values and is_met(asked, [pairs[0][0]]):
        assert is_selected(terms.of_study(state(PatientName=pairs[0][0])), asked)


def test_words_are_looked_up_and_not_read_one_after_the_other() -> None:
    (patient, name) = terms.selections(fuzzy_of(key("PatientName", "PATIENT^NAME*")))
    assert {span.low for span in patient} == {"patient", "PTNT", " "}
    assert all(span.is_single for span in patient)
    assert [span.low for span in name] == ["name", " "]


LONG = "^".join(("Somebody", *(f"w{number}" for number in range(5_000)), "Müller"))


def test_a_name_longer_than_any_makes_no_thousands_of_terms() -> None:
    assert len(terms.of_study(state(PatientName=LONG))) == 2


@pytest.mark.parametrize("text", ["SOME*", "*^MULLER", "SOMEBODY^*^W4999^MU*", LONG.upper()])
def test_it_is_among_the_candidates_all_the_same(text: str) -> None:
    for keyword in ("PatientName", "ReferringPhysicianName"):
        asked = fuzzy_of(key(keyword, text))
        assert is_met(asked, [LONG])
        assert is_selected(terms.of_study(state(**{keyword: LONG})), asked)


@pytest.fixture
def filled(index: Index) -> Index:
    names = ("Müller^Hans", "MUELLER^HANS", "Miller^Jane", "Иванов^Пётр", "DOE^JOHN", "ﾔﾏﾀﾞ^ﾀﾛｳ")
    for number, name in enumerate(names):
        study = f"1.2.{number}"
        index.add(*make(study, f"{study}.1", f"{study}.1.1", PatientName=name, PatientID=name[:3]))
    return index


@pytest.mark.parametrize("level", [Level.PATIENT, Level.STUDY, Level.SERIES, Level.IMAGE])
@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("HANS^MULLER", {"Müller^Hans", "MUELLER^HANS"}),
        ("MILER", {"Müller^Hans", "MUELLER^HANS", "Miller^Jane"}),
        ("IVANOV", {"Иванов^Пётр"}),
        ("JON^DOE", {"DOE^JOHN"}),
        ("JO*", {"DOE^JOHN"}),
        ("*HN^D*", {"DOE^JOHN"}),
        ("TARO YAMADA", {"ﾔﾏﾀﾞ^ﾀﾛｳ"}),
        ("NOBODY", set()),
    ],
)
def test_names_are_found_by_their_words_at_every_level(
    filled: Index, level: Level, asked: str, found: set[str]
) -> None:
    exact = query(level, key("PatientName", asked), returned=("PatientName",))
    assert not {match.values["PatientName"] for match in matches(filled, exact)} & found
    fuzzily = query(level, fuzzy_of(key("PatientName", asked)), returned=("PatientName",))
    assert {match.values["PatientName"] for match in matches(filled, fuzzily)} == found
