"""A server on loopback that plays a script to whoever connects."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from tests.conftest import PATIENCE

Script = Callable[[socket.socket], None]


@contextmanager
def serving(script: Script) -> Iterator[int]:
    """It does the same to each connection, one after the other; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with suppress(OSError), connection:
                    connection.settimeout(PATIENCE)
                    script(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield int(listening.getsockname()[1])
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join(PATIENCE)
