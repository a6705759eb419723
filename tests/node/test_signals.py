import os
import signal
from collections.abc import Iterator

import pytest

from pacsnode.node.signals import Signals


@pytest.fixture
def signals() -> Iterator[Signals]:
    numbers = (signal.SIGUSR1, signal.SIGUSR2)
    handlers = [signal.getsignal(number) for number in numbers]
    yield Signals(numbers)
    os.close(signal.set_wakeup_fd(-1))
    for number, handler in zip(numbers, handlers, strict=True):
        signal.signal(number, handler)


def test_signals_wait_in_their_order(signals: Signals) -> None:
    os.kill(os.getpid(), signal.SIGUSR2)
    os.kill(os.getpid(), signal.SIGUSR1)
    assert signals.wait(5) == signal.SIGUSR2
    assert signals.wait(5) == signal.SIGUSR1


def test_none_comes_when_time_has_passed(signals: Signals) -> None:
    assert signals.wait(0.01) is None
