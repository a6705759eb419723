"""pacsnode check PEER: the steps of the connection doctor, and what to do about those that fail."""

from typing import TYPE_CHECKING

from pacsnode.cli import options
from pacsnode.cli.doctor_report import Report
from pacsnode.cli.run import Run

if TYPE_CHECKING:
    pass


def examine_peer(run: Run, text: str, aet: str | None, *, every_class: bool, form: str) -> int:
    """Go through the steps; the exit code."""
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
    asked = classes.every_class() if every_class else classes.COMMON
    report = Report(peer, form)
    for step in examine(peer, route, connect, asked):
        report.add(step)
    return report.end(describe(configuration, route.own_address()))
