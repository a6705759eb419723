"""Messages on their way to where the audit trail is kept: a bounded queue, and a thread that
empties it. Whoever has something to tell never waits."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

log = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 60.0  # seconds between two attempts
BATCH = 200  # messages that a sink is given at once
BYTES_EACH = 4 << 10  # of memory for each message that may wait, on average


class Sink(Protocol):
    """Where messages go. Raises OSError; `str` names it for people."""

    def send(self, messages: Sequence[bytes]) -> int:
        """Take some of them, from the first on; how many that were. Raises where it is none."""

    def close(self) -> None:
        """Let go of it."""


class Lost(NamedTuple):
    """How many messages were given up, and why."""

    messages: int
    why: str


class Sender:
    """Sends in a thread of its own, which starts with the first message: not before a process has
    forked all it will. Where the sink fails it is tried again after growing pauses; of more than
    `most` messages that wait the oldest go. `on_lost` is told of those when messages can be sent
    again."""

    def __init__(self, sink: Sink, most: int, on_lost: Callable[[Lost], None]) -> None:
        self._sink = sink
        self._most = most
        self._on_lost = on_lost
        self._waiting: deque[bytes] = deque()
        self._size = 0  # bytes of those
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._in_flight = 0
        self._lost = 0
        self._fault = ""  # why nothing can be sent now
        self._is_stopping = False

    def put(self, message: bytes) -> None:
        """Have a message sent. From any thread; never waits for the sink, never raises."""
        with self._changed:
            self._waiting.append(message)
            self._size += len(message)
            self._keep_bounds()
            if self._thread is None:
                self._start()
            self._changed.notify()

    def close(self, seconds: float) -> None:
        """Send what waits, for so long at most; what is left is lost, which is logged."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(seconds)
        else:
            self._sink.close()
        with self._changed:
            left = len(self._waiting) + self._in_flight + self._lost
            self._waiting.clear()
        if left:
            reason = self._fault or f"not sent within {seconds:.1f} s"
            log.error("audit: %d messages to the %s are lost: %s", left, self._sink, reason)

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name=f"audit-{self._sink}", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no thread to be had: the next message tries again
            return
        self._thread = thread

    def _keep_bounds(self) -> None:
        while len(self._waiting) > self._most or self._size > self._most * BYTES_EACH:
            self._give_up_oldest()

    def _give_up_oldest(self) -> None:
        self._size -= len(self._waiting.popleft())
        if not self._lost:
            log.error(
                "audit: %d messages wait for the %s, audit.queue has no room for more: the oldest "
                "are lost from now on; %s",
                len(self._waiting),
                self._sink,
                self._fault or "it does not keep up",
            )
        self._lost += 1

    def _run(self) -> None:
        pause = FIRST_PAUSE
        while batch := self._next():
            try:
                taken = self._sink.send(batch)
            except OSError as error:
                self._failed(batch, error, pause)
                pause = min(pause * 2, LONGEST_PAUSE)
            else:
                pause = FIRST_PAUSE
                self._take_back(batch[taken:])
                self._succeeded()
        self._sink.close()

    def _next(self) -> list[bytes]:
        """The next messages; none when there are none left and there will be no more."""
        with self._changed:
            while not self._waiting:
                if self._is_stopping:
                    return []
                self._changed.wait()
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), BATCH))]
            self._size -= sum(map(len, batch))
            self._in_flight = len(batch)
            return batch

    def _take_back(self, messages: list[bytes]) -> None:
        """They have not been sent."""
        with self._changed:
            self._in_flight = 0
            self._waiting.extendleft(reversed(messages))
            self._size += sum(map(len, messages))
            self._keep_bounds()

    def _failed(self, batch: list[bytes], error: OSError, pause: float) -> None:
        reason = error.strerror or str(error)
        with self._changed:
            if not self._fault:
                log.error("audit: the %s takes no messages: %s; they wait", self._sink, reason)
            self._fault = reason
            self._take_back(batch)
            # Woken by every message, but only a stop cuts the pause short.
            deadline = time.monotonic() + pause
            while not self._is_stopping and (left := deadline - time.monotonic()) > 0:
                self._changed.wait(left)
            if self._is_stopping:  # within the time that close gives, it is tried once in a while
                self._changed.wait(min(pause, 0.1))

    def _succeeded(self) -> None:
        """After a failure, say that it is over; where messages were lost, once there is room."""
        with self._changed:
            if not self._fault and not self._lost:
                return
            if self._lost and len(self._waiting) > self._most // 2:
                return
            lost = Lost(self._lost, self._fault or "audit.queue is too short")
            self._lost, self._fault = 0, ""
            waiting = len(self._waiting)
        log.warning(
            "audit: the %s takes messages again: %d were lost, %d wait",
            self._sink,
            lost.messages,
            waiting,
        )
        if lost.messages:
            self._on_lost(lost)
