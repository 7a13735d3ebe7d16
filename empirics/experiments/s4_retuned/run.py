"""Second edition of :mod:`..s4_regression`: the same runs, each method at an interior rate, judged by docs/decisions/0009.

What is judged are differences of log(1 / error), predicted above 0; they are told as ratios of errors, better over worse,
predicted below 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import InvalidInput
from ...study.judging import in_short
from ...study.protocol import THRESHOLDS, Cell, Family, Pair, Protocol, judge_family
from ...study.results import Comparison, Judgement, Result
from ...study.statistics import Ratio, interval
from ..s4_regression.run import COMPARISONS, Config, errors, run, trains

__all__ = ["FAMILY", "THRESHOLDS", "TIMED_AS", "Config", "judge", "run", "trains"]

TASK = "regression"

TIMED_AS = ("s4_regression", None)
"""The experiment, and its scan, whose committed runs tell how long a run of this one takes."""

FAMILY = Family(tasks=(TASK,), primary=tuple(Pair(better, worse) for better, worse in COMPARISONS))
"""The first edition's comparisons."""


def judge(results: Sequence[Result], threshold: Mapping[str, float]) -> Judgement:
    """Every complete comparison, judged; the others pending.

    Raises
    ------
    InvalidInput
        ``[threshold]`` lacks a number, or its margin, a ratio of errors, is not above 1.
    """
    protocol = Protocol.of(threshold)
    if not protocol.margin > 1:
        raise InvalidInput(f"[threshold] margin is {protocol.margin}, expected a ratio of errors above 1")
    protocol = Protocol(protocol.confidence, math.log(protocol.margin), protocol.seeds, protocol.tasks)
    cells = {(TASK, method): cell_of(results, method) for method in dict.fromkeys(r.config["method"] for r in results)}
    rows = [row(results, cells, method, protocol) for _, method in cells if len(cells[TASK, method].points) >= protocol.seeds]
    judged = judge_family(FAMILY, cells, protocol, rows)
    comparisons = [as_ratio(comparison) for comparison in judged.comparisons]
    pending = [waiting.model_copy(update={"name": called(waiting.better, waiting.worse)}) for waiting in judged.pending]
    return judged.model_copy(update={"comparisons": comparisons, "pending": pending, "measured": in_short(comparisons, pending)})


def cell_of(results: Sequence[Result], method: str) -> Cell:
    """Log(1 / held-out error) of a method by seed; a seed whose error is not finite is not there."""
    trained = next(r.trainable for r in results if r.config["method"] == method)
    return Cell({seed: -math.log(error) for seed, error in errors(results, method).items()}, trained or 0)


def row(results: Sequence[Result], cells: Mapping[tuple[str, str], Cell], method: str, protocol: Protocol) -> dict[str, Any]:
    """A method's geometric mean of held-out errors with its interval, and what it trained."""
    cell = cells[TASK, method]
    found = Ratio(interval([-value for value in cell.points.values()], protocol.confidence))
    rate = next(r.config["learning_rate"] for r in results if r.config["method"] == method)
    return {
        "method": method, "trainable": cell.trainable, "learning_rate": rate, "seeds": len(cell.points), "held_out": found.mean,
        "low": found.low, "high": found.high,
    }  # fmt: skip


def called(better: str, worse: str) -> str:
    """Name of a ratio."""
    return f"{better} / {worse}"


def as_ratio(found: Comparison) -> Comparison:
    """A difference of logarithms as a ratio of errors: e^(-d), with the ends of its intervals in turn."""
    statements = [s.model_copy(update=turned(s.low, s.high)) for s in found.statements]
    parts = [
        part.model_copy(update={"estimate": math.exp(-part.estimate), **turned(part.low, part.high)}) for part in found.parts
    ]
    return found.model_copy(
        update={
            "kind": "ratio", "name": called(found.better, found.worse), "estimate": math.exp(-found.estimate),
            **turned(found.low, found.high), "null": 1.0, "predicted": "below", "unit": "mse", "statements": statements,
            "parts": parts,
        }
    )  # fmt: skip


def turned(low: float | None, high: float | None) -> dict[str, float | None]:
    """Ends of an interval of differences as those of the ratios' interval."""
    return {"low": None if high is None else math.exp(-high), "high": None if low is None else math.exp(-low)}
