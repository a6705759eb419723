"""The command: `--streams N` against a live node, or targets for some time each."""

import argparse
import importlib.util
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz import engine, live
from tests.fuzz.targets import TARGETS

FOUND = Path(__file__).parent / "found"


def main() -> int:
    arguments = _parser().parse_args()
    if arguments.streams:
        return _live(arguments)
    names = arguments.targets or list(TARGETS)
    is_guided = importlib.util.find_spec("atheris") is not None and not arguments.blind
    failed = [name for name in names if _fed(name, arguments, is_guided=is_guided)]
    print(f"finds: {', '.join(failed) or 'none'}")
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz",
        description="Hostile input: mutated associations against a live node (--streams), or each"
        " parser of the node fed for some time. Exit code 1: something was found.",
    )
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--streams", type=int, metavar="N", help="against a live node")
    parser.add_argument("--seed", type=int, default=0, help="another run altogether")
    parser.add_argument("--seconds", type=int, default=60, help="for each target (%(default)s)")
    parser.add_argument("--blind", action="store_true", help="without atheris")
    parser.add_argument(
        "--folder", type=Path, help="where finds, or the live node's folder, are to stay"
    )
    return parser


def _live(arguments: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory(prefix="pacsnode-fuzz-") as temporary:
        home = arguments.folder or Path(temporary)
        home.mkdir(parents=True, exist_ok=True)
        figures = live.run(home, arguments.streams, seed=arguments.seed)
    print("\n".join(figures.lines()))
    return 1 if figures.faults else 0


def _fed(name: str, arguments: argparse.Namespace, *, is_guided: bool) -> bool:
    """Whether something was found."""
    folder = arguments.folder or FOUND
    folder.mkdir(parents=True, exist_ok=True)
    before = set(folder.iterdir())
    begun = time.monotonic()
    if is_guided:
        command = [sys.executable, "-m", "tests.fuzz.guided", name, str(arguments.seconds), folder]
        done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace")
        said = done.stdout[-4000:] if done.returncode == 0 else done.stderr[-4000:]
        count = next((line for line in done.stderr.splitlines() if "executed_units" in line), "?")
    else:
        fed, finds = engine.run(name, arguments.seed, arguments.seconds, sys.maxsize)
        for find in finds:
            (folder / find.name).write_bytes(find.data)
        said = "\n".join(find.text for find in finds)
        count = str(fed)
    new = sorted(path.name for path in set(folder.iterdir()) - before)
    print(f"{name}: {count.split()[-1]} inputs, {time.monotonic() - begun:.0f} s; {new or ''}")
    if new:
        print(said)
    return bool(new) or "ERROR: libFuzzer" in said


if __name__ == "__main__":
    sys.exit(main())
