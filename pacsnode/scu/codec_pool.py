"""The process that codecs are forked from, and where those wait who want one. It has an interpreter
of its own: no descriptor, no key and no thread of the node's gets near a codec. Until there is work
it imports nothing but this."""

import gc
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

PROGRESS = b"."
LONGEST_MESSAGE = 4096  # bytes

IDLE = 120.0  # seconds that codecs live on without work
SIGN_OF_LIFE = 5.0  # seconds between two, for those who wait in line
MOST_WAITING = 256  # that are known; the rest waits in the door

# Seconds that a request of this priority (PS3.7 9.1.2.1.5: medium, high, low) lets others go before
# that come later: it gives way, and has its turn all the same.
GIVES_WAY = {0: 0.5, 1: 0.0, 2: 1.0}


class Job:
    """A dataset to be transcoded, for whoever has the other end of `channel`: closed, it is wanted
    no more. `due` decides who is first."""

    def __init__(self, request: bytes, channel: socket.socket, files: list[int]) -> None:
        self.request = request
        self.channel = channel
        self.files = files
        self.due = time.monotonic() + GIVES_WAY.get(json.loads(request)["priority"], 0.0)

    def tell_progress(self) -> None:
        """Not where much is unread already: the answer must find room."""
        poll = select.poll()
        poll.register(self.channel, select.POLLOUT)
        if poll.poll(0):
            self.tell(PROGRESS)

    def tell(self, data: bytes) -> None:
        with suppress(OSError):
            self.channel.send(data, socket.MSG_DONTWAIT)

    def answer(self, **values: object) -> None:
        self.tell(json.dumps(values).encode())

    def let_go(self) -> None:
        """Of the files: the codec has its own."""
        for descriptor in self.files:
            os.close(descriptor)
        self.files = []

    def close(self) -> None:
        self.let_go()
        self.channel.close()


class Codec:
    """A process that transcodes one dataset at a time."""

    def __init__(self, process: int, channel: socket.socket) -> None:
        self.process = process
        self.channel = channel
        self.job: Job | None = None
        self.idle_since = time.monotonic()

    def begin(self, job: Job) -> None:
        """Raises OSError where it is no more."""
        socket.send_fds(self.channel, [job.request], job.files)
        job.let_go()
        self.job = job

    def finish(self) -> None:
        if self.job is not None:
            self.job.close()
        self.job = None
        self.idle_since = time.monotonic()


