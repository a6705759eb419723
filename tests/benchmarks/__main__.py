"""The command: arguments, trials, table."""

import argparse
import fnmatch
import json
import os
import signal
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.benchmarks import dcmtk, processes, report, trials
from tests.benchmarks.peers import DCMQRSCP, ORTHANC, PACSNODE, SETTINGS, UNSYNCED, Peer
from tests.benchmarks.trials import Options, Outcome
from tests.benchmarks.workloads import WORKLOADS, Workload

PEERS: dict[str, tuple[Peer, ...]] = {
    "pacsnode": (PACSNODE, UNSYNCED),
    "orthanc": (ORTHANC,),
    "dcmqrscp": (DCMQRSCP,),
}


def main() -> int:
    arguments = _parser().parse_args()
    workloads = _chosen(arguments)
    if arguments.list:
        print("\n".join(f"{each.name:14} {each.setting:8} {each.title}" for each in workloads))
        return 0
    if missing := dcmtk.missing():
        print(f"{', '.join(missing)} of DCMTK: not installed (apt install dcmtk)", file=sys.stderr)
        return 2
    kind = processes.filesystem(arguments.folder)
    if kind == "tmpfs":
        print(f"{arguments.folder} is memory, which syncs for nothing: --folder", file=sys.stderr)
    options = Options(
        rounds=arguments.rounds or (1 if arguments.quick else 3),
        quick=arguments.quick,
        workers=arguments.workers,
        fsync=arguments.fsync,
        parent=arguments.folder,
    )
    outcomes: list[Outcome] = []
    finished = _collect(outcomes, trials.run(workloads, _peers(arguments), options))
    print(f"{os.cpu_count()} cores, {kind}, {options.rounds} rounds")
    print("\n".join(report.table(outcomes, quick=options.quick)))
    if arguments.json:
        figures = report.as_json(outcomes, quick=options.quick)
        arguments.json.write_text(json.dumps(figures, indent=1), "utf-8")
    if not finished:
        return 130
    return 1 if any(outcome.fault for outcome in outcomes) else 0


def _collect(outcomes: list[Outcome], running: Iterable[Outcome]) -> bool:
    """Add to `outcomes` until all have run, or a signal comes: then what was started is ended.
    True where all have run."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        for outcome in running:
            outcomes.append(outcome)
            print(f"    {_figures(outcome)}", file=sys.stderr)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return False
    return True


def _interrupt(*_: object) -> None:
    # One is enough; a second one may not keep servers from being ended.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description="pacsnode beside Orthanc and dcmqrscp, where these are installed, on this"
        " machine. Needs DCMTK's clients. Exit code 1: an instance was lost, or a trial failed.",
    )
    parser.add_argument("--rounds", type=_positive, metavar="N", help="3; with --quick 1")
    parser.add_argument("--only", metavar="PATTERN", help="workloads by name, such as 'store*'")
    parser.add_argument("--peer", action="append", choices=PEERS, help="may be repeated")
    parser.add_argument("--setting", choices=SETTINGS, help="one of the two network settings")
    parser.add_argument(
        "--workers", type=_positive, metavar="N", help="of pacsnode; its own default"
    )
    parser.add_argument("--quick", action="store_true", help="fewer instances")
    parser.add_argument(
        "--fsync",
        action=argparse.BooleanOptionalAction,
        help="one pacsnode in all workloads; else one that does not sync is beside dcmqrscp",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="each trial's figures")
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path(tempfile.gettempdir()),
        help="where archives go for a while: the disk to measure (%(default)s)",
    )
    parser.add_argument("--list", action="store_true", help="name the workloads, run none")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def _chosen(arguments: argparse.Namespace) -> list[Workload]:
    return [
        workload
        for workload in WORKLOADS
        if fnmatch.fnmatch(workload.name, arguments.only or "*")
        and arguments.setting in (None, workload.setting)
    ]


def _peers(arguments: argparse.Namespace) -> Sequence[str]:
    """The names of those that take part; what is not installed is said and left out."""
    chosen = []
    for name in arguments.peer or PEERS:
        for peer in PEERS[name]:
            if peer.missing:
                print(f"left out: {peer.missing}", file=sys.stderr)
            else:
                chosen.append(peer.name)
    if arguments.fsync is not None and UNSYNCED.name in chosen:
        chosen.remove(UNSYNCED.name)
    return chosen


def _figures(outcome: Outcome) -> str:
    if outcome.measurement is None:
        return f"FAULT: {outcome.fault}"
    shown = [f"{name} {value:.4g}" for name, value in outcome.measurement.figures.items()]
    return f"{', '.join(shown)}; CPU {outcome.measurement.cpu:.2f} s"


if __name__ == "__main__":
    sys.exit(main())
