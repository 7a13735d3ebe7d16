"""LoRA on the linear projections against the methods that Mamba-2 has: the runs are those of :mod:`..base_benchmark`.

The protocol is docs/decisions/0009.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...study.protocol import Family, Pair
from ...study.results import Judgement, Result
from ..base_benchmark.run import MINIMISED, Config, check, run, trains
from ..base_benchmark.verdicts import THRESHOLDS, alike, judge_rows, points, require_same_origin

__all__ = [
    "FAMILY", "MINIMISED", "THRESHOLDS", "TIMED_AS", "Config", "alike", "check", "judge", "points", "require_same_origin", "run",
    "trains",
]  # fmt: skip

TIMED_AS = ("base_benchmark", None)
"""The experiment, and its scan, whose committed runs tell how long a run of this one takes."""

FAMILY = Family(
    tasks=("cola", "polarity", "trec"),
    primary=tuple(
        Pair("lora_linear", other)
        for other in ("prompt", "prefix", "bitfit", "additional_scan", "initial_state", "state_offset", "sdt")
    ),
    beside=(Pair("lora_linear", "frozen", "anchor"),),
)
"""The base benchmark's primary comparisons whose two methods exist on Mamba-2 and can meet what they need."""


def judge(results: Sequence[Result], threshold: Mapping[str, float]) -> Judgement:
    """Every complete comparison; errors as :func:`..base_benchmark.verdicts.judge`."""
    require_same_origin(results)
    return judge_rows(FAMILY, results, threshold)
