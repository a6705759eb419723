"""Peers in memory: they accept contexts, take or refuse instances, and vanish, as told."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO

from pacsnode.dicom.message import (
    Answer,
    Channel,
    Context,
    DatasetSource,
    EventReportRequest,
    Peer,
    ProposedContext,
    Response,
    Sink,
    StoreRequest,
    Suboperation,
    Tick,
    no_tick,
)
from pacsnode.errors import AssociationLost, NetworkError, NoPresentationContext

CT, MR, SR = (f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("2", "4", "88.11"))
IMPLICIT, EXPLICIT, BIG, DEFLATED = (
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.1.99",
)
JPEG, RLE, MPEG = (f"1.2.840.10008.1.2.{end}" for end in ("4.50", "5", "4.100"))

PEER = Peer("STORE", "STORESCP", "peer.example", 104, "PACSNODE")


@dataclass(frozen=True)
class Sample:
    """A sendable in memory. `error` is raised on opening it; `log` is told when it is opened and
    closed."""

    sop_instance_uid: str
    sop_class_uid: str = CT
    transfer_syntax_uid: str = EXPLICIT
    data: bytes = b"\x08\x00\x60\x00CS\x02\x00CT"
    error: BaseException | None = None
    log: list[str] = field(default_factory=list, compare=False)

    @contextmanager
    def open(self) -> Iterator[DatasetSource]:
        self.log.append(f"open {self.sop_instance_uid}")
        if self.error is not None:
            raise self.error
        try:
            yield DatasetSource(BytesIO(self.data), len(self.data))
        finally:
            self.log.append(f"close {self.sop_instance_uid}")


Verdict = int | Response | Exception | Callable[[Suboperation, Tick], Response | int]


@dataclass
class ScriptedPeer:
    """A message.Connect. `accepts` decides on each proposed transfer syntax; `verdicts` has what
    happens to an instance at each try, success where nothing is said; `refusals` what `connect`
    raises, one after the other (None: it succeeds)."""

    accepts: Callable[[str, str], bool] = lambda sop_class, transfer_syntax: True
    verdicts: dict[str, list[Verdict]] = field(default_factory=dict)
    refusals: list[NetworkError | None] = field(default_factory=list)
    channels: list["ScriptedChannel"] = field(default_factory=list)
    attempts: int = 0

    def __call__(
        self,
        peer: Peer,
        contexts: Sequence[ProposedContext],
        on_store: Callable[[StoreRequest], Sink] | None = None,
        tick: Tick = no_tick,
        on_event: Callable[[EventReportRequest], Answer] | None = None,
    ) -> Channel:
        assert 0 < len(contexts) <= 128
        assert len(set(contexts)) == len(contexts)
        self.attempts += 1
        tick()
        if self.refusals:
            error = self.refusals.pop(0)
            if error is not None:
                raise error
        accepted = []
        for number, proposed in enumerate(contexts):
            for transfer_syntax in proposed.transfer_syntaxes:
                if self.accepts(proposed.abstract_syntax, transfer_syntax):
                    accepted.append(
                        Context(
                            2 * number + 1,
                            proposed.abstract_syntax,
                            transfer_syntax,
                            proposed.as_scu,
                            proposed.as_scp,
                        )
                    )
                    break
        if not accepted:
            raise NoPresentationContext("none was accepted")
        channel = ScriptedChannel(self, accepted, tuple(contexts), on_store)
        self.channels.append(channel)
        return channel

    @property
    def received(self) -> list[str]:
        """The SOP Instance UIDs that were answered with success, in order."""
        return [
            operation.sop_instance_uid
            for channel in self.channels
            for operation, response in channel.stored
            if response.status == 0
        ]


@dataclass
class ScriptedChannel:
    peer: ScriptedPeer
    contexts: Sequence[Context]
    proposed: tuple[ProposedContext, ...] = ()
    on_store: Callable[[StoreRequest], Sink] | None = None
    stored: list[tuple[Suboperation, Response]] = field(default_factory=list)
    datasets: dict[str, bytes] = field(default_factory=dict)
    end: str = ""
    loaded: Suboperation | None = None
    answers: Callable[[Context, bytes], Iterator[Response]] | None = None

    @property
    def is_open(self) -> bool:
        return not self.end

    def echo(self) -> Response:
        return Response(0)

    def load(self, operation: Suboperation) -> None:
        self.loaded = operation

    def store(
        self,
        operation: Suboperation,
        tick: Tick = no_tick,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> Response:
        assert self.is_open, "a request on an association that is over"
        assert operation.context in self.contexts
        assert operation.context.as_scu
        assert operation.context.abstract_syntax == operation.sop_class_uid
        data = operation.source.file.read(operation.source.length)
        assert len(data) == operation.source.length
        verdicts = self.peer.verdicts.get(operation.sop_instance_uid)
        verdict: Verdict = verdicts.pop(0) if verdicts else 0
        try:
            tick()
            meanwhile()
            if isinstance(verdict, Exception):
                raise verdict
            if callable(verdict):
                verdict = verdict(operation, tick)
        except Exception:
            # As the Channel promises: what goes wrong inside a message ends the association.
            self.end = "aborted"
            raise
        response = Response(verdict) if isinstance(verdict, int) else verdict
        assert isinstance(response, Response)
        self.stored.append((operation, response))
        self.datasets[operation.sop_instance_uid] = data
        return response

    def find(self, context: Context, identifier: bytes, priority: int = 0) -> Iterator[Response]:
        assert self.answers is not None
        return self.answers(context, identifier)

    def move(
        self, context: Context, identifier: bytes, destination: str, priority: int = 0
    ) -> Iterator[Response]:
        assert self.answers is not None
        return self.answers(context, identifier)

    def get(self, context: Context, identifier: bytes, priority: int = 0) -> Iterator[Response]:
        assert self.answers is not None
        return self.answers(context, identifier)

    def action(
        self, context: Context, sop_instance_uid: str, action_type: int, information: bytes
    ) -> Response:
        raise NotImplementedError

    def report_event(
        self,
        context: Context,
        sop_instance_uid: str,
        event_type: int,
        information: bytes,
        tick: Tick = no_tick,
    ) -> Response:
        raise NotImplementedError

    def serve(self, seconds: float, tick: Tick = no_tick) -> bool:
        raise NotImplementedError

    def release(self, tick: Tick = no_tick) -> None:
        self.end = self.end or "released"
        tick()

    def abort(self) -> None:
        self.end = self.end or "aborted"


def lost() -> AssociationLost:
    return AssociationLost("the peer closed the connection", "message")
