"""TLS to a peer: a step of its own, and in words why it failed and which setting to look at."""

import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from pacsnode import net
from pacsnode.config.model import ClientTLS, Listen, Timeouts
from pacsnode.dicom.message import Peer, ProposedContext
from pacsnode.errors import ConfigurationError, NetworkError, PeerUnreachable
from pacsnode.net.listener import Listener
from pacsnode.scu.echo import echo
from pacsnode.tls import Outgoing, server_context
from tests.authority import Authority
from tests.net import raw
from tests.net.conftest import ScriptedHandler
from tests.net.raw import IMPLICIT, VERIFICATION

LATER = 20.0
PROPOSED = [ProposedContext(VERIFICATION, (IMPLICIT,))]
Script = Callable[[socket.socket], None]
Play = Callable[[Script], tuple[str, int]]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def certificate(authority: Authority) -> Path:
    return authority.issue("node")


@pytest.fixture
def listen(handler: ScriptedHandler) -> Iterator[Callable[[ssl.SSLContext], tuple[str, int]]]:
    """A node that takes TLS by a context."""
    listeners: list[Listener] = []

    def start(context: ssl.SSLContext) -> tuple[str, int]:
        settings = Listen(host="127.0.0.1", port=0)
        listener = net.listen(
            handler, ae_title="X", settings=settings, timeouts=Timeouts(), secure=context
        )
        listener.start()
        listeners.append(listener)
        return listener.address

    yield start
    for listener in listeners:
        listener.stop(0)


def serving(context: ssl.SSLContext, afterwards: Script = raw.until_closed) -> Script:
    """A server that shakes hands, and goes on by another script."""

    def script(connection: socket.socket) -> None:
        with suppress(ssl.SSLError), context.wrap_socket(connection, server_side=True) as secured:
            afterwards(secured)

    return script


def reach(
    address: tuple[str, int], settings: ClientTLS, host: str | None = None, **timeouts: float
) -> None:
    peer = Peer("X", "XTITLE", host or address[0], address[1], "NODE", tls=settings)
    times = Timeouts(**{"acse": LATER, **timeouts})
    net.connect(peer, PROPOSED, timeouts=times).release()


def failure(*arguments: object, **options: object) -> str:
    """What is said where TLS fails; that it is the step is checked."""
    with pytest.raises(PeerUnreachable) as caught:
        reach(*arguments, **options)  # type: ignore[arg-type]
    assert caught.value.step == "tls"
    said = str(caught.value)
    assert said.startswith("XTITLE@")
    assert "\n" not in said
    return said.partition(": TLS: ")[2]


def test_a_peer_is_reached_over_tls_with_the_nodes_own_certificate(
    play: Play, authority: Authority, certificate: Path
) -> None:
    shown: list[object] = []

    def talk(connection: socket.socket) -> None:
        assert isinstance(connection, ssl.SSLSocket)
        shown.append(connection.getpeercert())
        shown.append(connection.version())
        raw.accept(connection)
        connection.recv(65536)
        connection.sendall(raw.pdu(raw.RELEASE_RP))

    own = authority.server(certificate)
    address = play(serving(server_context(own), talk))
    peer = Peer("X", "XTITLE", *address, "NODE", tls=authority.client())
    channel = net.connect(peer, PROPOSED, timeouts=Timeouts(), outgoing=Outgoing(own))
    channel.release()
    assert "node" in str(shown[0])
    assert shown[1] == "TLSv1.3"


def server_that(authority: Authority, **options: object) -> ssl.SSLContext:
    """By default one that looks at no certificates."""
    return server_context(
        authority.server(**{"require_client_certificate": False, "client_ca": None, **options})
    )


def test_a_server_certificate_that_has_expired(play: Play, authority: Authority) -> None:
    address = play(serving(server_that(authority, certificate=authority.expired())))
    assert failure(address, authority.client()) == "its certificate, or one above it, has expired"


def test_a_server_certificate_of_an_unknown_authority(
    play: Play, authority: Authority, tmp_path: Path
) -> None:
    settings = Authority(tmp_path, "clinic").client()
    said = failure(play(serving(server_that(authority))), settings)
    assert said.startswith("its certificate is of no authority in modalities.X.tls.ca: ")
    said = failure(play(serving(server_that(authority))), authority.client(ca=None))
    assert "the system's authorities (modalities.X.tls.ca is null)" in said


