"""Memory that the C library gives out, kept together."""

import ctypes
from contextlib import suppress

_ARENA_MAX = -8  # M_ARENA_MAX of glibc's malloc.h


def use_one_arena() -> None:
    """For threads that start from now on, and for processes forked from this one. glibc would give
    threads arenas of their own, eight for each core, and hold on to what is freed in them: where
    each association has its thread, that doubled the process and let it grow for hours. Python
    allocates under its own lock anyway. Does nothing with other C libraries."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_ARENA_MAX, 1)
