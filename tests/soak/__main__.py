"""The command: lines over time, slopes, a verdict."""

import argparse
import random
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.soak import verdict
from tests.soak.run import Sample, Soak


def main() -> int:
    arguments = _parser().parse_args()
    seconds = arguments.minutes * 60
    print(f"seed {arguments.seed}", flush=True)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        soak = Soak(Path(folder), random.Random(arguments.seed))
        try:
            soak.run(seconds, arguments.every, _printer(soak.samples))
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            return 130
    print(f"{soak.deletions} patients deleted, {soak.reloads} reloads")
    print(f"{soak.ledger.compared:,} datasets compared, lost {soak.ledger.lost}")
    for fault in soak.ledger.faults[:20]:
        print(f"FAULT: {fault}")
    claims = verdict.claims(soak.samples)
    for claim, holds in claims:
        print(f"{'level' if holds else 'GROWS'}: {claim}")
    return 0 if all(holds for _, holds in claims) and not soak.ledger.faults else 1


def _printer(samples: Sequence[Sample]) -> Callable[[Sample], None]:
    """Prints a line, with rates since the one before it."""
    print(verdict.HEADINGS, flush=True)

    def line(sample: Sample) -> None:
        print(verdict.line(sample, samples[-2] if len(samples) > 1 else None), flush=True)

    return line


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak",
        description="A node under a mixed load: stores, queries, retrieves, aborts, cancels, "
        "strangers, deletions, reloads. Exit code 1: something grows, fails or is lost.",
    )
    parser.add_argument("--minutes", type=float, default=10, metavar="N", help="%(default)s")
    parser.add_argument(
        "--every", type=float, default=20, metavar="SECONDS", help="a line so often (%(default)s)"
    )
    parser.add_argument(
        "--seed", type=int, default=random.randrange(2**32), metavar="N", help="another each time"
    )
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path(tempfile.gettempdir()),
        help="where the archive goes for a while (%(default)s)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