def test_a_server_certificate_for_another_host(play: Play, authority: Authority) -> None:
    context = server_that(authority, certificate=authority.issue("ct1", "ct1.example"))
    said = failure(play(serving(context)), authority.client())
    assert said == (
        "its certificate is not for 127.0.0.1: correct modalities.X.host, or set "
        "modalities.X.tls.verify_host to false"
    )
    with pytest.raises(NetworkError) as caught:  # nobody answers the association request
        reach(play(serving(context)), authority.client(verify_host=False), acse=0.2)
    assert caught.value.step == "association"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_certificate_that_is_demanded_and_not_there(
    play: Play, authority: Authority, version: ssl.TLSVersion
) -> None:
    context = server_context(authority.server())
    context.maximum_version = version
    said = failure(play(serving(context)), authority.client())
    assert "demand" in said
    assert "certificate, which modalities.X.tls.certificate names" in said


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_certificate_that_the_server_refuses(
    play: Play, authority: Authority, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    context = server_context(authority.server())
    context.maximum_version = version
    foreign = Authority(tmp_path, "clinic").issue("node")
    said = failure(play(serving(context)), authority.client(foreign))
    assert said == (
        "it refuses the certificate it was shown, modalities.X.tls.certificate: unknown authority"
    )
    said = failure(play(serving(context)), authority.client(authority.expired()))
    assert said.endswith("modalities.X.tls.certificate: certificate expired")


def test_a_server_that_knows_old_versions_alone(play: Play, authority: Authority) -> None:
    context = server_that(authority)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    said = failure(play(serving(context)), authority.client())
    assert said == "it knows no version of TLS from 1.2 on"


def test_a_peer_that_speaks_no_tls(play: Play, authority: Authority) -> None:
    def abort(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(raw.pdu(raw.ABORT))
        raw.until_closed(connection)

    said = failure(play(abort), authority.client())
    assert said == "it does not answer in TLS on this port, which modalities.X.tls says it speaks"
    said = failure(play(lambda connection: connection.close()), authority.client())
    assert said.endswith("does it speak TLS (modalities.X.tls)?")
    said = failure(play(raw.until_closed), authority.client(), connect=0.3)
    assert said == "no answer in time: does it speak TLS (modalities.X.tls)?"


def test_a_handshake_ticks_and_may_be_broken_off(play: Play, authority: Authority) -> None:
    address = play(raw.until_closed)
    peer = Peer("X", "XTITLE", *address, "NODE", tls=authority.client())

    def tick() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        net.connect(peer, PROPOSED, tick=tick, timeouts=Timeouts())


def test_tcp_and_tls_share_their_time(play: Play, authority: Authority) -> None:
    address, began = play(raw.until_closed), time.monotonic()
    failure(address, authority.client(), connect=0.3)
    assert time.monotonic() - began < 10


def test_a_peer_that_speaks_tls_alone_is_told_from_nonsense(play: Play) -> None:
    def alert(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"\x15\x03\x01\x00\x02\x02\x46")  # protocol_version
        raw.until_closed(connection)

    address = play(alert)
    peer = Peer("X", "XTITLE", *address, "NODE")
    with pytest.raises(NetworkError) as caught:
        net.connect(peer, PROPOSED, timeouts=Timeouts(acse=LATER))
    assert caught.value.step == "tls"
    assert "modalities.X.tls is not set" in str(caught.value)


def test_files_that_cannot_be_used_are_told_before_anything_is_sent(
    authority: Authority, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match=r"modalities\.X\.tls\.ca: .*gone\.pem"):
        reach(("127.0.0.1", 9), authority.client(ca=tmp_path / "gone.pem"))


@pytest.mark.parametrize("name", [".odd", "odd..name", "x" * 70])
def test_a_name_that_no_certificate_can_have(
    play: Play, authority: Authority, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    address = play(raw.until_closed)
    found = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    failure(address, authority.client(), host=name)


def test_an_ipv6_peer_is_known_by_its_address(
    handler: ScriptedHandler, authority: Authority, certificate: Path
) -> None:
    tls = authority.server(certificate)
    settings = Listen(host="::1", port=None, tls=tls)
    listener = net.listen(
        handler, ae_title="X", settings=settings, timeouts=Timeouts(), secure=server_context(tls)
    )
    listener.start()
    try:
        host, port = listener.address
        peer = Peer("X", "XTITLE", host, port, "NODE", tls=authority.client(certificate))
        echo(lambda *asked: net.connect(*asked, timeouts=Timeouts()), peer)  # type: ignore[arg-type]
    finally:
        listener.stop(0)
    assert handler.callers[0].host == "::1"
    assert handler.callers[0].is_tls
