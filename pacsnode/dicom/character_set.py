"""Specific Character Set (0008,0005): bytes to Unicode and back, with the code extensions of
ISO 2022 (PS3.5 6.1.2). Reading never fails: what was declared wrongly is kept readable. Writing
refuses what a character set cannot hold.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import NamedTuple

UTF_8 = "ISO_IR 192"

# The VRs that hold one value whatever backslashes are in it (PS3.5 6.2).
SINGLE_VALUE_VRS = frozenset({"LT", "ST", "UT", "UR"})

_ESCAPE = 0x1B
_MAX_TERMS = 16
_LONGEST_TERM = 64  # characters: to understand misspelt ones takes time with the cube of this


class _Coded(NamedTuple):
    """One coded character set: Python's name for it, and the sequence that designates it."""

    codec: str
    escape: bytes
    length: int = 1  # bytes of a character beyond ASCII
    is_two_byte_g0: bool = False


# By the number in its defined term (PS3.3 C.12.1.1.2). Codecs cover ASCII in the lower half and
# the set in the upper, but 87 and 159, which take the lower half itself: they are EUC-JP less its
# high bits.
_CODED = {
    "6": _Coded("ascii", b"\x1b(B"),
    "100": _Coded("latin_1", b"\x1b-A"),
    "101": _Coded("iso8859_2", b"\x1b-B"),
    "109": _Coded("iso8859_3", b"\x1b-C"),
    "110": _Coded("iso8859_4", b"\x1b-D"),
    "126": _Coded("iso8859_7", b"\x1b-F"),
    "127": _Coded("iso8859_6", b"\x1b-G"),
    "138": _Coded("iso8859_8", b"\x1b-H"),
    "144": _Coded("iso8859_5", b"\x1b-L"),
    "148": _Coded("iso8859_9", b"\x1b-M"),
    "166": _Coded("iso8859_11", b"\x1b-T"),
    "203": _Coded("iso8859_15", b"\x1b-b"),
    "13": _Coded("shift_jis", b"\x1b)I"),
    "149": _Coded("euc_kr", b"\x1b$)C", 2),
    "58": _Coded("gb2312", b"\x1b$)A", 2),
    "87": _Coded("euc_jp", b"\x1b$B", 2, is_two_byte_g0=True),
    "159": _Coded("euc_jp", b"\x1b$(D", 2, is_two_byte_g0=True),
}
_NUMBER_OF_ESCAPE = {coded.escape: number for number, coded in _CODED.items()} | {
    b"\x1b(J": "6",  # JIS X 0201 romaji: its yen sign stands where the delimiter does
    b"\x1b$(B": "87",
    b"\x1b$@": "87",  # JIS C 6226-1978
    b"\x1b$A": "58",
    b"\x1b(I": "13",
}

# Those of more than one byte a character, which only escape sequences can put in force.
_MULTI_BYTE = frozenset(number for number, coded in _CODED.items() if coded.length > 1)

# Terms that stand alone: no code extensions (PS3.3 table C.12-5).
_ALONE = {"192": "utf_8", "GB18030": "gb18030", "GBK": "gbk"}

# What a writer may have meant when its bytes are not in the set that it declared.
_WIDER = {
    "euc_kr": "cp949",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "euc_jp": "euc_jis_2004",
}
_LATIN_PARTS = {"1": "100", "2": "101", "3": "109", "4": "110", "5": "144", "6": "127"} | {
    "7": "126", "8": "138", "9": "148", "11": "166", "15": "203",
}  # fmt: skip

_TERM = re.compile(r"(?:ISO)?[ _-]*(?:2022)?[ _-]*(?:IR)?[ _-]*(\d{1,3})")
_ESCAPE_SEQUENCE = re.compile(rb"(\x1b[\x20-\x2f]*[\x30-\x7e])")
_DELIMITERS = {
    vr: re.compile(b"([" + more + rb"\r\n\f\t])")
    for vr, more in (("PN", rb"\\^="), ("LT", b""), ("ST", b""), ("UT", b""), ("UR", b""))
}
_DELIMITERS_OTHERWISE = re.compile(rb"([\\\r\n\f\t])")


def canonical_term(term: str) -> str:
    """The number or name of a defined term, also of a misspelt one; empty where it is unknown."""
    term = term.strip(" \0").upper()
    if term in ("GB18030", "ISO 2022 GB18030", "GB 18030"):
        return "GB18030"
    if term in ("GBK", "ISO 2022 GBK"):
        return "GBK"
    if term in ("UTF-8", "UTF8", "UTF_8"):
        return "192"
    if latin := re.fullmatch(r"ISO[ _-]?8859[ _-](\d{1,2})", term):
        return _LATIN_PARTS.get(latin[1], "")
    found = _TERM.fullmatch(term)
    if not found:
        return ""
    number = str(int(found[1]))
    return number if number in _CODED or number in _ALONE else ""


