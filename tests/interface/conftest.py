"""One node for the tests whose state may stand side by side, and peers for it."""

import select
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset

from tests.conftest import PATIENCE, RunningNode, running_node
from tests.interface.peer import EXPLICIT, Association

OPEN = "access: {unknown_callers: all}\nstorage: {fsync: false, min_free: 1}\n"
Dial = Callable[..., Association]


@pytest.fixture(scope="session")
def open_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    """A node that lets everybody do everything; tests add to it and query what they added."""
    with running_node(tmp_path_factory.mktemp("open_node"), OPEN) as node:
        yield node


@pytest.fixture
def dial() -> Iterator[Dial]:
    """`dial(node, (abstract syntax, [transfer syntaxes]), …)`; closed at the end."""
    associations: list[Association] = []

    def associate(node: RunningNode, *contexts: Any, **options: Any) -> Association:
        association = Association((node.host, node.port), *contexts, **options)
        associations.append(association)
        return association

    yield associate
    for association in associations:
        association.close()


def free_port_number() -> int:
    """For servers that must be known before the node starts."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def stored_files(folder: Path) -> list[Path]:
    """The instances below a data folder's instances/ or conflicts/."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file()
        and ".incoming" not in path.parts
        and path.read_bytes()[128:132] == b"DICM"
    )


def store_all(node: RunningNode, datasets: Sequence[Dataset]) -> None:
    """Over one association, each answered 0000."""
    classes = sorted({str(ds.SOPClassUID) for ds in datasets})
    with Association((node.host, node.port), *((uid, [EXPLICIT]) for uid in classes)) as peer:
        for ds in datasets:
            assert peer.store_dataset(ds).status == 0
        peer.release()


def wait_until_synced(node: RunningNode) -> None:
    """Until the index has no copy of a file any more: whoever opens the archive while it has would
    make good what a test has done to that file."""
    deadline = time.monotonic() + PATIENCE
    with closing(sqlite3.connect(node.data_dir / "index.sqlite")) as connection:
        while connection.execute("SELECT count(*) FROM copy").fetchone() != (0,):
            assert time.monotonic() < deadline
            select.select([], [], [], 0.05)


def damage_index(node: RunningNode) -> None:
    """Take tables from the index under the running node: unlike bytes that are overwritten, that is
    noticed also by connections that have all they need in memory."""
    with closing(sqlite3.connect(node.data_dir / "index.sqlite")) as connection, connection:
        for table in ("instance", "series", "study", "patient"):
            connection.execute(f"DROP TABLE {table}")
