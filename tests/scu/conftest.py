"""A whole node in this process, with a peer's eyes."""

import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

from pacsnode import net
from pacsnode.archive import Archive, open_archive
from pacsnode.config.model import Access as Rules
from pacsnode.config.model import Listen, Modality, Timeouts
from pacsnode.dicom.message import Caller, Connect, Peer
from pacsnode.net.listener import Listener
from pacsnode.scp import Access, Dispatcher, Settings

TIMEOUTS = Timeouts(connect=5.0, acse=5.0, network=10.0, dimse=10.0, idle=30.0)


class Watched(Dispatcher):
    """Tells when associations are over."""

    over: threading.Semaphore

    def ended(self, caller: Caller) -> None:
        super().ended(caller)
        self.over.release()


class Node:
    def __init__(
        self, folder: Path, modalities: dict[str, Modality], timeouts: Timeouts = TIMEOUTS
    ) -> None:
        self.connect: Connect = partial(net.connect, timeouts=timeouts)
        self.archive: Archive = open_archive(folder)
        rules = Rules(unknown_callers="all")
        access = Access(Settings("PACSNODE", rules, modalities, 100))
        dispatcher = Watched(self.archive, access, self.connect, spool_folder=str(folder))
        self.over = dispatcher.over = threading.Semaphore(0)
        self._listener: Listener = net.listen(
            dispatcher, ae_title="PACSNODE", settings=Listen(port=0), timeouts=timeouts
        )
        self._listener.start()
        host, port = self._listener.address
        self.peer = Peer("node", "PACSNODE", host, port, "TESTER")

    def stop_listening(self) -> None:
        if self._listener.is_alive:
            self._listener.stop(5)

    def close(self) -> None:
        self.stop_listening()
        self.archive.close()


@pytest.fixture
def start_node(tmp_path: Path) -> Iterator[Callable[..., Node]]:
    """Starts nodes, each with a folder of its own; `modalities` by keyword, each a Peer."""
    nodes: list[Node] = []

    def start(**modalities: Peer) -> Node:
        known = {
            name: Modality(
                ae_title=name, host=peer.host, port=peer.port, associations=peer.associations
            )
            for name, peer in modalities.items()
        }
        node = Node(tmp_path / f"node{len(nodes)}", known)
        nodes.append(node)
        return node

    yield start
    for node in nodes:
        node.close()


@pytest.fixture
def bundled() -> list[Path]:
    """Real files, uncompressed and compressed, of several SOP classes."""
    names = ("CT_small.dcm", "MR_small_RLE.dcm", "JPEG2000.dcm", "rtplan.dcm", "reportsi.dcm")
    return [Path(str(get_testdata_file(name, download=False))) for name in names]
