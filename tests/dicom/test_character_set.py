"""Character sets: every term, every bundled example, and whatever else is in the bytes."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.charset import python_encoding

from pacsnode.dicom.character_set import (
    ASCII,
    best_character_set,
    canonical_term,
    character_set,
    character_set_of_text,
    defined_terms,
)
from pacsnode.dicom.instance import read_instance
from tests.dicom.raw import opened

TERMS = (
    ("ISO_IR 100", "Äneas^Rüdiger"),
    ("ISO_IR 101", "Łukasz^Ściegienny"),
    ("ISO_IR 109", "Ĉapelo"),
    ("ISO_IR 110", "Ķegums"),
    ("ISO_IR 126", "Διονυσιος"),
    ("ISO_IR 127", "قباني^لنزار"),
    ("ISO_IR 138", "שרון^דבורה"),
    ("ISO_IR 144", "Люкceмбypг"),
    ("ISO_IR 148", "Çavuşoğlu"),
    ("ISO_IR 166", "นามสกุล^ชื่อ"),
    ("ISO_IR 203", "Œuvre^€"),
    ("ISO_IR 13", "ﾔﾏﾀﾞ^ﾀﾛｳ"),
    ("ISO_IR 192", "Wang^XiaoDong=王^小東"),
    ("GB18030", "Wang^XiaoDong=王^小东"),
    ("GBK", "王^小东"),
    ("ISO 2022 IR 6\\ISO 2022 IR 87", "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    ("ISO 2022 IR 13\\ISO 2022 IR 87", "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"),
    ("ISO 2022 IR 6\\ISO 2022 IR 159", "丂丄"),
    ("ISO 2022 IR 6\\ISO 2022 IR 149", "Hong^Gildong=洪^吉洞=홍^길동"),
    ("ISO 2022 IR 6\\ISO 2022 IR 58", "Zhang^XiaoDong=张^小东"),
    ("ISO 2022 IR 100\\ISO 2022 IR 144\\ISO 2022 IR 126", "é^Ж^Δ, é Ж Δ"),
    ("ISO 2022 IR 149", "김희중"),
)

BUNDLED_NAMES = {
    "chrArab.dcm": "قباني^لنزار",
    "chrFren.dcm": "Buc^Jérôme",
    "chrFrenMulti.dcm": "Buc^Jérôme",
    "chrGerm.dcm": "Äneas^Rüdiger",
    "chrGreek.dcm": "Διονυσιος",
    "chrH31.dcm": "Yamada^Tarou=山田^太郎=やまだ^たろう",
    "chrH32.dcm": "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
    "chrHbrw.dcm": "שרון^דבורה",
    "chrI2.dcm": "Hong^Gildong=洪^吉洞=홍^길동",
    "chrJapMulti.dcm": "やまだ^たろう",
    "chrJapMultiExplicitIR6.dcm": "やまだ^たろう",
    "chrKoreanMulti.dcm": "김희중",
    "chrRuss.dcm": "Люкceмбypг",
    "chrX1.dcm": "Wang^XiaoDong=王^小東",
    "chrX2.dcm": "Wang^XiaoDong=王^小东",
}


def test_every_bundled_name_is_read() -> None:
    found = {
        path.name: read_instance(file, meta.transfer_syntax_uid, None, "").first("PatientName")
        for path, file, meta in opened()
        if path.name in BUNDLED_NAMES
    }
    assert {name: text.rstrip("=") for name, text in found.items()} == BUNDLED_NAMES


@pytest.mark.parametrize(("terms", "text"), TERMS)
def test_what_is_written_is_read_again(terms: str, text: str) -> None:
    characters = character_set_of_text(terms)
    raw = characters.encode(text, "PN")
    assert characters.decode(raw, "PN") == text
    assert raw != text.encode("utf_8") or "192" in terms
    assert best_character_set([text], terms.split("\\")) == characters.terms


@pytest.mark.parametrize(
    ("terms", "text"),
    [
        ("ISO_IR 13", "山田"),  # Shift JIS has it
        ("ISO_IR 13", "Ж"),
        ("ISO_IR 13", "100¥"),  # its byte would be a delimiter
        ("\\ISO 2022 IR 87", "山¥田"),
        ("ISO 2022 IR 13\\ISO 2022 IR 87", "‾"),
        ("\\ISO 2022 IR 149", "똠"),  # eight bytes to EUC-KR
    ],
)
def test_what_only_a_codec_holds_is_answered_in_unicode(terms: str, text: str) -> None:
    with pytest.raises(UnicodeEncodeError):
        character_set_of_text(terms).encode(text)
    assert best_character_set([text], terms.split("\\")) == ("ISO_IR 192",)


def test_escapes_go_back_to_the_first_set_before_delimiters() -> None:
    raw = character_set_of_text("ISO 2022 IR 6\\ISO 2022 IR 87").encode("山^田=太", "PN")
    assert raw == b"\x1b$B;3\x1b(B^\x1b$BED\x1b(B=\x1b$BB@\x1b(B"


@pytest.mark.parametrize(
    ("misspelt", "number"),
    [
        ("ISO-IR 100", "100"),
        ("ISO IR 192", "192"),
        ("ISO_IR_192", "192"),
        ("iso_ir 100", "100"),
        ("ISO2022 IR 87", "87"),
        ("ISO 2022-IR 87", "87"),
        ("ISO_2022_IR 6", "6"),
        ("ISO_IR 13\0", "13"),
        ("UTF-8", "192"),
        ("ISO 2022 GBK", "GBK"),
        ("ISO 8859-1", "100"),
        ("ISO_IR 999", ""),
        ("nonsense", ""),
        ("", ""),
    ],
)
def test_misspelt_terms_are_understood(misspelt: str, number: str) -> None:
    assert canonical_term(misspelt) == number


def test_where_nothing_is_declared_bytes_are_still_readable() -> None:
    assert ASCII.decode("Müller".encode()) == "Müller"
    assert ASCII.decode("Müller".encode("latin_1")) == "Müller"


def test_what_is_declared_wrongly_stays_readable() -> None:
    assert character_set(["ISO_IR 192"]).decode("Müller".encode("latin_1")) == "Müller"
    assert character_set(["ISO_IR 192"]).decode("山田太郎次".encode()[:-1]).startswith("山田太郎")
    # A byte that the set has no character for.
    assert character_set(["ISO_IR 138"]).decode(b"\xf9\xbf") == "\u05e9\xbf"


def test_escapes_count_where_they_were_not_declared() -> None:
    assert ASCII.decode(b"\x1b$B;3ED\x1b(B^x", "PN") == "山田^x"
    # A writer that names the set once for the whole name.
    assert ASCII.decode(b"\x1b$)C\xfb\xf3^\xd1\xce\xd4\xd7", "PN") == "洪^吉洞"


@pytest.mark.parametrize(
    ("term", "codec", "name"),
    [("ISO 2022 IR 58", "gb2312", "张^小东"), ("ISO 2022 IR 149", "euc_kr", "Hong=洪^吉洞")],
)
def test_declared_sets_are_read_without_their_escapes(term: str, codec: str, name: str) -> None:
    """So pydicom writes Chinese."""
    assert character_set(["", term]).decode(name.encode(codec), "PN") == name
    assert character_set(["", term, "ISO 2022 IR 87"]).decode(name.encode(codec), "PN") == name


def test_a_delimiter_ends_what_an_escape_began() -> None:
    characters = character_set(["ISO 2022 IR 100", "ISO 2022 IR 144"])
    assert characters.decode(b"\x1b-L\xc6^\xc6", "PN") == "Ц^Æ"
    assert characters.decode(b"\x1b-L\xc6^\xc6", "LO") == "Ц^Ц"
    assert characters.decode(b"\x1b-L\xc6\\\xc6", "LO") == "Ц\\Æ"
    assert characters.decode(b"\x1b-L\xc6\\\xc6", "LT") == "Ц\\Ц"
    assert characters.decode(b"\x1b-L\xc6\r\n\xc6", "LT") == "Ц\r\nÆ"


@given(st.binary(max_size=60), st.sampled_from([terms for terms, _ in TERMS]), st.booleans())
def test_no_bytes_are_an_error(raw: bytes, terms: str, is_name: bool) -> None:
    raw = raw.replace(b"\x01", b"\x1b$B").replace(b"\x02", b"\x1b$)C").replace(b"\x03", b"\x1b(B")
    text = character_set_of_text(terms).decode(raw, "PN" if is_name else "LO")
    text.encode("utf_8")


@given(st.text(st.characters(codec="utf_8"), max_size=30), st.sampled_from(TERMS))
def test_an_answer_is_read_as_it_was_meant(text: str, wanted: tuple[str, str]) -> None:
    text = text.replace("\x1b", "").replace("\\", "")
    terms = best_character_set([text], wanted[0].split("\\"))
    characters = character_set(terms)
    for vr in ("PN", "LO"):
        assert characters.decode(characters.encode(text, vr), vr) == text


def test_answers_are_labelled_only_where_they_must_be() -> None:
    assert best_character_set(["plain"], ("ISO_IR 100",)) == ()
    assert best_character_set(["é"], ("ISO-IR 100",)) == ("ISO_IR 100",)
    assert best_character_set(["é", "Ж"], ("ISO_IR 100",)) == ("ISO_IR 192",)
    assert best_character_set(["é"], ()) == ("ISO_IR 192",)


def test_terms_without_end_are_not_kept() -> None:
    """What is remembered of strangers' terms must not be as long as what they send; nor may the
    time that it takes to see that they are none."""
    term = "ISO_IR 100" + "X" * 1_000_000
    references = sys.getrefcount(term)
    assert character_set([term]) == ASCII
    assert sys.getrefcount(term) == references
    assert character_set(["ISO" + "_" * 65_000 + "X"]) == ASCII  # hours, if all were looked at
    assert character_set(["ISO_IR 100" + " " * 100]).terms == ("ISO_IR 100",)


def test_each_defined_term_is_known_and_no_other_of_the_standard_is_missing() -> None:
    terms = defined_terms()
    assert len(set(terms)) == len(terms)
    assert all(canonical_term(term) for term in terms)
    standard = {term for term in python_encoding if term.startswith(("ISO", "GB"))}
    assert standard - set(terms) == {"ISO 2022 GBK", "ISO 2022 58"}  # of pydicom's own
