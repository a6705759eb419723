"""The pool that codecs are forked from: its waiting line, and what becomes of its processes."""

import os
import select
import signal
import socket
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO

import pytest

from pacsnode.dicom.message import DatasetSource, no_tick
from pacsnode.errors import TranscodingError
from pacsnode.scu import codecs as codecs_module
from pacsnode.scu.codecs import Codecs, Conversion, Transcoding
from tests.benchmarks.processes import tree
from tests.conftest import PATIENCE
from tests.dicom import raw
from tests.node.test_workers import wait_until_gone
from tests.scu.test_codecs import RLE, rle_dataset, transcode

LOW, MEDIUM, HIGH = 2, 0, 1

# A codec that tells its dataset to a socket, and is done when it hears something from there.
GATED = """
import os, socket, sys
descriptor, most, *sys.path = sys.argv[1:]
from pacsnode.scu import codec, codec_pool
from pacsnode.dicom.message import DatasetSource
def transcode(source, source_uid, target_uid, spool, tick, may_lose):
    name = source.file.read(source.length).decode()
    with socket.socket(socket.AF_UNIX) as gate:
        gate.connect("\\0" + os.environ["GATE"])
        gate.sendall(name.encode())
        gate.recv(1)
    spool.write(name.encode())
    return DatasetSource(spool, len(name), "9." + name)
codec.transcode = transcode
codec_pool.IDLE = float(os.environ.get("IDLE", "120"))
codec_pool.SIGN_OF_LIFE = 0.1
codec_pool.main(int(descriptor), int(most))
"""


class Gate:
    """Codecs that wait until they are let through."""

    def __init__(self, name: str, stack: ExitStack) -> None:
        self._stack = stack
        self._socket = stack.enter_context(socket.socket(socket.AF_UNIX))
        self._socket.bind(f"\0{name}")
        self._socket.listen()
        self._socket.settimeout(PATIENCE)
        self.codecs = stack.enter_context(Codecs(1))

    def begin(self, name: str, priority: int = MEDIUM) -> Transcoding:
        source: IO[bytes] = self._stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
        source.write(name.encode())
        source.flush()
        source.seek(0)
        spool: IO[bytes] = self._stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
        dataset = DatasetSource(source, len(name))  # type: ignore[arg-type]
        conversion = Conversion(RLE, raw.EXPLICIT, priority=priority)
        return self._stack.enter_context(self.codecs.begin(dataset, conversion, spool))

    def wait(self) -> tuple[str, socket.socket]:
        """What a codec has begun with, and where it waits."""
        codec, _ = self._socket.accept()
        self._stack.callback(codec.close)
        return codec.recv(100).decode(), codec

    def open(self) -> str:
        """Let one through."""
        name, codec = self.wait()
        codec.send(b"x")
        return name

    @property
    def pool(self) -> int:
        assert self.codecs._process is not None
        return self.codecs._process.pid


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    name = f"pacsnode-test-{uuid.uuid4().hex}"
    monkeypatch.setattr(codecs_module, "COMMAND", (sys.executable, "-c", GATED))
    monkeypatch.setenv("GATE", name)
    with ExitStack() as stack:
        yield Gate(name, stack)


def result(transcoding: Transcoding, tick: Callable[[], None] = no_tick) -> tuple[bytes, str]:
    found = transcoding.result(tick)
    return found.file.read(found.length), found.sop_instance_uid or ""


def test_who_is_more_urgent_goes_first_and_the_others_in_their_order(gate: Gate) -> None:
    names = {"low": LOW, "medium1": MEDIUM, "medium2": MEDIUM, "high": HIGH}
    first = gate.begin("first", LOW)
    name, codec = gate.wait()
    waiting = [gate.begin(name, priority) for name, priority in names.items()]
    codec.send(b"x")
    assert [name, *(gate.open() for _ in names)] == ["first", "high", "medium1", "medium2", "low"]
    assert result(first) == (b"first", "9.first")
    assert [result(one)[0].decode() for one in waiting] == list(names)


def test_who_waits_in_line_is_told_that_time_passes(gate: Gate) -> None:
    """Longer than a codec may be without progress."""
    gate.codecs.stuck = 0.5
    busy, waiting = gate.begin("busy"), gate.begin("waiting")
    ticks = 0

    def tick() -> None:
        nonlocal ticks
        ticks += 1
        if ticks == 12:
            gate.open()
            gate.open()

    assert result(waiting, tick) == (b"waiting", "9.waiting")
    assert result(busy) == (b"busy", "9.busy")


def test_what_nobody_waits_for_any_more_is_broken_off(gate: Gate) -> None:
    left, unwanted, next_one = gate.begin("left"), gate.begin("unwanted"), gate.begin("next")
    name, codec = gate.wait()
    assert (name, left.is_done) == ("left", False)
    unwanted.close()
    left.close()
    assert codec.recv(1) == b"", "it is ended"
    assert gate.open() == "next"
    assert result(next_one)[0] == b"next"


def test_codecs_are_kept_and_the_idle_end_with_all_that_they_needed(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IDLE", "0")
    with Codecs(1) as codecs:
        gate.codecs = codecs
        transcoding = gate.begin("one")
        gate.open()
        assert result(transcoding)[0] == b"one"
        pool = gate.pool
        deadline = PATIENCE / 0.02
        while tree(pool) != [pool] or b"numpy" in Path(f"/proc/{pool}/maps").read_bytes():
            deadline -= 1
            assert deadline, "codecs, or what they imported, are still there"
            select.select([], [], [], 0.02)
        again = gate.begin("two")
        gate.open()
        assert result(again)[0] == b"two"
        assert gate.pool == pool


def test_one_codec_serves_one_after_the_other() -> None:
    data, pixels = rle_dataset()
    with Codecs(1) as codecs:
        assert pixels in transcode(codecs, data, RLE)
        assert codecs._process is not None
        before = tree(codecs._process.pid)
        assert len(before) == 2
        assert pixels in transcode(codecs, data, RLE)
        assert tree(codecs._process.pid) == before


def test_a_codec_has_nothing_open_but_its_channel(tmp_path: Path) -> None:
    data, _ = rle_dataset()
    with open(tmp_path / "secret", "w") as secret, Codecs(1) as codecs:
        os.set_inheritable(secret.fileno(), True)
        transcode(codecs, data, RLE)
        assert codecs._process is not None
        pool, codec = tree(codecs._process.pid)
        assert os.getpgid(pool) != os.getpgid(0), "Ctrl-C would reach it"
        opened = sorted(os.readlink(entry) for entry in Path(f"/proc/{codec}/fd").iterdir())
        assert opened[:3] == ["/dev/null"] * 3
        assert [link.split(":")[0] for link in opened[3:]] == ["socket"]


def test_a_pool_that_is_killed_fails_what_it_was_at_and_is_started_anew(gate: Gate) -> None:
    under_way = gate.begin("one")
    _, codec = gate.wait()
    os.kill(gate.pool, signal.SIGKILL)
    with pytest.raises(TranscodingError, match="pool of codecs has ended"):
        result(under_way)
    wait_until_gone(gate.pool)
    codec.send(b"x")  # it goes on, finds that nobody waits, and ends
    again = gate.begin("two")
    gate.open()
    assert result(again)[0] == b"two"
