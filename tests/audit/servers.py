"""Syslog servers for tests, on this machine."""

import queue
import socket
import ssl
import threading
from contextlib import suppress
from pathlib import Path

PATIENCE = 30.0


class UdpServer:
    """Takes datagrams."""

    def __init__(self, port: int = 0) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", port))
        self.socket.settimeout(PATIENCE)
        self.port: int = self.socket.getsockname()[1]

    def next(self) -> bytes:
        return self.socket.recv(65_536)

    def close(self) -> None:
        self.socket.close()


class TlsServer:
    """Takes messages as RFC 5425 frames them, over any number of connections, one after another."""

    def __init__(self, certificate: Path, port: int = 0, client_ca: Path | None = None) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate)
        if client_ca is not None:
            self.context.load_verify_locations(client_ca)
            self.context.verify_mode = ssl.CERT_REQUIRED
        self.messages: queue.Queue[bytes] = queue.Queue()
        self.faults: queue.Queue[Exception] = queue.Queue()
        self.connections = 0
        self._client: ssl.SSLSocket | None = None
        self._is_closing = False
        self._socket = socket.create_server(("127.0.0.1", port), reuse_port=False)
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def next(self) -> bytes:
        return self.messages.get(timeout=PATIENCE)

    def hang_up(self) -> None:
        """End the connection there is."""
        assert self._client is not None
        self._client.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._is_closing = True
        self._socket.shutdown(socket.SHUT_RDWR)
        if self._client is not None:
            with suppress(OSError):
                self._client.shutdown(socket.SHUT_RDWR)
        self._thread.join(PATIENCE)
        self._socket.close()

    def _serve(self) -> None:
        while not self._is_closing:
            try:
                plain, _ = self._socket.accept()
            except OSError:
                return
            with plain:
                plain.settimeout(PATIENCE)
                try:
                    self._client = self.context.wrap_socket(plain, server_side=True)
                    with self._client:
                        self.connections += 1
                        self._take(self._client)
                except OSError as error:
                    self.faults.put(error)

    def _take(self, client: ssl.SSLSocket) -> None:
        data = b""
        while block := client.recv(65_536):
            data += block
            while b" " in data:
                length, _, rest = data.partition(b" ")
                if len(rest) < int(length):
                    break
                self.messages.put(rest[: int(length)])
                data = rest[int(length) :]
