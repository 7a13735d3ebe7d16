"""What was reproduced, what was not, and why: one line for each comparison of an experiment, from the table of its summary.

The reason is always the interval: it lies on the side that was predicted, on the other one, or holds the value of no difference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

OUTCOMES = REPRODUCED, NOT, UNDECIDED = "reproduced", "not reproduced", "undecided"
"""What a comparison may come out as."""


@dataclass(frozen=True)
class Line:
    """One comparison: its verdict, and the numbers that decided it."""

    verdict: str
    text: str


def comparisons(table: Sequence[dict[str, Any]]) -> list[Line]:
    """The comparisons among a summary's rows, in their order; none for an experiment that compares no methods.

    Raises
    ------
    KeyError
        A row lacks a number that rows of its kind have.
    """
    lines = [line for row in table for key, read in READERS.items() if key in row for line in read(row)]
    return [*lines, *_against_chance(row for row in table if "gain" in row)]


def side(low: float | None, high: float | None, none: float, below: bool = False) -> str:
    """The verdict of an interval against the value of no difference; ``below``: the prediction lies there."""
    if low is None or high is None:
        return UNDECIDED
    if high < none:
        return REPRODUCED if below else NOT
    return (NOT if below else REPRODUCED) if low > none else UNDECIDED


def _why(verdict: str, none: str, below: bool = False) -> str:
    if verdict == UNDECIDED:
        return f"the interval holds {none}"
    return f"all of it {'below' if below == (verdict == REPRODUCED) else 'above'} {none}"


def _ratio(row: dict[str, Any]) -> Iterable[Line]:
    verdict = side(row["low"], row["high"], 1.0, below=True)
    numbers = f"{row['mse_ratio']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"
    yield Line(verdict, f"error of {row['comparison']}: {numbers}, {_why(verdict, '1', below=True)}")


def _difference(row: dict[str, Any]) -> Iterable[Line]:
    middle, half = 100 * row["difference"], 100 * row["half_width"]
    numbers = f"{middle:+.1f} points [{middle - half:+.1f}, {middle + half:+.1f}]"
    yield Line(row["verdict"], f"{row['comparison']}: {numbers}, {_why(row['verdict'], '0')}")


def _claim(row: dict[str, Any]) -> Iterable[Line]:
    parts = [_pair(part) for part in row["comparisons"]] or ["no pair of runs"]
    parts += [f"control {_pair(part)}" for part in row["controls"]]
    yield Line(row["verdict"], f"{row['claim']} {row['statement']}: {'; '.join(parts)}")


def _pair(part: dict[str, Any]) -> str:
    fair = "" if part["equal_budget"] else ", budgets differ"
    learned = part.get("learned")
    where = (
        ""
        if learned is None
        else f" (on the tasks that full fine-tuning learns, {', '.join(learned['tasks'])}: {_points(learned)})"
    )
    return f"{part['better']} - {part['worse']} {_points(part)}{fair}{where}"


def _points(part: dict[str, Any]) -> str:
    interval = "no interval" if part["low"] is None else f"[{part['low']:+.1f}, {part['high']:+.1f}]"
    return f"{part['points']:+.1f} points {interval} over {part['pairs']} pairs"


READERS: dict[str, Callable[[dict[str, Any]], Iterable[Line]]] = {
    "mse_ratio": _ratio, "difference": _difference, "claim": _claim,
}  # fmt: skip
"""The key that tells a kind of row, and what reads it."""

CHANCE = {REPRODUCED: "precision above chance", NOT: "below chance", UNDECIDED: "not told from chance"}


def _against_chance(rows: Iterable[dict[str, Any]]) -> list[Line]:
    """Scores of a selection by their place beside chance; what stands for the truth or for chance itself is left out."""
    found: dict[str, list[str]] = {place: [] for place in CHANCE.values()}
    for row in rows:
        if row["score"] in ("oracle", "random"):
            continue
        half = row["half_width"]
        low, high = (None, None) if half is None else (row["gain"] - half, row["gain"] + half)
        words = f"{row['kind']} {row['score']} {row['gain']:+.2f}{'' if half is None else f' ± {half:.2f}'}"
        found[CHANCE[side(low, high, 0.0)]].append(words)
    return [Line(place, ", ".join(scores)) for place, scores in found.items() if scores]
