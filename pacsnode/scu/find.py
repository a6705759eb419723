"""C-FIND to a peer."""

from collections.abc import Callable, Generator

from pydicom.dataset import Dataset

from pacsnode.dicom import status
from pacsnode.dicom.message import BASELINE, Channel, Connect, Extensions, Peer
from pacsnode.dicom.query import Model
from pacsnode.scu.models import (
    Service,
    closing_early,
    context_for,
    decode,
    encode,
    ending,
    proposal,
    refused,
)


def find(
    connect: Connect,
    peer: Peer,
    model: Model,
    identifier: Dataset,
    extensions: Extensions = BASELINE,
    on_agreed: Callable[[Extensions], None] = lambda extensions: None,
    priority: int = 0,
) -> Generator[Dataset, None, None]:
    """The peer's answers, as they come; `identifier` has its QueryRetrieveLevel. `extensions` are
    asked for; `on_agreed` is told what the peer agreed to, before it is asked. Closing early sends
    a C-CANCEL. Raises NetworkError, RequestFailed among them, and UnreadableDataset."""
    with ending(connect(peer, [proposal(Service.FIND, model, extensions)])) as channel:
        on_agreed(context_for(channel, Service.FIND, model).extensions)
        answers = find_on(channel, model, identifier, peer.character_set, priority)
        with closing_early(answers):
            yield from answers


def find_on(
    channel: Channel,
    model: Model,
    identifier: Dataset,
    character_set: str | None = None,
    priority: int = 0,
) -> Generator[Dataset, None, None]:
    """The same on an association that is there."""
    context = context_for(channel, Service.FIND, model)
    data = encode(identifier, context)
    with closing_early(channel.find(context, data, priority)) as responses:
        for response in responses:
            if status.is_pending(response.status):
                yield decode(response.identifier or b"", context, character_set)
            elif not status.is_success(response.status):
                raise refused("C-FIND", response)
