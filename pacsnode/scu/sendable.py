"""What is sent, how, and what became of it."""

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from pacsnode.dicom import status
from pacsnode.dicom.message import DatasetSource, Tick, no_tick
from pacsnode.errors import PacsnodeError
from pacsnode.scu import plan
from pacsnode.scu.codecs import Codecs


class Sendable(Protocol):
    """An instance that can be sent. `open` may raise any PacsnodeError or OSError: it is then the
    one that fails."""

    @property
    def sop_class_uid(self) -> str: ...

    @property
    def sop_instance_uid(self) -> str: ...

    @property
    def transfer_syntax_uid(self) -> str: ...

    def open(self) -> AbstractContextManager[DatasetSource]: ...


def kind_of(sendable: Sendable) -> plan.Kind:
    return plan.Kind(sendable.sop_class_uid, sendable.transfer_syntax_uid)


class Originator(NamedTuple):
    """Whose C-MOVE a C-STORE belongs to (PS3.7 9.1.1.1.8 and 9)."""

    ae_title: str
    message_id: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one instance. `status` is the peer's answer, None where there was none;
    `text` says what went wrong; `error` is what was raised, if anything; `sent_as` the transfer
    syntax that it went in, None where it did not go."""

    sendable: Sendable
    status: int | None
    text: str = ""
    error: PacsnodeError | None = None
    sent_as: str | None = None

    @property
    def is_success(self) -> bool:
        return self.status is not None and status.is_success(self.status)

    @property
    def is_warning(self) -> bool:
        return self.status is not None and status.is_warning(self.status)

    @property
    def is_failure(self) -> bool:
        return not (self.is_success or self.is_warning)


def failed(sendable: Sendable, error: PacsnodeError) -> Outcome:
    return Outcome(sendable, None, str(error), error)


@dataclass(frozen=True, slots=True)
class Sending:
    """What is the same for all instances of one sending. Transcoded datasets wait in
    `spool_folder` (None: the system's temporary folder); `priority` is that of its C-STOREs, as of
    message.IdentifierRequest. `codecs` are closed by whoever has made them."""

    wishes: plan.Wishes = plan.ANY
    originator: Originator | None = None
    tick: Tick = no_tick
    spool_folder: str | None = None
    codecs: Codecs = field(default_factory=Codecs)
    priority: int = 0
