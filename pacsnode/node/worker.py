"""One of the processes that serve associations: a node whose connections are accepted, and whose
data folder is locked, by the supervisor that it was forked from."""

import logging
import os
import select
import signal
import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from pacsnode import log
from pacsnode.config.model import Configuration
from pacsnode.errors import ConfigurationError, PacsnodeError
from pacsnode.net.doorway import Addresses, HandedOver
from pacsnode.node.board import Board
from pacsnode.node.build import Node
from pacsnode.node.notices import Notices, keep_errors
from pacsnode.node.security import Security
from pacsnode.node.signals import EVERY, Signals
from pacsnode.scp.places import Places
from pacsnode.scp.precedence import Precedence
from pacsnode.scu.codecs import Codecs

logger = logging.getLogger(__name__)

READY, RELOADED = b"ready", b"reloaded"  # what a worker says on its channel

BEAT = 5.0  # seconds between two signs of life
GRACE = 10.0  # seconds that C-STOREs under way get to finish
ORPHANED = 0.8  # seconds that a worker outlives its supervisor at most


class Shared(NamedTuple):
    """What all workers have in common."""

    path: Path | None
    addresses: Addresses
    places: Places
    board: Board
    notices: Notices
    codecs: Codecs
    precedence: Precedence


def work(
    configuration: Configuration,
    security: Security,
    shared: Shared,
    number: int,
    channel: socket.socket,
    *,
    is_first: bool,
) -> int:
    """Be worker `number` until told to stop; the process's exit code. `security` is the
    supervisor's: a file that is broken by now keeps no worker from being replaced. `is_first`: the
    node starts with this one."""
    signals = Signals((signal.SIGTERM, signal.SIGHUP))
    # Ctrl-C reaches the whole process group; that the node is to stop is the supervisor's to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, EVERY)
    shared.places.adopt(number)
    shared.precedence.adopt(number)
    keep_errors(shared.notices.page(number))
    doorway = HandedOver(channel, shared.addresses, lambda: shared.board.count_end(number))
    try:
        node = Node(
            configuration,
            doorway=doorway,
            places=shared.places,
            security=security,
            codecs=shared.codecs,
            precedence=shared.precedence,
        )
    except PacsnodeError as error:
        logger.error("worker %d cannot start: %s", number, error)  # noqa: TRY400 it says it all
        return 1
    node.start()
    if is_first:
        node.tell_start()
    _tell(channel, READY)
    return _watch(node, shared, number, channel, signals)


def _watch(
    node: Node, shared: Shared, number: int, channel: socket.socket, signals: Signals
) -> int:
    """Reload, give signs of life and say what is wrong until told to stop."""
    page = shared.notices.page(number)
    while True:
        shared.board.beat(number)
        page.set_troubles(node.troubles())
        received = signals.wait(BEAT, channel.fileno())
        if received == signal.SIGHUP:
            _reload(node, shared.path)
            _tell(channel, RELOADED)
        elif received == signal.SIGTERM:
            node.stop(GRACE)
            return 0
        elif _is_hung_up(channel):
            logger.error("worker %d: its supervisor is gone, so it ends", number)
            _limit(ORPHANED)
            node.stop(0)
            return 1
        elif not node.is_healthy:
            return 1


def _reload(node: Node, path: Path | None) -> None:
    """Take over the changed file, which the supervisor found to be in order."""
    from pacsnode.config.load import load

    try:
        changed = load(path)
        node.reconfigure(changed)
    except ConfigurationError as error:
        logger.error("not reloaded: %s", error)  # noqa: TRY400 the fault says it all
        return
    log.configure(changed.log.level, changed.log.format)


def _tell(channel: socket.socket, what: bytes) -> None:
    """The supervisor; that it is gone is seen by whoever waits for it."""
    with suppress(ConnectionError):
        channel.send(what)


def _is_hung_up(channel: socket.socket) -> bool:
    poll = select.poll()
    poll.register(channel, 0)
    return bool(poll.poll(0))


def _limit(seconds: float) -> None:
    """End the process after so many seconds, whatever it is at."""
    timer = threading.Timer(seconds, os._exit, (1,))
    timer.daemon = True
    timer.start()
