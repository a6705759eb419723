"""Log lines about connections that came to nothing: a few a minute for each host, so that whoever
connects a thousand times a second does not fill the disk."""

import logging
import threading
import time
from collections.abc import Callable

logger = logging.getLogger(__name__)

MOST = 6  # lines for each host in
PERIOD = 60.0  # seconds
HOSTS = 1000  # that are remembered


Tell = Callable[[str, str], None]


class _Host:
    """What has been said of one host since `began` (seconds)."""

    __slots__ = ("began", "said", "unsaid")

    def __init__(self, began: float) -> None:
        self.began = began
        self.said = 0
        self.unsaid = 0


class Complaints:
    """Thread-safe. `clock` is in seconds; `tell` gets host and text of each line besides."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, tell: Tell = lambda host, text: None
    ) -> None:
        self._clock = clock
        self._tell = tell
        self._lock = threading.Lock()
        self._hosts: dict[str, _Host] = {}

    def say(self, host: str, text: str) -> None:
        """Warn of a connection from `host`, unless enough has been said of that one for now."""
        unsaid = self._count(host)
        if unsaid is None:
            return
        more = f" (and {unsaid} more lines like it that were left out)" if unsaid else ""
        logger.warning("connection from %s: %s%s", host, text, more)
        self._tell(host, f"{text}{more}")

    def _count(self, host: str) -> int | None:
        """How many lines were left out before this one; None where this one is."""
        now = self._clock()
        with self._lock:
            known = self._hosts.get(host)
            if known is None or now - known.began >= PERIOD:
                unsaid = known.unsaid if known is not None else 0
                self._remember(host, now)
                return unsaid
            if known.said < MOST:
                known.said += 1
                return 0
            known.unsaid += 1
            return None

    def _remember(self, host: str, now: float) -> None:
        self._hosts.pop(host, None)  # to the end of the order
        while len(self._hosts) >= HOSTS:
            del self._hosts[next(iter(self._hosts))]
        self._hosts[host] = _Host(now)
        self._hosts[host].said = 1
