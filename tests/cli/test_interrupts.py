import os
import signal

import pytest

from pacsnode.cli.interrupts import Interrupts


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_between_files_an_interrupt_ends_at_once() -> None:
    with Interrupts(), pytest.raises(KeyboardInterrupt):
        interrupt()


def test_a_file_under_way_is_finished_first(capfd: pytest.CaptureFixture[str]) -> None:
    with Interrupts() as interrupts:
        interrupts.hold()
        interrupt()
        assert "once more" in capfd.readouterr().err
        with pytest.raises(KeyboardInterrupt):
            interrupts.release()


def test_the_second_interrupt_does_not_wait() -> None:
    with Interrupts() as interrupts:
        interrupts.hold()
        interrupt()
        with pytest.raises(KeyboardInterrupt):
            interrupt()


def test_handlers_are_as_before_afterwards() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with Interrupts():
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_an_interrupt_that_waited_to_the_end_still_counts() -> None:
    interrupts = Interrupts()
    interrupts.__enter__()
    interrupts.hold()
    interrupt()
    with pytest.raises(KeyboardInterrupt):
        interrupts.__exit__(None, None, None)
