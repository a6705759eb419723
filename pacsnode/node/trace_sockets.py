"""How a running node, whatever its processes, tells `pacsnode trace` of associations: each command
listens on a socket of its own in a folder of the data folder, where everybody who has associations
looks when one begins. A command that was killed leaves a socket that nobody listens on: whoever
finds it removes it."""

import logging
import os
import secrets
import select
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pacsnode.dicom.recording import End, Record, from_line, to_line
from pacsnode.errors import RecordingDamaged

logger = logging.getLogger(__name__)

FOLDER = ".traces"
FOLDER_MODE, MODE = 0o700, 0o600
PATIENCE = 5.0  # seconds that a reader may take nothing
_SUFFIX = ".socket"
_WAITING = 512  # associations that may begin while the command is busy
_BLOCK = 1 << 16


class TraceSocket:
    """The command's end. For one thread."""

    def __init__(self, data_dir: Path, wake: int | None = None) -> None:
        """Input on the descriptor `wake` ends a wait. Raises OSError."""
        folder = make_folder(data_dir)
        name = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._path = folder / f"{name}{_SUFFIX}"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._readers: dict[int, _Reader] = {}
        try:
            with _within(folder) as place:
                # Not in its place before it listens: it would be taken for a dead one.
                self._socket.bind(f"{place}/{name}")
                os.chmod(folder / name, MODE)
                self._socket.listen(_WAITING)
                os.rename(folder / name, self._path)
        except BaseException:
            self._socket.close()
            raise
        self._socket.setblocking(False)
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)
        if wake is not None:
            self._poll.register(wake, select.POLLIN)

    def records(self, seconds: float) -> Iterator[Record]:
        """What comes within `seconds`, or none of it. Raises RecordingDamaged for what no node
        says."""
        for descriptor, _ in self._poll.poll(max(seconds, 0) * 1000):
            reader = self._readers.get(descriptor)
            if descriptor == self._socket.fileno():
                self._accept()
            if reader is None:
                continue
            for line in reader.lines():
                record = _record(line)
                if record is not None:
                    reader.last = record
                    yield record
            if reader.has_ended:
                self._leave(reader)
                yield from _missing_end(reader)

    def stop_listening(self) -> None:
        """Take no further associations; those that are being recorded go on."""
        with suppress(FileNotFoundError):
            os.unlink(self._path)

    def refuse(self, association: str) -> None:
        """Tell whoever records this one that it is not wanted."""
        for reader in list(self._readers.values()):
            if reader.last is not None and reader.last.association == association:
                self._leave(reader)

    def close(self) -> None:
        self.stop_listening()
        for reader in list(self._readers.values()):
            self._leave(reader)
        self._socket.close()

    def _accept(self) -> None:
        with suppress(BlockingIOError, ConnectionError):
            connection = self._socket.accept()[0]
            connection.setblocking(False)
            self._readers[connection.fileno()] = _Reader(connection)
            self._poll.register(connection, select.POLLIN)

    def _leave(self, reader: "_Reader") -> None:
        self._readers.pop(reader.connection.fileno(), None)
        with suppress(KeyError, ValueError):
            self._poll.unregister(reader.connection)
        reader.connection.close()


class _Reader:
    """One association's lines."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.last: Record | None = None
        self.has_ended = False
        self._rest = b""

    def lines(self) -> Iterator[bytes]:
        try:
            data = self.connection.recv(_BLOCK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self.has_ended = not data
        *whole, self._rest = (self._rest + data).split(b"\n")
        yield from (line + b"\n" for line in whole)


def _missing_end(reader: _Reader) -> Iterator[Record]:
    """Of an association whose process was killed."""
    if reader.last is not None and not isinstance(reader.last, End):
        yield End(reader.last.association, time.time(), "the process that had it was ended", 0)


def _record(line: bytes) -> Record | None:
    try:
        return from_line(line)
    except ValueError as error:
        raise RecordingDamaged(f"what a node says of an association: {error}") from error


class SocketSink:
    """A node's end, for one association."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def write(self, record: Record) -> bool:
        """False where nobody wants to know any more."""
        try:
            self._connection.sendall(to_line(record))
        except OSError:
            return False
        return True

    def close(self) -> None:
        self._connection.close()


def listening(data_dir: Path) -> list[SocketSink]:
    """Connections to all commands that want to know of associations."""
    folder = data_dir / FOLDER
    try:
        names = [name for name in os.listdir(folder) if name.endswith(_SUFFIX)]
    # Nobody has ever asked; or this is a command of a user who may not look into the data folder.
    except (FileNotFoundError, PermissionError):
        return []
    except OSError as error:
        logger.warning("%s: an association is not recorded: %s", folder, error.strerror)
        return []
    return [sink for name in names if (sink := _connect(folder, name)) is not None]


def _connect(folder: Path, name: str) -> SocketSink | None:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.setblocking(False)
        with _within(folder) as place:
            connection.connect(f"{place}/{name}")
        connection.settimeout(PATIENCE)
    except ConnectionRefusedError:
        connection.close()
        with suppress(OSError):
            os.unlink(folder / name)
            logger.info("%s: its command has gone, the socket is removed", folder / name)
        return None
    except OSError as error:
        connection.close()
        if not isinstance(error, FileNotFoundError):
            logger.warning("%s: an association is not recorded: %s", folder / name, error)
        return None
    return SocketSink(connection)


def make_folder(data_dir: Path) -> Path:
    """Raises OSError."""
    folder = data_dir / FOLDER
    folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
    return folder


@contextmanager
def _within(folder: Path) -> Iterator[str]:
    """A path of the folder that is short: a socket's has 107 bytes."""
    if sys.platform != "linux":
        yield str(folder)
        return
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
