"""A listener with a scripted handler, and peers made by hand."""

import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pacsnode import net
from pacsnode.config.model import Listen, Timeouts
from pacsnode.dicom import status
from pacsnode.dicom.message import (
    ActionRequest,
    Answer,
    Caller,
    FindRequest,
    GetRequest,
    Rejection,
    Request,
    Sink,
    StoreRequest,
)
from pacsnode.net.listener import Listener
from tests.net.raw import RawPeer


class RecordingSink:
    def __init__(self, handler: "ScriptedHandler") -> None:
        self._handler = handler
        self.data = bytearray()

    def write(self, fragment: memoryview) -> None:
        self.data += fragment
        self._handler.fragments += 1
        self._handler.fragment_came.set()
        if self._handler.on_write is not None:
            self._handler.on_write()

    def finish(self) -> Answer:
        self._handler.stored.append(bytes(self.data))
        if self._handler.on_finish is not None:
            self._handler.on_finish()
        return Answer(status.SUCCESS)

    def discard(self) -> None:
        self._handler.discarded += 1


class ScriptedHandler:
    """Stores into memory, answers C-FIND with what `find` yields."""

    def __init__(self) -> None:
        self.unwelcome: set[str] = set()
        self.rejection: Rejection | None = None
        self.callers: list[Caller] = []
        self.open = 0
        self.all_ended = threading.Condition()
        self.stored: list[bytes] = []
        self.store_requests: list[StoreRequest] = []
        self.discarded = 0
        self.fragments = 0
        self.fragment_came = threading.Event()
        self.on_write: Callable[[], None] | None = None
        self.on_finish: Callable[[], None] | None = None
        self.on_begin: Callable[[], None] | None = None
        self.find: Callable[[FindRequest], Iterator[Answer]] = lambda _: iter(())
        self.get: Callable[[GetRequest], Iterator[Answer]] = lambda _: iter(())
        self.action: Callable[[ActionRequest], Iterator[Answer]] = lambda _: iter(())
        self.requests: list[Request] = []

    def welcomes(self, host: str) -> bool:
        return host not in self.unwelcome

    def admit(self, caller: Caller) -> Rejection | None:
        self.callers.append(caller)
        if self.rejection is None:
            with self.all_ended:
                self.open += 1
        return self.rejection

    def ended(self, caller: Caller) -> None:
        assert caller in self.callers
        with self.all_ended:
            self.open -= 1
            self.all_ended.notify_all()

    def wait_until_all_ended(self) -> None:
        with self.all_ended:
            assert self.all_ended.wait_for(lambda: self.open == 0, timeout=20)

    def begin_store(self, request: StoreRequest) -> Sink:
        self.store_requests.append(request)
        if self.on_begin is not None:
            self.on_begin()
        return RecordingSink(self)

    def handle(self, request: Request) -> Iterator[Answer]:
        self.requests.append(request)
        if isinstance(request, FindRequest):
            yield from self.find(request)
        if isinstance(request, GetRequest):
            yield from self.get(request)
        if isinstance(request, ActionRequest):
            yield from self.action(request)
            return
        yield Answer(status.SUCCESS)


@pytest.fixture
def handler() -> ScriptedHandler:
    return ScriptedHandler()


@pytest.fixture
def serve(handler: ScriptedHandler) -> Iterator[Callable[..., Listener]]:
    """Starts a listener on a free port; keywords are time-outs and max_pdu."""
    listeners = []

    def start(*, max_pdu: int = 131072, host: str = "127.0.0.1", **timeouts: Any) -> Listener:
        listener = net.listen(
            handler,
            ae_title="PACSNODE",
            settings=Listen(host=host, port=0, max_pdu=max_pdu),
            timeouts=Timeouts(**timeouts),
        )
        listener.start()
        listeners.append(listener)
        return listener

    yield start
    for listener in listeners:
        if listener.is_alive:
            listener.stop(0)


@pytest.fixture
def dial() -> Iterator[Callable[[Listener], RawPeer]]:
    peers = []

    def connect(listener: Listener) -> RawPeer:
        peer = RawPeer(listener.address)
        peers.append(peer)
        return peer

    yield connect
    for peer in peers:
        peer.close()


@pytest.fixture
def play() -> Iterator[Callable[..., tuple[str, int]]]:
    """A server that plays one script for its first connection, then ends it."""
    threads, errors = [], []

    def start(script: Callable[[socket.socket], None]) -> tuple[str, int]:
        listening = socket.create_server(("127.0.0.1", 0))

        def run() -> None:
            with listening, listening.accept()[0] as connection:
                connection.settimeout(20)
                try:
                    script(connection)
                except OSError as error:
                    errors.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        threads.append(thread)
        host, port = listening.getsockname()
        return host, port

    yield start
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
