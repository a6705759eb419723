"""C-MOVE to a peer."""

from collections.abc import Generator

from pydicom.dataset import Dataset

from pacsnode.dicom.message import Channel, Connect, Peer
from pacsnode.dicom.query import Model
from pacsnode.scu.models import (
    Progress,
    Service,
    closing_early,
    context_for,
    encode,
    ending,
    progress,
    proposal,
)


def move(
    connect: Connect,
    peer: Peer,
    model: Model,
    identifier: Dataset,
    destination: str,
    priority: int = 0,
) -> Generator[Progress, None, None]:
    """Ask `peer` to send what `identifier` selects to the AE titled `destination`: its answers as
    they come, the last one final, whatever its status. Closing early sends a C-CANCEL. Raises
    NetworkError."""
    with (
        ending(connect(peer, [proposal(Service.MOVE, model)])) as channel,
        closing_early(move_on(channel, model, identifier, destination, priority)) as answers,
    ):
        yield from answers


def move_on(
    channel: Channel, model: Model, identifier: Dataset, destination: str, priority: int = 0
) -> Generator[Progress, None, None]:
    """The same on an association that is there."""
    context = context_for(channel, Service.MOVE, model)
    data = encode(identifier, context)
    with closing_early(channel.move(context, data, destination, priority)) as responses:
        for response in responses:
            yield progress(response, context)
