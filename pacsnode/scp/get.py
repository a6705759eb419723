"""C-GET (PS3.4 C.4.3): the selected instances go back on the caller's own association."""

from collections.abc import Generator, Iterable, Iterator
from typing import TYPE_CHECKING

from pacsnode.dicom.message import Answer, GetRequest, Tick
from pacsnode.scp.precedence import Precedence
from pacsnode.scp.retrieve import retrieve
from pacsnode.scp.summary import Summary
from pacsnode.scp.witness import UNSEEN, SendingWitness
from pacsnode.scu.codecs import Codecs
from pacsnode.scu.plan import ANY, Wishes
from pacsnode.scu.sendable import Outcome, Sendable, Sending
from pacsnode.scu.store import send_on

if TYPE_CHECKING:
    from pacsnode.archive import Archive


def get(
    request: GetRequest,
    archive: "Archive",
    *,
    wishes: Wishes = ANY,
    codecs: Codecs | None = None,
    default_character_set: str | None = None,
    spool_folder: str | None = None,
    witness: SendingWitness = UNSEEN,
    precedence: Precedence | None = None,
) -> Iterator[Answer]:
    """`wishes`: how this caller is to be sent instances. Those without a context that gives the
    caller the SCP's role fail one by one."""

    def send_back(sendables: Iterable[Sendable], tick: Tick) -> Generator[Outcome, None, None]:
        sending = Sending(
            wishes,
            tick=tick,
            spool_folder=spool_folder,
            codecs=codecs or Codecs(),
            priority=request.priority,
        )
        return send_on(request.channel, sendables, sending, lambda: not request.cancelled())

    caller = request.caller
    summary = Summary(
        f"{caller.ae_title} at {caller.host}",
        "it has to propose them with the SCP role (SCP/SCU Role Selection)",
    )
    yield from retrieve(
        request, archive, send_back, default_character_set, witness, summary, precedence
    )
