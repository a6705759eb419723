"""pacsnode trace replay."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pacsnode.cli import options
from pacsnode.cli.output import complain, say
from pacsnode.cli.run import Run
from pacsnode.cli.trace_show import file

if TYPE_CHECKING:
    from pacsnode.dicom.message import Peer
    from pacsnode.net.transcript import Transcript
    from pacsnode.scu.replay import Comparison, Open

DIFFERENT = 1


@click.command("replay")
@file
@options.peer
@click.option(
    "--with-stores",
    is_flag=True,
    help="Send stand-ins for instances: of the same UIDs and length, in a study of their own.",
)
@click.pass_obj
def command(run: Run, path: Path, peer: str, with_stores: bool) -> int:
    """Ask PEER, a test node, what a recorded requestor asked this node.

    The associations that were opened to the node, one after the other, with their calling AE titles
    and everything that they proposed; their requests in the same order. C-STOREs are left out
    unless --with-stores says otherwise: they change what the test node holds, and so do C-MOVEs at
    their destinations. Answers are compared by status and number. Exit code 0 where all are the
    same, 1 where one is not.
    """
    from pacsnode.dicom.recording import read_recording
    from pacsnode.net.replaying import ReplayedAssociation
    from pacsnode.net.transcript import transcripts
    from pacsnode.tls import Outgoing

    target = options.resolve_peer(run, peer, None)
    configuration = run.configuration
    outgoing = Outgoing(configuration.listen.tls)

    def opened(peer: "Peer", request: bytes) -> ReplayedAssociation:
        return ReplayedAssociation(peer, request, configuration.timeouts, outgoing)

    with open(path, "rb") as recording:
        header, records = read_recording(recording, str(path))
        if header.names_replaced:
            complain(
                "names and patients' identifiers in this recording are replaced: queries by them "
                "find nothing here; record with --with-names for that"
            )
        found = sorted(transcripts(records), key=lambda one: one.begin.at)
        different = [
            _replay(transcript, number, target, opened, with_stores=with_stores)
            for number, transcript in enumerate(found, 1)
        ]
    say(f"{sum(different)} answers differ")
    return DIFFERENT if any(different) else 0


def _replay(
    transcript: "Transcript", number: int, peer: "Peer", opened: "Open", *, with_stores: bool
) -> int:
    """How many answers were different."""
    from pacsnode.errors import AssociationLost, PeerTimeout
    from pacsnode.scu.replay import Comparison, replay

    begin = transcript.begin
    say(f"{number}. {begin.calling_ae_title} calls {begin.called_ae_title}")
    if not begin.is_incoming or transcript.request is None:
        say("  left out: this node opened it" if transcript.request else "  left out: no request")
        return 0
    if begin.called_ae_title != peer.ae_title:
        say(f"  called {peer.ae_title} now")
    count = 0
    try:
        for comparison in replay(transcript, peer, opened, with_stores=with_stores):
            count += comparison.is_different
            _show(comparison)
    except (AssociationLost, PeerTimeout) as error:
        _show(Comparison("association", "answered", str(error)))
        count += 1
    return count


def _show(comparison: "Comparison") -> None:
    if comparison.now is None:
        say(f"  left out   {comparison.what}: {comparison.note}")
    elif comparison.is_different:
        say(f"  different  {comparison.what}: {comparison.then}; now {comparison.now}")
    else:
        say(f"  the same   {comparison.what}: {comparison.now}")
