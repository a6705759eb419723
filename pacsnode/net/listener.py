"""The associations that came in: one thread takes the connections, each gets one of its own."""

import errno
import logging
import os
import select
import threading
import time

from pynetdicom.ae import ApplicationEntity

from pacsnode.config.model import Listen, Timeouts
from pacsnode.dicom.message import Handler
from pacsnode.dicom.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from pacsnode.net.acceptor import IncomingAssociation
from pacsnode.net.doorway import Doorway

logger = logging.getLogger(__name__)

LAST_ANSWERS = 2.0  # seconds that severed associations get to end their work

# A connection that has gone before it was taken, or no descriptor left for it: wait, go on.
_PASSING = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_PAUSE = 100  # ms


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
    ) -> None:
        self._doorway = doorway
        self._handler = handler
        self._timeouts = timeouts
        self._ae = ApplicationEntity(ae_title)
        self._ae.maximum_pdu_size = settings.max_pdu
        self._ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        self._ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        self._lock = threading.Lock()
        self._associations: set[IncomingAssociation] = set()
        self._wake_read, self._wake_write = os.pipe()
        self._thread = threading.Thread(target=self._accept, name="listener", daemon=True)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port as bound."""
        return self._doorway.address

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
        is_short = False
        while True:
            ready = {descriptor for descriptor, _ in poll.poll()}
            if self._wake_read in ready:
                return
            shortage = self._take()
            if shortage is None:
                return
            if shortage:
                if not is_short:
                    logger.error("cannot take connections: %s; they wait", shortage)
                pause.poll(_PAUSE)
            elif is_short:
                logger.warning("connections are taken again")
            is_short = bool(shortage)

    def _take(self) -> str | None:
        """Take the next connection; returns what there is too little of to do so, if anything, and
        None where no more will come."""
        try:
            taken = self._doorway.take()
        except OSError as error:
            return os.strerror(error.errno) if error.errno in _PASSING else ""
        if taken is None:
            return None
        client, number = taken
        try:
            association = IncomingAssociation(
                self._ae, client, number, self._handler, self._timeouts, self._ended
            )
        except OSError:  # reset before it was looked at
            client.close()
            self._doorway.ended()
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
        self._doorway.ended()
