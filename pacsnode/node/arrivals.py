"""Where the connection doctor's test object comes back in: at the running node, which indexes it,
or, where none runs, at the command itself, in the node's place."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING

from pacsnode.config.model import Configuration
from pacsnode.dicom.level import Level
from pacsnode.dicom.query import Model, Query, query_from_keys
from pacsnode.errors import ConfigurationError
from pacsnode.node.build import build_archive, build_settings
from pacsnode.node.standing_in import standing_in
from pacsnode.node.status import holder
from pacsnode.scp.access import Access
from pacsnode.scp.arrival import ArrivalOnly
from pacsnode.scu.doctor.arrivals import Arrival, TurnedAway
from pacsnode.scu.doctor.sample import Sample

if TYPE_CHECKING:
    from pacsnode.archive import Archive
    from pacsnode.dicom.message import Peer

Remove = Callable[["Archive", Query], int]


class NodeArrivals:
    """Arrivals at the running node, or at the command that stands in for it until one starts.
    `remove` takes what a query selects from the archive, and tells of it whom it should."""

    def __init__(
        self,
        configuration: Configuration,
        sample: Sample,
        remove: Remove,
        stand_in: ArrivalOnly | None,
        stack: ExitStack,
    ) -> None:
        self._configuration = configuration
        keys = [f"StudyInstanceUID={sample.study_instance_uid}"]
        self._query = query_from_keys(Level.STUDY, Model.STUDY_ROOT, keys, retrieve=True)
        self._remove = remove
        self._stand_in = stand_in
        self._stack = stack
        self._archive: Archive | None = None

    @property
    def hint(self) -> str:
        if self._stand_in is not None:
            return ""
        return "had it come here and been turned away, the running node's log would say so"

    def arrived(self) -> Arrival | None:
        if self._stand_in is not None and self._stand_in.arrival is not None:
            return self._stand_in.arrival
        archive = self._opened()
        if archive is None:
            return None
        with closing(archive.select(self._query)) as found:
            stored = next(found, None)
        if stored is None:
            return None
        return Arrival(stored.source_ae_title, "", "the running node")

    def turned_away(self) -> Sequence[TurnedAway]:
        return tuple(self._stand_in.turned_away) if self._stand_in is not None else ()

    def remove(self) -> int:
        archive = self._opened()
        return self._remove(archive, self._query) if archive is not None else 0

    def _opened(self) -> "Archive | None":
        """The archive of the node that runs; it may have started meanwhile."""
        if self._archive is None and holder(self._configuration.data_dir):
            self._archive = self._stack.enter_context(build_archive(self._configuration))
        return self._archive


@contextmanager
def arrival_desk(
    configuration: Configuration,
    peer: "Peer",
    hosts: Collection[str],
    sample: Sample,
    remove: Remove,
) -> Iterator[NodeArrivals]:
    """While this is entered, `sample` can come in, from `peer` at one of `hosts`. Raises
    ConfigurationError where nobody can listen."""
    with ExitStack() as stack:
        stand_in = None
        if not holder(configuration.data_dir):
            access = Access(build_settings(configuration))
            stand_in = ArrivalOnly(access, sample.sop_instance_uid, peer.ae_title, hosts)
            try:
                stack.enter_context(standing_in(configuration, stand_in))
            except ConfigurationError:
                if not holder(configuration.data_dir):  # a node that has started meanwhile
                    raise
                stand_in = None
        yield NodeArrivals(configuration, sample, remove, stand_in, stack)
