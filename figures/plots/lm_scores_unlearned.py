"""Language tasks that full fine-tuning of the bundled model does not learn: test scores of each method, which say little."""

from __future__ import annotations

from typing import Any

from ..registry import Picture
from ..sources import MissingData
from . import lm_benchmark, lm_scores


def data() -> dict[str, Any]:
    """The scores of the other tasks; MissingData where every task is learned."""
    found = lm_benchmark.data()
    rest = [task for task in found["scores"] if task not in lm_benchmark.learned(found)]
    if not rest:
        raise MissingData(lm_benchmark.COMMAND)
    return lm_scores.of_tasks(found, rest)


def says(data: dict[str, Any]) -> str:
    """Which tasks are not learned, even by training everything."""
    return f"{lm_benchmark.in_words(list(data['scores']))} are not learned, even by training all parameters"


FIGURE = Picture(
    title="language tasks that full fine-tuning does not learn: test score of each method",
    claims=lm_benchmark.FIGURE.claims,
    sources=lm_benchmark.FIGURE.sources,
    height=lm_scores.height,
    data=data,
    draw=lm_scores.draw,
    says=says,
    needs=lm_benchmark.COMMAND,
)
