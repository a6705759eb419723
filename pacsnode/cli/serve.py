"""pacsnode serve."""

import os

import click

from pacsnode.cli.output import complain
from pacsnode.cli.run import Run

NO_FILE = (
    "no configuration file: listening on {address} with built-in defaults, and every caller may do "
    "everything. To change that, start from config.example.yaml."
)


@click.command("serve")
@click.pass_obj
def command(run: Run) -> None:
    """Run the node, until SIGTERM or Ctrl-C.

    Prints `ready AE_TITLE HOST:PORT`, with `tls HOST:PORT` where TLS is served, when it accepts
    associations. SIGHUP reads access, modalities and log of the configuration file again, and the
    certificates of TLS.
    """
    # Imaging libraries come with numpy, whose idle threads would not survive the fork of workers.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    configuration = run.configuration
    from pacsnode.node.address import address_text
    from pacsnode.node.heap import use_one_arena
    from pacsnode.node.serve import serve

    use_one_arena()
    if run.path is None:
        listen = configuration.listen
        complain(NO_FILE.format(address=address_text(listen.host, listen.port or 0)))
    try:
        serve(run.path, configuration, _announce, _watchdog())
    except KeyboardInterrupt:
        complain("stopped before the node was ready")


def _announce(line: str) -> None:
    click.echo(line)


def _watchdog() -> float | None:
    """Seconds in which systemd wants a sign of life of this very process (sd_watchdog_enabled)."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    return int(microseconds) / 1e6 if microseconds.isdecimal() and int(microseconds) else None
