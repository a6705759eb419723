"""The `pacsnode` command: one file per command. The only room with click and rich."""

import importlib
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import click

from pacsnode import __version__
from pacsnode.cli.output import complain
from pacsnode.cli.run import Run
from pacsnode.errors import (
    ConfigurationError,
    IndexDamaged,
    NetworkError,
    PacsnodeError,
    UsageError,
)

FAILED, WRONG_USE, UNREACHABLE, INTERRUPTED = 1, 2, 3, 130

# Command to its module, imported only when it is wanted: in the order of `--help`.
COMMANDS = {
    "serve": "serve",
    "check": "check",
    "echo": "echo",
    "send": "send",
    "find": "find",
    "move": "move",
    "get": "get",
    "commit": "commit",
    "import": "import_",
    "ls": "ls",
    "conflicts": "conflicts",
    "delete": "delete",
    "verify": "verify",
    "reindex": "reindex",
    "stats": "stats",
    "status": "status",
    "trace": "trace",
    "conformance": "conformance",
}


class Commands(click.Group):
    """Commands by name, imported on demand."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"pacsnode.cli.{COMMANDS[cmd_name]}")
        command: click.Command = module.command
        return command


@click.group(
    cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.option(
    "--config",
    "path",
    metavar="FILE",
    type=click.Path(path_type=Path, readable=False),
    help="Configuration file. Default: $PACSNODE_CONFIG, ./config.yaml, /etc/pacsnode/config.yaml, "
    "else built-in defaults.",
)
@click.version_option(__version__, message="pacsnode %(version)s")
@click.pass_context
def commands(context: click.Context, path: Path | None) -> None:
    """A DICOM archive node: receives, indexes, finds and delivers medical images.

    Exit codes: 0 all done, 1 failed in whole or in part, 2 usage or configuration, 3 peer not
    reached or association refused, 130 interrupted.
    """
    context.obj = Run(path)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """The console script."""
    signal.signal(signal.SIGTERM, _interrupt)
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Carry out a command line; its exit code."""
    try:
        code = _invoke(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has enough of it: keep the flush at exit from complaining.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    return code


def _invoke(arguments: Sequence[str] | None) -> int:
    try:
        result: Any = commands.main(arguments, prog_name="pacsnode", standalone_mode=False)
    except (click.Abort, KeyboardInterrupt):
        complain("interrupted")
        return INTERRUPTED
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except ConfigurationError as error:
        complain(*error.faults)
        return exit_code(error)
    except PacsnodeError as error:
        complain(str(error))
        return exit_code(error)
    except BrokenPipeError:
        raise
    except OSError as error:
        complain(f"{error.filename or 'input/output'}: {error.strerror or error}")
        return FAILED
    return result if isinstance(result, int) else 0


def exit_code(error: PacsnodeError) -> int:
    """What a failure that ends a command means to its caller."""
    if isinstance(error, ConfigurationError | UsageError | IndexDamaged):
        return WRONG_USE
    if isinstance(error, NetworkError) and error.step in ("name", "tcp", "tls", "association"):
        return UNREACHABLE
    return FAILED


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    """End as on Ctrl-C, tidily."""
    raise KeyboardInterrupt
