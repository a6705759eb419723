"""A peer examined: the steps of the connection doctor in their order."""

from collections.abc import Generator, Sequence
from contextlib import closing

from pacsnode.dicom.message import Channel, Connect, Peer
from pacsnode.dicom.route import Route
from pacsnode.scu.doctor import road, talk
from pacsnode.scu.doctor.steps import Step
from pacsnode.scu.doctor.storage import get, storage
from pacsnode.scu.models import ending


def examine(
    peer: Peer, route: Route, connect: Connect, classes: Sequence[str], own_ae_title: str
) -> Generator[Step, None, None]:
    """Each step as soon as it is done, up to where nothing further can work: that step is the last.
    `classes` are the SOP classes that the peer is asked to store, `own_ae_title` is the node's."""
    with closing(route):
        for go in (road.find_name, road.reach, road.secure):
            step = go(peer, route)
            yield step
            if step.has_failed:
                return
    opened = talk.associate(peer, route, connect, own_ae_title)
    yield opened.step
    if opened.step.has_failed:
        return
    if opened.channel is not None:
        with ending(opened.channel) as channel:
            yield talk.echo(channel)
            yield talk.find(peer, channel)
    yield from _storing(peer, connect, opened.channel, classes)


def _storing(
    peer: Peer, connect: Connect, channel: Channel | None, classes: Sequence[str]
) -> Generator[Step, None, None]:
    yield storage(peer, connect, classes)
    if channel is not None:
        yield get(peer, connect, channel, classes)
