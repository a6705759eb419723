"""A command in the node's place: it listens at the node's address where no node does, and makes way
for one that starts."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pacsnode.archive.folder import NODE_LOCK
from pacsnode.config.model import Configuration
from pacsnode.dicom.message import Handler

if TYPE_CHECKING:
    from pacsnode.net.listener import Listener

LOOK = 0.25  # seconds between two looks for a node that starts
GRACE = 1.0  # seconds for what is under way


@contextmanager
def standing_in(configuration: Configuration, handler: Handler) -> Iterator["Listener"]:
    """Listen in the node's place, until one starts. Raises ConfigurationError."""
    from pacsnode import net
    from pacsnode.node.security import build_security

    lock = configuration.data_dir / NODE_LOCK
    before = _mark(lock)
    listener = net.listen(
        handler,
        ae_title=configuration.ae_title,
        settings=configuration.listen,
        timeouts=configuration.timeouts,
        secure=build_security(configuration).incoming,
    )
    listener.start()
    over = threading.Event()
    watcher = threading.Thread(target=_make_way, args=(listener, lock, before, over), daemon=True)
    watcher.start()
    try:
        yield listener
    finally:
        over.set()
        watcher.join()


def _make_way(listener: "Listener", lock: Path, before: int | None, over: threading.Event) -> None:
    """Listen until it is over, or a node starts, which finds its port free in time."""
    while not over.wait(LOOK) and _mark(lock) == before:
        continue
    listener.stop(GRACE)


def _mark(lock: Path) -> int | None:
    """Changes when a node takes the lock. Not by trying it, which could be in a node's way."""
    try:
        return lock.stat().st_mtime_ns
    except OSError:
        return None
