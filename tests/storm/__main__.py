"""The command: a run, its figures."""

import argparse
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.storm.rounds import STARTING, SUPERVISOR, TREE, WEIGHTS, WORKER, Figures, Run
from tests.storm.senders import SENDERS


def main() -> int:
    arguments = _parser().parse_args()
    print(f"seed {arguments.seed}", flush=True)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        chance = random.Random(arguments.seed)
        run = Run(Path(folder), chance)
        kinds = chance.choices(list(WEIGHTS), list(WEIGHTS.values()), k=arguments.kills)
        try:
            run.execute(kinds, lambda figures: _progress(figures, begun))
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            return 130
        finally:
            print("\n".join(_report(run, time.monotonic() - begun)))
    return 1 if run.ledger.faults else 0


def _progress(figures: Figures, begun: float) -> None:
    if figures.total % 10 == 0:
        print(f"{figures.total} kills in {time.monotonic() - begun:.0f} s", flush=True)


def _report(run: Run, seconds: float) -> Sequence[str]:
    figures, kills = run.figures, run.figures.kills
    trees = kills[SUPERVISOR] + kills[TREE] + kills[STARTING]
    by_the_way = f"{kills[SUPERVISOR]} by way of its supervisor, {kills[STARTING]} once more while"
    return [
        f"{figures.total} kills in {seconds:.0f} s, {SENDERS} associations storing meanwhile:",
        f"  of a worker {kills[WORKER]}",
        f"  of the whole tree {trees}, of these {by_the_way} it started",
        f"acknowledged {run.ledger.acknowledgements:,}, lost {run.ledger.lost}",
        f"there without acknowledgement, whole: {figures.unacknowledged:,}",
        f"compared byte for byte: {run.ledger.compared:,}; patients deleted: {figures.deleted}",
        f"restart to the ready line: {_spread(figures.restarts)}",
        f"a worker replaced: {_spread(figures.replacements)}",
        *(f"FAULT: {fault}" for fault in run.ledger.faults[:20]),
        *(run.tree.warnings()[-20:] if run.ledger.faults else ()),
    ]


def _spread(seconds: Sequence[float]) -> str:
    if not seconds:
        return "none"
    return f"p50 {statistics.median(seconds):.2f} s, max {max(seconds):.2f} s"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.storm",
        description="kill -9 of a worker, or of all processes, of a node that eight associations "
        "store to; after each kill everything acknowledged must be there. Exit code 1: it is not.",
    )
    parser.add_argument("--kills", type=int, default=200, metavar="N", help="%(default)s")
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
