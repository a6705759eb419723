"""The listening socket and the associations that came through it."""

import errno
import itertools
import logging
import os
import select
import socket
import threading
import time

from pynetdicom.ae import ApplicationEntity

from pacsnode.config.model import Listen, Timeouts
from pacsnode.dicom.message import Handler
from pacsnode.dicom.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from pacsnode.errors import ConfigurationError
from pacsnode.net.acceptor import IncomingAssociation

logger = logging.getLogger(__name__)

BACKLOG = 512
LAST_ANSWERS = 2.0  # seconds that severed associations get to end their work

# A connection that has gone before it was taken, or no descriptor left for it: wait, go on.
_PASSING = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_PAUSE = 100  # ms

# What to do about an address that cannot be had.
_ADVICE = {
    errno.EADDRINUSE: "another program has it, perhaps a node that runs already: "
    "stop that one, or choose another listen.port",
    errno.EACCES: "a port below 1024 takes CAP_NET_BIND_SERVICE, which systemd/pacsnode.service "
    "gives: or choose another listen.port",
    errno.EADDRNOTAVAIL: "listen.host must be an address of this machine, 0.0.0.0 or ::",
}


class Listener:
    """Takes connections from `start` to `stop`; each association has its own thread."""

    def __init__(
        self, handler: Handler, *, ae_title: str, settings: Listen, timeouts: Timeouts
    ) -> None:
        self._handler = handler
        self._timeouts = timeouts
        self._ae = ApplicationEntity(ae_title)
        self._ae.maximum_pdu_size = settings.max_pdu
        self._ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        self._ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._associations: set[IncomingAssociation] = set()
        self._socket = _listen(settings.host, settings.port or 0)
        host, port = self._socket.getsockname()[:2]
        self._address: tuple[str, int] = (host, port)
        self._wake_read, self._wake_write = os.pipe()
        self._thread = threading.Thread(target=self._accept, name="listener", daemon=True)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port as bound."""
        return self._address

    @property
    def is_alive(self) -> bool:
        """Whether connections are still taken."""
        return self._thread.is_alive()

    @property
    def associations(self) -> int:
        """How many connections are being served, before and after their association too."""
        with self._lock:
            return len(self._associations)

    def start(self) -> None:
        self._thread.start()

    def stop(self, grace: float) -> None:
        """Take no more connections; C-STOREs under way get `grace` seconds to finish, everything
        else is aborted. Returns when all have ended, or have been severed."""
        os.write(self._wake_write, b"\0")
        self._thread.join()
        self._socket.close()
        with self._lock:
            associations = list(self._associations)
        for association in associations:
            association.request_stop()
        deadline = time.monotonic() + grace
        for association in associations:
            association.join(max(deadline - time.monotonic(), 0))
        left = [association for association in associations if association.is_alive()]
        for association in left:
            association.sever()
        deadline = time.monotonic() + LAST_ANSWERS
        for association in left:
            association.join(max(deadline - time.monotonic(), 0))
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _accept(self) -> None:
        poll, pause = select.poll(), select.poll()
        poll.register(self._socket, select.POLLIN)
        poll.register(self._wake_read, select.POLLIN)
        pause.register(self._wake_read, select.POLLIN)
        is_short = False
        while True:
            ready = {descriptor for descriptor, _ in poll.poll()}
            if self._wake_read in ready:
                return
            shortage = self._take()
            if shortage:
                if not is_short:
                    logger.error("cannot take connections: %s; they wait", shortage)
                pause.poll(_PAUSE)
            elif is_short:
                logger.warning("connections are taken again")
            is_short = bool(shortage)

    def _take(self) -> str:
        """Take the next connection; returns what there is too little of to do so."""
        try:
            client, _ = self._socket.accept()
        except OSError as error:
            return os.strerror(error.errno) if error.errno in _PASSING else ""
        try:
            association = IncomingAssociation(
                self._ae, client, next(self._numbers), self._handler, self._timeouts, self._ended
            )
        except OSError:  # reset before it was looked at
            client.close()
            return ""
        with self._lock:
            self._associations.add(association)
        try:
            association.start()
        except RuntimeError as error:  # no thread to be had
            self._ended(association)
            client.close()
            return str(error)
        return ""

    def _ended(self, association: IncomingAssociation) -> None:
        with self._lock:
            self._associations.discard(association)


def _listen(host: str, port: int) -> socket.socket:
    """Raises ConfigurationError where the address cannot be had."""
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.create_server(
            address,
            family=family,
            backlog=BACKLOG,
            dualstack_ipv6=family == socket.AF_INET6 and host in ("::", ""),
        )
    except (OSError, UnicodeError) as error:
        raise ConfigurationError(
            f"listen: cannot listen on {host} port {port}: {_reason(error)}"
        ) from error
    listening.setblocking(False)
    return listening


def _reason(error: OSError | UnicodeError) -> str:
    if isinstance(error, OSError) and not isinstance(error, socket.gaierror) and error.errno:
        advice = _ADVICE.get(error.errno)
        words = os.strerror(error.errno)  # create_server adds words of its own
        return f"{words}; {advice}" if advice else words
    return getattr(error, "strerror", None) or str(error)
