"""How often the intervals that are used hold the true value, simulated: python -m empirics coverage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import options as parsers
from ..errors import InvalidInput
from .statistics import coverage

SETTINGS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("5 seeds", "pooled", {"count": 5}),
    ("10 seeds", "pooled", {"count": 10}),
    ("5 seeds, skewed", "pooled", {"count": 5, "shape": "skewed"}),
    ("10 seeds, skewed", "pooled", {"count": 10, "shape": "skewed"}),
    ("5 seeds, one run in ten collapses", "pooled", {"count": 5, "shape": "collapses"}),
    ("10 seeds, one run in ten collapses", "pooled", {"count": 10, "shape": "collapses"}),
    *(
        (f"{tasks} tasks x {count} seeds, {words}", analysis, {"tasks": tasks, "count": count, "between": between})
        for tasks, count in ((4, 5), (5, 10))
        for words, between in (("tasks alike", 0.0), ("tasks differ as seeds do", 1.0))
        for analysis in ("pooled", "random", "fixed")
    ),
)
"""What is simulated: in words, how it is analysed, and arguments of :func:`.statistics.coverage`."""


def main_coverage(argv: Sequence[str]) -> int:
    """``python -m empirics coverage``."""
    args = parsers.coverage().parse_args(argv)
    if args.repeats < 1 or args.seed < 0:
        raise InvalidInput(f"--repeats {args.repeats} must be at least 1 and --seed {args.seed} at least 0")
    print(f"share of the {100 * args.confidence:g} % intervals that hold the mean, in {args.repeats} simulated experiments")
    for words, analysis, options in SETTINGS:
        share = coverage(analysis, confidence=args.confidence, repeats=args.repeats, seed=args.seed, **options)
        print(f"{words:48} {analysis:7} {100 * share:5.1f} %")
    return 0
