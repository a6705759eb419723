"""What we answer: one file per service, request in, answers out; and the table of the services."""

import logging
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from pacsnode.audit import Silent, Trail
from pacsnode.dicom import status
from pacsnode.dicom.message import (
    ActionRequest,
    Answer,
    Caller,
    Connect,
    EchoRequest,
    EventReportRequest,
    FindRequest,
    GetRequest,
    MoveRequest,
    RefusingSink,
    Rejection,
    Request,
    Sink,
    StoreRequest,
)
from pacsnode.scp.access import Access, Refusal, Rights, Settings
from pacsnode.scp.commit import commit
from pacsnode.scp.echo import echo
from pacsnode.scp.find import find
from pacsnode.scp.get import get
from pacsnode.scp.move import move
from pacsnode.scp.precedence import Precedence
from pacsnode.scp.report import report
from pacsnode.scp.store import begin_store
from pacsnode.scp.witness import Witness
from pacsnode.scu.codecs import Codecs
from pacsnode.scu.peer import peer_of
from pacsnode.scu.plan import ANY, wishes_of

if TYPE_CHECKING:
    from pacsnode.archive import Archive

__all__ = ["Access", "Dispatcher", "Settings"]

log = logging.getLogger(__name__)

# Request to the word by which `allow` and `unknown_callers` name the service.
SERVICES: dict[type[Request], str] = {
    EchoRequest: "echo",
    StoreRequest: "store",
    FindRequest: "find",
    MoveRequest: "move",
    GetRequest: "get",
    ActionRequest: "commit",
    EventReportRequest: "commit",
}


class Dispatcher:
    """The node's message.Handler: checks the caller's right to a service and hands the request to
    its function. Transcoded datasets wait in `spool_folder`, and are the work of `codecs`;
    `precedence` knows which retrieves go first; `wake` tells jobs/ that there is something to do;
    what is done is told to the `trail`."""

    def __init__(
        self,
        archive: "Archive",
        access: Access,
        connect: Connect,
        *,
        spool_folder: str | None = None,
        codecs: Codecs | None = None,
        precedence: Precedence | None = None,
        wake: Callable[[], None] = lambda: None,
        trail: Trail | None = None,
    ) -> None:
        self._archive = archive
        self._access = access
        self._connect = connect
        self._spool_folder = spool_folder
        self._codecs = codecs or Codecs()
        self._precedence = precedence or Precedence()
        self._wake = wake
        self._witness = Witness(trail or Silent(), archive)
        self._functions: dict[type[Request], Callable[..., Iterator[Answer]]] = {
            EchoRequest: self._echo,
            FindRequest: self._find,
            MoveRequest: self._move,
            GetRequest: self._get,
            ActionRequest: self._commit,
            EventReportRequest: self._report,
        }

    def welcomes(self, host: str) -> bool:
        return self._access.welcomes(host)

    def turned_away(self, host: str, reason: str) -> None:
        """A connection came to nothing: where it is from, TLS, or what it said."""
        self._witness.turned_away(host, reason)

    def admit(self, caller: Caller) -> Rejection | None:
        rejection = self._access.admit(caller)
        self._witness.decided(caller, self._access.rights(caller), rejection)
        return rejection

    def ended(self, caller: Caller) -> None:
        rights = self._access.rights(caller)
        self._access.ended(caller)
        self._witness.ended(caller, rights)

    def begin_store(self, request: StoreRequest) -> Sink:
        rights = self._access.rights(request.caller)
        if "store" not in rights.services:
            return RefusingSink(self._refused(request, rights))
        witness = self._witness.receiving(request.caller, rights)
        return begin_store(request, self._archive, rights.character_set, witness)

    def handle(self, request: Request) -> Iterator[Answer]:
        rights = self._access.rights(request.caller)
        if SERVICES[type(request)] not in rights.services:
            yield self._refused(request, rights)
            return
        answers = self._functions[type(request)](request, rights)
        yield from answers if isinstance(request, EchoRequest) else _logged(request, answers)

    def _refused(self, request: Request, rights: Rights) -> Answer:
        caller, service = request.caller, SERVICES[type(request)]
        reason = (
            f"{caller.ae_title!r} from {caller.host} may not {service}: "
            f"{rights.deciding_setting} decides{rights.hint(caller.ae_title)}"
        )
        log.warning("%s", reason)
        entry = self._access.suggestion(caller, rights, dict.fromkeys(["echo", service]))
        if entry:
            log.warning("to make %r known, add below modalities: %s", caller.ae_title, entry)
        self._witness.refused(caller, rights, service, reason)
        return Answer(status.NOT_AUTHORISED, f"Not authorised for this service: {service}")

    def _echo(self, request: EchoRequest, _rights: Rights) -> Iterator[Answer]:
        return echo(request)

    def _report(self, request: EventReportRequest, _rights: Rights) -> Iterator[Answer]:
        return report(request, self._archive.note_report)

    def _commit(self, request: ActionRequest, rights: Rights) -> Iterator[Answer]:
        return commit(request, self._archive, rights.modality, self._wake)

    def _find(self, request: FindRequest, rights: Rights) -> Iterator[Answer]:
        answers = find(request, self._archive, rights.character_set)
        return self._witness.querying(request, rights, answers)

    def _move(self, request: MoveRequest, rights: Rights) -> Iterator[Answer]:
        found = self._access.destination(request.caller, request.move_destination)
        if isinstance(found, Refusal):
            what = f"move to {request.move_destination}"
            self._witness.refused(request.caller, rights, what, found.reason)
            return iter((found.answer,))
        settings = rights.settings or self._access.settings
        peer = peer_of(*found, settings.ae_title)
        return move(
            request,
            self._archive,
            self._connect,
            peer,
            default_character_set=rights.character_set,
            spool_folder=self._spool_folder,
            codecs=self._codecs,
            witness=self._witness.sending(request, rights, peer),
            precedence=self._precedence,
        )

    def _get(self, request: GetRequest, rights: Rights) -> Iterator[Answer]:
        wishes = ANY
        if rights.name is not None and rights.modality is not None:
            wishes = wishes_of(
                peer_of(rights.name, rights.modality, request.caller.called_ae_title)
            )
        return get(
            request,
            self._archive,
            wishes=wishes,
            codecs=self._codecs,
            default_character_set=rights.character_set,
            spool_folder=self._spool_folder,
            witness=self._witness.sending(request, rights, None),
            precedence=self._precedence,
        )


def _logged(request: Request, answers: Iterator[Answer]) -> Iterator[Answer]:
    """One line for each operation, when it has ended."""
    begun, pending = time.monotonic(), 0
    for answer in answers:
        yield answer
        if status.is_pending(answer.status):
            pending += 1
            continue
        failed = not status.is_success(answer.status) and answer.status != status.CANCELLED
        log.log(
            logging.WARNING if failed else logging.INFO,
            "%s from %r: %s%s%s, %.3f s",
            SERVICES[type(request)],
            request.caller.ae_title,
            status.text(answer.status),
            f" {answer.comment}" if answer.comment else "",
            _summary(request, answer, pending),
            time.monotonic() - begun,
        )


def _summary(request: Request, answer: Answer, pending: int) -> str:
    """What there is to count."""
    if isinstance(request, FindRequest):
        return f", {pending} answers"
    counters = answer.counters
    if counters is None:
        return ""
    return (
        f", {counters.completed} completed, {counters.failed} failed,"
        f" {counters.warning} with warning"
    )
