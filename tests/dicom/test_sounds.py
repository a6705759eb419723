"""How words are spelled and what they sound like."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pacsnode.dicom.sounds import sounds, spelling
from pacsnode.dicom.text import fold_name

PARTS = ("ae", "oe", "ue", "e", "x", "y", "ね", "っ", "й", "ь", "山")
TEXT = st.lists(st.sampled_from(PARTS) | st.characters(codec="utf_8")).map("".join)

SPELLED_ALIKE = [
    ("Müller", "Mueller", "MULLER"),
    ("Bjørn", "Bjoern", "Björn"),
    ("Straße", "Strasse"),
    ("Иванов", "Ivanov"),
    ("Διονύσιος", "Dionysios"),
    ("やまだ", "ヤマダ", "ﾔﾏﾀﾞ", "Yamada"),
    ("Nguyễn", "NGUYEN"),
    ("Guðmundur", "Gudmundur"),
    ("髙﨑", "高崎"),
    ("渡邊", "渡邉", "渡辺"),
]

SOUNDING_ALIKE = [
    ("Meyer", "Maier", "Mayr"),
    ("Schmidt", "Schmitt", "Schmid"),
    ("Fischer", "Fisher"),
    ("Katharina", "Catherine", "Katarina"),
    ("Stephen", "Steven", "Stefan"),
    ("Ivanov", "Iwanow", "Иванов"),
    ("Чайковский", "Tschaikowski", "Tchaikovsky"),
    ("Szymański", "Shimanski", "Шиманский"),
    ("Taro", "Tarō", "たろう", "タロー"),
    ("はっとり", "Hattori"),
    ("しょうこ", "Shoko"),
    ("Kowalski", "Kovalsky"),
    ("Thomson", "Tomson", "Thompson"),
    ("Christian", "Kristian"),
    ("Christoph", "Kristof"),
    ("Jürgen", "Juergn", "Yurgen"),
    ("김", "Kim"),
]

SOUNDING_OTHERWISE = [
    ("Schneider", "Schuster"),
    ("Doe", "Day"),  # codes of one consonant say nothing
    ("山田", "山本"),
    ("山田", "三田"),
]


@pytest.mark.parametrize("words", SPELLED_ALIKE)
def test_spellings_that_people_exchange_are_one(words: tuple[str, ...]) -> None:
    assert len({spelling(fold_name(word)) for word in words}) == 1


@pytest.mark.parametrize("words", SOUNDING_ALIKE)
def test_each_sounds_like_the_first(words: tuple[str, ...]) -> None:
    first, *others = (sounds(spelling(fold_name(word))) for word in words)
    assert all(first & other for other in others)


@pytest.mark.parametrize(("one", "other"), SOUNDING_OTHERWISE)
def test_others_do_not(one: str, other: str) -> None:
    assert not sounds(spelling(fold_name(one))) & sounds(spelling(fold_name(other)))


def test_ideographs_are_not_read() -> None:
    assert spelling("山田") == "山田"
    assert spelling("佐々木") == "佐々木"
    assert sounds("山田") == frozenset()


def test_a_word_longer_than_any_name_has_no_sound() -> None:
    assert sounds("schmidt" * 10_000) == frozenset()


@given(TEXT, TEXT)
def test_the_spelling_of_a_beginning_is_the_beginning_of_the_spelling(
    beginning: str, rest: str
) -> None:
    """An index finds `MUE*` by it."""
    assert spelling(beginning + rest).startswith(spelling(beginning))


@given(TEXT)
def test_codes_are_capitals_which_no_folded_word_has(text: str) -> None:
    for code in sounds(spelling(fold_name(text))):
        assert code.isascii()
        assert code == code.upper()
        assert len(code) > 1
