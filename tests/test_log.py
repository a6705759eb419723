import io
import json
import logging
import threading
import warnings
from collections.abc import Callable, Iterator

import pytest

from pacsnode import log

Configure = Callable[[str, str], io.StringIO]


@pytest.fixture
def configure() -> Iterator[Configure]:
    root = logging.getLogger()
    before = (root.handlers[:], root.level, {n: logging.getLogger(n).level for n in QUIET})

    def start(level: str, form: str) -> io.StringIO:
        stream = io.StringIO()
        log.configure(level, form, stream)
        return stream

    yield start
    logging.captureWarnings(False)
    root.handlers[:], root.level = before[0], before[1]
    for name, level in before[2].items():
        logging.getLogger(name).setLevel(level)


QUIET = ("pacsnode", "pydicom", "py.warnings")


def test_a_text_line_has_time_level_and_message(configure: Configure) -> None:
    stream = configure("INFO", "text")
    logging.getLogger("pacsnode.scp").info("stored %d", 3)
    (line,) = stream.getvalue().splitlines()
    assert line.endswith(" INFO stored 3")
    assert len(line.split()[0]) == len("2026-01-02T03:04:05.678+00:00")


def test_lines_of_an_associations_thread_have_its_number(configure: Configure) -> None:
    stream = configure("INFO", "text")

    def associate() -> None:
        log.association.set(42)
        logging.getLogger("pacsnode").info("inside")

    thread = threading.Thread(target=associate)
    thread.start()
    thread.join()
    logging.getLogger("pacsnode").info("outside")
    inside, outside = stream.getvalue().splitlines()
    assert "[42] inside" in inside
    assert "[42]" not in outside


def test_control_characters_of_strangers_stay_on_one_line_and_are_escaped(
    configure: Configure,
) -> None:
    stream = configure("INFO", "text")
    logging.getLogger("pacsnode").info("from %s", "A\n\x1b[31m\x9b\u202eB\ud800\u2028")
    text = stream.getvalue()
    assert text.endswith("from A\\n\\x1b[31m\\x9b\\u202eB\\ud800\\u2028\n")
    assert text.count("\n") == 1


def test_a_traceback_cannot_pass_for_a_record(configure: Configure) -> None:
    stream = configure("INFO", "text")
    try:
        raise ValueError("x\n2026-01-01T00:00:00 INFO forged\x1b[2J")
    except ValueError:
        logging.getLogger("pacsnode").exception("fault")
    first, *rest = stream.getvalue().splitlines()
    assert first.endswith("ERROR fault")
    assert any("forged\\x1b[2J" in line for line in rest)
    assert all(line.startswith("  | ") for line in rest)


def test_json_lines_hold_association_and_traceback(configure: Configure) -> None:
    stream = configure("INFO", "json")
    token = log.association.set(7)
    try:
        raise ValueError("\u00e4")
    except ValueError:
        logging.getLogger("pacsnode.net").exception("fault\n%s", "\x1b")
    finally:
        log.association.reset(token)
    (line,) = stream.getvalue().splitlines()
    record = json.loads(line)
    assert line.isascii()
    assert record["association"] == 7
    assert record["level"] == "ERROR"
    assert record["logger"] == "pacsnode.net"
    assert record["message"] == "fault\n\x1b"
    assert record["traceback"].endswith("ValueError: \u00e4")


def test_values_of_datasets_are_not_logged_above_debug(configure: Configure) -> None:
    stream = configure("INFO", "text")
    logging.getLogger("pydicom").setLevel(logging.WARNING)  # as importing pydicom does
    logging.getLogger("pydicom").warning("DOE^JOHN")
    logging.getLogger("pydicom.values").error("DOE^JIM")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("DOE^JANE", stacklevel=1)
    assert stream.getvalue() == ""
    stream = configure("DEBUG", "text")
    logging.getLogger("pydicom").warning("DOE^JOHN")
    assert "DOE^JOHN" in stream.getvalue()


def test_levels_and_other_libraries(configure: Configure) -> None:
    stream = configure("WARNING", "text")
    logging.getLogger("pacsnode.net").info("not this")
    logging.getLogger("peewee").info("nor this")
    logging.getLogger("pacsnode.net").warning("this")
    assert [line.split()[-1] for line in stream.getvalue().splitlines()] == ["this"]
