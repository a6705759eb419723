"""The associations that came in: one thread takes the connections, each gets one of its own."""

import errno
import logging
import os
import select
import socket
import threading
import time
from ssl import SSLContext, SSLSocket

from pynetdicom.ae import ApplicationEntity

from pacsnode.config.model import Listen, Timeouts
from pacsnode.dicom.message import Handler
from pacsnode.dicom.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from pacsnode.dicom.recording import NobodyRecords, Recorders
from pacsnode.net.acceptor import IncomingAssociation, Reception
from pacsnode.net.allowance import Allowance
from pacsnode.net.complaints import Complaints, Tell
from pacsnode.net.doorway import Address, Addresses, Arrival, Doorway
from pacsnode.net.serving import Surviving
from pacsnode.net.waiting import WaitingRoom

logger = logging.getLogger(__name__)

LAST_ANSWERS = 2.0  # seconds that severed associations get to end their work

# A connection that has gone before it was taken, or no descriptor left for it: wait, go on.
_PASSING = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_PAUSE = 100  # ms
RECENT = 10.0  # seconds, more than from one look at how the node is to the next

WAITING = 256  # connections that may be without an association, unless more associations may be


class Listener:
    """Takes connections from `start` to `stop`; each association has its own thread."""

    def __init__(
        self,
        handler: Handler,
        doorway: Doorway,
        *,
        ae_title: str,
        settings: Listen,
        timeouts: Timeouts,
        secure: SSLContext | None = None,
        on_refused: Tell = lambda host, text: None,
        recorders: Recorders | None = None,
    ) -> None:
        self._doorway = doorway
        self._handler = handler
        self._secure = secure
        ae = ApplicationEntity(ae_title)
        ae.maximum_pdu_size = settings.max_pdu
        ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        self._complaints = Complaints(tell=on_refused)
        self.allowance = Allowance()
        # A crowd that may have associations all at once may ask for them all at once.
        self._waiting = WaitingRoom[IncomingAssociation](max(WAITING, settings.max_associations))
        self._reception = Reception(
            ae,
            handler,
            timeouts,
            self._complaints,
            self.allowance,
            recorders or NobodyRecords(),
            self._admitted,
            self._ended,
        )
        self._shortage, self._short_at = "", 0.0  # the time.monotonic of the last
        self._lock = threading.Lock()
        self._associations: set[IncomingAssociation] = set()
        self._wake_read, self._wake_write = os.pipe()
        self._thread = threading.Thread(target=self._accept, name="listener", daemon=True)

    @property
    def addresses(self) -> Addresses:
        """Where connections come in."""
        return self._doorway.addresses

    @property
    def address(self) -> Address:
        """The plain one, where there is one."""
        plain, secure = self._doorway.addresses
        return plain or secure or ("", 0)

    @property
    def is_alive(self) -> bool:
        """Whether connections are still taken."""
        return self._thread.is_alive()

    @property
    def shortage(self) -> str:
        """What there is too little of to take connections, or was a moment ago; they wait. Nobody
        comes to try where the last one was lost on its way to this process."""
        is_recent = time.monotonic() - self._short_at < RECENT
        return self._shortage if is_recent else ""

    @property
    def associations(self) -> int:
        """How many connections are being served, before and after their association too."""
        with self._lock:
            return len(self._associations)

    @property
    def waiting(self) -> int:
        """How many of them have no association yet."""
        return len(self._waiting)

    def start(self) -> None:
        self._thread.start()

    def secure(self, context: SSLContext | None) -> None:
        """Use another context for TLS, from the next connection on."""
        self._secure = context

    def stop(self, grace: float) -> None:
        """Take no more connections; C-STOREs under way get `grace` seconds to finish, everything
        else is aborted. Returns when all have ended, or have been severed."""
        os.write(self._wake_write, b"\0")
        self._thread.join()
        self._doorway.close()
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
        poll.register(self._doorway, select.POLLIN)
        poll.register(self._wake_read, select.POLLIN)
        pause.register(self._wake_read, select.POLLIN)
        while True:
            ready = {descriptor for descriptor, _ in poll.poll()}
            if self._wake_read in ready:
                return
            shortage = self._take()
            if shortage is None:
                return
            if shortage:
                if not self._shortage:
                    logger.error("cannot take connections: %s; they wait", shortage)
                self._short_at = time.monotonic()
                pause.poll(_PAUSE)
            elif self._shortage:
                logger.warning("connections are taken again")
            self._shortage = shortage

    def _take(self) -> str | None:
        """Take the next connection; returns what there is too little of to do so, if anything, and
        None where no more will come."""
        try:
            taken = self._doorway.take()
        except OSError as error:
            return os.strerror(error.errno) if error.errno in _PASSING else ""
        if taken is None:
            return None
        association = None
        with Surviving("connection"):  # this thread is everybody's
            association = self._receive(taken)
        if association is None:
            taken.client.close()
            self._doorway.ended()
            return ""
        with self._lock:
            self._associations.add(association)
        self._make_wait(association)
        try:
            association.start()
        except RuntimeError as error:  # no thread to be had
            self._ended(association)
            association.drop()
            return str(error)
        return ""

    def _receive(self, arrival: Arrival) -> IncomingAssociation | None:
        """What becomes of a connection; None where that is nothing."""
        client, number, is_tls = arrival
        try:
            host = plain_host(client.getpeername()[0])
            if not self._welcomes(host):
                return None
            if is_tls:
                client = self._wrap(client)
            return IncomingAssociation(self._reception, client, number, host)
        except OSError:  # reset before it was looked at
            client.close()
            return None

    def _welcomes(self, host: str) -> bool:
        with Surviving("connection"):
            if self._handler.welcomes(host):
                return True
            self._complaints.say(host, "closed: not of a network in access.networks")
        return False

    def _wrap(self, client: socket.socket) -> SSLSocket:
        """The handshake is left to the association's own thread."""
        if self._secure is None:
            raise OSError(errno.ENOTSUP, "no certificate for a connection over TLS")
        return self._secure.wrap_socket(client, server_side=True, do_handshake_on_connect=False)

    def _make_wait(self, association: IncomingAssociation) -> None:
        displaced = self._waiting.enter(association.host, association)
        if displaced is not None:
            host, victim = displaced
            victim.sever()
            with Surviving("connection"):
                self._complaints.say(
                    host, "closed before its association: too many wait, most of them from there"
                )

    def _admitted(self, association: IncomingAssociation) -> None:
        self._waiting.leave(association.host, association)

    def _ended(self, association: IncomingAssociation) -> None:
        self._waiting.leave(association.host, association)
        with self._lock:
            self._associations.discard(association)
        self._doorway.ended()


def plain_host(host: str) -> str:
    """Without the prefix of an IPv4 address on a dual-stack socket, and without a scope."""
    return host.removeprefix("::ffff:").partition("%")[0]
