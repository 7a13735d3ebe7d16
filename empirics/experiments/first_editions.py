"""The first editions of vision and s4_regression, judged by the rules that were declared later: python -m empirics rejudge.

Their committed verdicts stay. Beside them stands what the rules of docs/decisions/0007 say of the same runs: Holm's adjustment
over an experiment's comparisons, level within a margin by two one-sided tests, nothing where a side's learning rate stands at the
end of its grid. Seeds are all that is drawn: these runs kept no test rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from theory.core.files import require_replaceable, write_json

from .. import options
from ..errors import InvalidInput
from ..study.comparing import decide
from ..study.config import EXPERIMENTS, load_experiment
from ..study.pack import RUNS, read_pack
from ..study.replication import counted
from ..study.results import Result, read_json
from ..study.statistics import Interval, holm, interval, level_p, p_of, paired
from .s4_regression import run as s4_regression
from .vision import run as vision

COMMITTED = Path(__file__).with_suffix(".json")
ALPHA = 0.05

Values = dict[str, list[float]]
"""Comparison -> a value for each seed, predicted above 0."""


def of_vision(results: Sequence[Result]) -> Values:
    """Better minus worse test accuracy, in points."""
    accuracy = {method: vision.scores(results, method) for pair in vision.COMPARISONS for method in pair}
    return {f"{a} - {b}": [100 * d for d in paired(accuracy[a], accuracy[b]).values()] for a, b in vision.COMPARISONS}


def of_s4(results: Sequence[Result]) -> Values:
    """Logarithms of worse over better held-out error."""
    errors = {
        method: {seed: math.log(e) for seed, e in s4_regression.errors(results, method).items()}
        for pair in s4_regression.COMPARISONS
        for method in pair
    }
    return {f"{a} / {b}": list(paired(errors[b], errors[a]).values()) for a, b in s4_regression.COMPARISONS}


@dataclass(frozen=True)
class Edition:
    """How the comparisons of one experiment are read.

    Attributes
    ----------
    values:
        Its runs -> values by comparison.
    margin:
        In the values' unit: a point, or the logarithm of 1.1.
    ratio:
        Whether values are logarithms of ratios, told as better over worse.
    """

    values: Callable[[Sequence[Result]], Values]
    margin: float
    ratio: bool = False

    def told(self, found: Interval) -> dict[str, float | None]:
        """Estimate and ends as they are told."""
        if not self.ratio:
            return {"estimate": found.mean, "low": found.low, "high": found.high}
        ends = (None if end is None else math.exp(-end) for end in (found.high, found.low))
        return {"estimate": math.exp(-found.mean), **dict(zip(("low", "high"), ends, strict=True))}


EDITIONS = {"vision": Edition(of_vision, 1.0), "s4_regression": Edition(of_s4, math.log(1.1), ratio=True)}


def rejudged(name: str, values: Values, at_edge: Sequence[str]) -> list[dict[str, Any]]:
    """A row for each comparison of an edition.

    Parameters
    ----------
    at_edge:
        Methods whose chosen rate stands at the end of its grid.
    """
    edition = EDITIONS[name]
    found = {comparison: interval(each, 1 - ALPHA) for comparison, each in values.items()}
    p_values: Mapping[str, float | None] = {comparison: p_of(each) for comparison, each in found.items()}
    adjusted = holm(p_values)
    rows = []
    for comparison, each in found.items():
        p = None if p_values[comparison] is None else adjusted[comparison]
        level = level_p(each, edition.margin)
        verdict = decide(each.mean, p, level, ALPHA)
        edges = [side for side in comparison.replace(" / ", " - ").split(" - ") if side in at_edge]
        rows.append(
            {
                "experiment": name, "comparison": comparison, **edition.told(each), "seeds": each.count, "adjusted": p,
                "level_p": level, "by_numbers": verdict, "at_edge": edges, "verdict": "undecided" if edges else verdict,
            }
        )  # fmt: skip
    return rows


def first_editions() -> list[dict[str, Any]]:
    """All rows, from the committed runs."""
    rows = []
    for name, edition in EDITIONS.items():
        runs = counted(load_experiment(name), read_pack(EXPERIMENTS / name / RUNS))
        edges = read_json(EXPERIMENTS / name / "results.json")["edges"]
        rows += rejudged(name, edition.values(runs), [row["method"] for row in edges if row["at_edge"]])
    return rows


def main_rejudge(argv: Sequence[str]) -> int:
    """``python -m empirics rejudge``."""
    args = options.rejudge().parse_args(argv)
    if args.out is not None:
        require_replaceable(args.out, InvalidInput)
    rows = first_editions()
    for row in rows:
        ends = "no interval" if row["low"] is None else f"[{row['low']:+.2f}, {row['high']:+.2f}]"
        edge = f"; {' and '.join(row['at_edge'])} at the grid's edge, by numbers {row['by_numbers']}" if row["at_edge"] else ""
        print(f"{row['experiment']}: {row['comparison']} {row['estimate']:+.2f} {ends}: {row['verdict']}{edge}")
    if args.out is not None:
        write_json(args.out, {"alpha": ALPHA, "table": rows})
    return 0
