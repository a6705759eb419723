"""Signals, waited for as bytes in a pipe: none is lost between looking and waiting, and none
interrupts what the main thread is at."""

import os
import select
import signal
from collections.abc import Iterable


class Signals:
    """From now on, signals of these numbers wait to be read and have no other effect. For the main
    thread, once in a process."""

    def __init__(self, numbers: Iterable[int]) -> None:
        self._read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        # A full pipe means that there is plenty to read already.
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        for number in numbers:
            signal.signal(number, lambda *_: None)

    def wait(self, seconds: float | None = None) -> int | None:
        """The next signal's number; None when `seconds` have passed without one."""
        poll = select.poll()
        poll.register(self._read, select.POLLIN)
        if not poll.poll(None if seconds is None else seconds * 1000):
            return None
        return os.read(self._read, 1)[0]
