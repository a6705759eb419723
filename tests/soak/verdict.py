"""From samples to lines, and whether they are level."""

import statistics
from collections.abc import Sequence

from tests.crowd import KEPT
from tests.soak.run import Sample

HEADINGS = (
    "     s   PSS MB  threads  descr.  stored     /s  found  retr.  moved  aborts cancels reject. "
    "refused   here   disk MB"
)
MEGABYTE = 1_000_000

WARM_UP = 3  # the first of so many parts of a run does not count
GROWTH = 0.05  # of the memory, over the rest of the run,
ALLOWANCE = 8 * MEGABYTE  # and as much besides


def line(sample: Sample, before: Sample | None) -> str:
    counts, held = sample.counts, sample.held
    stored = counts["instances"] - (before.counts["instances"] if before else 0)
    rate = stored / (sample.seconds - (before.seconds if before else 0))
    return (
        f"{sample.seconds:6.0f} {held.pss / MEGABYTE:8.1f} {held.threads:8} {held.descriptors:7} "
        f"{counts['instances']:7,} {rate:6.1f} {counts['find']:6,} {counts['retrieved']:6,} "
        f"{counts['moved']:6,} {counts['abort']:7,} {counts['cancel']:7,} "
        f"{counts['rejected']:7,} {counts['refused']:7,} {sample.instances:6,} "
        f"{sample.stored_bytes / MEGABYTE:9.1f}"
    )


def claims(samples: Sequence[Sample]) -> list[tuple[str, bool]]:
    """What is claimed of the run after its warm-up, and whether it holds."""
    counted = samples[len(samples) // WARM_UP :]
    if len(counted) < 2:
        return []
    memory = _growth(counted)
    level = statistics.median(sample.held.pss for sample in counted)
    threads = counted[-1].held.threads - counted[0].held.threads
    sockets = counted[-1].held.sockets - counted[0].held.sockets
    descriptors = counted[-1].held.descriptors - counted[0].held.descriptors
    minutes = (counted[-1].seconds - counted[0].seconds) / 60
    of_what = f"of {level / MEGABYTE:.0f} MB in the last {minutes:.1f} minutes"
    return [
        (f"memory, {memory / MEGABYTE:+.1f} MB {of_what}", memory < GROWTH * level + ALLOWANCE),
        (f"threads, {threads:+}", threads <= 0),
        (f"sockets, {sockets:+}", sockets <= 0),
        (f"descriptors, {descriptors:+}", descriptors <= KEPT),
    ]


def _growth(samples: Sequence[Sample]) -> float:
    """Bytes from the first to the last, by the line that fits best."""
    seconds = [sample.seconds for sample in samples]
    slope, _ = statistics.linear_regression(seconds, [sample.held.pss for sample in samples])
    return slope * (seconds[-1] - seconds[0])
