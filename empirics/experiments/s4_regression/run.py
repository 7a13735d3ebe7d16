"""The synthetic deep S4 study, one method, learning rate and seed a run; see :mod:`.s4_study` and s4_regression.toml."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from pydantic import Field

from ...errors import UnknownName
from ...study.comparing import quotient
from ...study.config import Strict
from ...study.results import Judgement, Metrics, Result, together
from ...study.runner import Context, limit
from ...study.statistics import interval, ratio
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


THRESHOLDS = ("confidence",)


def trains(options: Mapping[str, Any]) -> bool:
    """Whether a method trains anything, so that its learning rate matters."""
    return bool(options["method"] != "frozen")


def judge(results: Sequence[Result], threshold: Mapping[str, float]) -> Judgement:
    """Paired comparisons over seeds of log MSE: is SDT below what it is said to beat, and does selection matter?

    Reproduced: every comparison's 95 % interval lies on the predicted side. Not reproduced: one lies on the other side.
    """
    confidence = limit(threshold, "confidence")
    of = {method: [r for r in results if r.config["method"] == method] for method in _in_order(results)}
    table = [_row(method, runs, confidence) for method, runs in of.items()]
    found_errors = {method: errors(results, method) for method in of}
    comparisons = [
        quotient(better, worse, found, "mse")
        for better, worse in COMPARISONS
        if (found := ratio(found_errors.get(better, {}), found_errors.get(worse, {}), confidence)) is not None
    ]
    for c in comparisons:
        table.append({"comparison": c.name, "mse_ratio": c.estimate, "low": c.low, "high": c.high})
    if len(comparisons) < len(COMPARISONS):
        return Judgement(
            verdict="undecided", measured="too few seeds or methods are finished", table=table, comparisons=comparisons
        )
    described = "; ".join(f"{c.better}/{c.worse} {c.estimate:.2f} [{c.low:.2f}, {c.high:.2f}]" for c in comparisons)
    return Judgement(verdict=together([c.verdict for c in comparisons]), measured=described, table=table, comparisons=comparisons)


COMPARISONS = (
    ("sdt", "lora_proj_r16"),
    ("sdt", "lora_s4_proj_r8"),
    ("sdt_lora_r8", "lora_s4_proj_r8"),
    ("lora_proj_r8", "initial_state"),
    ("sdt", "sdt_random"),
)
"""(said to be better, said to be worse), by held-out MSE."""


def errors(results: Sequence[Result], method: str) -> dict[int, float]:
    """Held-out mean squared errors of a method by seed, in the seeds' order; those that are not finite are left out."""
    runs = (r for r in results if r.config["method"] == method)
    return dict(sorted((r.seed, r.held_out["mse"]) for r in runs if r.held_out["mse"] is not None))


def _in_order(results: Sequence[Result]) -> list[str]:
    present = {r.config["method"] for r in results}
    return [method for method in METHODS if method in present]


def _row(method: str, runs: Sequence[Result], confidence: float) -> dict[str, Any]:
    held = [r.held_out["mse"] for r in runs if r.held_out["mse"] is not None]
    least = [r.metrics["least_train"] for r in runs if r.metrics["least_train"] is not None]
    found = interval(held, confidence, equal=True) if held else None
    return {
        "method": method, "trainable": runs[0].trainable, "learning_rate": runs[0].config["learning_rate"],
        "seeds": len(runs), "held_out": found and found.mean, "held_out_half_width": found and found.half,
        "least_train": statistics.fmean(least) if least else None, "per_seed_held_out": held,
    }  # fmt: skip
