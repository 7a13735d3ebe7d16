"""The synthetic deep S4 study, one method, learning rate and seed a run; see :mod:`.s4_study` and s4_regression.toml."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from pydantic import Field
from scipy import stats

from ...errors import UnknownName
from ...study.config import Strict
from ...study.results import Judgement, Metrics, Result
from ...study.runner import Context, limit
from .study import METHODS, Sizes, train


class Config(Strict):
    """Options: a method and its learning rate, and the sizes of :class:`.s4_study.Sizes`.

    Attributes
    ----------
    select_channels, select_states:
        Shares that SDT keeps.
    tf32:
        TF32 products on CUDA: a relative error of 1e-3 in an output, 1e-6 in a mean squared error.
    """

    method: str = "full"
    learning_rate: float = Field(default=5e-3, gt=0)
    width: int = Field(default=64, ge=1)
    layers: int = Field(default=4, ge=1)
    states: int = Field(default=16, ge=1)
    target_layers: int = Field(default=1, ge=1)
    target_states: int = Field(default=8, ge=1)
    length: int = Field(default=200, ge=1)
    batch: int = Field(default=4000, ge=1)
    steps: int = Field(default=500, ge=1)
    select_channels: float = Field(default=0.25, gt=0, le=1)
    select_states: float = Field(default=0.5, gt=0, le=1)
    tf32: bool = True

    @property
    def sizes(self) -> Sizes:
        """The sizes alone."""
        return Sizes(**{name: getattr(self, name) for name in Sizes.__dataclass_fields__})


def run(config: Config, ctx: Context) -> Metrics:
    """Train one method and measure it on held-out data."""
    if config.method not in METHODS:
        raise UnknownName("method of the study", config.method, METHODS)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if config.tf32 else "highest")
    try:
        outcome = train(
            config.method, config.sizes, ctx.seed, config.learning_rate, device=ctx.device,
            select_channels=config.select_channels, select_states=config.select_states,
        )  # fmt: skip
    finally:
        torch.set_float32_matmul_precision(before)
    values = asdict(outcome)
    return Metrics(
        metrics={name: values[name] for name in ("least_train", "last_train", "selection_seconds", "curve")},
        held_out={"mse": outcome.held_out},
        trainable=outcome.trainable,
    )


def judge(results: Sequence[Result], threshold: Mapping[str, float]) -> Judgement:
    """Paired comparisons over seeds of log MSE: is SDT below what it is said to beat, and does selection matter?

    Reproduced: every comparison's 95 % interval lies on the predicted side. Not reproduced: one lies on the other side.
    """
    confidence = limit(threshold, "confidence")
    table = [_row(method, [r for r in results if r.config["method"] == method]) for method in _in_order(results)]
    comparisons = [
        (better, worse, found)
        for better, worse in COMPARISONS
        if (found := paired_ratio(results, better, worse, confidence)) is not None
    ]
    for better, worse, (ratio, low, high) in comparisons:
        table.append({"comparison": f"{better} / {worse}", "mse_ratio": ratio, "low": low, "high": high})
    if len(comparisons) < len(COMPARISONS):
        return Judgement(verdict="undecided", measured="too few seeds or methods are finished", table=table)
    described = "; ".join(f"{b}/{w} {r:.2f} [{lo:.2f}, {hi:.2f}]" for b, w, (r, lo, hi) in comparisons)
    if all(high < 1 for _, _, (_, _, high) in comparisons):
        return Judgement(verdict="reproduced", measured=described, table=table)
    against = any(low > 1 for _, _, (_, low, _) in comparisons)
    return Judgement(verdict="not reproduced" if against else "undecided", measured=described, table=table)


COMPARISONS = (
    ("sdt", "lora_proj_r16"),
    ("sdt", "lora_s4_proj_r8"),
    ("sdt_lora_r8", "lora_s4_proj_r8"),
    ("lora_proj_r8", "initial_state"),
    ("sdt", "sdt_random"),
)
"""(said to be better, said to be worse), by held-out MSE."""


def paired_ratio(results: Sequence[Result], better: str, worse: str, confidence: float) -> tuple[float, float, float] | None:
    """Geometric mean over seeds of MSE(better) / MSE(worse), with its Student-t interval; ``None`` below two seeds."""
    logs = []
    for seed in sorted({r.seed for r in results}):
        first, second = _mse(results, better, seed), _mse(results, worse, seed)
        if first and second:
            logs.append(math.log(first / second))
    if len(logs) < 2:
        return None
    mean, spread = statistics.fmean(logs), statistics.stdev(logs) / len(logs) ** 0.5
    half = float(stats.t.ppf(0.5 + confidence / 2, len(logs) - 1)) * spread
    return math.exp(mean), math.exp(mean - half), math.exp(mean + half)


def _mse(results: Sequence[Result], method: str, seed: int) -> float | None:
    values = [r.held_out["mse"] for r in results if r.config["method"] == method and r.seed == seed]
    return values[0] if values else None


def _in_order(results: Sequence[Result]) -> list[str]:
    present = {r.config["method"] for r in results}
    return [method for method in METHODS if method in present]


def _row(method: str, runs: Sequence[Result]) -> dict[str, Any]:
    held = [r.held_out["mse"] for r in runs if r.held_out["mse"] is not None]
    least = [r.metrics["least_train"] for r in runs if r.metrics["least_train"] is not None]
    half = float(stats.t.ppf(0.975, len(held) - 1)) * statistics.stdev(held) / len(held) ** 0.5 if len(held) > 1 else None
    return {
        "method": method, "trainable": runs[0].trainable, "learning_rate": runs[0].config["learning_rate"],
        "seeds": len(runs), "held_out": statistics.fmean(held) if held else None, "held_out_half_width": half,
        "least_train": statistics.fmean(least) if least else None, "per_seed_held_out": held,
    }  # fmt: skip
