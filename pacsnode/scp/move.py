"""C-MOVE (PS3.4 C.4.2): the selected instances go to a third application entity."""

from collections.abc import Generator, Iterable, Iterator
from typing import TYPE_CHECKING

from pacsnode.dicom.message import Answer, Connect, MoveRequest, Peer, Tick
from pacsnode.scp.precedence import Precedence
from pacsnode.scp.retrieve import retrieve
from pacsnode.scp.summary import Offers
from pacsnode.scp.witness import UNSEEN, SendingWitness
from pacsnode.scu.codecs import Codecs
from pacsnode.scu.sendable import Originator, Outcome, Sendable
from pacsnode.scu.store import send

if TYPE_CHECKING:
    from pacsnode.archive import Archive


def move(
    request: MoveRequest,
    archive: "Archive",
    connect: Connect,
    destination: Peer,
    *,
    default_character_set: str | None = None,
    spool_folder: str | None = None,
    codecs: Codecs | None = None,
    witness: SendingWitness = UNSEEN,
    precedence: Precedence | None = None,
) -> Iterator[Answer]:
    """To the destination that access has found and allowed."""
    offers = Offers(connect, destination)
    originator = Originator(request.caller.ae_title, request.message_id)

    def send_there(sendables: Iterable[Sendable], tick: Tick) -> Generator[Outcome, None, None]:
        return send(
            offers,
            destination,
            sendables,
            originator=originator,
            tick=tick,
            may_go_on=lambda: not request.cancelled(),
            spool_folder=spool_folder,
            codecs=codecs,
            priority=request.priority,
        )

    yield from retrieve(
        request, archive, send_there, default_character_set, witness, offers, precedence
    )
