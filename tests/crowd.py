"""How many associations at once the node holds, at which price, and how soon it answers another one
meanwhile: python -m tests.crowd. The suite does the same with fewer, and asserts no times."""

import argparse
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pydicom import Dataset

from tests.benchmarks import data, wire
from tests.benchmarks.association import Association
from tests.benchmarks.errors import Loss
from tests.benchmarks.processes import Held, held_by_tree
from tests.conftest import RunningNode, running_node

LIMIT = 1_000_000_000  # bytes for the whole tree
ANSWER_WITHIN = 0.1  # seconds
SOP_CLASSES = (wire.VERIFICATION, wire.STUDY_ROOT_FIND, data.CT_IMAGE_STORAGE)
# Descriptors of connections to the index, which are kept for whoever needs one: each process has as
# many as were ever needed in one moment, 8 at most.
KEPT = 2 * 2 * 8
PAUSE = 0.01  # seconds from one C-ECHO to the next


def configuration(most: int) -> str:
    return f"listen: {{port: 0, max_associations: {most}}}\naccess: {{unknown_callers: all}}\n"


@contextmanager
def crowd(node: RunningNode, count: int) -> Iterator[list[Association]]:
    """So many associations, opened one after the other, aborted at the end. Each has stored an
    instance and found it: one that has done nothing yet would hold less."""
    with ExitStack() as stack:
        associations = []
        for instance in data.small(count):
            association = Association(node.port, node.ae_title, SOP_CLASSES)
            stack.callback(association.abort)
            association.store(instance)
            if len(list(association.find(_question(instance)))) != 1:
                raise Loss("an instance that was acknowledged is not found")
            associations.append(association)
        yield associations


def _question(instance: data.Instance) -> bytes:
    ds = Dataset()
    ds.QueryRetrieveLevel = "IMAGE"
    ds.StudyInstanceUID = instance.study_instance_uid
    ds.SOPInstanceUID = instance.sop_instance_uid
    return data.encoded(ds)


def echo_times(node: RunningNode, count: int) -> list[float]:
    """Seconds of C-ECHOs on an association of their own."""
    times = []
    with Association(node.port, node.ae_title, [wire.VERIFICATION]) as association:
        for _ in range(count):
            begun = time.perf_counter()
            association.echo()
            times.append(time.perf_counter() - begun)
            time.sleep(PAUSE)
    return times


def is_back(held: Held, before: Held) -> bool:
    """Whether nothing is left of what was held since then."""
    return (
        held.threads <= before.threads
        and held.sockets <= before.sockets
        and held.descriptors <= before.descriptors + KEPT
    )


def wait_until_gone(node: RunningNode, before: Held, seconds: float) -> Held:
    """What the node holds, as soon as nothing is left of what it held since then; or after so many
    seconds."""
    deadline = time.monotonic() + seconds
    while True:
        held = held_by_tree(node.process.pid)
        if is_back(held, before) or time.monotonic() > deadline:
            return held
        time.sleep(0.05)


@contextmanager
def many_descriptors() -> Iterator[None]:
    """As many as this process may have, while the `with` lasts."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def main() -> int:
    arguments = _parser().parse_args()
    count: int = arguments.associations
    with (
        many_descriptors(),
        tempfile.TemporaryDirectory() as folder,
        running_node(Path(folder), configuration(count + count // 10)) as node,
    ):
        return _measure(node, count, arguments.echoes)


def at_rest(node: RunningNode) -> Held:
    """What the node holds after everything was done once by each of its processes, and is over."""
    unused = held_by_tree(node.process.pid)
    with crowd(node, 8):
        pass
    return wait_until_gone(node, unused, 2)


def _measure(node: RunningNode, count: int, echoes: int) -> int:
    before = at_rest(node)
    _say("before", before)
    begun = time.perf_counter()
    with crowd(node, count) as associations:
        seconds = time.perf_counter() - begun
        print(f"{count} associations in {seconds:.1f} s, each with a C-STORE and a C-FIND")
        during = held_by_tree(node.process.pid)
        _say(f"with {count} associations", during)
        times = echo_times(node, echoes)
        p95 = statistics.quantiles(times, n=20)[-1]
        print(
            f"C-ECHO on another association, {echoes} times: p50 {_ms(statistics.median(times))}, "
            f"p95 {_ms(p95)}, max {_ms(max(times))}"
        )
        for association in associations:
            association.echo()
        print(f"all {count} have answered a C-ECHO of their own")
    after = wait_until_gone(node, before, 30)
    _say("after", after)
    return _verdict(
        (f"under {LIMIT / 1e6:.0f} MB", during.pss < LIMIT),
        (f"each C-ECHO within {ANSWER_WITHIN * 1000:.0f} ms", max(times) < ANSWER_WITHIN),
        ("threads and descriptors back to where they were", is_back(after, before)),
    )


def _verdict(*claims: tuple[str, bool]) -> int:
    for claim, holds in claims:
        print(f"{'holds' if holds else 'MISSED'}: {claim}")
    return 0 if all(holds for _, holds in claims) else 1


def _say(when: str, held: Held) -> None:
    print(
        f"{when}: {held.pss / 1e6:.0f} MB (PSS of {held.processes} processes), "
        f"{held.threads} threads, {held.descriptors} descriptors",
        flush=True,
    )


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"


def _positive(least: int) -> Callable[[str], int]:
    def positive(text: str) -> int:
        if int(text) < least:
            raise ValueError(text)
        return int(text)

    return positive


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.crowd",
        description="A node that holds many associations at once, in a temporary folder on a free "
        "loopback port. Exit code 1: it takes too much memory or time, or holds on to something.",
    )
    parser.add_argument("--associations", type=_positive(1), default=1000, metavar="N")
    parser.add_argument("--echoes", type=_positive(2), default=300, metavar="N")
    return parser


if __name__ == "__main__":
    sys.exit(main())
