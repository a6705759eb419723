"""The audit trail as configured."""

import json
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from pacsnode.audit import Silent, Study, Writing, media_of, open_trail, trail, user
from pacsnode.config.model import Audit
from pacsnode.errors import ConfigurationError
from tests.audit.samples import everything
from tests.audit.schema import parsed
from tests.audit.servers import UdpServer


def settings(**values: Any) -> Audit:
    return Audit.model_validate(values)


def test_where_nothing_is_configured_nobody_is_told() -> None:
    silent = open_trail(settings(), "PACSNODE")
    assert isinstance(silent, Silent)
    assert not silent.is_on
    before = threading.active_count()
    silent.record(everything()["opened"])
    tally = silent.tally(lambda *_: pytest.fail("told"))
    tally.add("1.2", "CT", lambda: Study("1.2"), None)
    tally.flush()
    silent.close()
    assert threading.active_count() == before


def test_an_event_goes_all_ways(tmp_path: Path) -> None:
    path = tmp_path / "audit.json"
    with ExitStack() as stack:
        server = UdpServer()
        stack.callback(server.close)
        made = open_trail(
            settings(file=path, syslog={"host": "127.0.0.1", "port": server.port}), "PACSNODE"
        )
        assert made.is_on
        made.record(everything()["received"])
        parsed(server.next().partition(b"\xef\xbb\xbf")[2])
        made.close()
    (line,) = path.read_text("ascii").splitlines()
    assert json.loads(line)["event"] == "DICOM Instances Transferred"


def test_what_waits_is_told_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "audit.json"
    made = open_trail(settings(file=path), "PACSNODE")
    tally = made.tally(lambda _, study, classes: made.record(everything()["received"]))
    tally.add("1.2", "CT", lambda: Study("1.2"), None)
    made.close()
    assert len(path.read_text("ascii").splitlines()) == 1


def test_an_idle_association_is_told_of_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pacsnode.audit.tally.OLDEST", 0.0)
    monkeypatch.setattr(trail, "OLDEST", 0.03)
    made = open_trail(settings(file=tmp_path / "audit.json"), "PACSNODE")
    told = threading.Event()
    tally = made.tally(lambda *_: told.set())
    with tally._lock:  # as the association's own thread would have, a moment ago
        tally._entries["1.2", None] = module_entry()
    assert told.wait(30)
    made.close()


def module_entry() -> Any:
    from pacsnode.audit.tally import _Entry

    return _Entry(Study("1.2"))


def test_tallies_that_are_over_are_not_kept(tmp_path: Path) -> None:
    made = open_trail(settings(file=tmp_path / "audit.json"), "PACSNODE")
    assert isinstance(made, Writing)
    for _ in range(100):
        made.tally(lambda *_: None).flush()
    assert len(made._tallies) == 0
    made.close()


@pytest.mark.parametrize(
    ("values", "wrong"),
    [
        ({"file": "/missing/audit.json"}, r"audit\.file: /missing/audit\.json: No such file"),
        ({"syslog": {"host": "x", "transport": "tls", "tls": False}}, r"audit\.syslog\.tls: false"),
        (
            {"syslog": {"host": "x", "transport": "tls", "tls": {"ca": "/missing.pem"}}},
            r"audit\.syslog\.tls\.ca: /missing\.pem: No such file",
        ),
    ],
)
def test_what_is_wrong_is_told_at_start(values: dict[str, Any], wrong: str) -> None:
    with pytest.raises(ConfigurationError, match=wrong):
        open_trail(settings(**values), "PACSNODE")


def test_who_and_where_are_told_in_the_usual_forms() -> None:
    name, at, host = user().partition("@")
    assert name
    assert at
    assert host
    assert media_of(Path("/media/cd rom")) == "file:///media/cd%20rom"
