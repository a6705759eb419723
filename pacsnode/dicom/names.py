"""Matching of person names (PS3.4 C.2.2.2.1): as they stand, folded; and fuzzy, where that was
negotiated: by words in any order, as they are spelled in plain Latin letters or by their sounds.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import product
from typing import NamedTuple

from pacsnode.dicom.sounds import sound_alike, sounds, spelling
from pacsnode.dicom.text import fold_name, trimmed
from pacsnode.dicom.wildcards import has_wildcard, wildcard

# Three groups of 64 characters are a name (PS3.5 6.2). What is longer than this matches only as it
# stands: every word of a key may have to be tried on every word of a name.
LONGEST = 256


class NamePattern(NamedTuple):
    """A person name to match, folded. For each component group the patterns (`*` and `?` are
    wildcards) of which one has to fit; none: any group will do. A key of one group (`is_single`)
    is tried against each group of a name."""

    is_single: bool
    groups: tuple[tuple[str, ...], ...]


class WantedWord(NamedTuple):
    """One word of a key for fuzzy matching. `spellings` are those of which one has to be among a
    name's: the word's own, and where several words share a component their all in one (O BRIEN).
    `sounds` are codes of which one will do (sound_alike). With wildcards there is one spelling, a
    pattern."""

    text: str
    spellings: tuple[str, ...]
    sounds: frozenset[str] = frozenset()
    is_pattern: bool = False


class FuzzyName(NamedTuple):
    """As NamePattern: for each component group the words that all have to be found; None for a
    group that asks for something and has no words (`-`), which nothing is like."""

    is_single: bool
    groups: tuple[tuple[WantedWord, ...] | None, ...]


class Words(NamedTuple):
    """The words of one component group of a name, as they are spelled and what they sound like."""

    spellings: frozenset[str]
    sounds: frozenset[str]


@lru_cache(maxsize=1024)
def name_pattern(wanted: str) -> NamePattern:
    """A key's person name, folded. Trailing empty components do not count, so that `DOE^*` fits a
    name that is nothing but `DOE`."""
    groups = fold_name(wanted).split("=")
    return NamePattern(len(groups) == 1, tuple(map(_group_patterns, groups)))


def _group_patterns(group: str) -> tuple[str, ...]:
    bare = re.sub(r"(?:\^\**)+$", "", group)
    if not bare.strip("*"):
        return ()
    return (bare, f"{bare}^*") if bare != group else (group,)


def matches_name(pattern: NamePattern, value: str) -> bool:
    groups = fold_name(trimmed(value)).split("=")
    if pattern.is_single:
        return any(_fits(pattern.groups[0], group) for group in groups if group)
    groups += [""] * (len(pattern.groups) - len(groups))
    return all(_fits(wanted, group) for wanted, group in zip(pattern.groups, groups, strict=False))


def _fits(patterns: Sequence[str], group: str) -> bool:
    return not patterns or any(wildcard(pattern).fullmatch(group) for pattern in patterns)


@lru_cache(maxsize=1024)
def fuzzy_name(wanted: str) -> FuzzyName:
    """A key's person name for fuzzy matching."""
    if len(wanted) > LONGEST:
        return FuzzyName(is_single=True, groups=(None,))
    groups = fold_name(wanted).split("=")
    return FuzzyName(len(groups) == 1, tuple(map(_wanted_words, groups)))


def _wanted_words(group: str) -> tuple[WantedWord, ...] | None:
    wanted = tuple(_wanted(group))
    return wanted if wanted or not group.strip("*^") else None


def _wanted(group: str) -> Iterator[WantedWord]:
    for component in group.split("^"):
        words = [word for word in _split(component) if word.strip("*")]
        joined = _joined(words)
        for word in words:
            if has_wildcard(word):
                yield WantedWord(word, (spelling(word),), is_pattern=True)
                continue
            spellings = (spelling(word), *joined)
            codes = frozenset(code for spelled in spellings for code in sounds(spelled))
            yield WantedWord(word, spellings, codes)


def is_like(wanted: FuzzyName, value: str) -> bool:
    """Whether a name has all the words that a key asks for, or words that sound like them."""
    if len(value) > LONGEST:
        return False
    groups = fold_name(trimmed(value)).split("=")
    if wanted.is_single:
        return any(_has_all(wanted.groups[0], group) for group in groups if group)
    groups += [""] * (len(wanted.groups) - len(groups))
    return all(map(_has_all, wanted.groups, groups))


_NOT_THERE = "is not there"


def how_like(wanted: FuzzyName, value: str) -> str:
    """By what each word of a key is found in a name, for people. Of a key of one group, in the
    group where most are found."""
    groups = fold_name(trimmed(value)).split("=")
    if wanted.is_single:
        said = [_said(wanted.groups[0], group) for group in groups]
        return min(said, key=lambda text: text.count(_NOT_THERE))
    groups += [""] * (len(wanted.groups) - len(groups))
    return ", ".join(filter(None, map(_said, wanted.groups, groups)))


def _said(wanted: Sequence[WantedWord] | None, group: str) -> str:
    words = words_of(group)
    return ", ".join(f"{word.text} {how_found(word, words) or _NOT_THERE}" for word in wanted or ())


def _has_all(wanted: Sequence[WantedWord] | None, group: str) -> bool:
    if wanted is None:
        return False
    words = words_of(group)
    return all(how_found(word, words) for word in wanted)


def how_found(wanted: WantedWord, words: Words) -> str:
    """By what a word of a key is found among a name's; empty where it is not."""
    if wanted.is_pattern:
        expression = wildcard(wanted.spellings[0])
        found = min(filter(expression.fullmatch, words.spellings), default="")
        return f"fits {found}" if found else ""
    if any(spelled in words.spellings for spelled in wanted.spellings):
        return "is there"
    for code in sorted(wanted.sounds & words.sounds):
        if any(sound_alike(code, *pair) for pair in product(wanted.spellings, words.spellings)):
            return f"sounds like one ({code})"
    return ""


def words_of(group: str) -> Words:
    """The words of a folded component group; those of one component also all in one."""
    spelled: set[str] = set()
    for component in group.split("^"):
        words = _split(component)
        spelled.update(map(spelling, words), _joined(words))
    return Words(frozenset(spelled), frozenset(code for word in spelled for code in sounds(word)))


def _joined(words: Sequence[str]) -> tuple[str, ...]:
    """Several words as the one that others make of them: Jean-Pierre, Jeanpierre."""
    if len(words) < 2 or any(map(has_wildcard, words)):
        return ()
    return (spelling("".join(words)),)


_BETWEEN_WORDS = re.compile(r"[\0-)+-/:->@\[-`{-\x7f]+")  # of ASCII, but for wildcards


def _split(component: str) -> list[str]:
    """The words of a component, without punctuation. An apostrophe parts none: O'Brien, OBrien."""
    component = component.replace("'", "")
    if not component.isascii():
        component = "".join(map(_or_space, component))
    return [word for word in _BETWEEN_WORDS.split(component) if word]


@lru_cache(maxsize=4096)
def _or_space(character: str) -> str:
    """Punctuation, signs and controls of all scripts part words."""
    is_part = character.isascii() or unicodedata.category(character)[0] in "LMN"
    return character if is_part else " "
