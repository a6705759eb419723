"""Transcoding in processes of their own: codecs are C and C++, and what they are given is from
anywhere. One that crashes, loops or wants all memory takes one instance with it, no association;
and whoever waits can go on telling a requester that it does."""

import json
import logging
import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from array import array
from contextlib import ExitStack, suppress
from typing import IO, Any, NamedTuple, Self, cast

from pacsnode.dicom.message import DatasetSource, Tick
from pacsnode.errors import StorageError, TranscodingError
from pacsnode.scu.codec_pool import LONGEST_MESSAGE, PROGRESS

log = logging.getLogger(__name__)

# With this process's own module path behind the descriptor: -m would put the current folder first,
# and whatever lies there under the name of a module would be run.
PROGRAM = (
    "import sys; descriptor, most, *sys.path = sys.argv[1:];"
    " from pacsnode.scu.codec_pool import main; main(int(descriptor), int(most))"
)
COMMAND = (sys.executable, "-P", "-S", "-c", PROGRAM)

# numpy's own threads would not survive the forks, and the codecs have no use for them.
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

SLICE = 0.4  # seconds between two ticks
STUCK = 120.0  # seconds without progress: a frame takes milliseconds, the largest a few seconds
LAST_STEPS = 2.0  # seconds that the pool gets to end
MOST_RESTARTS = 3  # of the pool, while one dataset waits


class Conversion(NamedTuple):
    """From which transfer syntax to which, whether pixels may be lost, and how urgent it is (as of
    message.IdentifierRequest)."""

    source_uid: str
    target_uid: str
    may_lose: bool = False
    priority: int = 0


