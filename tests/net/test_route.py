"""The way to a peer, step by step, and what is seen by looking around."""

import errno
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from pacsnode.config.model import ClientTLS
from pacsnode.dicom.message import Peer
from pacsnode.errors import PeerUnreachable
from pacsnode.net.route import DialledRoute
from pacsnode.tls import Fault, Outgoing, fault_of
from tests.authority import Authority
from tests.serving import Script, serving

PATIENCE = 20.0


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def serve() -> Iterator[Callable[[Script], int]]:
    """A server that plays a script to each connection; its port."""
    with ExitStack() as servers:
        yield lambda script: servers.enter_context(serving(script))


def secured(certificate: Path, demand: Path | None = None) -> Script:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    if demand is not None:
        context.load_verify_locations(demand)
        context.verify_mode = ssl.CERT_REQUIRED
        context.maximum_version = ssl.TLSVersion.TLSv1_2

    def script(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as wrapped:
            wrapped.recv(100)

    return script


def say(words: bytes) -> Script:
    def script(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(words)
        while words and connection.recv(4096):
            continue

    return script


def wait_for_the_end(connection: socket.socket) -> None:
    while connection.recv(4096):
        continue


def route_to(
    port: int, tls: ClientTLS | None = None, host: str = "127.0.0.1", seconds: float = PATIENCE
) -> DialledRoute:
    peer = Peer("ARCHIVE", "ARCHIVE", host, port, "PACSNODE", tls=tls)
    route = DialledRoute(peer, seconds, Outgoing(None))
    route.look_up()
    return route


def test_from_name_to_tls(serve: Callable[[Script], int], authority: Authority) -> None:
    port = serve(secured(authority.issue("archive")))
    with closing(route_to(port, authority.client(), host="localhost")) as route:
        assert "127.0.0.1" in route.addresses
        reached = route.reach()
        assert (reached.address, reached.port) == ("127.0.0.1", port)
        assert reached.own_address == route.own_addresses()[0] == "127.0.0.1"
        found = route.secure()
    assert found.protocol == "TLSv1.3"
    assert found.cipher.startswith("TLS_")
    assert found.certificate is not None
    assert "CN=archive" in found.certificate.subject
    assert "O=hospital" in found.certificate.issuer
    assert set(found.certificate.hosts) == {"127.0.0.1", "::1", "localhost"}


def test_why_there_is_no_connection_can_be_told_by_its_number() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        route = route_to(taken.getsockname()[1])
        with pytest.raises(PeerUnreachable) as caught:
            route.reach()
    assert caught.value.step == "tcp"
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.ECONNREFUSED


@contextmanager
def silent() -> Iterator[tuple[str, int]]:
    """An address that answers nothing: its queue of connections is full."""
    with socket.socket() as listening, ExitStack() as queued:
        listening.bind(("127.0.0.2", 0))
        listening.listen(0)
        address = listening.getsockname()
        for _ in range(3):
            waiting = queued.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(address)
        yield address


def test_a_silent_address_leaves_time_for_the_next_one(
    serve: Callable[[Script], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    with silent() as first:
        known = [first, ("127.0.0.1", serve(wait_for_the_end))]
        entries = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", address) for address in known]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: entries)
        with closing(route_to(104, host="archive.example", seconds=2)) as route:
            assert route.reach().address == "127.0.0.1"
            # What is asked for next is about this one.
            assert route.addresses == ("127.0.0.1", "127.0.0.2")


@pytest.mark.parametrize("is_first", [True, False])
def test_an_address_without_a_road_to_it_does_not_hide_a_refusal(
    is_first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        refusing = (socket.AF_INET, socket.SOCK_STREAM, 0, "", taken.getsockname())
        nowhere = (socket.AF_INET6, socket.SOCK_STREAM, 0, "", ("2001:db8::1", 104, 0, 0))
        entries = [nowhere, refusing] if is_first else [refusing, nowhere]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: entries)
        with pytest.raises(PeerUnreachable) as caught:
            route_to(104, host="archive.example", seconds=2).reach()
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.ECONNREFUSED


def test_a_certificate_can_be_looked_at_that_is_not_trusted(
    serve: Callable[[Script], int], authority: Authority, tmp_path: Path
) -> None:
    other = Authority(tmp_path, "elsewhere")
    port = serve(secured(other.issue("archive", "archive.example")))
    with closing(route_to(port, authority.client())) as route:
        route.reach()
        with pytest.raises(PeerUnreachable) as caught:
            route.secure()
        assert isinstance(caught.value.__cause__, OSError)
        assert fault_of(caught.value.__cause__) is Fault.NO_AUTHORITY
        shown = route.certificate()
    assert shown is not None
    assert shown.hosts == ("archive.example",)


@pytest.mark.parametrize("demands", [False, True])
def test_whoever_speaks_tls_is_known_by_it(
    serve: Callable[[Script], int], authority: Authority, demands: bool
) -> None:
    demand = authority.file if demands else None
    assert route_to(serve(secured(authority.issue(), demand))).speaks_tls()


@pytest.mark.parametrize("words", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"", b"\x07\0\0\0\0\4"])
def test_whoever_does_not_is_heard(serve: Callable[[Script], int], words: bytes) -> None:
    route = route_to(serve(say(words)))
    assert not route.speaks_tls()
    assert route.first_words() == words
    assert route.certificate() is None


def test_whoever_says_nothing_has_said_nothing(serve: Callable[[Script], int]) -> None:
    route = route_to(serve(wait_for_the_end), seconds=0.2)
    assert route.first_words() is None
    assert not route.speaks_tls()


def test_looking_around_where_nobody_is_raises_nothing() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        route = route_to(taken.getsockname()[1])
        assert not route.speaks_tls()
        assert route.first_words() == b""
        assert route.certificate() is None
    unknown = DialledRoute(Peer("X", "X", "x.invalid", 1, "Y"), 1, Outgoing(None))
    assert unknown.own_addresses() == ()
