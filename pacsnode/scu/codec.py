"""One process with codecs, below codec_pool.py: takes one dataset after the other from a socket,
until that is closed. Has no network, no index and little memory."""

import json
import os
import resource
import signal
import socket
import time
from contextlib import suppress
from typing import IO, Any, cast

from pacsnode.dicom.message import DatasetSource
from pacsnode.dicom.transcode import transcode
from pacsnode.errors import TranscodingError
from pacsnode.scu.codec_pool import LONGEST_MESSAGE, PROGRESS

# Bytes of address space. The largest frames there are take four times 200 MB on their way.
MEMORY = 3 << 30
TELL_EVERY = 0.3  # seconds

# Whole seconds without progress. Whoever waits ends a codec that loops; where nobody does any more,
# killed while it looped, this does.
LEFT_ALONE = 130

NO_MEMORY = f"the pixel data would take over {MEMORY >> 30} GiB of memory"


def main(descriptor: int) -> None:
    """Serve until the other side closes."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")  # where the machine's memory ends, this goes before the node
    with socket.socket(fileno=descriptor) as channel, suppress(ConnectionError):
        while True:
            data, descriptors, _, _ = socket.recv_fds(channel, LONGEST_MESSAGE, 2)
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
            channel.send(json.dumps(answer).encode()[:LONGEST_MESSAGE])


def _perform(
    channel: socket.socket, request: dict[str, Any], file: IO[bytes], spool: IO[bytes]
) -> dict[str, object]:
    told_at = time.monotonic()

    def tick() -> None:
        nonlocal told_at
        if time.monotonic() - told_at >= TELL_EVERY:
            channel.send(PROGRESS)
            signal.alarm(LEFT_ALONE)
            told_at = time.monotonic()

    file.seek(request["offset"])
    source = DatasetSource(cast(Any, file), request["length"])
    uids = request["source_uid"], request["target_uid"]
    try:
        result = transcode(source, *uids, spool, tick, may_lose=request["may_lose"])
        spool.flush()
    except TranscodingError as error:
        return {"refused": str(error)[:500]}
    except MemoryError:
        return {"refused": NO_MEMORY}
    except ConnectionError as error:
        raise SystemExit from error  # nobody waits any more
    except OSError as error:
        return {"failed": error.strerror}
    return {"length": result.length, "sop_instance_uid": result.sop_instance_uid}
