"""The seam between the wire and the rest: requests in, answers out, and the channel for requests
of our own. `net` speaks it on one side, `scp` and `scu` on the other; neither knows the other.

Datasets pass as bytes, in the transfer syntax of their presentation context.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO, NamedTuple, Protocol

from pacsnode.config.model import ClientTLS


class Extensions(NamedTuple):
    """What is agreed on beyond the baseline for a query and retrieve SOP class (SOP Class Extended
    Negotiation, PS3.4 C.5.1.1, C.5.2.1 and C.5.3.1). Retrieves know `relational` alone."""

    relational: bool = False
    combined_date_time: bool = False
    fuzzy_names: bool = False
    timezone_adjustment: bool = False


BASELINE = Extensions()


class Context(NamedTuple):
    """An accepted presentation context. The roles are those of the node itself."""

    context_id: int
    abstract_syntax: str
    transfer_syntax: str
    as_scu: bool = False
    as_scp: bool = True
    extensions: Extensions = BASELINE


@dataclass(frozen=True, slots=True)
class ProposedContext:
    """A presentation context to propose; transfer syntaxes in order of preference."""

    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]
    as_scu: bool = True
    as_scp: bool = False
    extensions: Extensions = BASELINE


@dataclass(frozen=True, slots=True)
class Peer:
    """Where another application entity is, and how the node names itself to it. `associations` is
    how many are opened at once to send to it; a `tls` of None is plain TCP; `may_lose`: pixels may
    be compressed with losses for it."""

    name: str
    ae_title: str
    host: str
    port: int
    calling_ae_title: str
    character_set: str | None = None
    transfer_syntaxes: tuple[str, ...] | None = None
    associations: int = 1
    tls: ClientTLS | None = None
    may_lose: bool = False

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.ae_title}@{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. `host` is an IP address without IPv4-mapped prefix; `association` its number;
    `certificate_subject` that of the certificate it showed, as (type, value) in the short names of
    RFC 4514 (("CN", "ct1"), …), None where it showed none; `is_tls`: over TLS; `user`: whom it
    claims to speak for (User Identity Negotiation, PS3.7 D.3.3.7), which nothing proves."""

    ae_title: str
    called_ae_title: str
    host: str
    association: int
    is_tls: bool = False
    certificate_subject: tuple[tuple[str, str], ...] | None = None
    user: str | None = None


