"""An association that a peer opened: negotiated, served, and told in one line of the log."""

import logging
import socket
import threading
import time
from collections.abc import Callable
from ssl import SSLSocket
from typing import Any, NamedTuple

from pynetdicom._globals import MODE_ACCEPTOR
from pynetdicom.ae import ApplicationEntity
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.transport import AddressInformation

from pacsnode import log
from pacsnode.config.model import Timeouts
from pacsnode.dicom.message import Caller, Channel, Context, Handler, Rejection, Sink
from pacsnode.dicom.recording import Opening, Recorders
from pacsnode.errors import AssociationLost, NetworkError, PeerTimeout
from pacsnode.net import associate, handshake
from pacsnode.net.acceptance import Acceptance
from pacsnode.net.allowance import Allowance
from pacsnode.net.channel import AssociationChannel
from pacsnode.net.command import Command
from pacsnode.net.complaints import Complaints
from pacsnode.net.messages import Messages
from pacsnode.net.refused import refused
from pacsnode.net.serving import Server, Surviving
from pacsnode.net.transport import Connection
from pacsnode.net.upper_layer import DrivenAssociation, UpperLayer

logger = logging.getLogger(__name__)

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
WRONG_APPLICATION_CONTEXT, WRONG_VERSION = (1, 1, 2), (1, 2, 2)  # PS3.8 9.3.4


class Reception(NamedTuple):
    """What every association has of the listener that takes it, who is told when it has been
    admitted and when it is over."""

    ae: ApplicationEntity
    handler: Handler
    timeouts: Timeouts
    complaints: Complaints
    allowance: Allowance
    recorders: Recorders
    on_admitted: "Callable[[IncomingAssociation], None]"
    on_end: "Callable[[IncomingAssociation], None]"


