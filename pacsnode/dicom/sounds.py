"""How a word of a name is spelled in plain Latin letters, and what it sounds like: for fuzzy
matching alone. Both are the same for spellings that people confuse: Müller, Mueller, Muller;
Иванов, Ivanov, Iwanow; ヤマダ, やまだ, Yamada."""

import re
import unicodedata
from functools import lru_cache

from anyascii import anyascii
from jellyfish import jaro_winkler_similarity, metaphone

# ä is written ae where a keyboard has none; accents are gone by now.
_E_OF_UMLAUT = re.compile("(?<=[aou])e")

# The same sounds as people between Amsterdam and Moscow write them, the longest first; Metaphone
# reads English.
_CONTINENTAL = (
    ("tsch", "ch"),
    ("sch", "sh"),
    ("chr", "kr"),
    ("mps", "ms"),
    ("cz", "ch"),
    ("sz", "sh"),
    ("th", "t"),
    ("w", "v"),
    ("j", "y"),
    ("g", "k"),  # never soft: Jürgen
)

# Forms of one ideograph, some of which families keep and keyboards lack: old ones, new ones.
_IDEOGRAPHS = str.maketrans(
    "髙﨑𠮷邊邉齋齊澤濱濵廣嶋嶌櫻眞國德惠龍瀧黑藏豐關將圓條榮壽曾槇萬彌",
    "高崎吉辺辺斎斉沢浜浜広島島桜真国徳恵竜滝黒蔵豊関将円条栄寿曽槙万弥",
)

# A code of one consonant says too little: Doe, Day, Tee and Dao are all T.
_SHORTEST_CODE = 2
# One of two consonants says little: MR are Meyer and Maier, but Maria and Moore as well. Words that
# have no more in common must look alike, too: from 0 to 1.
_TELLING_CODE = 3
_LIKENESS = 0.7
_LONGEST_WORD = 64  # characters: a whole name should have no more (PS3.5 6.2)


def spelling(word: str) -> str:
    """A folded word in Latin letters, without what tells umlauts from their substitutes.
    Ideographs stay: how they are read is not to be seen. What is done to a letter depends on those
    before it alone, so that the spelling of a beginning is the beginning of the spelling."""
    if not word.isascii():
        word = "".join(map(_latin, word.translate(_IDEOGRAPHS)))
    return _E_OF_UMLAUT.sub("", word)


@lru_cache(maxsize=4096)
def _latin(character: str) -> str:
    if character.isascii() or _is_ideograph(character):
        return character
    letters = "".join(filter(str.isalnum, anyascii(character))).lower()
    # Signs that only change what stands before them become nothing, as in Thai or Russian; what
    # is unknown stays.
    is_sign = unicodedata.category(character) in ("Mn", "Mc", "Lm") or character in "ьъ"
    return letters if letters or is_sign else character


def _is_ideograph(character: str) -> bool:
    return character == "々" or unicodedata.name(character, "").startswith("CJK ")


def sounds(spelled: str) -> frozenset[str]:
    """The phonetic codes of a word's spelling, in capitals: read as English, and as its neighbours
    on the continent would. None for what has no sound, or hardly one."""
    is_word = spelled.isascii() and len(spelled) <= _LONGEST_WORD
    return _codes(spelled) if is_word else frozenset()


def sound_alike(code: str, one: str, other: str) -> bool:
    """Whether two spellings that may have a code are taken for one word because of it."""
    if not (code in sounds(one) and code in sounds(other)):
        return False
    return len(code) >= _TELLING_CODE or jaro_winkler_similarity(one, other) >= _LIKENESS


@lru_cache(maxsize=4096)
def _codes(spelled: str) -> frozenset[str]:
    english = spelled[:1] + spelled[1:].replace("y", "i")
    continental = english
    for theirs, ours in _CONTINENTAL:
        continental = continental.replace(theirs, ours)
    codes = {_code(english), _code(continental)}
    return frozenset(code for code in codes if len(code) >= _SHORTEST_CODE)


def _code(word: str) -> str:
    """Double consonants count once, also where they come together only in the code: Schmidt."""
    return re.sub(r"(.)\1+", r"\1", metaphone(word))
