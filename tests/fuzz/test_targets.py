"""A share of the fuzzing that has its place in the suite, and everything that was found before."""

from pathlib import Path

import pytest

from tests.fuzz import engine
from tests.fuzz.targets import TARGETS

FOUND = sorted((Path(__file__).parent / "found").glob("*-*"))

pytestmark = pytest.mark.filterwarnings("ignore")  # codecs', of what they are given

# How many inputs take about half a second.
INPUTS = {"acceptor": 100, "requestor": 100, "transcoding": 100}


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_is_found_in_a_moment(name: str) -> None:
    count, finds = engine.run(name, seed=1, seconds=60, most=INPUTS.get(name, 400))
    assert count == INPUTS.get(name, 400)
    assert not finds, f"{finds[0].name}, {finds[0].data!r}:\n{finds[0].text}"


@pytest.mark.parametrize("path", FOUND, ids=lambda path: path.name)
def test_what_was_found_is_not_found_again(path: Path) -> None:
    find = engine.feed(path.name.rpartition("-")[0], path.read_bytes())
    assert find is None, find and find.text


def test_a_broken_promise_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(data: bytes) -> None:
        if b"\\" in data:
            raise IndexError(data)

    monkeypatch.setitem(TARGETS, "match", TARGETS["match"]._replace(run=broken))
    _, finds = engine.run("match", seed=1, seconds=60, most=400)
    assert len(finds) == 1
    assert "IndexError" in finds[0].text
