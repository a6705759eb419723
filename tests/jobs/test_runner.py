"""The thread that does what is due: woken, never ended by a fault, stopped at once."""

import logging
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from pacsnode.dicom.message import Tick
from pacsnode.errors import IndexFailure
from pacsnode.jobs import Runner
from pacsnode.jobs import runner as runner_module
from tests.conftest import PATIENCE

Work = Callable[[Tick], float]


class Job:
    """Does `work`, and says that it began."""

    name = "a job"

    def __init__(self, work: Work = lambda tick: 1e9) -> None:
        self.work = work
        self.begun: queue.Queue[int] = queue.Queue()

    def run_due(self, tick: Tick) -> float:
        self.begun.put(threading.get_ident())
        return self.work(tick)

    def await_run(self) -> int:
        return self.begun.get(timeout=PATIENCE)


@contextmanager
def running(*jobs: Job) -> Iterator[Runner]:
    runner = Runner(jobs)
    runner.start()
    try:
        yield runner
    finally:
        runner.stop(PATIENCE)
        assert runner._thread is not None
        assert not runner._thread.is_alive()


def test_what_is_due_at_a_start_is_done_and_what_comes_when_it_comes() -> None:
    jobs = Job(), Job()
    with running(*jobs) as runner:
        threads = {job.await_run() for job in jobs}
        runner.wake()
        threads |= {job.await_run() for job in jobs}
    assert len(threads) == 1
    assert all(job.begun.empty() for job in jobs)


def test_what_is_due_soon_is_done_then() -> None:
    pauses = iter([0.1, 0.0, -5.0])
    job = Job(lambda tick: next(pauses, 1e9))
    with running(job):
        for _ in range(4):
            job.await_run()


def test_what_others_left_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner_module, "EVERY", 0.1)
    job = Job(lambda tick: float("inf"))
    with running(job):
        for _ in range(3):
            job.await_run()


@pytest.mark.parametrize(
    ("error", "has_traceback"), [(ValueError("odd"), True), (IndexFailure("no disk"), False)]
)
def test_a_fault_ends_neither_the_thread_nor_the_other_jobs(
    error: Exception, has_traceback: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(tick: Tick) -> float:
        raise error

    jobs = Job(fail), Job()
    with running(*jobs) as runner:
        for _ in range(2):
            for job in jobs:
                job.await_run()
            runner.wake()
    records = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(records) >= 2
    assert "a job" in records[0].getMessage()
    assert bool(records[0].exc_info) == has_traceback


def test_a_stop_ends_what_is_under_way(caplog: pytest.LogCaptureFixture) -> None:
    entered = threading.Event()
    never = threading.Event()

    def endless(tick: Tick) -> float:
        while not never.wait(0.01):
            entered.set()
            tick()
        return 0

    with ExitStack() as stack:
        runner = stack.enter_context(running(Job(endless)))
        assert entered.wait(PATIENCE)
        runner.stop(PATIENCE)
    assert not caplog.records


def test_what_does_not_end_is_left(caplog: pytest.LogCaptureFixture) -> None:
    entered, may_end = threading.Event(), threading.Event()

    def deaf(tick: Tick) -> float:
        entered.set()
        may_end.wait(PATIENCE)
        raise RuntimeError("what it uses was closed")

    with running(Job(deaf)) as runner:
        assert entered.wait(PATIENCE)
        runner.stop(0.01)
        may_end.set()
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_a_machine_without_threads_leaves_the_work_to_others(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    runner = Runner([Job()])
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        runner.start()
    runner.wake()
    runner.stop(0)
    assert "can't start new thread" in caplog.text
