"""Where the connection doctor's test object comes back in: at the running node, which indexes it,
or, where none runs, at the command itself, in the node's place."""

import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pacsnode.config.model import Configuration, Modality
from pacsnode.dicom.level import Level
from pacsnode.dicom.query import Model, Query, query_from_keys
from pacsnode.errors import ConfigurationError, NodeUnavailable
from pacsnode.node.build import build_archive, build_settings
from pacsnode.node.standing_in import standing_in
from pacsnode.node.status import ask, holder
from pacsnode.scp.access import Access
from pacsnode.scp.arrival import ArrivalOnly, not_let_in
from pacsnode.scp.hosts import normalised
from pacsnode.scu.doctor.arrivals import Arrival, TurnedAway
from pacsnode.scu.doctor.sample import Sample

if TYPE_CHECKING:
    from pacsnode.archive import Archive
    from pacsnode.dicom.message import Peer

# What the node logs of those whom it does not let in.
_CALLER = re.compile(r"'(?P<ae_title>[^']*)' from (?P<host>[0-9a-fA-F.:]*[0-9a-fA-F])")

Remove = Callable[["Archive", Query], int]


class Watch:
    """Sees whom the running node turns away, from now on, that is the peer by its AE title or by
    one of its `hosts`."""

    def __init__(
        self,
        folder: Path,
        ae_title: str,
        hosts: Collection[str],
        modalities: Mapping[str, Modality],
    ) -> None:
        self._folder = folder
        self._modalities = modalities
        self._ae_title = ae_title
        self._hosts = {normalised(host) or host for host in hosts}
        self._began = time.time()

    def turned_away(self) -> Sequence[TurnedAway]:
        """As the node's warnings tell it; nothing where no node answers."""
        try:
            warnings = ask(self._folder).get("last_warnings", ())
        except NodeUnavailable:
            return ()
        texts = [str(one["text"]) for one in warnings if one["at"] >= self._began]
        texts = [text for text in texts if " counts as unknown: " not in text]  # it was let in
        return [found for text in texts if (found := self._understand(text)) is not None]

    def _understand(self, text: str) -> TurnedAway | None:
        match = _CALLER.search(text)
        if match is None or not (
            match["ae_title"] == self._ae_title or normalised(match["host"]) in self._hosts
        ):
            return None
        return not_let_in(text, match["ae_title"], match["host"], self._modalities)


class NodeArrivals:
    """Arrivals at the running node, or at the command that stands in for it until one starts.
    `remove` takes what a query selects from the archive, and tells of it whom it should."""

    def __init__(
        self,
        configuration: Configuration,
        sample: Sample,
        remove: Remove,
        watch: "Watch",
        stand_in: ArrivalOnly | None,
        stack: ExitStack,
    ) -> None:
        self._configuration = configuration
        keys = [f"StudyInstanceUID={sample.study_instance_uid}"]
        self._query = query_from_keys(Level.STUDY, Model.STUDY_ROOT, keys, retrieve=True)
        self._remove = remove
        self._watch = watch
        self._stand_in = stand_in
        self._stack = stack
        self._archive: Archive | None = None

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
        own = self._stand_in.turned_away if self._stand_in is not None else ()
        return (*own, *self._watch.turned_away())

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
        folder, modalities = configuration.data_dir, configuration.modalities
        watch = Watch(folder, peer.ae_title, hosts, modalities)
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
        yield NodeArrivals(configuration, sample, remove, watch, stand_in, stack)
