"""Arenas are counted in a process of their own: the limit holds for ever."""

import subprocess
import sys

THREADS = """
import ctypes, threading
from pacsnode.node.heap import use_one_arena
{limit}
libc = ctypes.CDLL(None)
barrier = threading.Barrier(8)
def allocate():
    barrier.wait()
    libc.malloc(1000)
    barrier.wait()
threads = [threading.Thread(target=allocate) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
libc.fdopen.restype = ctypes.c_void_p
out = ctypes.c_void_p(libc.fdopen(1, b"w"))
libc.malloc_info(0, out)
libc.fflush(out)
"""


def arenas(limit: str) -> int:
    script = THREADS.format(limit=limit)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=True, encoding="utf-8"
    )
    return done.stdout.count("<heap nr=")


def test_threads_share_one_arena() -> None:
    assert arenas("pass") > 1, "glibc has changed: the limit may have become needless"
    assert arenas("use_one_arena()") == 1
