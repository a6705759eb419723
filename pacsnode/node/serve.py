"""Listen, in one process or with workers, say so, reload on SIGHUP, stop on SIGTERM and SIGINT, and
keep systemd informed."""

import logging
import re
import signal
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from pacsnode import __version__, log
from pacsnode.config.load import load
from pacsnode.config.model import Configuration
from pacsnode.errors import ConfigurationError
from pacsnode.node import limits
from pacsnode.node.address import addresses_text
from pacsnode.node.alone import Alone
from pacsnode.node.security import warn_of_certificates
from pacsnode.node.signals import Signals
from pacsnode.node.status import state_of
from pacsnode.node.worker import GRACE
from pacsnode.node.workers import Supervisor

logger = logging.getLogger(__name__)

LOOK = 5.0  # seconds from one look at how the node is to the next

Notify = Callable[[str], None]


def serve(
    path: Path | None,
    configuration: Configuration,
    announce: Callable[[str], None],
    watchdog: float | None = None,
) -> None:
    """Run the node until SIGTERM or SIGINT. `announce` gets the ready line; `watchdog` is how many
    seconds the service manager waits for a sign of life. Raises ConfigurationError where the node
    cannot start."""
    log.configure(configuration.log.level, configuration.log.format)
    threading.excepthook = _log_thread_fault
    # Whoever started this may ignore it, and workers that end would be nobody's to wait for.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _allow_open_files(configuration.listen.max_associations)
    processes = configuration.listen.processes
    node = Supervisor(configuration, path) if processes > 1 else Alone(configuration)
    warn_of_certificates(configuration)
    # Until now a signal ends the start; from here on it waits its turn.
    signals = Signals((signal.SIGTERM, signal.SIGINT, signal.SIGHUP))
    notify = _notifier()
    node.start()
    logger.info(
        "pacsnode %s: %s listens on %s, processes %d, configuration %s, data folder %s",
        __version__,
        configuration.ae_title,
        addresses_text(node.addresses),
        processes,
        path or "built-in",
        configuration.data_dir,
    )
    announce(f"ready {configuration.ae_title} {addresses_text(node.addresses)}")
    notify("READY=1")
    reason = signal.Signals(_watch(node, path, signals, notify, watchdog))
    logger.info("%s: stopping", reason.name)
    notify("STOPPING=1")
    node.stop(GRACE)
    logger.info("stopped")


def _allow_open_files(max_associations: int) -> None:
    short = limits.shortage(max_associations, limits.raise_open_files())
    if short:
        logger.warning("%s", short)


def _watch(
    node: Alone | Supervisor,
    path: Path | None,
    signals: Signals,
    notify: Notify,
    watchdog: float | None,
) -> int:
    """Reload and give signs of life, at half of the `watchdog` time at least, until a signal says
    stop."""
    interval = min(watchdog / 2, LOOK) if watchdog else LOOK
    troubles: list[str] = []
    while True:
        number = node.wait(signals, interval)
        if number is None:
            if node.is_healthy:
                notify("WATCHDOG=1")
            troubles = _tell_change(troubles, node.troubles(), notify)
            continue
        if number != signal.SIGHUP:
            return number
        notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
        reload(node, path)
        notify("READY=1")


def _tell_change(before: list[str], troubles: list[str], notify: Notify) -> list[str]:
    """Log what goes wrong, and that it is well again: once each; the figures in it change."""
    if _kinds(troubles) != _kinds(before):
        state = state_of(troubles)
        logger.log(
            logging.WARNING if troubles else logging.INFO, "%s", "; ".join([state, *troubles])
        )
        notify(f"STATUS={'; '.join([state, *troubles])}")
    return troubles


def _kinds(troubles: Sequence[str]) -> list[str]:
    """What they are about: without what follows the first colon, and without figures."""
    return [re.sub(r"\d+", "", trouble.partition(":")[0]) for trouble in troubles]


def reload(node: Alone | Supervisor, path: Path | None) -> None:
    """Take over the changed file for new associations; a broken one changes nothing."""
    if path is None:
        logger.warning("SIGHUP: there is no configuration file to read again")
        return
    try:
        changed = load(path)
        waiting = node.reconfigure(changed)
    except ConfigurationError as error:
        for fault in error.faults:
            logger.error("not reloaded: %s", fault)  # noqa: TRY400 the fault says it all
        return
    warn_of_certificates(node.configuration)
    log.configure(changed.log.level, changed.log.format)
    logger.info("%s reloaded: access, modalities, log, certificates", path)
    if waiting:
        logger.warning("changed, but only a restart takes it over: %s", ", ".join(waiting))


def _notifier() -> Notify:
    """Tells systemd, where it is the one that started this process."""
    import sdnotify

    notifier = sdnotify.SystemdNotifier()
    return lambda state: notifier.notify(state)


def _log_thread_fault(fault: threading.ExceptHookArgs) -> None:
    name = fault.thread.name if fault.thread else "a thread"
    if fault.exc_value is not None:
        logger.error("%s ended by a fault", name, exc_info=fault.exc_value)
