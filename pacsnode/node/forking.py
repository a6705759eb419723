"""Work in processes of their own, forked from this one."""

import logging
import os
import pickle
import signal
import sys
from collections.abc import Callable

from pacsnode.errors import ConfigurationError, PacsnodeError

logger = logging.getLogger(__name__)


def run(work: Callable[[], int]) -> None:
    """Be another process from here on: `work` decides its exit code. Never returns."""
    code = 1
    try:
        code = work()
    except BaseException:
        logger.exception("process %d: unexpected fault", os.getpid())
    finally:
        try:
            sys.stderr.flush()
        finally:  # also where nobody reads it any more: never back into what the parent is at
            os._exit(code)


def in_child(work: Callable[[], object]) -> None:
    """Do `work` in a process of its own, which leaves nothing behind in this one. Raises the
    PacsnodeError that it raised."""
    reading, writing = os.pipe()
    process = os.fork()
    if not process:
        os.close(reading)
        run(lambda: _tell_error(work, writing))
    os.close(writing)
    try:
        with open(reading, "rb") as pipe:
            said = pipe.read()
    except BaseException:
        os.kill(process, signal.SIGTERM)
        os.waitpid(process, 0)
        raise
    _, status = os.waitpid(process, 0)
    if said:
        error: PacsnodeError = pickle.loads(said)  # noqa: S301  # our own child's
        raise error
    if status:
        raise ConfigurationError(f"preparing the data folder ended with {ending(status)}")


def _tell_error(work: Callable[[], object], writing: int) -> int:
    try:
        work()
    except PacsnodeError as error:
        with open(writing, "wb") as pipe:
            pickle.dump(error, pipe)
        return 1
    except KeyboardInterrupt:
        return 1
    return 0


def ending(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"
