"""Whoever has something to tell never waits, and what is lost is counted."""

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from pacsnode.audit import sender as module
from pacsnode.audit.sender import Lost, Sender

PATIENCE = 30.0


class ScriptedSink:
    """Takes messages, fails while `fault` is set, stops while `gate` is closed."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.fault: OSError | None = None
        self.most = 1000  # that it takes at once
        self.gate = threading.Event()
        self.gate.set()
        self.tried = threading.Semaphore(0)
        self.changed = threading.Condition()
        self.is_closed = False

    def __str__(self) -> str:
        return "sink"

    def send(self, messages: Sequence[bytes]) -> int:
        self.tried.release()
        assert self.gate.wait(PATIENCE)
        if self.fault is not None:
            raise self.fault
        taken = messages[: self.most]
        with self.changed:
            self.taken += taken
            self.changed.notify_all()
        return len(taken)

    def close(self) -> None:
        self.is_closed = True

    def wait_for(self, count: int) -> list[bytes]:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.taken) >= count, PATIENCE), self.taken
            return list(self.taken)


class Told:
    """What is told of losses."""

    def __init__(self) -> None:
        self.lost: list[Lost] = []
        self.told = threading.Event()

    def __call__(self, lost: Lost) -> None:
        self.lost.append(lost)
        self.told.set()


@contextmanager
def sending(sink: ScriptedSink, most: int = 100, told: Told | None = None) -> Iterator[Sender]:
    sender = Sender(sink, most, told or Told())
    yield sender
    sink.gate.set()
    sink.fault = None
    sender.close(PATIENCE)


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(module, "LONGEST_PAUSE", 0.05)


def numbered(*numbers: int) -> list[bytes]:
    return [b"%d" % number for number in numbers]


def test_messages_are_sent_in_their_order() -> None:
    sink = ScriptedSink()
    with sending(sink) as sender:
        for message in numbered(*range(50)):
            sender.put(message)
        assert sink.wait_for(50) == numbered(*range(50))
    assert sink.is_closed


def test_no_thread_starts_before_the_first_message() -> None:
    before = threading.active_count()
    sender = Sender(ScriptedSink(), 10, Told())
    assert threading.active_count() == before
    sender.close(0)


def test_a_dead_sink_holds_nobody_up_and_gets_all_that_fits_when_it_is_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sink, told = ScriptedSink(), Told()
    sink.fault = ConnectionRefusedError(111, "Connection refused")
    with sending(sink, 10, told) as sender:
        sender.put(b"0")
        assert sink.tried.acquire(timeout=PATIENCE)
        for message in numbered(*range(1, 25)):
            sender.put(message)
        sink.fault = None
        assert told.told.wait(PATIENCE)
        taken = sink.wait_for(10)
    assert taken == numbered(*range(15, 25)), "the oldest went"
    assert told.lost == [Lost(15, "Connection refused")]
    errors = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert len(errors) == 2, errors
    assert "the sink takes no messages: Connection refused; they wait" in errors[0]
    assert "audit.queue has no room for more: the oldest are lost from now on" in errors[1]
    (back,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "the sink takes messages again: 15 were lost" in back


def test_a_sink_that_does_not_keep_up_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    sink, told = ScriptedSink(), Told()
    with sending(sink, 10, told) as sender:
        sink.gate.clear()
        sender.put(b"0")
        assert sink.tried.acquire(timeout=PATIENCE)
        for message in numbered(*range(1, 31)):
            sender.put(message)
        sink.gate.set()
        assert told.told.wait(PATIENCE)
        sink.wait_for(11)
    assert sink.taken == numbered(0, *range(21, 31))
    assert [lost.messages for lost in told.lost] == [20]
    assert len([record for record in caplog.records if record.levelname == "ERROR"]) == 1
    assert "it does not keep up" in caplog.text


def test_what_a_sink_leaves_is_given_to_it_again() -> None:
    sink = ScriptedSink()
    sink.most = 3
    sink.gate.clear()
    with sending(sink) as sender:
        for message in numbered(*range(10)):
            sender.put(message)
        sink.gate.set()
        assert sink.wait_for(10) == numbered(*range(10))


def test_losses_are_told_once_there_is_room_not_at_every_message(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sink, told = ScriptedSink(), Told()
    sink.most = 1
    with sending(sink, 10, told) as sender:
        sink.gate.clear()
        sender.put(b"0")
        assert sink.tried.acquire(timeout=PATIENCE)
        for message in numbered(*range(1, 31)):
            sender.put(message)
        sink.gate.set()
        assert told.told.wait(PATIENCE)
        sink.wait_for(11)
    assert [lost.messages for lost in told.lost] == [20]
    (line,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert ", 5 wait" in line.getMessage()


def test_large_messages_count_by_their_bytes() -> None:
    sink, told = ScriptedSink(), Told()
    sink.gate.clear()
    with sending(sink, 10, told) as sender:
        sender.put(b"0")
        assert sink.tried.acquire(timeout=PATIENCE)
        for _ in range(10):
            sender.put(bytes(module.BYTES_EACH * 5))
        sink.gate.set()
        assert told.told.wait(PATIENCE)
        assert [len(message) for message in sink.wait_for(3)] == [1] + [module.BYTES_EACH * 5] * 2


def test_pauses_grow_and_a_new_message_does_not_cut_them_short(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE", 3600.0)
    monkeypatch.setattr(module, "LONGEST_PAUSE", 3600.0)
    sink = ScriptedSink()
    sink.fault = OSError("no")
    sender = Sender(sink, 100, Told())
    sender.put(b"0")
    assert sink.tried.acquire(timeout=PATIENCE)
    for message in numbered(1, 2, 3):
        sender.put(message)
    assert not sink.tried.acquire(timeout=0.05)
    sink.fault = None
    sender.close(PATIENCE)
    assert sink.taken == numbered(0, 1, 2, 3), "the end cuts them short"


def test_the_end_does_not_wait_for_ever_and_says_what_is_lost(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sink = ScriptedSink()
    sink.fault = ConnectionRefusedError(111, "Connection refused")
    sender = Sender(sink, 100, Told())
    for message in numbered(*range(7)):
        sender.put(message)
    assert sink.tried.acquire(timeout=PATIENCE)
    sender.close(0.05)
    assert "7 messages to the sink are lost: Connection refused" in caplog.text


def test_a_machine_without_threads_keeps_the_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    sink = ScriptedSink()
    with sending(sink) as sender:

        def refuse(_: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            sender.put(b"1")
        sender.put(b"2")
        assert sink.wait_for(2) == numbered(1, 2)


def test_a_fork_before_the_first_message_is_safe() -> None:
    """Workers are forked before any of them has something to tell."""
    reading, writing = os.pipe()

    class PipeSink(ScriptedSink):
        def send(self, messages: Sequence[bytes]) -> int:
            return os.write(writing, b"".join(messages)) and len(messages)

    sender = Sender(PipeSink(), 10, Told())
    process = os.fork()
    if process == 0:
        sender.put(b"child\n")
        sender.close(PATIENCE)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        assert pipe.read() == b"child\n"
