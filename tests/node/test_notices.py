"""What the processes of a node write down for whoever asks."""

import logging
import os

import pytest

from pacsnode.node.notices import ErrorKeeper, Notices, keep_errors


def test_troubles_of_all_processes_are_told_once() -> None:
    notices = Notices(3)
    notices.page(1).set_troubles(["full: 10 bytes", "no index: broken"])
    notices.page(2).set_troubles(["full: 9 bytes"])
    assert notices.troubles() == ["full: 10 bytes", "no index: broken"]
    notices.page(1).set_troubles([])
    assert notices.troubles() == ["full: 9 bytes"]
    notices.page(2).clear()
    assert notices.troubles() == []


def test_the_last_errors_are_kept_newest_first() -> None:
    notices = Notices(2)
    page = notices.page(1)
    for number in range(100):
        page.remember(f"error {number}")
    notices.page(0).remember("the supervisor's")
    texts = [notice.text for notice in notices.errors()]
    assert texts == ["the supervisor's", *(f"error {number}" for number in range(99, 91, -1))]


def test_the_last_warnings_cost_no_error_its_place() -> None:
    notices = Notices(1)
    page = notices.page(0)
    page.remember("an error")
    for number in range(100):
        page.note(f"warning {number}")
    assert [notice.text for notice in notices.errors()] == ["an error"]
    texts = [notice.text for notice in notices.warnings()]
    assert texts == [f"warning {number}" for number in range(99, 91, -1)]


def test_what_a_process_wrote_outlives_it() -> None:
    notices = Notices(2)
    child = os.fork()
    if not child:
        notices.page(1).remember("last words")
        os._exit(0)
    os.waitpid(child, 0)
    assert [notice.text for notice in notices.errors()] == ["last words"]


def test_a_text_of_any_length_and_any_characters_has_a_place() -> None:
    page = Notices(1).page(0)
    page.remember("ä" * 5000)
    page.remember("\udcff\n\x1b[31m")
    long, odd = page.errors()
    assert long.text == "ä" * 250
    assert odd.text == "\\udcff\n\x1b[31m"


def test_half_a_text_counts_as_nothing() -> None:
    notices = Notices(1)
    page = notices.page(0)
    page.set_troubles(["whole"])
    page._memory[15] ^= 1
    assert notices.troubles() == []


def test_errors_and_warnings_are_kept_apart_and_on_one_page(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    logger = logging.getLogger("pacsnode")
    monkeypatch.setattr(logger, "handlers", [])
    notices = Notices(2)
    keep_errors(notices.page(0))
    keep_errors(notices.page(1))
    logging.getLogger("pacsnode.anything").info("a word")
    logging.getLogger("pacsnode.anything").warning("a warning")
    logging.getLogger("pacsnode.anything").error("an error of %s", "CT1")
    assert [notice.text for notice in notices.page(1).errors()] == ["an error of CT1"]
    assert [notice.text for notice in notices.warnings()] == ["a warning"]
    assert notices.page(0).errors() == notices.page(0).warnings() == []
    assert [type(handler) for handler in logger.handlers] == [ErrorKeeper]
