"""How many files and connections the operating system lets a process have open."""

import resource
from contextlib import suppress

EACH = 2  # of an association: its connection, and the file that comes in or goes out
OTHERS = 128  # index, log, workers, associations of ours


def raise_open_files() -> int:
    """Let this process, and those that it forks, have as many open as they may; returns how
    many that is."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # more than the system can have: it stays as it was
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return open_files()


def open_files() -> int:
    """How many this process may have open."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return allowed


def most_open_files() -> int:
    """How many a node that is started by this process may have open."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def shortage(max_associations: int, allowed: int) -> str | None:
    """What to say where so many associations cannot be held, all by one process in the worst case,
    with so many files open."""
    needed = max_associations * EACH + OTHERS
    if allowed == resource.RLIM_INFINITY or allowed >= needed:
        return None
    return (
        f"listen.max_associations: {max_associations:,} take up to {needed:,} open files, and a "
        f"process may have {allowed:,}: some would have to wait; raise the limit (LimitNOFILE of "
        "systemd, ulimit -n of a shell), or take fewer"
    )
