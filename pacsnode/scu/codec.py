"""The process behind decompression.py: takes one dataset after the other from a socket, until that
is closed. Has no network, no index and little memory."""

import json
import os
import resource
import signal
import socket
import time
from contextlib import suppress
from typing import IO, cast

from pacsnode.dicom.message import DatasetSource
from pacsnode.dicom.transcode import transcode
from pacsnode.errors import TranscodingError
from pacsnode.scu.decompression import LONGEST_ANSWER, PROGRESS, STUCK

# Bytes of address space. The largest frames there are take four times 200 MB on their way.
MEMORY = 3 << 30
TELL_EVERY = 0.3  # seconds

# Whole seconds. Whoever waits ends a codec that loops; where nobody does any more, killed while it
# looped, this does.
LEFT_ALONE = round(STUCK) + 10

NO_MEMORY = f"the pixel data would take over {MEMORY >> 30} GiB of memory"


def main(descriptor: int) -> None:
    """Serve until the other side closes."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with socket.socket(fileno=descriptor) as channel, suppress(ConnectionError):
        while True:
            data, descriptors, _, _ = socket.recv_fds(channel, LONGEST_ANSWER, 2)
            if not data:
                return
            signal.alarm(LEFT_ALONE)
            with (
                os.fdopen(descriptors[0], "rb") as file,
                suppress(OSError),  # of closing what could not be written, which was told
                os.fdopen(descriptors[1], "wb+") as spool,
            ):
                answer = _perform(channel, json.loads(data), file, spool)
            signal.alarm(0)
            channel.send(json.dumps(answer).encode()[:LONGEST_ANSWER])


def _perform(
    channel: socket.socket, request: dict[str, object], file: IO[bytes], spool: IO[bytes]
) -> dict[str, object]:
    told_at = time.monotonic()

    def tick() -> None:
        nonlocal told_at
        if time.monotonic() - told_at >= TELL_EVERY:
            channel.send(PROGRESS)
            signal.alarm(LEFT_ALONE)
            told_at = time.monotonic()

    file.seek(cast(int, request["offset"]))
    source = DatasetSource(file, cast(int, request["length"]))  # type: ignore[arg-type]
    uids = str(request["source_uid"]), str(request["target_uid"])
    try:
        result = transcode(source, *uids, spool, tick)
        spool.flush()
    except TranscodingError as error:
        return {"refused": str(error)[:500]}
    except MemoryError:
        return {"refused": NO_MEMORY}
    except ConnectionError as error:
        raise SystemExit from error  # nobody waits any more
    except OSError as error:
        return {"failed": error.strerror}
    return {"length": result.length}
