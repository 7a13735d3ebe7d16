"""Budget curves on the base model: the runs are those of :mod:`..base_benchmark`, whose ``rank`` sets the budget.

A method at a budget is called by both: ``sdt_lora r8``. The protocol is docs/decisions/0009.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...study.protocol import Family, Pair
from ...study.results import Judgement, Result
from ..base_benchmark.run import MINIMISED, Config, check, run, trains
from ..base_benchmark.verdicts import THRESHOLDS, alike, judge_rows, points, require_same_origin

__all__ = [
    "FAMILY", "MINIMISED", "THRESHOLDS", "TIMED_AS", "Config", "alike", "check", "judge", "points", "require_same_origin", "run",
    "side", "trains",
]  # fmt: skip

RANKS = (1, 4, 8, 25)
"""Rank of the LoRA on both linear projections that sets each budget: 0.2, 0.8, 1.6 and 5.0 % of the base model."""
LEAST = {"lora_linear": 1, "sdt_lora": 1, "lora_both": 4}
"""Methods, and the least budget that each can meet."""


def at(method: str, rank: int) -> str:
    """A method at a budget."""
    return f"{method} r{rank}"


TIMED_AS = ("base_benchmark", None)
"""The experiment, and its scan, whose committed runs tell how long a run of this one takes."""

FAMILY = Family(
    tasks=("cola", "polarity"),
    primary=(
        *(Pair(at("sdt_lora", rank), at("lora_linear", rank), equal_budget=True) for rank in RANKS),
        *(
            Pair(at("lora_linear", rank), at("lora_both", rank), equal_budget=True)
            for rank in RANKS
            if rank >= LEAST["lora_both"]
        ),
    ),
    beside=tuple(Pair(at(method, RANKS[-1]), at(method, least), "anchor") for method, least in LEAST.items()),
)
"""SDT with LoRA above LoRA, and LoRA on the projections above LoRA on both, at each budget; beside them what the budget gives."""


def side(options: Mapping[str, Any]) -> str:
    """What comparisons call the method of a run."""
    return at(str(options["method"]), int(options["rank"]))


def judge(results: Sequence[Result], threshold: Mapping[str, float]) -> Judgement:
    """Every complete comparison; errors as :func:`..base_benchmark.verdicts.judge`."""
    require_same_origin(results)
    return judge_rows(FAMILY, results, threshold, side, shown=("rank",))
