"""Text of datasets as the node keeps and compares it: Unicode in NFC, trimmed, folded for names."""

import re
import unicodedata
from typing import Literal

from pacsnode.dicom.character_set import SINGLE_VALUE_VRS, CharacterSet

# Signs of the matching language. Look-alikes that compatibility decomposition would turn into
# them (the full-width asterisk) stay what they are.
_SIGNS = frozenset("*?=^\\")

# Letters with a stroke or without a dot, and ligatures: accents to people, letters to Unicode. And
# one sign that keyboards and character sets have in several shapes: another sign, or none, would be
# another name.
_LETTERS = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ħ": "h", "ŧ": "t", "ı": "i", "æ": "ae", "œ": "oe"}
    | {
        **dict.fromkeys("\u2018\u2019\u201b\u02bb\u02bc`", "'"),
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-"),
    }
)

# Marks that stand for themselves: as JIS X 0208 has the Japanese voicing marks, which join their
# letter; as people type the acute accent for an apostrophe.
_SPACING = str.maketrans({"\u309b": "\u3099", "\u309c": "\u309a", "\u00b4": "'"})

# Not to be seen: direction marks, joiners, soft hyphens, variation selectors (Unicode's
# Default_Ignorable_Code_Point, as far as text has them; NFKC_Casefold drops them too).
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff"
    "\U000e0000-\U000e0fff]"
)

# Combining classes of accents proper, with Hebrew and Arabic vowel points. Others make different
# letters: Japanese voicing marks, Indic and Thai vowels and tones.
_ACCENT_CLASSES = frozenset({*range(10, 36), 202, *range(214, 241)})

# й and ў are letters of their own, as ё is not (it is usually written е).
_BREVE = "\u0306"
_LETTERS_WITH_BREVE = frozenset("иу")

# To bring combining characters into order takes time with the square of how many follow one
# another. No language has 30 (Unicode's Stream-Safe Text Format, UAX #15 13); a short text may.
_SHORT = 256
_MOST_COMBINING = 30


def trimmed(text: str) -> str:
    """Without NULs and the spaces around it, in NFC."""
    if "\0" in text:
        text = text.replace("\0", " ")
    text = text.strip(" \t\r\n")
    return text if text.isascii() else _normalised("NFC", text)


def _normalised(form: Literal["NFC", "NFD"], text: str) -> str:
    """A normal form of Unicode; a long text with a letter that has accents without end stays."""
    if len(text) > _SHORT and _has_endless_letter(text):
        return text
    return unicodedata.normalize(form, text)


def _has_endless_letter(text: str) -> bool:
    following = 0
    for character in text:
        following = following + 1 if unicodedata.combining(character) else 0
        if following > _MOST_COMBINING:
            return True
    return False


def decode_values(raw: bytes, vr: str, characters: CharacterSet) -> tuple[str, ...]:
    """The values of a text element, each trimmed; none where there is nothing but padding. The
    split comes after decoding: a byte 5C may be half a character (PS3.5 6.1.2.3)."""
    text = trimmed(characters.decode(raw, vr))
    if "\\" not in text or vr in SINGLE_VALUE_VRS:
        return (text,) if text else ()
    values = tuple(trimmed(value) for value in text.split("\\"))
    return values if any(values) else ()


def decode_uid(raw: bytes) -> str:
    """A UID as sent, less NULs and spaces around it: untrusted text, a character for each byte."""
    return raw.strip(b"\0 ").decode("latin_1")


def fold_name(text: str) -> str:
    """A person name for comparing: without case, accents, widths, needless spaces and trailing
    empty components and groups (PS3.4 C.2.2.2.1). Wildcards, `^` and `=` stay, and so does other
    punctuation: without it, names of different people would become one; that is for fuzzy
    matching (names.py)."""
    text = text.replace("`", "'") if text.isascii() else _fold_letters(text)
    groups = [_fold_group(group) for group in text.lower().split("=")]
    return "=".join(groups).rstrip("=")


def _fold_group(group: str) -> str:
    return "^".join(" ".join(component.split()) for component in group.split("^")).rstrip("^")


def _fold_letters(text: str) -> str:
    text = _INVISIBLE.sub("", text).translate(_SPACING)
    text = "".join(map(_decomposed, text)).casefold()
    letters: list[str] = []
    for character in _normalised("NFD", text.translate(_LETTERS)):
        is_part_of_letter = character == _BREVE and letters and letters[-1] in _LETTERS_WITH_BREVE
        if is_part_of_letter or unicodedata.combining(character) not in _ACCENT_CLASSES:
            letters.append(character)
    return _normalised("NFC", "".join(letters))


def _decomposed(character: str) -> str:
    parts = unicodedata.normalize("NFKD", character)
    return parts if _SIGNS.isdisjoint(parts) or parts == character else character
