"""Who records associations: commands that ask for it, and files of the configuration. Records are
written by a thread of their own for each association that is recorded, which never waits for it."""

import logging
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Protocol

from pacsnode import __version__
from pacsnode.config.model import Modality
from pacsnode.dicom.concealment import Pseudonyms
from pacsnode.dicom.recording import (
    LONGEST_IDENTIFIER,
    PDU,
    Begin,
    CommandSet,
    DatasetPassed,
    End,
    Header,
    Opening,
    Record,
    Recorder,
    to_line,
)
from pacsnode.net.negotiation import without_secrets
from pacsnode.node.trace_file import TraceFile
from pacsnode.node.trace_redaction import Redaction
from pacsnode.node.trace_sockets import listening, make_folder
from pacsnode.scu.peer import find_modality

if TYPE_CHECKING:
    from pacsnode.scp.hosts import Hosts

logger = logging.getLogger(__name__)

MOST_HELD = 4 << 20  # bytes of one association that wait to be written
LAST_WORDS = 1.0  # seconds that an association's end waits for them
_OVERHEAD = 200  # bytes of a record, beside its data
_KEY = "key"
_KEY_LENGTH = 32

Modalities = Callable[[], Mapping[str, Modality]]


class Sink(Protocol):
    """Where the records of one association go."""

    def write(self, record: Record) -> bool:
        """False where no further ones are wanted."""

    def close(self) -> None: ...


class Traces:
    """The Recorders of a process. `modalities` are as they are when an association begins."""

    def __init__(self, data_dir: Path, ae_title: str, modalities: Modalities) -> None:
        self._data_dir = data_dir
        self._ae_title = ae_title
        self._modalities = modalities

    def begin(self, opening: Opening) -> Recorder | None:
        try:
            sinks: list[Sink] = [*listening(self._data_dir), *self._files(opening)]
            return Recording(opening, sinks) if sinks else None
        except (OSError, RuntimeError) as error:  # RuntimeError: no thread to be had
            logger.warning(
                "an association with %s is not recorded: %s", opening.peer_ae_title, error
            )
            return None

    def _files(self, opening: Opening) -> Iterator[Sink]:
        modalities = self._modalities()
        traced = {name: each.host for name, each in modalities.items() if each.trace is not None}
        if not traced:
            return
        name = whose(opening, modalities, traced, self._is_at)
        path = modalities[name].trace if name is not None else None
        if name is None or path is None:
            return
        header = Header(f"pacsnode {__version__}", self._ae_title, name, time.time(), True)
        yield _FileSink(TraceFile(path, header), path, name, Pseudonyms(self._key()))

    def _is_at(self, host: str, address: str) -> bool:
        return self._hosts.matches(host, address)

    @cached_property
    def _hosts(self) -> "Hosts":
        # Commands that connect somewhere need nothing else of that room, and start faster.
        from pacsnode.scp.hosts import Hosts, look_up

        return Hosts(look_up)

    def _key(self) -> bytes:
        """What pseudonyms in files of the configuration are made with: the same in all processes,
        and after a restart. Raises OSError."""
        path = make_folder(self._data_dir) / _KEY
        with open(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "r+b") as file:
            if os.fstat(file.fileno()).st_size < _KEY_LENGTH:
                file.write(secrets.token_bytes(_KEY_LENGTH))
                file.flush()
            file.seek(0)
            return file.read(_KEY_LENGTH)


def whose(
    opening: Opening,
    modalities: Mapping[str, Modality],
    asked: Mapping[str, str],
    is_at: Callable[[str, str], bool],
) -> str | None:
    """The modality that an association is with: that of its AE title, else the one among those
    `asked` for, names with their hosts, that has its host, as `is_at(host, address)` says; None
    where that is neither."""
    found = find_modality(opening.peer_ae_title, modalities)
    if found is not None:
        return found[0]
    for name, host in asked.items():
        if host == opening.host or is_at(host, opening.host):
            return name
    return None


class Recording:
    """A Recorder, of one association."""

    def __init__(self, opening: Opening, sinks: Sequence[Sink]) -> None:
        """Raises RuntimeError where there is no thread to be had."""
        self._association = secrets.token_hex(6)
        self._sinks = list(sinks)
        self._queue: SimpleQueue[tuple[Record, int] | None] = SimpleQueue()
        self._taken = self._written = self._lost = 0
        self._thread = threading.Thread(target=self._write, name="trace", daemon=True)
        self._put(Begin(self._association, time.time(), *opening))
        self._thread.start()

    def pdu(self, is_sent: bool, data: bytes) -> None:
        self._put(PDU(self._association, time.time(), is_sent, data), len(data))

    def command(self, is_sent: bool, context_id: int, data: bytes) -> None:
        self._put(CommandSet(self._association, time.time(), is_sent, context_id, data), len(data))

    def dataset(self, is_sent: bool, context_id: int, length: int, data: bytes | None) -> None:
        kept = data if length <= LONGEST_IDENTIFIER else None
        self._put(
            DatasetPassed(self._association, time.time(), is_sent, context_id, length, kept),
            len(kept or b""),
        )

    def end(self, reason: str) -> None:
        if not self._sinks:
            return
        self._queue.put((End(self._association, time.time(), reason, self._lost), 0))
        self._queue.put(None)
        self._thread.join(LAST_WORDS)

    def _put(self, record: Record, size: int = 0) -> None:
        """What comes faster than it is written is lost, and counted."""
        if not self._sinks:
            return
        if self._taken - self._written > MOST_HELD:
            self._lost += 1
            return
        self._taken += size + _OVERHEAD
        self._queue.put((record, size + _OVERHEAD))

    def _write(self) -> None:
        while (entry := self._queue.get()) is not None:
            record, size = entry
            if isinstance(record, PDU):
                record = record._replace(data=without_secrets(record.data))
            for sink in list(self._sinks):
                if not self._is_written(sink, record):
                    self._sinks.remove(sink)
                    sink.close()
            self._written += size
            if not self._sinks:
                return
        for sink in self._sinks:
            sink.close()

    @staticmethod
    def _is_written(sink: Sink, record: Record) -> bool:
        try:
            return sink.write(record)
        except Exception:
            logger.exception("an association is not recorded any further: unexpected fault")
            return False


class _FileSink:
    """A file of the configuration, for one association."""

    def __init__(self, file: TraceFile, path: Path, name: str, pseudonyms: Pseudonyms) -> None:
        self._file = file
        self._path = path
        self._name = name
        self._redaction = Redaction(pseudonyms)

    def write(self, record: Record) -> bool:
        try:
            if self._file.add([to_line(self._redaction(record))]):
                logger.info(
                    "modalities.%s.trace: %s was full and is now %s",
                    self._name,
                    self._path,
                    self._file.previous,
                )
        except OSError as error:
            logger.warning(
                "modalities.%s.trace: %s: %s; this association is not recorded any further",
                self._name,
                self._path,
                error.strerror,
            )
            return False
        return True

    def close(self) -> None:
        """Nothing is held open."""
