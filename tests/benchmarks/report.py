"""What comes out: a table of medians, spread and ratios, and the figures as JSON."""

import math
import statistics
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.benchmarks.peers import DCMQRSCP, PACSNODE, UNSYNCED
from tests.benchmarks.trials import Outcome
from tests.benchmarks.workloads import Metric

COLUMNS = (20, 11, 17, 8, 12, 11, 9)
HEAD = ("", "median", "min–max", "CPU s", "pacsnode is", "goal", "")


@dataclass(frozen=True)
class Series:
    """The figures of one peer in one metric, over the rounds; `cpu` seconds beside them."""

    figures: Sequence[float]
    cpu: Sequence[float]

    @property
    def median(self) -> float:
        return statistics.median(self.figures)


def table(outcomes: Sequence[Outcome], *, quick: bool) -> Iterator[str]:
    """Lines, a block for each metric of each workload."""
    yield "Medians of the rounds; CPU of the peer meanwhile; how many times as good pacsnode is."
    yield ""
    yield _line(HEAD)
    for workload in dict.fromkeys(outcome.workload for outcome in outcomes):
        of_it = [outcome for outcome in outcomes if outcome.workload is workload]
        title = workload.title.format(**workload.sizes_of(quick=quick))
        for metric in workload.metrics:
            yield ""
            yield f"{title}: {metric.name}, {workload.setting}"
            yield from _rows(metric, gathered(of_it, metric))
        if workload.note:
            yield textwrap.fill(workload.note, 98, initial_indent="  ", subsequent_indent="  ")
        for outcome in of_it:
            if outcome.fault:
                yield f"  FAULT, {outcome.peer}: {outcome.fault}"


def gathered(outcomes: Sequence[Outcome], metric: Metric) -> dict[str, Series]:
    """By peer."""
    found = {}
    for peer in dict.fromkeys(outcome.peer for outcome in outcomes):
        good = [each.measurement for each in outcomes if each.peer == peer and each.measurement]
        if good:
            figures = [measurement.figures[metric.name] for measurement in good]
            found[peer] = Series(figures, [measurement.cpu for measurement in good])
    return found


def _rows(metric: Metric, by_peer: dict[str, Series]) -> Iterator[str]:
    ranks = {PACSNODE.name: 0, UNSYNCED.name: 2, DCMQRSCP.name: 3}
    for peer in sorted(by_peer, key=lambda peer: ranks.get(peer, 1)):
        series = by_peer[peer]
        limits = ("", "", "")
        ours = by_peer.get(compared_with(peer, by_peer))
        if peer == PACSNODE.name and metric.limit is not None:
            limits = _limit(metric, metric.limit, series.median)
        elif ours is not None and ours is not series and peer != UNSYNCED.name:
            limits = _ratio(metric, metric.times.get(peer), ratio(metric, ours, series))
        low, high = min(series.figures), max(series.figures)
        yield _line(
            (
                f"  {peer}",
                f"{_number(series.median)} {metric.unit}",
                f"{_number(low)}–{_number(high)}",
                _number(statistics.median(series.cpu)),
                *limits,
            )
        )


def compared_with(peer: str, by_peer: dict[str, Series]) -> str:
    """The pacsnode that makes the same promise as `peer`."""
    unsynced = peer == DCMQRSCP.name and UNSYNCED.name in by_peer
    return UNSYNCED.name if unsynced else PACSNODE.name


def ratio(metric: Metric, ours: Series, theirs: Series) -> float:
    """How many times as good our median is; infinite where the other is nothing."""
    better, worse = ours.median, theirs.median
    if not metric.more_is_better:
        better, worse = worse, better
    return better / worse if worse else math.inf


def _ratio(metric: Metric, goal: float | None, times: float) -> tuple[str, str, str]:
    shown = f"{_number(times)} ×" if math.isfinite(times) else ""
    if goal is None:
        return shown, "", ""
    return shown, f"{goal:g} ×", _verdict(times >= goal)


def _limit(metric: Metric, limit: float, figure: float) -> tuple[str, str, str]:
    if metric.more_is_better:
        return "", f"over {limit:g}", _verdict(figure >= limit)
    return "", f"under {limit:g}", _verdict(figure < limit)


def _verdict(reached: bool) -> str:
    return "reached" if reached else "missed"


def _number(value: float) -> str:
    """Three digits, and all before the point."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value >= 0.01 else f"{value:.2f}"


def _line(cells: Sequence[str]) -> str:
    first, *others = cells
    columns = zip(others, COLUMNS[1:], strict=True)
    return (
        f"{first:{COLUMNS[0]}}" + "".join(f"{cell:>{width}}" for cell, width in columns)
    ).rstrip()


def as_json(outcomes: Sequence[Outcome], *, quick: bool) -> list[dict[str, object]]:
    """Each trial, in the order they ran."""
    return [
        {
            "workload": outcome.workload.name,
            "setting": outcome.workload.setting,
            "sizes": dict(outcome.workload.sizes_of(quick=quick)),
            "peer": outcome.peer,
            "figures": dict(outcome.measurement.figures) if outcome.measurement else None,
            "cpu_seconds": outcome.measurement.cpu if outcome.measurement else None,
            "fault": outcome.fault or None,
        }
        for outcome in outcomes
    ]
