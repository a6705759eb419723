"""The systemd unit, as far as it can be judged without systemd running."""

import configparser
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNIT = Path(__file__).parent.parent / "systemd" / "pacsnode.service"


def service() -> configparser.SectionProxy:
    parser = configparser.RawConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(UNIT.read_text("utf-8"))
    return parser["Service"]


def test_the_unit_notifies_reloads_and_may_have_port_104() -> None:
    unit = service()
    assert unit["Type"] == "notify"
    assert int(unit["WatchdogSec"]) > 0
    assert unit["ExecReload"].endswith("kill -HUP $MAINPID")
    assert unit["Restart"] == "on-failure"
    assert unit["StateDirectory"] == "pacsnode"
    assert unit["AmbientCapabilities"] == "CAP_NET_BIND_SERVICE"


def test_its_exposure_is_at_most_2() -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        outcome = pytest.fail if os.environ.get("CI") else pytest.skip
        outcome("systemd-analyze is not installed")
    done = subprocess.run(
        [analyze, "security", "--offline=true", "--no-pager", str(UNIT)],
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    found = re.search(r"Overall exposure level for pacsnode\.service: ([0-9.]+)", done.stdout)
    assert found is not None
    assert float(found[1]) <= 2.0
