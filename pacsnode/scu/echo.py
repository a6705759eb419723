"""C-ECHO to a peer."""

from pacsnode.dicom import status
from pacsnode.dicom.message import Connect, Peer, ProposedContext
from pacsnode.scu.models import UNCOMPRESSED, refused

VERIFICATION = "1.2.840.10008.1.1"

PROPOSAL = ProposedContext(VERIFICATION, UNCOMPRESSED[::-1])


def echo(connect: Connect, peer: Peer) -> None:
    """Raises NetworkError, whose `step` says how far it came, RequestFailed among them."""
    channel = connect(peer, [PROPOSAL])
    try:
        response = channel.echo()
    finally:
        channel.release()
    if not status.is_success(response.status):
        raise refused("C-ECHO", response)
