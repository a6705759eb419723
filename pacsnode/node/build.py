"""Configuration to parts: the only file that knows every room."""

import logging
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from pacsnode.config.model import Configuration, Listen, Modality
from pacsnode.errors import ConfigurationError

if TYPE_CHECKING:
    from pacsnode.archive import Archive
    from pacsnode.audit import Trail
    from pacsnode.dicom.message import Connect
    from pacsnode.jobs import Runner
    from pacsnode.net.doorway import Addresses, Doorway
    from pacsnode.net.listener import Listener
    from pacsnode.node.security import Security
    from pacsnode.node.traces import Traces
    from pacsnode.scp import Settings
    from pacsnode.scp.places import Places
    from pacsnode.scp.precedence import Precedence
    from pacsnode.scu.codecs import Codecs
    from pacsnode.tls import Outgoing

logger = logging.getLogger(__name__)

# What a running node takes over from a changed file, beside its certificates; everything else takes
# a restart.
RELOADED = ("access", "modalities", "log")

JOBS_END = 4.0  # seconds that a report on its way gets to be broken off


def build_archive(configuration: Configuration, *, serving: bool = False) -> "Archive":
    """The archive of the configuration, for the node or for a command beside it. Raises
    ConfigurationError or IndexFailure."""
    from pacsnode.archive import OnDuplicate, Policy, open_archive

    policy = Policy(
        ae_title=configuration.ae_title,
        on_duplicate=OnDuplicate(configuration.storage.on_duplicate),
        min_free=configuration.storage.min_free,
        character_sets=character_sets(configuration.modalities),
    )
    return open_archive(
        configuration.data_dir, policy, fsync=configuration.storage.fsync, serving=serving
    )


def build_traces(
    configuration: Configuration, modalities: Callable[[], Mapping[str, Modality]]
) -> "Traces":
    """Who records associations, for `pacsnode trace` and for files of the configuration."""
    from pacsnode.node.traces import Traces

    return Traces(configuration.data_dir, configuration.ae_title, modalities)


def build_connect(
    configuration: Configuration,
    outgoing: "Outgoing | None" = None,
    traces: "Traces | None" = None,
) -> "Connect":
    """How requests of ours get their associations; a node gives its contexts for TLS, and who
    records them."""
    from pacsnode import net
    from pacsnode.tls import Outgoing

    return partial(
        net.connect,
        timeouts=configuration.timeouts,
        max_pdu=configuration.listen.max_pdu,
        outgoing=outgoing or Outgoing(configuration.listen.tls),
        recorders=traces or build_traces(configuration, lambda: configuration.modalities),
    )


def prepare_archive(configuration: Configuration) -> None:
    """What a start does once, before there are workers: nobody is at work on anything. Raises what
    `build_archive` raises."""
    with build_archive(configuration) as archive:
        archive.check_index()
        archive.commitments.give_back_all()


def build_jobs(
    archive: "Archive",
    connect: "Connect",
    configuration: Configuration,
    modalities: Callable[[], Mapping[str, Modality]],
) -> "Runner":
    """What is done beside associations, in each process that serves them."""
    from pacsnode.jobs import Runner
    from pacsnode.jobs.commit import CommitmentReports

    reports = CommitmentReports(archive, connect, modalities, configuration.commit.retry_hours)
    return Runner([reports])


def build_trail(configuration: Configuration) -> "Trail":
    """The audit trail, of a process that forks no others once it has told of something. Raises
    ConfigurationError."""
    from pacsnode.audit import open_trail

    return open_trail(configuration.audit, configuration.ae_title, configuration.listen.tls)


def tell_stop(configuration: Configuration) -> None:
    """Have the audit trail say that the node has stopped. For a process that forks no more."""
    from pacsnode.audit import events, user

    try:
        trail = build_trail(configuration)
    except ConfigurationError as error:
        logger.error("audit: that the node has stopped is not told: %s", error)  # noqa: TRY400
        return
    if trail.is_on:
        trail.record(events.stopped(trail.node, user()))
    trail.close()


def character_sets(modalities: Mapping[str, Modality]) -> dict[str, str]:
    """Those assumed where datasets declare none, by the AE title that they come from."""
    return {
        modality.ae_title: modality.character_set
        for modality in modalities.values()
        if modality.character_set is not None
    }


def preload() -> None:
    """Import what a node needs, for processes that are forked from this one: they start faster, and
    share the memory."""
    import pacsnode.archive
    import pacsnode.jobs.commit
    import pacsnode.net.association
    import pacsnode.net.listener
    import pacsnode.node.traces
    import pacsnode.scp  # noqa: F401


