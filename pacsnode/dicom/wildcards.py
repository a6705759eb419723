"""`*` and `?` in a key's text (PS3.4 C.2.2.2.4)."""

import re
from functools import lru_cache


def has_wildcard(text: str) -> bool:
    return "*" in text or "?" in text


@lru_cache(maxsize=1024)
def wildcard(pattern: str) -> re.Pattern[str]:
    """An expression for its fullmatch: `*` any characters, `?` one, all others themselves."""
    return re.compile(_expression(re.sub(r"\*+", "*", pattern)), re.DOTALL)


def _expression(pattern: str) -> str:
    """Each stretch between two asterisks is found at its first place and stays there (an atomic
    group): to try others as well would take exponential time, and never finds more."""
    first, *middle = (
        "".join("." if character == "?" else re.escape(character) for character in part)
        for part in pattern.split("*")
    )
    if not middle:
        return first
    last = middle.pop()
    return first + "".join(f"(?>.*?{part})" for part in middle) + f".*{last}"
