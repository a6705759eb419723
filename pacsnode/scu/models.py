"""The SOP classes of the query/retrieve services (PS3.4 C.6), and identifiers on their way to a
peer and back."""

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from pydicom.dataset import Dataset

from pacsnode.dicom import status
from pacsnode.dicom.encode import decode_dataset, encode_dataset
from pacsnode.dicom.level import Level
from pacsnode.dicom.message import (
    BASELINE,
    Channel,
    Context,
    Counters,
    Extensions,
    ProposedContext,
    Response,
    accepted,
)
from pacsnode.dicom.query import Model
from pacsnode.errors import NoPresentationContext, RequestFailed, UsageError

T = TypeVar("T")

UNCOMPRESSED = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2")


class Service(Enum):
    FIND = 1
    MOVE = 2
    GET = 3


_ROOTS = {Model.PATIENT_ROOT: 1, Model.STUDY_ROOT: 2, Model.PATIENT_STUDY_ONLY: 3}


def sop_class_uid(service: Service, model: Model) -> str:
    return f"1.2.840.10008.5.1.4.1.2.{_ROOTS[model]}.{service.value}"


def model_of(level: Level, root: str | None = None) -> Model:
    """The model for `--root`, patient or study. Raises UsageError where it lacks the level."""
    word = root or ("patient" if level is Level.PATIENT else "study")
    model = {"patient": Model.PATIENT_ROOT, "study": Model.STUDY_ROOT}.get(word)
    if model is None:
        raise UsageError(f"{word!r} is no root: patient or study")
    if level not in model.levels:
        raise UsageError(f"the {word} root has no {level.word.lower()} level")
    return model


def proposal(service: Service, model: Model, extensions: Extensions = BASELINE) -> ProposedContext:
    return ProposedContext(sop_class_uid(service, model), UNCOMPRESSED, extensions=extensions)


def context_for(channel: Channel, service: Service, model: Model) -> Context:
    """Raises NoPresentationContext."""
    uid = sop_class_uid(service, model)
    context = accepted(channel.contexts, uid)
    if context is None:
        words = model.name.replace("_", " ").title()
        raise NoPresentationContext(f"the peer does not do C-{service.name} in the {words} model")
    return context


def encode(identifier: Dataset, context: Context) -> bytes:
    return encode_dataset(identifier, context.transfer_syntax)


def decode(data: bytes, context: Context, character_set: str | None = None) -> Dataset:
    """Raises UnreadableDataset."""
    return decode_dataset(data, context.transfer_syntax, character_set)


@dataclass(frozen=True, slots=True)
class Progress:
    """One answer to a C-MOVE or C-GET of ours. In the last one, `failed` are the instances that
    the peer says it could not deliver."""

    status: int
    comment: str
    counters: Counters | None
    failed: Sequence[str] = ()

    @property
    def is_last(self) -> bool:
        return not status.is_pending(self.status)

    @property
    def is_success(self) -> bool:
        return status.is_success(self.status)

    @property
    def is_warning(self) -> bool:
        return status.is_warning(self.status)


def progress(response: Response, context: Context) -> Progress:
    failed: Sequence[str] = ()
    if response.identifier and not status.is_pending(response.status):
        element = decode(response.identifier, context).get("FailedSOPInstanceUIDList")
        value = element.value if element is not None and hasattr(element, "value") else element
        if value:
            failed = (value,) if isinstance(value, str) else tuple(str(uid) for uid in value)
    return Progress(response.status, response.comment, response.counters, failed)


@contextmanager
def closing_early(items: Iterator[T]) -> Iterator[Iterator[T]]:
    """Close an iterator that knows how to, whatever happens: a C-CANCEL must not wait until it is
    collected as garbage."""
    try:
        yield items
    finally:
        if isinstance(items, Generator):
            items.close()


@contextmanager
def ending(channel: Channel) -> Iterator[Channel]:
    """Release the association at the end, also where its user needs no more of it. After a failure
    or Ctrl-C abort it: an orderly end could take as long as the peer likes."""
    try:
        yield channel
    except GeneratorExit:
        channel.release()
        raise
    except BaseException:
        channel.abort()
        raise
    channel.release()


def refused(service: str, response: Response) -> RequestFailed:
    """The error for a last answer that is a failure."""
    comment = f": {response.comment}" if response.comment else ""
    return RequestFailed(
        f"{service} was answered {status.text(response.status)}{comment}", response.status
    )
