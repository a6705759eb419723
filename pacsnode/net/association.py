"""Associations that the node opens, and why there is none."""

import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import cast

from pydicom.uid import UID
from pynetdicom._globals import MODE_REQUESTOR
from pynetdicom.ae import ApplicationEntity
from pynetdicom.pdu_primitives import SOPClassExtendedNegotiation
from pynetdicom.presentation import PresentationContext, build_role
from pynetdicom.transport import AddressInformation

from pacsnode.config.model import Timeouts
from pacsnode.dicom import status
from pacsnode.dicom.message import (
    BASELINE,
    Answer,
    Caller,
    Channel,
    Context,
    EventReportRequest,
    Extensions,
    Peer,
    ProposedContext,
    RefusingSink,
    Rejection,
    Request,
    Sink,
    StoreRequest,
    Tick,
    no_tick,
)
from pacsnode.dicom.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from pacsnode.dicom.recording import NobodyRecords, Opening, Recorders
from pacsnode.errors import (
    AssociationLost,
    AssociationRejected,
    NoPresentationContext,
    PeerTimeout,
    PeerUnreachable,
)
from pacsnode.net import extensions, handshake
from pacsnode.net.channel import AssociationChannel
from pacsnode.net.command import Command, MalformedCommand
from pacsnode.net.dial import dial
from pacsnode.net.messages import Message, Messages
from pacsnode.net.serving import Server
from pacsnode.net.transport import Connection, last_words
from pacsnode.net.upper_layer import DrivenAssociation, UpperLayer
from pacsnode.tls import Outgoing

MOST_CONTEXTS = 128

# PS3.8 9.3.4, in words for people; the rest by number.
_REASONS = {
    (1, 1): "no reason given",
    (1, 2): "application context name not supported",
    (1, 3): "calling AE title not recognised",
    (1, 7): "called AE title not recognised",
    (2, 1): "no reason given",
    (2, 2): "protocol version not supported",
    (3, 1): "temporary congestion",
    (3, 2): "local limit exceeded",
}

OnStore = Callable[[StoreRequest], Sink]
OnEvent = Callable[[EventReportRequest], Answer]


def connect(
    peer: Peer,
    contexts: Sequence[ProposedContext],
    on_store: OnStore | None = None,
    tick: Tick = no_tick,
    on_event: OnEvent | None = None,
    *,
    timeouts: Timeouts,
    max_pdu: int = 131072,
    outgoing: Outgoing | None = None,
    recorders: Recorders | None = None,
) -> Channel:
    """A dicom.message.Connect, less `timeouts` (seconds), `max_pdu` (bytes offered), who records
    associations, and the contexts for TLS. Raises PeerUnreachable, AssociationRejected,
    AssociationLost, PeerTimeout, and NoPresentationContext where the peer accepts none at all."""
    is_tls = peer.tls is not None
    recorder = (recorders or NobodyRecords()).begin(
        Opening(False, peer.calling_ae_title, peer.ae_title, peer.host, peer.port, is_tls)
    )
    try:
        client = dial(peer, timeouts.connect, tick, outgoing or Outgoing(None))
        association = _associated(peer, client, timeouts, max_pdu, _Taker(on_store, on_event))
    except BaseException as error:
        if recorder is not None:
            recorder.end(str(error) or type(error).__name__)
        raise
    association.dul.recorder = recorder
    return association.negotiate(contexts, tick)


def _associated(
    peer: Peer, client: socket.socket, timeouts: Timeouts, max_pdu: int, taker: "_Taker"
) -> "OutgoingAssociation":
    """The connection as an association that has not begun. Raises PeerUnreachable."""
    try:
        return OutgoingAssociation(peer, client, timeouts, max_pdu, taker)
    except OSError as error:  # reset before it was looked at
        reason = last_words(client) or error
        client.close()
        if peer.tls is not None:
            raise handshake.refused(peer, reason) from reason
        raise PeerUnreachable(f"{peer}: no TCP connection: {error.strerror}", "tcp") from error


_UNASKED = Answer(status.UNRECOGNISED_OPERATION, "Not taken on this association")


class _Taker:
    """The Handler of an association whose peer may send us what there is a function for."""

    def __init__(self, on_store: OnStore | None, on_event: OnEvent | None) -> None:
        self._on_store = on_store
        self._on_event = on_event

    @property
    def takes_any(self) -> bool:
        return self._on_store is not None or self._on_event is not None

    def welcomes(self, host: str) -> bool:
        return True

    def admit(self, caller: Caller) -> Rejection | None:
        return None

    def ended(self, caller: Caller) -> None:
        return

    def begin_store(self, request: StoreRequest) -> Sink:
        return self._on_store(request) if self._on_store is not None else RefusingSink(_UNASKED)

    def handle(self, request: Request) -> Iterator[Answer]:
        if isinstance(request, EventReportRequest) and self._on_event is not None:
            yield self._on_event(request)
        else:
            yield _UNASKED


def _extended(contexts: Iterable[ProposedContext]) -> dict[str, Extensions]:
    """What is to be asked for beyond the baseline, by SOP class."""
    return {
        context.abstract_syntax: context.extensions
        for context in contexts
        if extensions.proposal(context.abstract_syntax, context.extensions)
    }


