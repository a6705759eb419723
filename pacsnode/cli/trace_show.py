"""pacsnode trace show."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pacsnode.cli.output import say, show_json

if TYPE_CHECKING:
    from pacsnode.dicom.recording import Header
    from pacsnode.net.transcript import Said, Transcript

file = click.argument("path", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False))


@click.command("show")
@file
@click.option("--full", is_flag=True, help="Every match of a query, not only the first few.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How it is printed.",
)
def command(path: Path, full: bool, form: str) -> int:
    """Print a recording in plain words, with what to do about what went wrong.

    Exit code 1 where the file is cut off or altered: what comes before that is printed.
    """
    from pacsnode.cli.trace_words import lines
    from pacsnode.dicom.recording import read_recording
    from pacsnode.net.transcript import transcripts

    with open(path, "rb") as recording:
        header, records = read_recording(recording, str(path))
        if form == "json":
            _show_json(header, transcripts(records))
            return 0
        names = "names are replaced" if header.names_replaced else "with names"
        say(f"{header.program}, {header.ae_title}: {header.of or 'everybody'}, {names}")
        for number, transcript in enumerate(transcripts(records), 1):
            say()
            for line in lines(transcript, number, full=full):
                say(line)
    return 0


def _show_json(header: "Header", found: "Iterator[Transcript]") -> None:
    """All of it, also where the recording is damaged."""
    associations: list[Mapping[str, Any]] = []
    try:
        associations += (_association(transcript) for transcript in found)
    finally:
        show_json({"header": header._asdict(), "associations": associations})


def _association(transcript: "Transcript") -> Mapping[str, Any]:
    from pacsnode.cli.trace_advice import advice
    from pacsnode.cli.trace_words import ending

    request, answer = transcript.request, transcript.answer
    answered = {one.context_id: one for one in answer.answered} if answer is not None else {}
    return {
        **transcript.begin._asdict(),
        "contexts": [
            {
                **proposed._asdict(),
                "result": answered[number].result if number in answered else None,
                "transfer_syntax": transcript.transfer_syntax(number) or None,
            }
            for proposed in (request.proposed if request is not None else ())
            for number in [proposed.context_id]
        ],
        "roles": [role._asdict() for role in request.roles] if request is not None else [],
        "rejection": transcript.rejection._asdict() if transcript.rejection is not None else None,
        "messages": [_message(transcript, said) for said in transcript.messages],
        "ending": ending(transcript),
        "lost": transcript.end.lost if transcript.end is not None else None,
        "advice": list(advice(transcript)),
    }


def _message(transcript: "Transcript", said: "Said") -> Mapping[str, Any]:
    from pacsnode.cli.trace_words import describe

    return {
        "seconds": round(said.at - transcript.begin.at, 6),
        "sender": "node" if said.is_sent else "peer",
        "context_id": said.context_id,
        "text": describe(said),
        "status": f"{said.status:04X}" if said.status is not None else None,
        "dataset_length": said.length,
        "dataset": _dataset(transcript, said),
    }


def _dataset(transcript: "Transcript", said: "Said") -> Any:
    from pacsnode.dicom.encode import decode_dataset
    from pacsnode.dicom.json import dataset_to_json
    from pacsnode.errors import UnreadableDataset

    if said.data is None:
        return None
    try:
        return dataset_to_json(
            decode_dataset(said.data, transcript.transfer_syntax(said.context_id))
        )
    except UnreadableDataset:
        return None