class Codecs:
    """At most `count` processes at once, as many as there are cores by default, for everybody in
    this process and in those that are forked from it. The pool starts with `start`, or when it is
    first needed, and again should it end. To be closed."""

    def __init__(self, count: int | None = None, stuck: float = STUCK) -> None:
        self.count = count or len(os.sched_getaffinity(0))
        self.stuck = stuck
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self._door: tuple[socket.socket, socket.socket] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_details: object) -> None:
        self.close()

    def start(self) -> bool:
        """See to it that the pool runs; whether it had ended. Does nothing in a process that was
        forked from its owner: what it asks waits until the owner has seen to it. Raises OSError."""
        if os.getpid() != self._owner:
            return False
        with self._lock:
            before = self._process
            if before is not None and before.poll() is None:
                return False
            if before is not None:
                log.error(
                    "the pool of codecs has ended (%d) and is started anew", before.returncode
                )
            self._process = self._started()
            return before is not None

    def transcode(
        self, source: DatasetSource, conversion: Conversion, spool: IO[bytes], tick: Tick
    ) -> DatasetSource:
        """As dicom.transcode has it; `spool` is an empty file on disk. Raises TranscodingError,
        also where the codec crashes; StorageError, OSError, and what `tick` raises."""
        with self.begin(source, conversion, spool) as transcoding:
            return transcoding.result(tick)

    def begin(
        self, source: DatasetSource, conversion: Conversion, spool: IO[bytes]
    ) -> "Transcoding":
        """The same, to be waited for later. Raises OSError."""
        self.start()
        return Transcoding(self, source, conversion, spool)

    @property
    def door(self) -> socket.socket:
        """Where the pool takes requests."""
        assert self._door is not None  # noqa: S101  # started
        return self._door[0]

    def close(self) -> None:
        """End what is under way. For the owner, when nobody asks any more."""
        door, self._door = self._door, None
        process, self._process = self._process, None
        for end in door or ():
            end.close()
        if process is None:
            return
        try:
            process.wait(LAST_STEPS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _started(self) -> "subprocess.Popen[bytes]":
        # Both ends stay open here, so that what is asked while the pool is started anew waits.
        if self._door is None:
            self._door = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        inside = self._door[1].fileno()
        return subprocess.Popen(  # noqa: S603  # the node's own program
            [*COMMAND, str(inside), str(self.count), *sys.path],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[inside],
            env={**os.environ, **ONE_THREAD},
            process_group=0,  # Ctrl-C is for those who can end a dataset well
        )


class Transcoding:
    """One that is under way, or waits for a codec. Left early it is broken off."""

    def __init__(
        self, codecs: Codecs, source: DatasetSource, conversion: Conversion, spool: IO[bytes]
    ) -> None:
        """Raises OSError."""
        self._codecs = codecs
        self._spool = spool
        self._open = ExitStack()
        with ExitStack() as undo:
            undo.callback(self._open.close)
            file = self._on_disk(source)
            self._channel, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self._open.callback(self._channel.close)
            self._unsent: socket.socket | None = self._open.enter_context(its)
            request = {"offset": file.tell(), "length": source.length, **conversion._asdict()}
            self._request = json.dumps(request).encode()
            self._files = file.fileno(), spool.fileno()
            self._send()
            undo.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_details: object) -> None:
        self.close()

    def close(self) -> None:
        self._open.close()

    @property
    def is_done(self) -> bool:
        """Whether `result` need not wait."""
        if self._unsent is not None:
            return False
        poll = select.poll()
        poll.register(self._channel, select.POLLIN)
        while poll.poll(0):
            if self._channel.recv(len(PROGRESS) + 1, socket.MSG_PEEK) != PROGRESS:
                return True
            self._channel.recv(LONGEST_MESSAGE)
        return False

    def result(self, tick: Tick) -> DatasetSource:
        """What is in the spool then. As Codecs.transcode."""
        with suppress(ConnectionError):  # the pool has ended
            while self._unsent is not None and not self._send():
                tick()
                _wait(self._codecs.door, select.POLLOUT)
        answer = self._answer(tick)
        if "refused" in answer:
            raise TranscodingError(answer["refused"])
        if "crashed" in answer:
            raise TranscodingError(f"the codec has crashed at the pixel data ({answer['crashed']})")
        if "failed" in answer:
            raise StorageError(f"transcoding: {answer['failed']}")
        self._spool.seek(0)
        return DatasetSource(
            cast(Any, self._spool), answer["length"], answer.get("sop_instance_uid")
        )

    def _send(self) -> bool:
        """Ask for it, unless so many have been asked for that there is no room."""
        if self._unsent is None:
            return True
        descriptors = array("i", [self._unsent.fileno(), *self._files])
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)
        try:
            # socket.send_fds takes flags and does not use them.
            self._codecs.door.sendmsg([self._request], [rights], socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        self._unsent.close()
        self._unsent = None
        return True

    def _answer(self, tick: Tick) -> dict[str, Any]:
        """Raises TranscodingError where the codec is stuck, StorageError where there is no pool."""
        stuck, restarts = self._codecs.stuck, 0
        deadline = time.monotonic() + stuck
        while time.monotonic() < deadline:
            tick()
            if not _wait(self._channel, select.POLLIN, stuck):
                restarts += self._codecs.start()  # it may have ended just before it was asked
                if restarts > MOST_RESTARTS:
                    raise StorageError(
                        "the pool of codecs ends as soon as it starts: standard error says why"
                    )
                continue
            try:
                data = self._channel.recv(LONGEST_MESSAGE)
            except ConnectionError:
                data = b""
            if not data:
                raise TranscodingError("the pool of codecs has ended")
            if data != PROGRESS:
                answer: dict[str, Any] = json.loads(data)
                return answer
            deadline = time.monotonic() + stuck
        raise TranscodingError(f"the codec has not got on for {stuck:g} s")

    def _on_disk(self, source: DatasetSource) -> IO[bytes]:
        """A file that another process can read, at the dataset."""
        try:
            source.file.fileno()
        except (AttributeError, OSError):
            copy = self._open.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
            shutil.copyfileobj(source.file, copy)
            copy.seek(0)
            return copy
        return source.file


def _wait(channel: socket.socket, event: int, most: float = SLICE) -> bool:
    """Whether it comes within a slice of time."""
    poll = select.poll()
    poll.register(channel, event)
    return bool(poll.poll(min(SLICE, most) * 1000))
