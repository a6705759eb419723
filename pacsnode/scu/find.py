"""C-FIND to a peer."""

from collections.abc import Generator

from pydicom.dataset import Dataset

from pacsnode.dicom import status
from pacsnode.dicom.message import Channel, Connect, Peer
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
    connect: Connect, peer: Peer, model: Model, identifier: Dataset
) -> Generator[Dataset, None, None]:
    """The peer's answers, as they come; `identifier` has its QueryRetrieveLevel. Closing early
    sends a C-CANCEL. Raises NetworkError, RequestFailed among them, and UnreadableDataset."""
    with (
        ending(connect(peer, [proposal(Service.FIND, model)])) as channel,
        closing_early(find_on(channel, model, identifier, peer.character_set)) as answers,
    ):
        yield from answers


def find_on(
    channel: Channel, model: Model, identifier: Dataset, character_set: str | None = None
) -> Generator[Dataset, None, None]:
    """The same on an association that is there."""
    context = context_for(channel, Service.FIND, model)
    with closing_early(channel.find(context, encode(identifier, context))) as responses:
        for response in responses:
            if status.is_pending(response.status):
                yield decode(response.identifier or b"", context, character_set)
            elif not status.is_success(response.status):
                raise refused("C-FIND", response)