class OutgoingAssociation(DrivenAssociation):
    """An association with a peer, driven by whoever uses its channel."""

    def __init__(
        self,
        peer: Peer,
        client: socket.socket,
        timeouts: Timeouts,
        max_pdu: int,
        taker: _Taker,
    ) -> None:
        ae = ApplicationEntity(peer.calling_ae_title)
        ae.maximum_pdu_size = max_pdu
        ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        super().__init__(ae, MODE_REQUESTOR)
        self._peer = peer
        self._times = timeouts
        self._taker = taker
        self._contexts: dict[int, Context] = {}
        self._requests: Server | None = None
        self.dul = UpperLayer(self)
        self.dimse = Messages(
            self,
            dimse=timeouts.dimse,
            open_sink=self._open_sink,
            knows_context=self._contexts.__contains__,
        )
        self.acse_timeout = timeouts.acse  # lives in the upper layer, which is new
        self.set_socket(Connection(self, client, max_pdu=max_pdu, network=timeouts.network))
        # The connection stands already, while the state machine begins before it.
        self.dul.event_queue.get(block=False)
        self._describe(ae, client)

    def _describe(self, ae: ApplicationEntity, client: socket.socket) -> None:
        self.requestor.ae_title = self._peer.calling_ae_title
        self.requestor.maximum_length = ae.maximum_pdu_size
        self.requestor.implementation_class_uid = ae.implementation_class_uid
        self.requestor.implementation_version_name = ae.implementation_version_name
        self.requestor.address_info = AddressInformation.from_tuple(client.getsockname())
        self.acceptor.ae_title = self._peer.ae_title
        self.acceptor.address_info = AddressInformation.from_tuple(client.getpeername())

    def negotiate(self, contexts: Sequence[ProposedContext], tick: Tick) -> Channel:
        """Ask for the association; see connect."""
        if not 0 < len(contexts) <= MOST_CONTEXTS:
            raise NoPresentationContext(f"{len(contexts)} presentation contexts to propose")
        self._propose(contexts)
        self.dul.tick = tick
        began = time.monotonic()
        try:
            self.acse.negotiate_association()
        except BaseException:
            self.abort()
            raise
        finally:
            self.dul.tick = no_tick
        if not self.is_established:
            self._fail(time.monotonic() - began)
        extended = self._agreed(contexts)
        for accepted in self.accepted_contexts:
            number = cast(int, accepted.context_id)
            uid = str(accepted.abstract_syntax)
            self._contexts[number] = Context(
                number,
                uid,
                str(accepted.transfer_syntax[0]),
                as_scu=bool(accepted.as_scu),
                as_scp=bool(accepted.as_scp),
                extensions=extended.get(uid, BASELINE),
            )
        return self._channel()

    def _propose(self, contexts: Sequence[ProposedContext]) -> None:
        requested = []
        roles: dict[str, tuple[bool, bool]] = {}
        for number, proposed in enumerate(contexts):
            context = PresentationContext()
            context.context_id = 2 * number + 1
            context.abstract_syntax = proposed.abstract_syntax
            context.transfer_syntax = list(proposed.transfer_syntaxes)
            requested.append(context)
            if proposed.as_scp:
                roles[proposed.abstract_syntax] = (proposed.as_scu, True)
        self.requestor.requested_contexts = requested
        for uid, (as_scu, as_scp) in roles.items():
            self.requestor.add_negotiation_item(build_role(uid, as_scu, as_scp))
        for uid, wanted in _extended(contexts).items():
            item = SOPClassExtendedNegotiation()
            item.sop_class_uid = UID(uid)
            item.service_class_application_information = extensions.proposal(uid, wanted)
            self.requestor.add_negotiation_item(item)

    def _agreed(self, contexts: Sequence[ProposedContext]) -> dict[str, Extensions]:
        """By SOP class, what we asked for and the peer says that it does."""
        answers = {str(uid): data for uid, data in self.acceptor.sop_class_extended.items()}
        return {
            uid: extensions.both(wanted, extensions.agreed(uid, answers[uid]))
            for uid, wanted in _extended(contexts).items()
            if uid in answers
        }

    def _fail(self, seconds: float) -> None:
        """Say why there is no association, `seconds` after it was asked for."""
        answer, rejection, failure = self.acceptor.primitive, self.dul.rejection, self.dul.failure
        self.abort()
        if rejection is not None:
            _, source, reason = rejection
            words = _REASONS.get((source, reason), f"source {source}, reason {reason}")
            lasting = "permanently" if rejection.result == 1 else "for now"
            raise AssociationRejected(
                f"{self._peer} rejected the association {lasting}: {words}", *rejection
            )
        if answer is not None:
            raise NoPresentationContext(f"{self._peer} accepted no presentation context")
        if failure is not None and failure.step == "tls":
            raise handshake.refused(self._peer, failure.__cause__) from failure.__cause__
        if failure is not None:
            raise type(failure)(f"{self._peer}: {failure}")
        if seconds >= self._times.acse:
            raise PeerTimeout(
                f"{self._peer}: no answer to the association request within {self._times.acse:g} s"
            )
        raise AssociationLost(f"{self._peer} aborted the association request")

    def _open_sink(self, context_id: int, command: Command) -> Sink:
        if self._requests is None:
            raise MalformedCommand("a C-STORE request without a C-GET")
        return self._requests.open_sink(context_id, command)

    def _channel(self) -> Channel:
        channel = AssociationChannel(
            self,
            tuple(self._contexts.values()),
            dimse=self._times.dimse,
            serve=self._serve,
        )
        if self._taker.takes_any:
            caller = Caller(self._peer.ae_title, self._peer.calling_ae_title, self._peer.host, 0)
            self._requests = Server(self, self._taker, caller, self._contexts, lambda: channel)
        return channel

    def _serve(self, message: Message) -> None:
        if self._requests is None:
            raise AssociationLost("the peer sent a request that nobody asked for", "message")
        self._requests.answer(message)
