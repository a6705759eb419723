"""Text as it is kept and compared."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pacsnode.dicom.character_set import ASCII
from pacsnode.dicom.text import decode_uid, decode_values, fold_name, trimmed


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Müller^Jörg^^^", "MULLER^JORG"),
        ("Straße", "STRASSE"),
        ("İSTANBUL", "istanbul"),
        ("IŞIK", "ışık"),
        ("Ёлкин", "елкин"),
        ("ﾔﾏﾀﾞ", "ヤマダ"),
        ("ＹＡＭＡＤＡ", "yamada"),
        ("ΔΙΟΝΎΣΙΟΣ", "διονυσιος"),
        ("Đặng^Văn", "DANG^VAN"),
        ("Łódź", "LODZ"),
        ("Ørsted", "ORSTED"),
        (" Doe  Ray ^ J. ", "doe ray^j."),
        ("Doe^J=", "doe^j"),
        ("Doe^J==", "doe^j"),
        ("Doe^J=^^=", "doe^j"),
        ("e\u0301", "\u00e9"),
        ("\u1112\u1161\u11ab", "한"),
        ("שָׁלוֹם", "שלום"),
        ("O’Brien", "O'Brien"),
        ("O´Brien", "O'Brien"),
        ("O`Brien", "O'Brien"),
        ("Lüdenscheidt‐Müller", "Ludenscheidt-Muller"),
        ("カ゛", "ガ"),
        ("ﾊﾟｰ", "パー"),
        ("山田　太郎", "山田 太郎"),
        ("葛\U000e0100城", "葛城"),
        ("\u200fכהן\u200e", "כהן"),
        ("Ha\u00adna\u200b", "Hana"),
        ("ΠΑΠΑΣ^Σ", "παπας^σ"),
        ("\ufb03", "ffi"),
    ],
)
def test_names_that_are_the_same_to_people_fold_alike(one: str, other: str) -> None:
    assert fold_name(one) == fold_name(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Йод", "Иод"),
        ("が", "か"),
        ("ที่", "ที"),
        ("Doe^^J", "Doe^J"),
        ("=Doe", "Doe"),
        ("A＊", "A*"),
        ("A？", "A?"),
        ("A＝B", "A=B"),
        ("A＾B", "A^B"),
        # Punctuation counts: what ignores it is fuzzy matching.
        ("O'Brien", "OBrien"),
        ("O'Brien", "O Brien"),
        ("Jean-Pierre", "Jean Pierre"),
        ("J.", "J"),
        ("Doe,John", "Doe John"),
        ("Müller", "Mueller"),
        ("タロ", "タロー"),
        ("やまだ", "ヤマダ"),
        ("髙橋", "高橋"),
    ],
)
def test_other_letters_and_places_stay_apart(one: str, other: str) -> None:
    assert fold_name(one) != fold_name(other)


@given(st.text(st.characters(codec="utf_8")))
def test_folding_twice_changes_nothing(text: str) -> None:
    folded = fold_name(text)
    assert fold_name(folded) == folded


@given(st.text(st.characters(codec="utf_8")))
def test_however_letters_and_accents_were_put_together_they_fold_alike(text: str) -> None:
    composed, taken_apart = (unicodedata.normalize(form, text) for form in ("NFC", "NFD"))
    assert fold_name(composed) == fold_name(taken_apart)
    assert fold_name(trimmed(text)) == fold_name(trimmed(taken_apart))


@given(st.text(st.characters(codec="utf_8")))
def test_folding_makes_no_signs(text: str) -> None:
    folded = fold_name(text)
    for sign in "*?\\":
        assert folded.count(sign) == text.count(sign)
    for sign in "^=":
        assert folded.count(sign) <= text.count(sign)


def test_trimming_takes_padding_and_composes() -> None:
    assert trimmed(" \0e\u0301 \0") == "é"
    assert trimmed("a\0b") == "a b"


def test_a_letter_with_accents_without_end_holds_nothing_up() -> None:
    """To bring them into order would take hours."""
    endless = "e" + "\u0301\u0316" * 500_000
    assert trimmed(endless) == endless
    assert fold_name(endless) == "e"
    many = "a\u0302\u0323" * 500_000
    assert trimmed(many) == "\u1ead" * 500_000


def test_values_are_split_but_in_long_texts() -> None:
    assert decode_values(b"A\\ B\\ ", "LO", ASCII) == ("A", "B", "")
    assert decode_values(b"A\\B ", "LT", ASCII) == ("A\\B",)
    assert decode_values(b"\\ \\ ", "LO", ASCII) == ()
    assert decode_values(b"\0 ", "UI", ASCII) == ()


@given(st.binary())
def test_uids_of_different_bytes_are_different(raw: bytes) -> None:
    assert decode_uid(raw).encode("latin_1") == raw.strip(b" \0")
