"""Comparisons of two methods as records, from intervals."""

from __future__ import annotations

from typing import Any, Literal

from .results import Comparison, Decision, Part, side
from .statistics import Interval, Ratio


def difference(
    better: str, worse: str, found: Interval, scale: float = 1.0, unit: str = "points", least: float = 0.0, **more: Any
) -> Comparison:
    """Better minus worse, predicted to lie above ``least``; values times ``scale`` are in ``unit``."""
    low, high = (None if end is None else scale * end for end in (found.low, found.high))
    values: dict[str, Any] = {"estimate": scale * found.mean, "low": low, "high": high, "pairs": found.count}
    return Comparison(
        kind="difference", name=f"{better} - {worse}", better=better, worse=worse, null=least, predicted="above", unit=unit,
        **{"verdict": side(low, high, least), **values, **more},
    )  # fmt: skip


def quotient(better: str, worse: str, found: Ratio, unit: str, **more: Any) -> Comparison:
    """Better over worse, of errors, predicted to lie below 1."""
    return Comparison(
        kind="ratio", name=f"{better} / {worse}", better=better, worse=worse, estimate=found.mean, low=found.low, high=found.high,
        pairs=found.log.count, null=1.0, predicted="below", unit=unit, verdict=side(found.low, found.high, 1.0, "below"), **more,
    )  # fmt: skip


def gain(name: str, rule: str, found: Interval, predicted: Literal["above", "below"] | None) -> Comparison:
    """Precision of a selection rule beyond chance; a rule of which nothing is predicted stands beside the others."""
    verdict = side(found.low, found.high, 0.0)
    return Comparison(
        kind="gain", name=name, better=rule, worse="random", estimate=found.mean, low=found.low, high=found.high,
        pairs=found.count, null=0.0, predicted=predicted, unit="precision", verdict=verdict, control=predicted is None,
    )  # fmt: skip


def part(tasks: list[str], found: Interval) -> Part:
    """A comparison on some tasks."""
    return Part(tasks=tasks, estimate=found.mean, low=found.low, high=found.high, pairs=found.count)


def decide(mean: float, p: float | None, level: float | None, alpha: float) -> Decision:
    """What two p values say: of no difference (adjusted where there are several), and of one beyond the margin.

    A difference is predicted above 0. Without a spread there is no p, and nothing is decided.
    """
    if p is None or level is None:
        return "undecided"
    if p < alpha:
        return "stands" if mean > 0 else "refuted"
    return "level" if level < alpha else "undecided"
