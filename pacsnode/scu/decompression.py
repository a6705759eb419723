"""Decompression in a process of its own: codecs are C and C++, and what they are given is from
anywhere. One that crashes, loops or wants all memory takes one instance with it, no association."""

import json
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import IO, Any, cast

from pacsnode.dicom.message import DatasetSource, Tick
from pacsnode.errors import StorageError, TranscodingError

# With this process's own module path behind the descriptor: -m would put the current folder first,
# and whatever lies there under the name of a module would be run.
PROGRAM = (
    "import sys; descriptor, *sys.path = sys.argv[1:];"
    " from pacsnode.scu.codecs import main; main(int(descriptor))"
)
COMMAND = (sys.executable, "-P", "-c", PROGRAM)
PROGRESS = b"."
LONGEST_ANSWER = 4096  # bytes

SLICE = 0.4  # seconds between two ticks
STUCK = 120.0  # seconds without progress: a frame takes milliseconds, the largest a few seconds


class Decompressor:
    """One process, started when first needed and again after a crash. To be closed."""

    def __init__(self, stuck: float = STUCK) -> None:
        self._stuck = stuck
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None

    def transcode(
        self, source: DatasetSource, source_uid: str, target_uid: str, spool: IO[bytes], tick: Tick
    ) -> DatasetSource:
        """As dicom.transcode has it; `spool` is a file on disk. Raises TranscodingError, also where
        the codec crashes; StorageError, OSError, and what `tick` raises."""
        with _on_disk(source) as file:
            request = {
                "offset": file.tell(),
                "length": source.length,
                "source_uid": source_uid,
                "target_uid": target_uid,
            }
            answer = self._ask(request, (file.fileno(), spool.fileno()), tick)
        if "refused" in answer:
            raise TranscodingError(answer["refused"])
        if "failed" in answer:
            raise StorageError(f"decompressing: {answer['failed']}")
        spool.seek(0)
        return DatasetSource(cast(Any, spool), answer["length"])

    def close(self) -> None:
        """End the process, also one at work."""
        process, self._process = self._process, None
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()
        if process is not None:
            process.kill()
            process.wait()

    def _ask(
        self, request: dict[str, object], descriptors: tuple[int, int], tick: Tick
    ) -> dict[str, Any]:
        channel = self._channel or self._start()
        try:
            with suppress(ConnectionError):  # it has crashed: seen below
                socket.send_fds(channel, [json.dumps(request).encode()], descriptors)
            data = self._answer(channel, tick)
            if data:
                answer: dict[str, Any] = json.loads(data)
                return answer
        except BaseException:
            self.close()  # nobody would read its answer
            raise
        raise TranscodingError(self._crash())

    def _start(self) -> socket.socket:
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with its, ExitStack() as unused:
            unused.callback(ours.close)
            self._process = subprocess.Popen(  # noqa: S603  # the node's own program
                [*COMMAND, str(its.fileno()), *sys.path],
                # What codecs print is no log line.
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[its.fileno()],
                process_group=0,  # Ctrl-C is for those who can end a dataset well
            )
            unused.pop_all()
        self._channel = ours
        return ours

    def _answer(self, channel: socket.socket, tick: Tick) -> bytes:
        """Its answer; empty where it has ended. Raises TranscodingError where it is stuck."""
        poll = select.poll()
        poll.register(channel, select.POLLIN)
        deadline = time.monotonic() + self._stuck
        while time.monotonic() < deadline:
            tick()
            if not poll.poll(min(SLICE, self._stuck) * 1000):
                continue
            try:
                data = channel.recv(LONGEST_ANSWER)
            except ConnectionError:
                return b""
            if data != PROGRESS:
                return data
            deadline = time.monotonic() + self._stuck
        raise TranscodingError(f"the codec has not got on for {self._stuck:g} s")

    def _crash(self) -> str:
        process = self._process
        code = process.wait() if process is not None else 0
        self.close()
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return f"the codec has crashed at the pixel data ({how})"


@contextmanager
def _on_disk(source: DatasetSource) -> Iterator[IO[bytes]]:
    """A file that another process can read, at the dataset."""
    try:
        source.file.fileno()
    except (AttributeError, OSError):
        with tempfile.TemporaryFile() as copy:
            shutil.copyfileobj(source.file, copy)
            copy.seek(0)
            yield copy
    else:
        yield source.file
