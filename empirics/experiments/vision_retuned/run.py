"""Second edition of :mod:`..vision`: the same runs, each method at an interior learning rate, judged by docs/decisions/0009.

On a GPU the fastest scan that works there is used; the first edition had the chunked one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from ...pretraining.scans import choose_scan
from ...study.protocol import Family, Pair
from ...study.results import Judgement, Metrics, Result
from ...study.runner import Context
from ..base_benchmark.verdicts import THRESHOLDS, alike, judge_rows
from ..vision import run as first
from ..vision.run import COMPARISONS, Config, points, trains

__all__ = ["FAMILY", "MINIMISED", "THRESHOLDS", "TIMED_AS", "Config", "alike", "judge", "points", "run", "trains"]

TASK = "digits"

TIMED_AS = ("vision", "fused")
"""The experiment, and its scan, whose committed runs tell how long a run of this one takes."""

FAMILY = Family(
    tasks=(TASK,),
    primary=tuple(Pair(better, worse) for better, worse in COMPARISONS),
    beside=(
        Pair("sdt_lora", "sdt_lora_random", "control"),
        Pair("full", "lora_linear", "anchor"),
        Pair("lora_linear", "frozen", "anchor"),
    ),
)
"""The first edition's comparisons; beside them the control of the selection, and anchors of the scale."""


def validation_error(held_out: Mapping[str, Any]) -> float | None:
    """1 − accuracy on the validation images; ``None``: not measured."""
    accuracy = held_out.get("accuracy")
    return None if accuracy is None else 1.0 - float(accuracy)


MINIMISED = {"error": validation_error}
"""What ``[sweep] minimise`` may name besides a metric of the runs."""


def run(config: Config, ctx: Context) -> Metrics:
    """See :func:`..vision.run.run`."""
    if ctx.scan is None and ctx.device.startswith("cuda"):
        ctx = dataclasses.replace(ctx, scan=choose_scan(ctx.device))
    return first.run(config, ctx)


def on_task(result: Result) -> Result:
    """A run in the words of the benchmarks that have several tasks."""
    held_out = {**result.held_out, "test_score": result.held_out["test_accuracy"]}
    return result.model_copy(update={"config": {**result.config, "task": TASK}, "held_out": held_out})


def judge(results: Sequence[Result], threshold: Mapping[str, float]) -> Judgement:
    """Every complete comparison, judged; the others pending.

    Raises
    ------
    CheckpointError
        A run does not hold the test images' predictions.
    InvalidInput
        ``[threshold]`` lacks a number.
    """
    return judge_rows(FAMILY, [on_task(result) for result in results], threshold)
