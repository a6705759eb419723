"""Where the doctor's test object comes in: at the command, at the node that runs, or at one that
starts meanwhile; and whom a running node turned away."""

import socket
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pacsnode.archive import Archive
from pacsnode.config.load import load
from pacsnode.config.model import Configuration
from pacsnode.dicom.message import Peer
from pacsnode.dicom.query import Query
from pacsnode.errors import ConfigurationError
from pacsnode.node.arrivals import NodeArrivals, arrival_desk
from pacsnode.node.build import build_connect
from pacsnode.scu.doctor.sample import Sample, make
from pacsnode.scu.doctor.steps import Cause
from pacsnode.scu.doctor.way_back import send_sample
from tests.conftest import StartNode

ARCHIVE = Peer("ARCHIVE", "ARCHIVE", "127.0.0.1", 104, "PACSNODE")
HOSTS = ("127.0.0.1",)


def configure(folder: Path, port: int, allow: str = "all") -> Configuration:
    path = folder / "config.yaml"
    path.write_text(
        f"listen: {{port: {port}, workers: 1}}\n"
        f"modalities: {{ARCHIVE: {{host: 127.0.0.1, port: 104, allow: {allow}}}}}\n",
        "utf-8",
    )
    return load(path)


def deliver(configuration: Configuration, sample: Sample, calling: str = "ARCHIVE") -> bool:
    """As the peer does; whether it was taken."""
    port = configuration.listen.port or 0
    here = Peer("PACSNODE", "PACSNODE", "127.0.0.1", port, calling)
    return not send_sample(here, build_connect(configuration), sample).has_failed


def remove_nothing(*_: object) -> int:
    raise AssertionError("there is nothing to remove")


def test_the_command_takes_it_where_no_node_runs(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    configuration, sample = configure(tmp_path, free_port()), make(datetime.now(UTC))
    with arrival_desk(configuration, ARCHIVE, HOSTS, sample, remove_nothing) as desk:
        assert desk.arrived() is None
        assert not deliver(configuration, make(datetime.now(UTC)))
        assert desk.arrived() is None
        assert deliver(configuration, sample)
        arrival = desk.arrived()
        assert arrival is not None
        assert (arrival.ae_title, arrival.host) == ("ARCHIVE", "127.0.0.1")
        assert desk.remove() == 0
    assert not deliver(configuration, sample)  # nobody listens any more
    assert not configuration.data_dir.exists()


def test_a_node_that_starts_meanwhile_takes_it(
    tmp_path: Path, free_port: Callable[[], int], start_node: StartNode
) -> None:
    configuration, sample = configure(tmp_path, free_port()), make(datetime.now(UTC))

    def remove(archive: Archive, query: Query) -> int:
        return archive.delete(query)

    with arrival_desk(configuration, ARCHIVE, HOSTS, sample, remove) as desk:
        node = start_node((tmp_path / "config.yaml").read_text("utf-8"), folder=tmp_path)
        assert node.port == configuration.listen.port
        assert desk.arrived() is None
        assert deliver(configuration, sample)
        arrival = desk.arrived()
        assert arrival is not None
        assert (arrival.ae_title, arrival.taken_by) == ("ARCHIVE", "the running node")
        assert desk.remove() == 1
        assert desk.arrived() is None


def test_whom_the_running_node_turned_away_is_told_if_it_is_the_peer(
    tmp_path: Path, free_port: Callable[[], int], start_node: StartNode
) -> None:
    configuration = configure(tmp_path, free_port(), allow="[echo]")
    start_node((tmp_path / "config.yaml").read_text("utf-8"), folder=tmp_path)
    sample = make(datetime.now(UTC))
    assert not deliver(configuration, sample)  # before anybody looks

    def desk_for(*hosts: str) -> NodeArrivals:
        return stack.enter_context(
            arrival_desk(configuration, ARCHIVE, hosts, sample, remove_nothing)
        )

    with ExitStack() as stack:
        desk, elsewhere = desk_for(*HOSTS), desk_for("10.0.0.5")
        assert desk.turned_away() == ()
        assert not deliver(configuration, sample, "STRANGER")
        (found,) = desk.turned_away()
        assert found.cause is Cause.OWN_RIGHTS
        assert found.details == {"ae_title": "STRANGER", "host": "127.0.0.1"}
        assert elsewhere.turned_away() == ()
        assert not deliver(configuration, sample)
        assert [one.details["ae_title"] for one in elsewhere.turned_away()] == ["ARCHIVE"]


def test_an_address_that_cannot_be_had(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        configuration = configure(tmp_path, taken.getsockname()[1])
        desk = arrival_desk(configuration, ARCHIVE, HOSTS, make(datetime.now(UTC)), remove_nothing)
        with pytest.raises(ConfigurationError), desk:
            pass
