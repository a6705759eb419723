"""Associations, in and out: the wire. The only room with pynetdicom."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pacsnode.config.model import Listen, Timeouts
from pacsnode.dicom.message import (
    Answer,
    Channel,
    EventReportRequest,
    Handler,
    Peer,
    ProposedContext,
    Sink,
    StoreRequest,
    Tick,
    no_tick,
)

if TYPE_CHECKING:
    from ssl import SSLContext

    from pacsnode.dicom.recording import Recorders
    from pacsnode.net.doorway import Doorway
    from pacsnode.net.listener import Listener
    from pacsnode.tls import Outgoing


def listen(
    handler: Handler,
    *,
    ae_title: str,
    settings: Listen,
    timeouts: Timeouts,
    doorway: "Doorway | None" = None,
    secure: "SSLContext | None" = None,
    on_refused: Callable[[str, str], None] = lambda host, text: None,
    recorders: "Recorders | None" = None,
) -> "Listener":
    """Bind the configured addresses, unless connections come through another `doorway`;
    associations are taken from `start` on, those over TLS by the context `secure`. `on_refused` is
    told of connections that came to nothing: the host, and why; a few a minute of each; `recorders`
    of every association. Raises ConfigurationError where an address cannot be had."""
    from pacsnode.net import internals
    from pacsnode.net.doorway import ListeningSockets
    from pacsnode.net.listener import Listener

    internals.configure()
    doorway = doorway or ListeningSockets(settings)
    return Listener(
        handler,
        doorway,
        ae_title=ae_title,
        settings=settings,
        timeouts=timeouts,
        secure=secure,
        on_refused=on_refused,
        recorders=recorders,
    )


def connect(
    peer: Peer,
    contexts: Sequence[ProposedContext],
    on_store: Callable[[StoreRequest], Sink] | None = None,
    tick: Tick = no_tick,
    on_event: Callable[[EventReportRequest], Answer] | None = None,
    *,
    timeouts: Timeouts,
    max_pdu: int = 131072,
    outgoing: "Outgoing | None" = None,
    recorders: "Recorders | None" = None,
) -> Channel:
    """A dicom.message.Connect, less `timeouts` (seconds), `max_pdu` (bytes offered), who records
    associations, and the contexts for TLS, which are made for the occasion where none are given."""
    from pacsnode.net import association, internals

    internals.configure()
    return association.connect(
        peer,
        contexts,
        on_store,
        tick,
        on_event,
        timeouts=timeouts,
        max_pdu=max_pdu,
        outgoing=outgoing,
        recorders=recorders,
    )