def defined_terms() -> tuple[str, ...]:
    """All that are read and written: those without code extensions, then those with them."""
    single = (f"ISO_IR {number}" for number in _CODED if number not in _MULTI_BYTE)
    alone = (f"ISO_IR {name}" if name.isdigit() else name for name in _ALONE)
    return (*single, *alone, *(f"ISO 2022 IR {number}" for number in _CODED))


@dataclass(frozen=True, slots=True)
class CharacterSet:
    """A value of Specific Character Set. `numbers` are its terms' numbers, the first being in
    force until an escape sequence says otherwise."""

    numbers: tuple[str, ...]

    @property
    def terms(self) -> tuple[str, ...]:
        """The defined terms, well spelt; none for ASCII."""
        if self.numbers == ("6",):
            return ()
        if len(self.numbers) == 1:
            number = self.numbers[0]
            if number in ("GB18030", "GBK"):
                return (number,)
            return (f"ISO_IR {number}",) if not self._needs_escapes else (f"ISO 2022 IR {number}",)
        return tuple(f"ISO 2022 IR {number}" for number in self.numbers)

    @property
    def _needs_escapes(self) -> bool:
        return self.numbers[0] in _MULTI_BYTE

    @property
    def _stands_alone(self) -> bool:
        return self.numbers[0] in _ALONE

    @property
    def first_codec(self) -> str:
        """What the upper half of the bytes means before any escape sequence. ASCII has none: there
        it is that of the next set, whose sequence writers forget."""
        number = self.numbers[0]
        if number == "6":
            others = (each for each in self.numbers[1:] if not _CODED[each].is_two_byte_g0)
            number = next(others, number)
        return _ALONE.get(number) or _CODED[number].codec

    def decode(self, raw: bytes, vr: str = "LO") -> str:
        """The text of an element's bytes. Never fails."""
        if raw.isascii() and _ESCAPE not in raw:
            return raw.decode("ascii")
        if _ESCAPE in raw and not self._stands_alone:
            return "".join(self._decode_escaped(raw, vr))
        return _readable(raw, self.first_codec)

    def _decode_escaped(self, raw: bytes, vr: str) -> Iterator[str]:
        """Escape sequences count also where no code extensions were declared: ESC has no other
        meaning. A delimiter puts the first set in force again (PS3.5 6.1.2.5.3); where that has no
        upper half the last one designated goes on, for writers that do not say it again."""
        first = self.first_codec
        two_byte = ""
        upper = first
        delimiter = _DELIMITERS.get(vr, _DELIMITERS_OTHERWISE)
        for index, piece in enumerate(_ESCAPE_SEQUENCE.split(raw)):
            if index % 2:
                number = _NUMBER_OF_ESCAPE.get(piece, "")
                if number and _CODED[number].is_two_byte_g0:
                    two_byte = number
                elif number == "6":
                    two_byte = ""
                elif number:
                    two_byte, upper = "", _CODED[number].codec
                continue
            while two_byte and piece:
                text, piece = _take_two_byte(piece, two_byte, upper)
                yield text
                if piece:
                    two_byte = ""
            for part in delimiter.split(piece):
                if delimiter.fullmatch(part) and self.numbers[0] != "6":
                    upper = first
                yield _readable(part, upper)

    def encode(self, text: str, vr: str = "LO") -> bytes:
        """The bytes of one value (padding is the caller's). Raises UnicodeEncodeError."""
        if text.isascii():
            return text.encode("ascii")
        if self._stands_alone:
            return text.encode(self.first_codec)
        delimiter = r"([\\^=\r\n\f\t])" if vr == "PN" else r"([\\\r\n\f\t])"
        return b"".join(self._encode_part(part) for part in re.split(delimiter, text))

    def _encode_part(self, part: str) -> bytes:
        """A stretch between delimiters: it begins and ends with the first set in force."""
        if part.isascii():
            return part.encode("ascii")
        encoded: list[bytes] = []
        in_force = self.numbers[0] if not self._needs_escapes else "6"
        to_one_byte = b"\x1b(J" if in_force == "13" else b"\x1b(B"
        for character in part:
            number, code = self._encode_character(character, in_force)
            if number != in_force:
                if _CODED[in_force].is_two_byte_g0 and not _CODED[number].is_two_byte_g0:
                    encoded.append(to_one_byte)
                if number != "6":
                    encoded.append(_CODED[number].escape)
                in_force = number
            encoded.append(code)
        if _CODED[in_force].is_two_byte_g0:
            encoded.append(to_one_byte)
        return b"".join(encoded)

    def _encode_character(self, character: str, in_force: str) -> tuple[str, bytes]:
        """The number of the set that holds a character, and its bytes there."""
        if character.isascii():
            stays = not _CODED[in_force].is_two_byte_g0
            return (in_force if stays else "6"), character.encode("ascii")
        for number in (in_force, *self.numbers):
            code = _bytes_in(character, number)
            if code is not None:
                return number, code
        raise UnicodeEncodeError("ISO 2022", character, 0, 1, "in none of the character sets")