class Pool:
    """At most so many codecs. `door` is where requests come in."""

    def __init__(self, door: socket.socket, most: int) -> None:
        self._door = door
        self._most = most
        self._waiting: list[Job] = []
        self._codecs: list[Codec] = []
        self._ending: list[int] = []
        self._told_at = 0.0

    def run(self) -> bool:
        """Serve until there has been no work for a while: True. False where nobody is left."""
        is_used = False
        while self._turn():
            is_used |= bool(self._codecs)
            if is_used and not (self._codecs or self._waiting or self._ending):
                return True
        return False

    def close(self) -> None:
        for codec in list(self._codecs):
            self._end(codec)

    def _turn(self) -> bool:
        poll = select.poll()
        for job in self._waiting:
            poll.register(job.channel, 0)
        for codec in self._codecs:
            poll.register(codec.channel, select.POLLIN)
            if codec.job is not None:
                poll.register(codec.job.channel, 0)
        if len(self._waiting) < MOST_WAITING:
            poll.register(self._door, select.POLLIN)
        is_at_rest = not (self._waiting or self._codecs or self._ending)
        ready = {number for number, _ in poll.poll(None if is_at_rest else SIGN_OF_LIFE * 1000)}
        for codec in list(self._codecs):
            if codec.channel.fileno() in ready:
                self._hear(codec)
            elif codec.job is not None and codec.job.channel.fileno() in ready:
                self._end(codec)
        self._look_after_waiting(ready)
        while self._door.fileno() in ready and len(self._waiting) < MOST_WAITING:
            # All that have asked by now: the most urgent one shall go first.
            try:
                if not self._take():
                    return False
            except BlockingIOError:
                break
        self._share_out()
        self._end_idle()
        return True

    def _look_after_waiting(self, gone: set[int]) -> None:
        is_time = time.monotonic() - self._told_at >= SIGN_OF_LIFE
        if is_time:
            self._told_at = time.monotonic()
        for job in list(self._waiting):
            if job.channel.fileno() in gone:
                self._waiting.remove(job)
                job.close()
            elif is_time:
                job.tell_progress()

    def _hear(self, codec: Codec) -> None:
        """What a codec says, or that it is no more."""
        try:
            data = codec.channel.recv(LONGEST_MESSAGE)
        except ConnectionError:
            data = b""
        if not data:
            self._bury(codec)
        elif codec.job is not None and data == PROGRESS:
            codec.job.tell_progress()
        elif codec.job is not None:
            codec.job.tell(data)
            codec.finish()

    def _bury(self, codec: Codec) -> None:
        _, status = os.waitpid(codec.process, 0)
        code = os.waitstatus_to_exitcode(status)
        if codec.job is not None:
            how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            codec.job.answer(crashed=how)
        self._forget(codec)

    def _end(self, codec: Codec) -> None:
        """Whatever it is at."""
        os.kill(codec.process, signal.SIGKILL)
        self._ending.append(codec.process)
        self._forget(codec)

    def _forget(self, codec: Codec) -> None:
        codec.finish()
        codec.channel.close()
        self._codecs.remove(codec)

    def _take(self) -> bool:
        """One request; False where nobody is left who could make any. Raises BlockingIOError where
        there is none."""
        data, descriptors, _, _ = socket.recv_fds(self._door, LONGEST_MESSAGE, 3)
        if not data:
            return False
        if len(descriptors) == 3:
            channel, *files = descriptors
            self._waiting.append(Job(data, socket.socket(fileno=channel), files))
        else:  # there are no more to be had: whoever waits finds its own closed
            for descriptor in descriptors:
                os.close(descriptor)
        return True

    def _share_out(self) -> None:
        while self._waiting:
            job = min(self._waiting, key=lambda job: job.due)
            try:
                codec = self._free()
                if codec is None:
                    return
            except OSError as error:  # no process to be had
                if not self._codecs:
                    self._waiting.remove(job)
                    job.answer(failed=error.strerror)
                    job.close()
                return
            try:
                codec.begin(job)
            except OSError:
                self._end(codec)
            else:
                self._waiting.remove(job)

    def _free(self) -> Codec | None:
        """A codec without work; None where all have some. Raises OSError."""
        for codec in self._codecs:
            if codec.job is None:
                return codec
        if len(self._codecs) >= self._most:
            return None
        codec = self._fork()
        self._codecs.append(codec)
        return codec

    def _fork(self) -> Codec:
        from pacsnode.scu import codec  # with all that it imports, once for all of them

        gc.freeze()
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with its:
            try:
                process = os.fork()
            except OSError:
                ours.close()
                raise
            if not process:
                _become(its.fileno(), codec.main)
        return Codec(process, ours)

    def _end_idle(self) -> None:
        now = time.monotonic()
        for codec in list(self._codecs):
            if codec.job is None and now - codec.idle_since >= IDLE:
                self._end(codec)
        self._ending = [process for process in self._ending if not _has_ended(process)]


def _become(channel: int, work: Callable[[int], None]) -> NoReturn:
    """In the new process: nothing is open but the channel, and what codecs print is no log line."""
    code = 1
    try:
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(nowhere, descriptor)
        os.closerange(3, channel)
        os.closerange(channel + 1, os.sysconf("SC_OPEN_MAX"))
        work(channel)
        code = 0
    finally:
        os._exit(code)


def _has_ended(process: int) -> bool:
    return os.waitpid(process, os.WNOHANG)[0] == process


def main(descriptor: int, most: int) -> None:
    """Be the pool until nobody is left who could ask. After a while without work it begins anew,
    without what the codecs had it import."""
    door = socket.socket(fileno=descriptor)
    door.setblocking(False)
    pool = Pool(door, most)
    try:
        is_idle = pool.run()
    finally:
        pool.close()
    if is_idle:
        os.execv(sys.executable, sys.orig_argv)  # noqa: S606  # this very program
