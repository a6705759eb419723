"""Where events are told."""

import os
import pwd
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from weakref import WeakSet

from pacsnode.audit import events
from pacsnode.audit.event import Event, Party
from pacsnode.audit.file import AuditFile, check_file
from pacsnode.audit.line import to_line
from pacsnode.audit.sender import Lost, Sender, Sink
from pacsnode.audit.syslog import TLS_SETTINGS, TlsSyslog, UdpSyslog, to_syslog
from pacsnode.audit.tally import OLDEST, Kind, Tally, Tell
from pacsnode.config.model import Audit, ServerTLS, Syslog
from pacsnode.errors import ConfigurationError
from pacsnode.tls import client_context

FLUSHING = 2.0  # seconds that the end waits for what is not sent yet

Encode = Callable[[Event], bytes]


class Trail(Protocol):
    """Takes what is to be told. Ask `is_on` before working out what that is."""

    @property
    def is_on(self) -> bool:
        """Whether anybody is told."""

    @property
    def node(self) -> Party:
        """This node."""

    def record(self, event: Event) -> None:
        """Tell of an event. Never waits, never raises."""

    def tally(self, tell: Tell[Kind]) -> Tally[Kind]:
        """One that is told of in time; `flush` it at its end."""

    def close(self) -> None:
        """Send what waits, for a limited time."""


class Silent:
    """Where no audit trail is configured."""

    is_on = False
    node = Party("", "")

    def record(self, event: Event) -> None:
        """Nobody is told."""

    def tally(self, tell: Tell[Kind]) -> Tally[Kind]:
        return Tally(lambda *_: None)

    def close(self) -> None:
        """There is nothing to send."""


class _Way(NamedTuple):
    """An event's way out."""

    encode: Encode
    sender: Sender


class Writing:
    """Tells each event on all ways. Threads start with the first event. Thread-safe."""

    is_on = True

    def __init__(self, node: Party, sinks: "list[tuple[Encode, Sink]]", most: int) -> None:
        self.node = node
        self._ways = [_Way(encode, Sender(sink, most, self._lost)) for encode, sink in sinks]
        self._tallies: WeakSet[Tally[Any]] = WeakSet()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._clock: threading.Thread | None = None

    def record(self, event: Event) -> None:
        for way in self._ways:
            way.sender.put(way.encode(event))

    def tally(self, tell: Tell[Kind]) -> Tally[Kind]:
        tally = Tally(tell)
        with self._lock:
            self._tallies.add(tally)
            if self._clock is None:
                self._start_clock()
        return tally

    def close(self) -> None:
        self._stop.set()
        for tally in self._open_tallies():
            tally.flush()
        deadline = time.monotonic() + FLUSHING
        for way in self._ways:
            way.sender.close(max(deadline - time.monotonic(), 0))

    def _start_clock(self) -> None:
        clock = threading.Thread(target=self._watch, name="audit-clock", daemon=True)
        with suppress(RuntimeError):  # no thread to be had: the next tally tries again
            clock.start()
            self._clock = clock

    def _watch(self) -> None:
        """An association may be idle for long: what it sent before is told of all the same."""
        while not self._stop.wait(OLDEST / 3):
            for tally in self._open_tallies():
                tally.flush_if_due()

    def _open_tallies(self) -> list[Tally[Any]]:
        with self._lock:
            return list(self._tallies)

    def _lost(self, lost: Lost) -> None:
        self.record(events.lost(self.node, lost.messages, lost.why))


def open_trail(settings: Audit, ae_title: str, own: ServerTLS | None = None) -> Trail:
    """The audit trail as configured. `own` is the node's certificate, shown to a syslog server
    where none is named for it. Raises ConfigurationError where the file cannot be written or TLS
    cannot be used."""
    host = socket.gethostname()
    sinks: list[tuple[Encode, Sink]] = []
    if settings.file is not None:  # the first to be closed: it takes no time
        sinks.append((partial(to_line, source=ae_title), AuditFile(settings.file)))
    if settings.syslog is not None:
        encode = partial(to_syslog, source=ae_title, host=host)
        sinks.append((encode, _syslog(settings.syslog, own)))
    if not sinks:
        return Silent()
    return Writing(Party(ae_title, host), sinks, settings.queue)


def check_trail(settings: Audit, own: ServerTLS | None = None) -> None:
    """Raises ConfigurationError where open_trail would, and makes nothing."""
    if settings.syslog is not None:
        _syslog(settings.syslog, own)
    if settings.file is not None:
        check_file(settings.file)


def user() -> str:
    """Who runs this process, as user@host."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # in a container there may be nobody by this number
        name = str(os.getuid())
    return f"{name}@{socket.gethostname()}"


def media_of(path: Path) -> str:
    """The URI of a folder."""
    return path.absolute().as_uri()


def _syslog(settings: Syslog, own: ServerTLS | None) -> Sink:
    if settings.transport == "udp":
        return UdpSyslog(settings.host, settings.port or 514)
    if settings.tls is None:
        raise ConfigurationError(
            "audit.syslog.tls: false, where transport is tls; allowed: true, or a section"
        )
    context = partial(client_context, settings.tls, own, TLS_SETTINGS)
    context()  # what is wrong with it is told at start
    return TlsSyslog(settings.host, settings.port or 6514, context, has_ca=bool(settings.tls.ca))
