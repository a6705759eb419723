"""C-MOVE (PS3.4 C.4.2): the selected instances go to a third application entity."""

import logging
from collections.abc import Generator, Iterable, Iterator
from typing import TYPE_CHECKING

from pacsnode.dicom import status
from pacsnode.dicom.message import Answer, Connect, MoveRequest, Tick
from pacsnode.scp.access import Settings, nearest_title
from pacsnode.scp.retrieve import retrieve
from pacsnode.scu.peer import find_modality, peer_of
from pacsnode.scu.sendable import Originator, Outcome, Sendable
from pacsnode.scu.store import send

if TYPE_CHECKING:
    from pacsnode.archive import Archive

log = logging.getLogger(__name__)


def move(
    request: MoveRequest,
    archive: "Archive",
    connect: Connect,
    settings: Settings,
    *,
    default_character_set: str | None = None,
    spool_folder: str | None = None,
) -> Iterator[Answer]:
    """A801 where the destination is not in `modalities`; the rest is retrieve's."""
    found = find_modality(request.move_destination, settings.modalities)
    if found is None:
        yield _unknown(request, settings)
        return
    peer = peer_of(*found, settings.ae_title)
    originator = Originator(request.caller.ae_title, request.message_id)

    def send_there(sendables: Iterable[Sendable], tick: Tick) -> Generator[Outcome, None, None]:
        return send(
            connect,
            peer,
            sendables,
            originator=originator,
            tick=tick,
            may_go_on=lambda: not request.cancelled(),
            spool_folder=spool_folder,
            thread_ended=archive.release_thread,
        )

    yield from retrieve(request, archive, send_there, default_character_set)


def _unknown(request: MoveRequest, settings: Settings) -> Answer:
    titles = [modality.ae_title for modality in settings.modalities.values()]
    nearest = nearest_title(request.move_destination, titles)
    log.warning(
        "C-MOVE to %r, which is no AE title of modalities%s",
        request.move_destination,
        f"; the nearest is {nearest!r}" if nearest else "",
    )
    comment = f"Unknown destination {request.move_destination}"
    return Answer(status.MOVE_DESTINATION_UNKNOWN, comment)
