"""A mad client does not fill the log, and hides nobody else's lines."""

import pytest

from pacsnode.net.complaints import HOSTS, MOST, PERIOD, Complaints


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_so_many_lines_a_minute_for_each_host(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    told: list[tuple[str, str]] = []
    complaints = Complaints(clock, lambda host, text: told.append((host, text)))
    for number in range(100):
        complaints.say("10.0.0.1", f"mad {number}")
    complaints.say("10.0.0.2", "bad luck")
    said = [record.getMessage() for record in caplog.records]
    assert said[0] == "connection from 10.0.0.1: mad 0"
    assert len(said) == MOST + 1
    assert said[-1] == "connection from 10.0.0.2: bad luck"
    assert [f"connection from {host}: {text}" for host, text in told] == said
    assert {record.levelname for record in caplog.records} == {"WARNING"}
    clock.now = PERIOD
    complaints.say("10.0.0.1", "again")
    left_out = 100 - MOST
    assert caplog.records[-1].getMessage() == (
        f"connection from 10.0.0.1: again (and {left_out} more lines like it that were left out)"
    )
    complaints.say("10.0.0.1", "once more")
    assert caplog.records[-1].getMessage() == "connection from 10.0.0.1: once more"


def test_no_more_hosts_are_remembered_than_that(caplog: pytest.LogCaptureFixture) -> None:
    complaints = Complaints(Clock())
    for number in range(3 * HOSTS):
        complaints.say(f"2001:db8::{number:x}", "hello")
    assert len(complaints._hosts) == HOSTS
    assert len(caplog.records) == 3 * HOSTS