class Node:
    """The parts of a running node, or of one of its workers, in the order in which they start and,
    backwards, stop."""

    def __init__(
        self,
        configuration: Configuration,
        *,
        doorway: "Doorway | None" = None,
        places: "Places | None" = None,
        security: "Security | None" = None,
        codecs: "Codecs | None" = None,
        precedence: "Precedence | None" = None,
    ) -> None:
        """Locks the data folder, recovers, opens the index and binds the address. A worker is given
        the `doorway` that its connections come through, and the `places`, the `security`, the
        `codecs` and the `precedence` that all workers share; its supervisor has locked and bound.
        Raises ConfigurationError or IndexFailure."""
        from pacsnode import net
        from pacsnode.node.security import build_security
        from pacsnode.scp import Access, Dispatcher

        self.configuration = configuration
        security = security or build_security(configuration)
        self._outgoing = security.outgoing
        self._trail = build_trail(configuration)
        self._archive = build_archive(configuration, serving=doorway is None)
        try:
            if doorway is None:
                self._archive.commitments.give_back_all()
            self._access: Access = Access(build_settings(configuration), places=places)
            traces = build_traces(configuration, self._modalities)
            connect = build_connect(configuration, self._outgoing, traces)
            self._jobs = build_jobs(self._archive, connect, configuration, self._modalities)
            dispatcher = Dispatcher(
                self._archive,
                self._access,
                connect,
                spool_folder=str(configuration.data_dir),
                codecs=codecs,
                precedence=precedence,
                wake=self._jobs.wake,
                trail=self._trail,
            )
            self._listener: Listener = net.listen(
                dispatcher,
                ae_title=configuration.ae_title,
                settings=configuration.listen,
                timeouts=configuration.timeouts,
                doorway=doorway,
                secure=security.incoming,
                on_refused=dispatcher.turned_away,
                recorders=traces,
            )
        except BaseException:
            self._archive.close()
            raise

    @property
    def addresses(self) -> "Addresses":
        return self._listener.addresses

    @property
    def is_healthy(self) -> bool:
        """Whether associations are still taken."""
        return self._listener.is_alive

    def start(self) -> None:
        """Take associations from now on, and do what is left to do."""
        self._jobs.start()
        self._listener.start()

    def tell_start(self) -> None:
        """Have the audit trail say that the node has started: once for all of its processes."""
        from pacsnode.audit import events, user

        if self._trail.is_on:
            self._trail.record(events.started(self._trail.node, user()))

    def _modalities(self) -> Mapping[str, Modality]:
        """As they are now: a reload changes them."""
        return self.configuration.modalities

    def troubles(self) -> list[str]:
        """What is wrong now; nothing where all is well."""
        troubles = self._archive.troubles()
        shortage = self._listener.shortage
        return [*troubles, f"connections wait: {shortage}"] if shortage else troubles

    def reconfigure(self, changed: Configuration) -> list[str]:
        """Take over what can be taken over, for new associations; returns the keys that changed
        and take a restart. Raises ConfigurationError, where nothing has changed."""
        from pacsnode.node.security import build_security

        configuration = reloaded(self.configuration, changed)
        security = build_security(configuration)
        waiting = changed_keys(self.configuration, changed)
        self.configuration = configuration
        self._outgoing.take_over(security.outgoing)
        self._listener.secure(security.incoming)
        self._access.configure(build_settings(self.configuration))
        self._archive.assume(character_sets(self.configuration.modalities))
        self._jobs.wake()
        return waiting

    def stop(self, grace: float) -> None:
        """No new associations; C-STOREs under way get `grace` seconds, the rest is aborted."""
        try:
            self._jobs.break_off()
            self._listener.stop(grace)
        finally:
            self._jobs.stop(JOBS_END)
            self._archive.close()
            self._trail.close()


def build_settings(configuration: Configuration) -> "Settings":
    """What access is decided by."""
    from pacsnode.scp import Settings

    return Settings(
        ae_title=configuration.ae_title,
        rules=configuration.access,
        modalities=configuration.modalities,
        max_associations=configuration.listen.max_associations,
    )


def reloaded(running: Configuration, changed: Configuration) -> Configuration:
    """What is running, with what a running node takes over."""
    sections = {name: getattr(changed, name) for name in RELOADED}
    return running.model_copy(update={**sections, "listen": _listening(running, changed)})


def _listening(running: Configuration, changed: Configuration) -> Listen:
    """With changed certificates, on the running ports."""
    before, after = running.listen.tls, changed.listen.tls
    if before is None or after is None:
        return running.listen
    tls = after.model_copy(update={"port": before.port})
    return running.listen.model_copy(update={"tls": tls})


def changed_keys(running: Configuration, changed: Configuration) -> list[str]:
    """Key paths that differ and take a restart."""
    return [*_differences(reloaded(running, changed).model_dump(), changed.model_dump())]


def _differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    for name, value in before.items():
        if isinstance(value, dict) and isinstance(after[name], dict):
            yield from (f"{name}.{key}" for key in _differences(value, after[name]))
        elif value != after[name]:
            yield name
