"""Audit messages reach a syslog server."""

import errno
import os
import re
import select
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from pacsnode.audit import syslog as module
from pacsnode.audit.syslog import TlsSyslog, UdpSyslog, to_syslog
from pacsnode.tls import client_context
from tests.audit.samples import HOSTILE, everything
from tests.audit.schema import parsed
from tests.audit.servers import PATIENCE, TlsServer, UdpServer
from tests.authority import Authority

HEADER = re.compile(
    rb"<85>1 (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) (\S+) pacsnode (\d+) DICOM\+RFC3881 - "
    rb"\xef\xbb\xbf(.*)",
    re.DOTALL,
)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


def test_a_message_has_the_header_of_rfc_5424() -> None:
    data = to_syslog(everything()["opened"], "PACSNODE", "archive.example")
    match = HEADER.fullmatch(data)
    assert match is not None, data
    time, host, process, xml = match.groups()
    assert host == b"archive.example"
    assert int(process) == os.getpid()
    identification = parsed(xml).find("EventIdentification")
    assert identification is not None
    assert identification.get("EventDateTime") == time.decode()


@pytest.mark.parametrize("host", ["", "a b\n", HOSTILE, "x" * 300])
def test_no_name_of_a_machine_breaks_the_header(host: str) -> None:
    match = HEADER.fullmatch(to_syslog(everything()["opened"], HOSTILE, host))
    assert match is not None
    assert re.fullmatch(rb"[!-~]{1,255}", match[2])


def test_messages_go_as_datagrams(stack: ExitStack) -> None:
    server = UdpServer()
    stack.callback(server.close)
    sink = UdpSyslog("localhost", server.port)
    stack.callback(sink.close)
    for message in (b"one", b"x" * 40_000, b"three"):
        sink.send([message])
        assert server.next() == message


def test_a_udp_server_that_is_not_there_is_told_at_once_where_it_can_be(
    stack: ExitStack,
) -> None:
    server = UdpServer()
    server.close()
    sink = UdpSyslog("127.0.0.1", server.port)
    stack.callback(sink.close)
    with pytest.raises(ConnectionRefusedError):
        sink.send([b"one"])
    back = UdpServer(server.port)
    stack.callback(back.close)
    sink.send([b"one"])
    assert back.next() == b"one"


def test_a_name_that_is_none_is_a_fault_like_any_other(authority: Authority) -> None:
    name = "x" * 70 + ".example"
    for sink in (UdpSyslog(name, 514), sink_of(authority, 6514, name)):
        with pytest.raises(OSError, match="is no name of a host"):
            sink.send([b"one"])


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "tls")


def sink_of(authority: Authority, port: int, host: str = "127.0.0.1", **options: Any) -> TlsSyslog:
    settings = authority.client(**options)
    return TlsSyslog(
        host, port, lambda: client_context(settings, None, "audit.syslog.tls"), has_ca=True
    )


def test_messages_go_over_tls_each_with_its_length(stack: ExitStack, authority: Authority) -> None:
    server = TlsServer(authority.issue())
    stack.callback(server.close)
    sink = sink_of(authority, server.port)
    for message in (b"one", "zwö".encode(), b"x" * 100_000):
        sink.send([message])
        assert server.next() == message
    sink.close()
    assert server.connections == 1


def test_a_server_may_demand_a_certificate(stack: ExitStack, authority: Authority) -> None:
    server = TlsServer(authority.issue(), client_ca=authority.file)
    stack.callback(server.close)
    sink = sink_of(authority, server.port, certificate=authority.issue("archive"))
    sink.send([b"one"])
    assert server.next() == b"one"
    sink.close()


def test_a_server_with_a_foreign_certificate_gets_nothing(
    stack: ExitStack, authority: Authority, tmp_path: Path
) -> None:
    server = TlsServer(Authority(tmp_path / "foreign", "foreign").issue())
    stack.callback(server.close)
    sink = sink_of(authority, server.port)
    with pytest.raises(OSError, match=r"is of no authority in audit\.syslog\.tls\.ca"):
        sink.send([b"one"])
    sink.close()
    assert server.messages.empty()


