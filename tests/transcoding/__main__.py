"""Prints the table of transfer syntaxes, from which into which, as Markdown: in each cell how many
datasets came through with equal pixels, of how many; the others do not fit the target."""

import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path

from tests.transcoding.pairs import SOURCES, TARGETS, Found, judge, sources
from tests.transcoding.referees import REFEREES

NAMES = {
    "1.2.840.10008.1.2": "Implicit",
    "1.2.840.10008.1.2.1": "Explicit",
    "1.2.840.10008.1.2.2": "Big Endian",
    "1.2.840.10008.1.2.1.99": "Deflated",
    "1.2.840.10008.1.2.1.98": "Encapsulated Uncompressed",
    "1.2.840.10008.1.2.8.1": "Deflated Frames",
    "1.2.840.10008.1.2.4.50": "JPEG Baseline",
    "1.2.840.10008.1.2.4.51": "JPEG Extended",
    "1.2.840.10008.1.2.4.57": "JPEG Lossless",
    "1.2.840.10008.1.2.4.70": "JPEG Lossless SV1",
    "1.2.840.10008.1.2.4.80": "JPEG-LS",
    "1.2.840.10008.1.2.4.81": "JPEG-LS Near",
    "1.2.840.10008.1.2.4.90": "JPEG 2000 Lossless",
    "1.2.840.10008.1.2.4.91": "JPEG 2000",
    "1.2.840.10008.1.2.4.110": "JPEG XL Lossless",
    "1.2.840.10008.1.2.4.111": "JPEG XL Recompression",
    "1.2.840.10008.1.2.4.112": "JPEG XL",
    "1.2.840.10008.1.2.4.201": "HTJ2K Lossless",
    "1.2.840.10008.1.2.4.202": "HTJ2K Lossless RPCL",
    "1.2.840.10008.1.2.4.203": "HTJ2K",
    "1.2.840.10008.1.2.5": "RLE",
}


def main() -> int:
    """1 where any pixel is another."""
    failures = []
    agreed: Counter[str] = Counter()
    print("| from \\\\ to |", " | ".join(NAMES[uid] for uid in TARGETS), "|")
    print("|---|" + "---|" * len(TARGETS))
    with tempfile.TemporaryDirectory() as folder:
        for source in SOURCES:
            cells = []
            for target in TARGETS:
                found = {one.name: judge(one, target, Path(folder)) for one in sources(source)}
                agreed.update(name for one in found.values() for name in one.equal)
                failures += [
                    (source, target, name, one) for name, one in found.items() if one.other
                ]
                cells.append(_cell(list(found.values())))
            print(f"| {NAMES[source]} |", " | ".join(cells), "|", flush=True)
    for failure in failures:
        print("unequal:", *failure, file=sys.stderr)
    counts = ", ".join(
        f"{name} {agreed[name]}" for name in ("pacsnode", *(r.name for r in REFEREES))
    )
    print(f"\nDatasets whose pixels were found equal by {counts}; unequal: {len(failures)}.")
    return bool(failures)


def _cell(found: list[Found]) -> str:
    equal = sum(not one.refused and not one.other for one in found)
    other = sum(bool(one.other) for one in found)
    if not found:
        return "–"
    return f"{equal}/{len(found)}" + (f" **{other} wrong**" if other else "")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    sys.exit(main())
