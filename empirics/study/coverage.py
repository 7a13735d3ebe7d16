"""How often the intervals that are used hold the true value, simulated: python -m empirics coverage."""

from __future__ import annotations

from collections.abc import Sequence

from theory.core.arguments import Parser

from ..errors import InvalidInput
from .statistics import coverage

SETTINGS = (
    ("5 seeds", {"count": 5}),
    ("10 seeds", {"count": 10}),
    ("5 seeds, skewed", {"count": 5, "shape": "skewed"}),
    ("10 seeds, skewed", {"count": 10, "shape": "skewed"}),
    ("5 seeds, a run in ten collapses", {"count": 5, "shape": "rare"}),
    ("10 seeds, a run in ten collapses", {"count": 10, "shape": "rare"}),
    ("4 tasks x 5 seeds pooled, tasks alike", {"count": 5, "tasks": 4}),
    ("4 tasks x 5 seeds pooled, tasks differ by one deviation", {"count": 5, "tasks": 4, "between": 1.0}),
    ("5 tasks x 10 seeds pooled, tasks differ by one deviation", {"count": 10, "tasks": 5, "between": 1.0}),
)
"""What is simulated: in words, and as arguments of :func:`.statistics.coverage`."""


def main_coverage(argv: Sequence[str]) -> int:
    """``python -m empirics coverage``."""
    parser = Parser(prog="python -m empirics coverage", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--confidence", type=float, default=0.95, metavar="SHARE", help="of the intervals (default 0.95)")
    parser.add_argument("--repeats", type=int, default=20_000, metavar="N", help="simulated experiments (default 20000)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    if args.repeats < 1 or args.seed < 0:
        raise InvalidInput(f"--repeats {args.repeats} must be at least 1 and --seed {args.seed} at least 0")
    for words, options in SETTINGS:
        share = coverage(confidence=args.confidence, repeats=args.repeats, seed=args.seed, **options)
        print(f"{words:58} {100 * share:5.1f} % of the {100 * args.confidence:g} % intervals hold the mean")
    return 0
