"""pacsnode echo."""

import click

from pacsnode.cli import options
from pacsnode.cli.output import say
from pacsnode.cli.run import Run

# NetworkError.step to what people call it. A message that goes wrong is the C-ECHO itself.
STEPS = {"name": "name", "tcp": "TCP", "tls": "TLS", "association": "association"}


@click.command("echo")
@options.peer
@options.aet
@click.pass_obj
def command(run: Run, peer: str, aet: str | None) -> None:
    """Ask PEER for a sign of life (C-ECHO).

    PEER is a name or AE title from modalities, or AE_TITLE@HOST:PORT. Where it fails, the step is
    named: name, TCP, TLS, association or echo.
    """
    from pacsnode.errors import NetworkError
    from pacsnode.node.build import build_connect
    from pacsnode.scu.echo import echo

    target = options.resolve_peer(run, peer, aet)
    try:
        echo(build_connect(run.configuration), target)
    except NetworkError as error:
        error.args = (f"failed at {STEPS.get(error.step, 'echo')}: {error}",)
        raise
    say(f"{target}: C-ECHO answered")