@dataclass(frozen=True, slots=True)
class Rejection:
    """An A-ASSOCIATE-RJ: result, source and reason of PS3.8 9.3.4, and the text for the log."""

    result: int
    source: int
    reason: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What every request has. `context` is the presentation context that it came in on."""

    caller: Caller
    context: Context
    message_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EchoRequest(Request):
    """C-ECHO (PS3.7 9.1.5)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreRequest(Request):
    """C-STORE (PS3.7 9.1.1), as known when its command set has been read. UIDs are untrusted
    text: as sent, less trailing spaces and NULs."""

    sop_class_uid: str
    sop_instance_uid: str
    move_originator_ae_title: str | None = None
    move_originator_message_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentifierRequest(Request):
    """A request with an identifier. `cancelled()` reads what the peer sent meanwhile and says
    whether a C-CANCEL came; it raises AssociationLost where the peer is gone. `send(answer)` puts
    a pending answer on the wire at once: for work that cannot yield. `priority` is 0 for medium, 1
    for high, 2 for low (PS3.7 9.1.2.1.5)."""

    sop_class_uid: str
    identifier: bytes
    cancelled: Callable[[], bool] = field(compare=False)
    send: "Callable[[Answer], None]" = field(compare=False)
    priority: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FindRequest(IdentifierRequest):
    """C-FIND (PS3.7 9.1.2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveRequest(IdentifierRequest):
    """C-MOVE (PS3.7 9.1.4)."""

    move_destination: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GetRequest(IdentifierRequest):
    """C-GET (PS3.7 9.1.3); its sub-operations go out on the caller's own `channel`."""

    channel: "Channel" = field(compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionRequest(Request):
    """N-ACTION (PS3.7 10.1.4): of Storage Commitment. What has to be reported may go out on
    `channel`, the caller's own, after the answer; until then `cancelled()` reads what the peer sent
    meanwhile, and raises AssociationLost where it is gone, or the node is stopping."""

    sop_class_uid: str
    sop_instance_uid: str
    action_type: int | None
    information: bytes
    cancelled: Callable[[], bool] = field(compare=False)
    channel: "Channel" = field(compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class EventReportRequest(Request):
    """N-EVENT-REPORT (PS3.7 10.1.1): a peer's report on what the node asked it to commit to."""

    sop_class_uid: str
    sop_instance_uid: str
    event_type: int | None
    information: bytes


@dataclass(frozen=True, slots=True)
class Counters:
    """Sub-operations of a retrieve (PS3.7 9.1.4.1.7 ff.). None is left out of the message."""

    remaining: int | None
    completed: int
    failed: int
    warning: int


@dataclass(frozen=True, slots=True)
class Answer:
    """One response. `comment` is cut to 64 ASCII characters on the wire; `identifier` is encoded
    in the transfer syntax of the request's presentation context. `more`: the next answer is at
    hand already, so that this one may be held back to leave together with it."""

    status: int
    comment: str = ""
    identifier: bytes | None = None
    counters: Counters | None = None
    more: bool = False


class Sink(Protocol):
    """Where the dataset of one C-STORE goes. Exactly one of finish and discard ends it."""

    def write(self, fragment: memoryview) -> None:
        """Take the next bytes. The view is valid only during the call. Never raises for a failure
        of ours: that is remembered and becomes the answer, while the rest is drained."""

    def finish(self) -> Answer:
        """The dataset is complete: store it, and answer when it is on stable storage."""

    def discard(self) -> None:
        """The dataset will not be completed: leave nothing behind."""


class RefusingSink:
    """Lets a dataset pass that nobody takes, and answers."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def write(self, fragment: memoryview) -> None:
        """Drains."""

    def finish(self) -> Answer:
        return self._answer

    def discard(self) -> None:
        """There is nothing to leave behind."""


class Handler(Protocol):
    """All that `net` knows of the house. An exception other than NetworkError out of these is
    logged and answered C001; it ends neither the association nor the node."""

    def welcomes(self, host: str) -> bool:
        """May anybody connect from this address? Asked before a byte is read."""

    def admit(self, caller: Caller) -> Rejection | None:
        """May this caller open an association? None admits it, and counts it until `ended`."""

    def ended(self, caller: Caller) -> None:
        """An association that was admitted is over."""

    def begin_store(self, request: StoreRequest) -> Sink:
        """Called at the end of a C-STORE's command set, before its dataset."""

    def handle(self, request: Request) -> Iterator[Answer]:
        """Every other service; the last answer is the final one."""


class DatasetSource(NamedTuple):
    """Bytes of a dataset to send: `length` bytes of `file` from its current position.
    `sop_instance_uid` is its own where it has another than it was stored under: a copy that has
    lost something by compression."""

    file: BinaryIO
    length: int
    sop_instance_uid: str | None = None


@dataclass(frozen=True, slots=True)
class Suboperation:
    """One C-STORE request of ours."""

    context: Context
    sop_class_uid: str
    sop_instance_uid: str
    source: DatasetSource
    move_originator_ae_title: str | None = None
    move_originator_message_id: int | None = None
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Response:
    """What a peer answered to a request of ours."""

    status: int
    comment: str = ""
    identifier: bytes | None = None
    counters: Counters | None = None


Tick = Callable[[], None]


def no_tick() -> None:
    """For those who need not be told that time passes."""


class Channel(Protocol):
    """An association on which requests of ours go out. Every method raises AssociationLost or
    PeerTimeout when the association ends under it; the channel is then closed."""

    @property
    def contexts(self) -> Sequence[Context]:
        """The accepted presentation contexts."""

    @property
    def is_open(self) -> bool:
        """Whether requests can still be sent."""

    def echo(self) -> Response:
        """C-ECHO. Raises NoPresentationContext where Verification was not accepted."""

    def load(self, operation: Suboperation) -> None:
        """Read the beginning of the dataset of what `store` will be asked for next, which saves the
        time then. Raises InstanceDamaged where it ends too early, OSError."""

    def store(
        self,
        operation: Suboperation,
        tick: Tick = no_tick,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> Response:
        """C-STORE, and the answer to it. `tick` is called at least every 0.5 s while this waits;
        while bytes go out only where another message may go to the caller meanwhile. `meanwhile` is
        called once, when all has gone out, before the answer is awaited: the time to `load` what
        comes next. What the two raise passes through, the association being aborted if the message
        was under way."""

    def find(self, context: Context, identifier: bytes, priority: int = 0) -> Iterator[Response]:
        """C-FIND; closing the iterator before its end sends a C-CANCEL and drains the rest."""

    def move(
        self, context: Context, identifier: bytes, destination: str, priority: int = 0
    ) -> Iterator[Response]:
        """C-MOVE to the application entity titled `destination`; closing early cancels."""

    def get(self, context: Context, identifier: bytes, priority: int = 0) -> Iterator[Response]:
        """C-GET; what arrives goes to the `on_store` given on connecting; closing early cancels."""

    def action(
        self, context: Context, sop_instance_uid: str, action_type: int, information: bytes
    ) -> Response:
        """N-ACTION on the SOP class of `context`."""

    def report_event(
        self,
        context: Context,
        sop_instance_uid: str,
        event_type: int,
        information: bytes,
        tick: Tick = no_tick,
    ) -> Response:
        """N-EVENT-REPORT on the SOP class of `context`. What the peer asks for meanwhile waits."""

    def serve(self, seconds: float, tick: Tick = no_tick) -> bool:
        """Answer one request of the peer's, by what was given on connecting; False where none came
        within `seconds`, or the peer has ended the association in order."""

    def release(self, tick: Tick = no_tick) -> None:
        """End the association in order; where the peer does not answer, abort it. `tick` is called
        at least every 0.5 s meanwhile; raises nothing but what it raises."""

    def abort(self) -> None:
        """End it at once. Never raises."""


class Connect(Protocol):
    """How `scu` and `scp` get a Channel: `node` and `cli` hand them `net`'s."""

    def __call__(
        self,
        peer: Peer,
        contexts: Sequence[ProposedContext],
        on_store: Callable[[StoreRequest], Sink] | None = None,
        tick: Tick = no_tick,
        on_event: Callable[[EventReportRequest], Answer] | None = None,
    ) -> Channel:
        """Open an association. Raises PeerUnreachable (step name, tcp or tls), AssociationRejected,
        AssociationLost, PeerTimeout. At most 128 contexts (PS3.8 9.3.2.2)."""


def accepted(
    contexts: Iterable[Context], abstract_syntax: str, transfer_syntax: str | None = None
) -> Context | None:
    """The first of `contexts` for this SOP class (and transfer syntax) that the node may use as
    SCU."""
    for context in contexts:
        if context.abstract_syntax != abstract_syntax or not context.as_scu:
            continue
        if transfer_syntax is None or context.transfer_syntax == transfer_syntax:
            return context
    return None
