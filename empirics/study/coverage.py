"""How often the intervals that are used hold the true value, simulated: python -m empirics coverage.

Two kinds of experiments are made up. In the first a value is drawn for each seed (:func:`.statistics.coverage`). In the second
every prediction is drawn: two methods are right on a test row as its difficulty, the method, the seed and chance will have it,
their scores come from the rows, and the rows are drawn again as a study does it (:mod:`.rows`). The two methods are exchangeable
there, so that their true difference is 0 whatever the score.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theory.core.files import require_replaceable, write_json

from .. import options as parsers
from ..errors import InvalidInput, UnknownName
from .rows import Accuracy, Bleu, Matthews, Rows, draws, each_once, shared_variance
from .statistics import Interval, Sampling, coverage, tasks_fixed, tasks_random

COMMITTED = Path(__file__).with_name("coverage.json")
"""What the command gave at its default sizes."""

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
    ("5 tasks x 10 seeds, skewed", "fixed", {"tasks": 5, "count": 10, "shape": "skewed"}),
    ("5 tasks x 10 seeds, one run in ten collapses", "fixed", {"tasks": 5, "count": 10, "shape": "collapses"}),
    ("10 seeds, one run in ten collapses far", "pooled", {"count": 10, "shape": "collapses far"}),
    ("5 tasks x 10 seeds, one run in ten collapses far", "fixed", {"tasks": 5, "count": 10, "shape": "collapses far"}),
)
"""What is simulated: in words, how it is analysed, and arguments of :func:`.statistics.coverage`."""


@dataclass(frozen=True)
class Rowwise:
    """An experiment of which every prediction is drawn.

    A row is right where h_i + g_mi + u_ms + e_msi > 0 with independent normal parts: its difficulty, what it is to the method,
    the run, and chance.

    Attributes
    ----------
    score:
        ``accuracy``, ``matthews`` or ``bleu``.
    tasks, seeds, rows:
        Numbers of them.
    favour:
        Standard deviation of g: rows that favour a method in all of its runs.
    runs:
        Standard deviation of u.
    between:
        Standard deviation of what a task is to the first method, for statements over tasks.
    """

    score: str
    tasks: int = 5
    seeds: int = 10
    rows: int = 300
    favour: float = 0.5
    runs: float = 0.1
    between: float = 0.0


DRAWS = 200
"""Draws of the rows in a simulated experiment; a study takes ten times as many."""

ROWWISE: tuple[tuple[str, str, Rowwise], ...] = (
    *(
        (f"5 tasks x 10 seeds, 300 rows, {score}", analysis, Rowwise(score))
        for score in ("accuracy", "matthews", "bleu")
        for analysis in ("rows as given", "fixed")
    ),
    ("5 tasks x 10 seeds, 300 rows, accuracy, rows favour none", "fixed", Rowwise("accuracy", favour=0.0)),
    ("5 tasks x 10 seeds, 300 rows, accuracy, runs alike", "fixed", Rowwise("accuracy", runs=0.0)),
    ("5 tasks x 10 seeds, 300 rows, accuracy, tasks differ", "random", Rowwise("accuracy", between=0.1)),
)
"""What is simulated row by row; ``rows as given`` leaves their sampling out of the interval."""


def _accuracy(passed: NDArray[np.float64], rng: np.random.Generator) -> Rows:
    return Accuracy((passed > 0).astype(np.float64))


def _matthews(passed: NDArray[np.float64], rng: np.random.Generator) -> Rows:
    truth = rng.integers(0, 2, len(passed))
    return Matthews(truth, np.where(passed > 0, truth[:, None], 1 - truth[:, None]))


def _bleu(passed: NDArray[np.float64], rng: np.random.Generator) -> Rows:
    grams = np.broadcast_to([10.0, 9.0, 8.0, 7.0], (*passed.shape, 4))
    share = 1 / (1 + np.exp(-passed))
    matches = rng.binomial(grams.astype(np.int64), share[..., None])
    lengths = np.full((*passed.shape, 2), 10.0)
    return Bleu(np.concatenate([lengths, matches, grams], axis=-1))


SCORES: dict[str, Callable[[NDArray[np.float64], np.random.Generator], Rows]] = {
    "accuracy": _accuracy, "matthews": _matthews, "bleu": _bleu,
}  # fmt: skip


def simulated(setting: Rowwise, rng: np.random.Generator) -> tuple[dict[int, list[float]], dict[int, Sampling]]:
    """One made-up experiment: the differences by task, and what the sampling of their rows adds.

    Raises
    ------
    UnknownName
        No such score.
    """
    if setting.score not in SCORES:
        raise UnknownName("score", setting.score, SCORES)
    groups, sampling = {}, {}
    for task in range(setting.tasks):
        hard = rng.standard_normal((setting.rows, 1, 1)) + 0.8
        favour = setting.favour * rng.standard_normal((setting.rows, 2, 1))
        runs = setting.runs * rng.standard_normal((1, 2, setting.seeds))
        chance = 0.7 * rng.standard_normal((setting.rows, 2, setting.seeds))
        shift = np.array([setting.between * rng.standard_normal(), 0.0])[None, :, None]
        passed = (hard + favour + runs + chance + shift).reshape(setting.rows, -1)
        rows = SCORES[setting.score](passed, rng)
        points = rows.scores(each_once(setting.rows))[0].reshape(2, setting.seeds)
        drawn = rows.scores(draws(setting.rows, DRAWS, 0)).reshape(DRAWS, 2, setting.seeds)
        groups[task] = (points[0] - points[1]).tolist()
        sampling[task] = Sampling(shared_variance(drawn[:, 0] - drawn[:, 1]), setting.rows)
    return groups, sampling


def rowwise_coverage(setting: Rowwise, analysis: str, confidence: float, repeats: int, seed: int) -> float:
    """Share of simulated experiments whose interval holds 0, the true difference of two exchangeable methods.

    Parameters
    ----------
    analysis:
        ``fixed`` and ``random`` as in a study; ``rows as given`` is ``fixed`` without the sampling of rows.

    Raises
    ------
    InvalidInput, UnknownName
        No such analysis, or score.
    """
    rng = np.random.default_rng(seed)
    held = 0
    for _ in range(repeats):
        groups, sampling = simulated(setting, rng)
        found = _analysed(analysis, groups, sampling, confidence)
        held += found.half is not None and abs(found.mean) <= found.half
    return held / repeats


def _analysed(analysis: str, groups: dict[int, list[float]], sampling: dict[int, Sampling], confidence: float) -> Interval:
    if analysis == "fixed":
        return tasks_fixed(groups, confidence, sampling)
    if analysis == "rows as given":
        return tasks_fixed(groups, confidence)
    if analysis == "random":
        return tasks_random(groups, confidence)
    raise InvalidInput(f"analysis {analysis!r} is unknown; choose fixed, random or 'rows as given'")


FEWER = 10
"""A row-wise experiment takes longer; so many times fewer are simulated."""


def simulate(confidence: float, repeats: int, seed: int) -> Iterator[dict[str, Any]]:
    """Every setting with the share of its intervals that hold the true value."""
    for words, analysis, options in SETTINGS:
        share = coverage(analysis, confidence=confidence, repeats=repeats, seed=seed, **options)
        yield {"setting": words, "analysis": analysis, "experiments": repeats, "coverage": share}
    fewer = max(1, repeats // FEWER)
    for words, analysis, setting in ROWWISE:
        share = rowwise_coverage(setting, analysis, confidence, fewer, seed)
        yield {"setting": words, "analysis": analysis, "experiments": fewer, "coverage": share}


def main_coverage(argv: Sequence[str]) -> int:
    """``python -m empirics coverage``."""
    args = parsers.coverage().parse_args(argv)
    if args.repeats < 1 or args.seed < 0:
        raise InvalidInput(f"--repeats {args.repeats} must be at least 1 and --seed {args.seed} at least 0")
    if args.out is not None:
        require_replaceable(args.out, InvalidInput)
    print(f"share of the {100 * args.confidence:g} % intervals that hold the mean, in {args.repeats} simulated experiments")
    print(f"({max(1, args.repeats // FEWER)} where every row is simulated)")
    found = []
    for row in simulate(args.confidence, args.repeats, args.seed):
        found.append(row)
        print(f"{row['setting']:58} {row['analysis']:13} {100 * row['coverage']:5.1f} %", flush=True)
    if args.out is not None:
        write_json(args.out, {"confidence": args.confidence, "seed": args.seed, "table": found})
    return 0
