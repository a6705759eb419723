"""Texts of strangers on their way into an audit message."""

import re
import time

LONGEST = 256  # characters
LONGEST_DESCRIPTION = 1024

# Controls of every kind, among them all that XML 1.0 forbids, lone surrogates, non-characters.
_UNFIT = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufdd0-\ufdef"
    "\ufeff\ufffe\uffff]"
)


def fit(text: str, longest: int = LONGEST) -> str:
    """`text` in one line that XML and JSON can hold, cut where it is too long."""
    if len(text) > longest:
        text = text[: longest - 1] + "…"
    return _UNFIT.sub("\ufffd", text)


def utc(at: float) -> str:
    """Unix time as RFC 3339 and XML have it, in milliseconds."""
    milliseconds = round(at * 1000)
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(milliseconds // 1000))
    return f"{seconds}.{milliseconds % 1000:03d}Z"
