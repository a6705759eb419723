"""pacsnode status."""

import shutil
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from pacsnode.cli import options
from pacsnode.cli.output import Title, complain, show_csv, show_json, show_table
from pacsnode.cli.run import Run

if TYPE_CHECKING:
    from pacsnode.config.model import Configuration

UNHEALTHY = 1

Row = tuple[str, str]


@click.command("status")
@options.form
@click.pass_obj
def command(run: Run, form: str) -> int:
    """How the running node is: ready, degraded or stopping.

    Exit code 0 where it is ready, 1 where it is not: degraded (what is wrong is named), stopping,
    silent, or not running.
    """
    from pacsnode.errors import NodeUnavailable
    from pacsnode.node.status import State, ask

    configuration = run.existing()
    try:
        status: dict[str, Any] = {**ask(configuration.data_dir), **_space(configuration)}
    except NodeUnavailable as error:
        if form == "json":
            show_json({"state": "unavailable", "troubles": [str(error)], **_space(configuration)})
        complain(str(error))
        return UNHEALTHY
    if form == "json":
        show_json(status)
    elif form == "csv":
        show_csv(("what", "value"), _rows(status))
    else:
        show_table((Title("What"), Title("Value", is_foldable=True)), _rows(status))
    return 0 if status["state"] == State.READY else UNHEALTHY


def _space(configuration: "Configuration") -> dict[str, int]:
    """Asked here, not in the node: a disk that hangs must not keep it from answering."""
    free = shutil.disk_usage(configuration.data_dir).free
    return {"free_bytes": free, "min_free": configuration.storage.min_free}


def _rows(status: Mapping[str, Any]) -> Iterator[Row]:
    yield "state", status["state"]
    for trouble in status["troubles"]:
        yield "trouble", trouble
    yield "node", f"{status['ae_title']} at {status['address']}, pacsnode {status['version']}"
    yield "process", f"{status['process']}, since {_time(status['started_at'])}"
    for worker in status["workers"]:
        ready = "" if worker["is_ready"] else ", not ready yet"
        yield "worker", f"process {worker['process']}, {worker['connections']} connections{ready}"
    yield "associations", f"{status['associations']} of {status['max_associations']}"
    for caller in status["callers"]:
        name = caller["name"] or "unknown"
        who = f"{caller['ae_title']} from {caller['host']} ({name})"
        yield "caller", f"{who}: {caller['associations']}"
    free, wanted = status["free_bytes"], status["min_free"]
    yield "free space", f"{free:,} bytes; C-STORE is refused below {wanted:,}"
    for kind in ("error", "warning"):
        for notice in status[f"last_{kind}s"]:
            yield kind, f"{_time(notice['at'])} {notice['text']}"


def _time(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