def _bytes_in(character: str, number: str) -> bytes | None:
    """A character's bytes in one coded character set, None where it is not in it."""
    coded = _CODED.get(number)
    if coded is None:
        return None
    try:
        code = character.encode(coded.codec)
    except UnicodeEncodeError:
        return None
    if coded.is_two_byte_g0:
        if code[0] == 0x8E or (code[0] == 0x8F) != (number == "159"):
            return None
        code = bytes(byte & 0x7F for byte in code[-2:])
    # Codecs hold more than their sets: Shift JIS the kanji, EUC-KR syllables of eight bytes, and
    # both of Japan a yen sign whose byte is the delimiter's.
    is_of_set = len(code) == coded.length and (coded.length > 1 or not code.isascii())
    return code if is_of_set else None


def _take_two_byte(raw: bytes, number: str, upper: str) -> tuple[str, bytes]:
    """Text of a stretch in which each two bytes are a character, and what follows its end at a
    control character. A byte that begins no pair stands for itself."""
    euc = bytearray()
    text: list[str] = []
    position = 0
    while position < len(raw) and raw[position] not in b"\r\n\f\t":
        pair = raw[position : position + 2]
        if len(pair) == 2 and all(0x21 <= byte <= 0x7E for byte in pair):
            euc += (b"\x8f" if number == "159" else b"") + bytes(byte | 0x80 for byte in pair)
            position += 2
            continue
        text += (_readable(bytes(euc), "euc_jp"), _readable(pair[:1], upper))
        euc.clear()
        position += 1
    text.append(_readable(bytes(euc), "euc_jp"))
    return "".join(text), raw[position:]


def _readable(raw: bytes, codec: str) -> str:
    """Decode as declared; else as what may have been meant; else whatever shows most of it."""
    candidates = (codec, _WIDER.get(codec, "utf_8"), "utf_8")
    for candidate in candidates:
        try:
            return raw.decode(candidate)
        except UnicodeDecodeError:
            continue
    if codec in _WIDER or codec in ("utf_8", "gb18030"):
        # Cut at a length limit in the middle of a character, or a few bytes gone wrong.
        text = raw.decode(_WIDER.get(codec, codec), "replace")
        if text.count("\ufffd") * 4 <= sum(byte >= 0x80 for byte in raw):
            return text
    if codec.startswith("iso8859"):
        return "".join(_readable_byte(byte, codec) for byte in raw)
    return raw.decode("latin_1")


def _readable_byte(byte: int, codec: str) -> str:
    """One byte of a set with gaps: those as in Latin 1."""
    text = bytes((byte,)).decode(codec, "replace")
    return text if text != "\ufffd" else chr(byte)


ASCII = CharacterSet(("6",))


def character_set(terms: Iterable[str], otherwise: CharacterSet = ASCII) -> CharacterSet:
    """The character set of these values of (0008,0005), also misspelt ones; `otherwise` where they
    declare nothing beyond ASCII."""
    cut = tuple(term.strip(" \0")[:_LONGEST_TERM] for term in islice(terms, _MAX_TERMS))
    declared = _character_set(cut)
    return otherwise if declared == ASCII else declared


def character_set_of_text(terms: str | None) -> CharacterSet:
    """As configured for a modality: defined terms with backslashes between them."""
    return character_set((terms or "").split("\\"))


@lru_cache(maxsize=128)
def _character_set(terms: tuple[str, ...]) -> CharacterSet:
    numbers = [canonical_term(term) for term in terms]
    first = numbers[0] if numbers and numbers[0] else "6"
    if first in _ALONE:
        return CharacterSet((first,))
    # Not the first, a term that stands alone can only be a mistake.
    more = [number for number in numbers[1:] if number in _CODED and number != first]
    return CharacterSet((first, *dict.fromkeys(more)))


def best_character_set(texts: Iterable[str], wanted: Sequence[str]) -> tuple[str, ...]:
    """The terms to label an answer with: none where all is ASCII, the wanted ones where they can
    hold all of `texts`, else Unicode's."""
    beyond = [text for text in texts if not text.isascii()]
    if not beyond:
        return ()
    candidate = character_set(wanted)
    try:
        for text in beyond:
            candidate.encode(text, "PN")
    except UnicodeEncodeError:
        return (UTF_8,)
    return candidate.terms
