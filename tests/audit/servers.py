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
    """Takes messages as RFC 5425 frames them, over any number of connections."""

    def __init__(self, certificate: Path, port: int = 0, client_ca: Path | None = None) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate)
        if client_ca is not None:
            self.context.load_verify_locations(client_ca)
            self.context.verify_mode = ssl.CERT_REQUIRED
        self.messages: queue.Queue[bytes] = queue.Queue()
        self.connections = 0
        self._clients: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._socket = socket.create_server(("127.0.0.1", port))
        self.port: int = self._socket.getsockname()[1]
        self._listening = threading.Thread(target=self._listen)
        self._listening.start()

    def next(self) -> bytes:
        return self.messages.get(timeout=PATIENCE)

    def hang_up(self) -> None:
        """End the connections there are."""
        for client in self._clients:
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._listening.join(PATIENCE)
        self._socket.close()
        self.hang_up()
        for thread in self._threads:
            thread.join(PATIENCE)

    def _listen(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(client,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, plain: socket.socket) -> None:
        plain.settimeout(PATIENCE)
        with suppress(OSError), plain, self.context.wrap_socket(plain, server_side=True) as client:
            self._clients.append(client)
            self.connections += 1
            self._take(client)

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