def test_a_server_with_anothers_name_gets_nothing(stack: ExitStack, authority: Authority) -> None:
    server = TlsServer(authority.issue("other", "other.example"))
    stack.callback(server.close)
    sink = sink_of(authority, server.port)
    with pytest.raises(OSError, match=r"its certificate is not for 127\.0\.0\.1"):
        sink.send([b"one"])
    sink.close()
    assert server.messages.empty()


def test_a_connection_that_the_server_ends_is_made_anew(
    stack: ExitStack, authority: Authority
) -> None:
    server = TlsServer(authority.issue())
    stack.callback(server.close)
    sink = sink_of(authority, server.port)
    stack.callback(sink.close)
    sink.send([b"one"])
    assert server.next() == b"one"
    server.hang_up()
    assert sink._socket is not None
    assert select.select([sink._socket], [], [], PATIENCE)[0], "the end has arrived"
    assert sink.send([b"two"]) == 1
    assert server.next() == b"two"
    assert server.connections == 2


def test_what_a_server_does_not_acknowledge_is_not_taken(
    stack: ExitStack, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its machine does not read: what is under way there may never arrive."""
    monkeypatch.setattr(module, "WRITING", 0.2)
    server = TlsServer(authority.issue())
    stack.callback(server.close)
    sink = sink_of(authority, server.port)
    stack.callback(sink.close)
    monkeypatch.setattr(module, "_unacknowledged", lambda connection: 7)
    with pytest.raises(TimeoutError, match="does not acknowledge"):
        sink.send([b"one"])
    monkeypatch.undo()
    assert sink.send([b"one"]) == 1
    assert [server.next(), server.next()] == [b"one", b"one"], "rather twice than never"


def test_what_is_on_its_way_is_known(stack: ExitStack, authority: Authority) -> None:
    server = TlsServer(authority.issue())
    stack.callback(server.close)
    sink = sink_of(authority, server.port)
    stack.callback(sink.close)
    sink.send([b"one"])
    assert sink._socket is not None
    assert module._unacknowledged(sink._socket) == 0


def test_messages_go_in_one_piece_where_many_wait(stack: ExitStack, authority: Authority) -> None:
    server = TlsServer(authority.issue())
    stack.callback(server.close)
    sink = sink_of(authority, server.port)
    stack.callback(sink.close)
    messages = [b"%d" % number for number in range(200)]
    assert sink.send(messages) == 200
    assert [server.next() for _ in messages] == messages


def test_of_datagrams_those_count_that_went(stack: ExitStack) -> None:
    server = UdpServer()
    stack.callback(server.close)
    sink = UdpSyslog("127.0.0.1", server.port)
    stack.callback(sink.close)
    assert sink.send([b"one", b"two", bytes(70_000), b"four"]) == 2
    assert [server.next(), server.next()] == [b"one", b"two"]
    with pytest.raises(OSError, match=os.strerror(errno.EMSGSIZE)):
        sink.send([bytes(70_000)])


def fault_of(sink: TlsSyslog) -> int | None:
    """The first of some attempts to send: one or the other may still be taken for sent."""
    for _ in range(10):
        try:
            sink.send([b"two"])
        except OSError as error:
            return error.errno
    return None


def test_a_server_that_comes_back_is_reached_again(stack: ExitStack, authority: Authority) -> None:
    certificate = authority.issue()
    server = TlsServer(certificate)
    sink = sink_of(authority, server.port)
    stack.callback(sink.close)
    sink.send([b"one"])
    assert server.next() == b"one"
    server.close()
    assert fault_of(sink) in (errno.ECONNREFUSED, errno.ECONNRESET, errno.EPIPE)
    back = TlsServer(certificate, server.port)
    stack.callback(back.close)
    sink.send([b"three"])
    received = [back.next()]
    while received[-1] != b"three":
        received.append(back.next())
