"""Log lines on standard error, as text or JSON, each with the number of its association.

Much of what is logged was said by strangers: control characters in it come out as escapes, so that
one record is one line and no terminal obeys it.
"""

import contextvars
import json
import logging
import re
import sys
import time
import traceback
from typing import TextIO

# Set by an association's thread when it begins: its lines can then be told from others'.
association: contextvars.ContextVar[int | None] = contextvars.ContextVar(
    "association", default=None
)

# C0, DEL, C1, line and paragraph separators, controls of writing direction, lone surrogates.
_CONTROL = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)


def printable(text: str) -> str:
    """`text` on one line, with nothing in it that a terminal would obey."""
    return _CONTROL.sub(lambda match: repr(match[0])[1:-1], text)


def configure(level: str, form: str, stream: TextIO | None = None) -> None:
    """Log pacsnode's records from `level` on, other libraries' warnings, in the given form (text or
    json). May be called again; `stream` is standard error."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    if level != "DEBUG":
        # A filter, as pydicom sets its own logger's level whenever it comes to be imported.
        handler.addFilter(_quotes_no_dataset)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("pacsnode").setLevel(level)
    logging.captureWarnings(True)


def _quotes_no_dataset(record: logging.LogRecord) -> bool:
    """False for the complaints of pydicom, which quote values: patients' names among them."""
    return record.name.partition(".")[0] != "pydicom" and record.name != "py.warnings"


def _time(record: logging.LogRecord) -> str:
    """Local time in ISO 8601, in milliseconds, with its offset."""
    local = time.localtime(record.created)
    offset = time.strftime("%z", local)
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", local)
    return f"{seconds}.{int(record.msecs):03d}{offset[:3]}:{offset[3:]}"


def _traceback(record: logging.LogRecord) -> list[str]:
    if not record.exc_info or record.exc_info[0] is None:
        return []
    return "".join(traceback.format_exception(*record.exc_info)).splitlines()


class TextFormatter(logging.Formatter):
    """`TIME LEVEL [ASSOCIATION] text`; lines of a traceback follow, marked so that none of them can
    pass for a record."""

    def format(self, record: logging.LogRecord) -> str:
        number = association.get()
        where = f" [{number}]" if number is not None else ""
        first = f"{_time(record)} {record.levelname}{where} {printable(record.getMessage())}"
        return "\n".join([first, *(f"  | {printable(line)}" for line in _traceback(record))])


class JsonFormatter(logging.Formatter):
    """One JSON object a line, ASCII."""

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname,
            "logger": record.name,
        }
        if (number := association.get()) is not None:
            fields["association"] = number
        fields["message"] = record.getMessage()
        if lines := _traceback(record):
            fields["traceback"] = "\n".join(lines)
        return json.dumps(fields)
