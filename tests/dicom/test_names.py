"""Names that are found by fuzzy matching, and those that are not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pacsnode.dicom.level import Level
from pacsnode.dicom.match import matches
from pacsnode.dicom.names import fuzzy_name, how_found, is_like, words_of
from pacsnode.dicom.query import Key
from pacsnode.dicom.text import fold_name

FOUND = [
    ("PATIENT^NAME", "NAME^PATIENT"),
    ("NAME PATIENT", "NAME^PATIENT"),
    ("Name, Patient", "NAME^PATIENT"),
    ("DOE^JOHN", "Doe^John^Quincy^Dr."),
    ("Müller^Hans", "MUELLER^HANS"),
    ("Mueller", "Müller^Hans"),
    ("Muller", "Mueller^Hans"),
    ("MAIER^JON", "Meyer^John"),
    ("MAYR^ANN", "Meyer^Anna"),
    ("BOR", "Bohr^Niels"),
    ("MAIER", "Huber-Meyer^Maria"),
    ("OBRIEN", "O'Brien^Pat"),
    ("O BRIEN", "O’Brien^Pat"),
    ("O'BRIEN", "OBRIEN^PAT"),
    ("OBRIEN", "O BRIEN^PAT"),
    ("JEANPIERRE^DUPONT", "Dupont^Jean-Pierre"),
    ("JEAN PIERRE", "Dupont^Jean-Pierre"),
    ("Jean-Pierre", "Dupont^Jeanpierre"),
    ("Lüdenscheidt", "Müller-Lüdenscheidt^Evelyn"),
    ("HA*^MUE*", "Müller^Hans"),
    ("H?ns^*", "Müller^Hans"),
    ("DOE*HN", "DOE^JOHN"),  # as without fuzziness
    ("D*^J*", "DOE^JOHN"),
    ("Ivanov", "Иванов^Пётр"),
    ("Иванов^Петр", "IVANOV^PETR"),
    ("Yamada^Taro", "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎"),
    ("太郎^山田", "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    ("やまだ", "ヤマダ^タロウ"),
    ("Tarou^Yamada=太郎", "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    ("=山田", "Yamada=山田^太郎"),
    ("*", "DOE"),
    ("-", "-"),
]
NOT_FOUND = [
    ("PATIENT^NAME", "PATIENT^OTHER"),
    ("PATIENT^NAME", "PATIENT"),
    ("DOE^JOHN", "DAY^JOHN"),
    ("SCHNEIDER", "SCHUSTER"),
    ("MEYER", "Mary^Ann"),  # two consonants say little
    ("MEYER", "MAURO^MARIA"),
    ("KANE^JOHN", "QUINN^JEAN"),
    ("ROTH", "REED^RITA"),
    ("山田", "山本^太郎"),
    ("YAMADA^太郎", "Yamada^Tarou=山田^太郎"),  # no group has both
    ("Suzuki=山田", "Yamada=山田^太郎"),
    ("J*^X*", "DOE^JOHN"),
    ("-", "DOE-RAY"),
    ("A=-", "A=B"),
    ("DOE=JOHN", "DOE"),
]


def key(*wanted: str, is_fuzzy: bool = True) -> Key:
    return Key(0x00100010, "PatientName", "PN", Level.PATIENT, wanted, is_fuzzy=is_fuzzy)


@pytest.mark.parametrize(("wanted", "value"), FOUND)
def test_names_that_are_found(wanted: str, value: str) -> None:
    assert matches(key(wanted), [value])


@pytest.mark.parametrize(("wanted", "value"), NOT_FOUND)
def test_names_that_are_not(wanted: str, value: str) -> None:
    assert not matches(key(wanted), [value])


def test_one_of_several_will_do() -> None:
    assert matches(key("NOBODY", "JOHN^DOE"), ["SOMEBODY", "DOE^JOHN"])


def test_only_where_it_was_negotiated() -> None:
    assert not matches(key("JOHN^DOE", is_fuzzy=False), ["DOE^JOHN"])


def test_what_is_longer_than_any_name_matches_only_as_it_stands() -> None:
    """Its words would take hours."""
    words = [f"{number}y" for number in range(10_000)]
    hostile, turned = " ".join(words), " ".join(reversed(words))
    assert matches(key(hostile.upper()), [hostile])
    assert not matches(key(turned), [hostile])
    assert not matches(key("9y"), [hostile])
    assert not matches(key(turned), ["9y"])


NAMES = st.text(
    st.one_of(st.sampled_from("AEOUeouäöüßK^^= -'.,*?山田やマﾀﾞИω"), st.characters(codec="utf_8"))
)


@given(NAMES, NAMES)
def test_whatever_matches_exactly_matches_fuzzily(wanted: str, value: str) -> None:
    if matches(key(wanted, is_fuzzy=False), [value]):
        assert matches(key(wanted), [value])


@given(NAMES.filter(lambda text: not set("*?=") & set(text)))
def test_every_name_is_like_itself_with_its_components_turned_round(name: str) -> None:
    turned = "^".join(reversed(name.split("^")))
    folded = fold_name(name)
    if any(words_of(folded).spellings):
        assert is_like(fuzzy_name(turned), name)


def test_it_says_by_what_a_word_was_found() -> None:
    ((miller, jo, nobody),) = fuzzy_name("Miller^J*^Nobody").groups
    words = words_of(fold_name("Müller^Johann"))
    assert how_found(miller, words) == "sounds like one (MLR)"
    assert how_found(jo, words) == "fits johann"
    assert how_found(nobody, words) == ""
    assert how_found(fuzzy_name("Mueller").groups[0][0], words) == "is there"