class IncomingAssociation(DrivenAssociation):
    """The association of a peer at `host`, served in a thread of its own; over TLS where `client`
    is wrapped in it."""

    def __init__(self, reception: Reception, client: socket.socket, number: int, host: str) -> None:
        ae, handler, timeouts = reception.ae, reception.handler, reception.timeouts
        super().__init__(ae, MODE_ACCEPTOR)
        self.number = number
        self.host = host
        self._reception = reception
        self.name = f"association-{number}"
        self._handler = handler
        self._times = timeouts
        self._secured = client if isinstance(client, SSLSocket) else None
        self._contexts: dict[int, Context] = {}
        self._caller: Caller | None = None
        self._requests: Server | None = None
        self._storing = threading.Lock()
        self._is_storing = False
        self._began = time.monotonic()
        self.dul = UpperLayer(self)
        self.dimse = Messages(
            self,
            dimse=timeouts.dimse,
            open_sink=self._open_sink,
            knows_context=self._contexts.__contains__,
            allowance=reception.allowance,
        )
        self.acse = Acceptance(self, self._contexts)
        self.acse_timeout = timeouts.acse  # lives in the upper layer, which is new
        self.set_socket(
            Connection(self, client, max_pdu=ae.maximum_pdu_size, network=timeouts.network)
        )
        self._describe(ae, client)

    def _describe(self, ae: ApplicationEntity, client: socket.socket) -> None:
        self.acceptor.maximum_length = ae.maximum_pdu_size
        self.acceptor.ae_title = ae.ae_title
        self.acceptor.implementation_class_uid = ae.implementation_class_uid
        self.acceptor.implementation_version_name = ae.implementation_version_name
        self.acceptor.address_info = AddressInformation.from_tuple(client.getsockname())
        self.requestor.address_info = AddressInformation.from_tuple(client.getpeername())

    def run_reactor(self) -> None:
        """The association's thread, from the connection to its end."""
        log.association.set(self.number)
        outcome = None
        with Surviving("association"):
            try:
                outcome = self._serve() if self._negotiate() else None
            except NetworkError as error:
                outcome = f"aborted: {error}"
                self.dul.failure = self.dul.failure or error
                self.abort()
        self._finish(outcome)

    def _finish(self, outcome: str | None) -> None:
        """Each step whatever becomes of the others: places, threads and sockets are counted."""
        with Surviving("association's end"):
            self.dimse.discard()
        with Surviving("association's end"):
            if self._caller is not None:
                self._handler.ended(self._caller)
                self._report(self._caller, outcome or "aborted: unexpected fault")
        with Surviving("association's end"):
            if self._caller is not None and outcome is None:
                self.abort()
            self.dul.linger()
        self._reception.on_end(self)

    def _report(self, caller: Caller, outcome: str) -> None:
        logger.info(
            "%s%s from %s%s, called %s: %s after %.2f s; %s",
            caller.ae_title,
            f" (user {caller.user})" if caller.user is not None else "",
            caller.host,
            " over TLS" if caller.is_tls else "",
            caller.called_ae_title,
            outcome,
            time.monotonic() - self._began,
            self._requests.tally if self._requests is not None else "nothing asked",
        )
        missing = refused(self.dul.proposed, self.dul.answered)
        if missing is not None:
            logger.log(
                logging.WARNING if missing.is_harmful else logging.INFO,
                "%s from %s offered SOP classes that it did not get: %s",
                caller.ae_title,
                caller.host,
                missing.text,
            )

    def _negotiate(self) -> bool:
        """Wait for the A-ASSOCIATE-RQ and answer it; False where there is nothing to serve."""
        try:
            if self._secured is not None:
                handshake.admit(self._secured, time.monotonic() + self._times.acse)
            request = self.dul.receive_pdu(wait=True, timeout=self._times.acse)
        except NetworkError as failure:
            self._report_no_request(failure)
            raise
        if not isinstance(request, A_ASSOCIATE):
            self._report_no_request(self.dul.failure)
            return False
        self.requestor.primitive = request
        caller = self._caller_of(request)
        self._record(caller)
        rejection = self._not_dicom(caller, request) or self._handler.admit(caller)
        if rejection is not None:
            self._reject(rejection)
            return False
        self._caller = caller
        self._reception.on_admitted(self)
        self._requests = Server(self, self._handler, caller, self._contexts, self._own_channel)
        self.acse.negotiate_association()
        return True

    def _record(self, caller: Caller) -> None:
        """Where somebody wants to know what is said on this association: from its request on."""
        titles = caller.ae_title, caller.called_ae_title
        opening = Opening(True, *titles, self.host, is_tls=caller.is_tls)
        with Surviving("recording"):
            self.dul.recorder = self._reception.recorders.begin(opening)
        if self.dul.recorder is not None:
            self.dul.recorder.pdu(False, self.dul.request_pdu)

    def _not_dicom(self, caller: Caller, request: A_ASSOCIATE) -> Rejection | None:
        who = f"caller {caller.ae_title!r} from {caller.host}"
        if not associate.is_version_1(self.dul.request_pdu):
            return Rejection(*WRONG_VERSION, f"{who}: another version of the upper layer protocol")
        name = str(request.application_context_name or "")
        if name != APPLICATION_CONTEXT:
            return Rejection(*WRONG_APPLICATION_CONTEXT, f"{who}: application context {name!r}")
        return None

    def _caller_of(self, request: A_ASSOCIATE) -> Caller:
        called, calling = associate.titles(self.dul.request_pdu)
        subject = handshake.subject_of(self._secured) if self._secured is not None else None
        identity = associate.user_identity(self.dul.request_pdu)
        return Caller(
            calling,
            called,
            self.host,
            self.number,
            is_tls=self._secured is not None,
            certificate_subject=subject,
            user=identity.name if identity is not None else None,
        )

    def _report_no_request(self, failure: NetworkError | None) -> None:
        """A port probe is worth no line of its own at INFO; a peer that stalls, or speaks no
        DICOM, is."""
        if self.dul.stop_requested:
            logger.debug("connection from %s: not waited for any longer", self.host)
        elif failure is None:
            self._complain(f"it has said nothing for {self._times.acse:g} s")
        elif failure.step == "tls" and not isinstance(failure, handshake.LeftAtOnce):
            self._complain(f"TLS: {failure}" if self._secured else f"{failure}: listen.tls.port")
        elif isinstance(failure, PeerTimeout) or "broke the protocol" in str(failure):
            self._complain(str(failure))
        else:
            logger.debug("connection from %s: no A-ASSOCIATE-RQ came", self.host)

    def _complain(self, text: str) -> None:
        self._reception.complaints.say(self.host, f"no association, {text}")

    def _reject(self, rejection: Rejection) -> None:
        codes = rejection.result, rejection.source, rejection.reason
        logger.warning("rejected %d/%d/%d: %s", *codes, rejection.text)
        self.acse.send_reject(*codes)

    def _serve(self) -> str:
        """Answer what comes until the association ends; returns how it ended."""
        while True:
            message = self.dimse.next(self._times.idle)
            if message is not None:
                self._answer(message)
            elif self.acse.is_release_requested():
                self.acse.send_release(is_response=True)
                self.is_established = False
                return "released"
            elif self.dul.is_closed or not self.dul.to_user_queue.empty():
                return f"aborted: {self.dul.failure}" if self.dul.failure else "aborted by the peer"
            else:
                raise PeerTimeout(f"idle for {self._times.idle:g} s")

    def _answer(self, message: Any) -> None:
        if self._requests is None:
            raise AssociationLost("a message before the association")
        self._requests.answer(message)
        if message.sink is not None:
            self._storing_ended()

    def _open_sink(self, context_id: int, command: Command) -> Sink:
        if self._requests is None:
            raise AssociationLost("a message before the association")
        with self._storing:
            self.dul.require_running()
            self._is_storing = True
        return self._requests.open_sink(context_id, command)

    def _storing_ended(self) -> None:
        with self._storing:
            self._is_storing = self.dimse.is_partial
            if not self._is_storing:
                self.dul.require_running()

    def _own_channel(self) -> Channel:
        return AssociationChannel(
            self, tuple(self._contexts.values()), dimse=self._times.dimse, ticks_while_sending=False
        )

    def request_stop(self) -> None:
        """From another thread: end as soon as no C-STORE is under way."""
        with self._storing:
            self.dul.stop_requested = True
            if not self._is_storing:
                self._wake(Connection.wake)

    def drop(self) -> None:
        """Instead of `start`."""
        self.dul.linger()

    def sever(self) -> None:
        """From another thread: end now."""
        self.dul.stop_requested = True
        self._wake(Connection.sever)

    def _wake(self, how: Callable[[Connection], None]) -> None:
        connection = self.dul.socket
        if connection is not None:
            how(connection)
