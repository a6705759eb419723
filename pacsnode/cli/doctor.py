"""pacsnode check PEER: the steps of the connection doctor, and what to do about those that fail."""

import sys
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

import click

from pacsnode.cli import options
from pacsnode.cli.doctor_report import Report
from pacsnode.cli.run import Run

if TYPE_CHECKING:
    from pacsnode.archive import Archive
    from pacsnode.config.model import Configuration
    from pacsnode.dicom.message import Connect, Peer
    from pacsnode.dicom.query import Query
    from pacsnode.net.route import DialledRoute
    from pacsnode.scu.doctor.steps import Step


def examine_peer(
    run: Run, text: str, aet: str | None, *, every_class: bool, moving: bool, form: str
) -> int:
    """Go through the steps, those of the way back as well if `moving`; the exit code."""
    from pacsnode.net.route import DialledRoute
    from pacsnode.node.build import build_connect
    from pacsnode.node.door import describe
    from pacsnode.scu.doctor import classes
    from pacsnode.scu.doctor.examination import examine
    from pacsnode.tls import Outgoing

    configuration = run.configuration
    peer = options.resolve_peer(run, text, aet)
    outgoing = Outgoing(configuration.listen.tls)
    route = DialledRoute(peer, configuration.timeouts.connect, outgoing)
    connect = build_connect(configuration, outgoing)
    report = Report(peer, form)
    asked = classes.every_class() if every_class else classes.COMMON
    for step in examine(peer, route, connect, asked, configuration.ae_title):
        report.add(step)
    if moving and not report.is_cut_off:
        for step in _way_back(configuration, peer, route, connect, report):
            report.add(step)
    return report.end(describe(configuration, route.own_addresses()))


def may_send(text: str, *, yes: bool) -> bool:
    """Whether the test object may be sent: somebody at a terminal is asked. Raises UsageError where
    nobody can be."""
    from pacsnode.cli.delete import confirm

    if yes:
        return True
    if not sys.stdin.isatty():
        raise click.UsageError(
            "--move sends a test object, which stays at the peer: say --yes, as nobody can be asked"
        )
    return confirm(f"Send a test object to {text}, where it stays?")


def _way_back(
    configuration: "Configuration",
    peer: "Peer",
    route: "DialledRoute",
    connect: "Connect",
    report: Report,
) -> "Iterator[Step]":
    """Whether the peer may come back to us at all, and then whether it does."""
    from pacsnode.errors import ConfigurationError, IndexFailure, StorageError
    from pacsnode.node.arrivals import arrival_desk
    from pacsnode.node.door import NAME, describe, look_at
    from pacsnode.scu.doctor.sample import make
    from pacsnode.scu.doctor.steps import Cause, failed
    from pacsnode.scu.doctor.way_back import ask_back, movable, send_sample

    model = movable(report.steps)
    if model is None:
        yield failed("C-MOVE", Cause.NO_ROOT, "it does not do C-MOVE")
        return
    hosts = route.addresses
    door = look_at(configuration, peer, hosts[0], describe(configuration, route.own_addresses()))
    yield door
    if door.has_failed:
        return
    sample = make(datetime.now().astimezone())
    remove = partial(_remove, configuration)
    try:
        with arrival_desk(configuration, peer, hosts, sample, remove) as desk:
            sent = send_sample(peer, connect, sample)
            yield sent
            if not sent.has_failed:
                yield from ask_back(peer, connect, sample, model, configuration.ae_title, desk)
    except ConfigurationError as error:
        yield failed(NAME, Cause.NOT_LISTENING, str(error))
    except (IndexFailure, StorageError) as error:
        yield failed("arrival", Cause.OWN_ARCHIVE, str(error))


def _remove(configuration: "Configuration", archive: "Archive", query: "Query") -> int:
    """Take the test object out of our own archive, and tell the audit trail."""
    from pacsnode.cli.audited import Deletion, opened

    with opened(configuration) as trail:
        deletion = Deletion(trail, archive)
        for stored in archive.select(query):
            deletion.expect(stored)
        try:
            return archive.delete(query, on_deleted=deletion.gone)
        finally:
            deletion.end()
