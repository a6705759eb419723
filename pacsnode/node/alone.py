"""A node of one process: associations have threads, the main thread waits for signals and says how
the node is."""

import select
import time

from pacsnode.config.model import Configuration
from pacsnode.net.doorway import Addresses
from pacsnode.node.build import Node, tell_stop
from pacsnode.node.notices import Notices, keep_errors
from pacsnode.node.signals import Signals
from pacsnode.node.status import Status, describe, open_status_socket, state_of
from pacsnode.scp.places import Places
from pacsnode.scu.codecs import Codecs


class Alone:
    """What Supervisor is where there are several. To be used from the main thread alone."""

    def __init__(self, configuration: Configuration) -> None:
        """As Node's."""
        self._notices = Notices(1)
        keep_errors(self._notices.page(0))
        self._places = Places(configuration.listen.max_associations)
        self._codecs = Codecs()
        self._codecs.start()  # before there is a thread
        try:
            self._node = Node(configuration, places=self._places, codecs=self._codecs)
        except BaseException:
            self._codecs.close()
            raise
        self._status_socket = open_status_socket(configuration.data_dir)
        self._started_at = time.time()

    @property
    def configuration(self) -> Configuration:
        """What it runs with, and takes over from changed files."""
        return self._node.configuration

    @property
    def addresses(self) -> Addresses:
        return self._node.addresses

    @property
    def is_healthy(self) -> bool:
        return self._node.is_healthy

    def start(self) -> None:
        self._node.start()
        self._node.tell_start()

    def troubles(self) -> list[str]:
        """What is wrong now."""
        troubles = self._node.troubles()
        return troubles if self.is_healthy else [*troubles, "no associations are taken"]

    def wait(self, signals: Signals, seconds: float) -> int | None:
        """The next signal's number; None when `seconds` have passed without one. Meanwhile whoever
        asks is told how the node is."""
        deadline = time.monotonic() + seconds
        poll = select.poll()
        poll.register(signals, select.POLLIN)
        if self._status_socket is not None:
            poll.register(self._status_socket, select.POLLIN)
        while True:
            left = deadline - time.monotonic()
            ready = {descriptor for descriptor, _ in poll.poll(max(left, 0) * 1000)}
            number = signals.next()
            if number is not None or not ready:
                return number
            if self._status_socket is not None:
                self._status_socket.answer(self._status())

    def reconfigure(self, changed: Configuration) -> list[str]:
        return self._node.reconfigure(changed)

    def stop(self, grace: float) -> None:
        if self._status_socket is not None:
            self._status_socket.close()
        self._node.stop(grace)
        self._codecs.close()
        tell_stop(self._node.configuration)

    def _status(self) -> Status:
        troubles = self.troubles()
        return describe(
            self._node.configuration,
            addresses=self.addresses,
            state=state_of(troubles),
            troubles=troubles,
            started_at=self._started_at,
            workers=[],
            places=self._places,
            notices=self._notices,
        )
