"""Signals, waited for as bytes in a pipe: none is lost between looking and waiting, and none
interrupts what the main thread is at."""

import os
import select
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

EVERY = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}


class Signals:
    """From now on, signals of these numbers wait to be read and have no other effect. For the main
    thread, once in a process."""

    def __init__(self, numbers: Iterable[int]) -> None:
        self._read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        # A full pipe means that there is plenty to read already.
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        for number in numbers:
            signal.signal(number, lambda *_: None)

    def fileno(self) -> int:
        """Readable when a signal waits."""
        return self._read

    def next(self) -> int | None:
        """The next signal's number, if one waits."""
        try:
            return os.read(self._read, 1)[0]
        except BlockingIOError:
            return None

    def wait(self, seconds: float | None = None, lifeline: int | None = None) -> int | None:
        """The next signal's number; None when `seconds` have passed without one, or when whoever
        holds the other end of the socket `lifeline` is gone."""
        poll = select.poll()
        poll.register(self._read, select.POLLIN)
        if lifeline is not None:
            poll.register(lifeline, 0)
        poll.poll(None if seconds is None else seconds * 1000)
        return self.next()


@contextmanager
def held_back() -> Iterator[None]:
    """Signals wait meanwhile: over a fork, until the child has its own way to take them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, EVERY)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
