"""A teacher with another kernel: initial-state and prefix training land on the optimum that theory predicts, never below.

Student and teacher are layers of independent LTI channels. For inputs of mean μ and variance σ² the population risk of every
channel has a floor that no state lowers, and a least-squares optimum (claim prefix_state.input_independent). AdamW on fresh
batches is measured against it on held-out sequences, channel by channel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from theory import state_tuning_risk_floor

from ...methods import apply, method_config
from ...study.config import Strict
from ...study.results import Judgement, Metrics, Result
from ...study.runner import Context, limit
from ...training.loop import Optimiser
from ..lti_channels import channels, systems


class Config(Strict):
    """Options.

    Attributes
    ----------
    width, states, teacher_states:
        Channels, and the complex modes of each in student and teacher.
    dt:
        Range of the step sizes.
    length:
        L.
    mean, std:
        Of the inputs, independent Gaussians.
    prefix_tokens:
        Prefix lengths M to train.
    steps, batch, learning_rate:
        Of AdamW, with linear decay.
    held_out:
        Number of held-out sequences.
    """

    width: int = Field(default=16, ge=1)
    states: int = Field(default=3, ge=1)
    teacher_states: int = Field(default=2, ge=1)
    dt: tuple[float, float] = Field(default=(0.1, 0.6), strict=False)
    length: int = Field(default=24, ge=1)
    mean: float = 1.0
    std: float = Field(default=1.0, gt=0)
    prefix_tokens: list[int] = Field(default=[1, 2, 4], min_length=1)
    steps: int = Field(default=6000, ge=1)
    batch: int = Field(default=512, ge=1)
    learning_rate: float = Field(default=0.3, gt=0)
    held_out: int = Field(default=400_000, ge=2)


CHUNK = 8192


def run(config: Config, ctx: Context) -> Metrics:
    """Train h_0, then a prefix of every length, and measure each channel's risk beside the prediction."""
    dtype = torch.float64 if ctx.device == "cpu" else torch.float32
    seed = 2 * ctx.seed
    student = channels(config.width, config.states, seed, dtype, dt=config.dt).to(ctx.device)
    teacher = channels(config.width, config.teacher_states, seed + 1, dtype, dt=config.dt).to(ctx.device)
    pairs = list(zip(systems(student), systems(teacher), strict=True))
    rows: list[dict[str, Any]] = []
    trainable = 0
    for tokens in (0, *config.prefix_tokens):
        name = f"prefix_{tokens}" if tokens else "initial_state"
        predicted = [
            state_tuning_risk_floor(s, t, config.mean, config.std**2, config.length, prefix_length=tokens or None)
            for s, t in pairs
        ]
        method = method_config("prefix", tokens=tokens) if tokens else method_config("initial_state")
        handle = apply(student, method, seed=ctx.seed)
        trainable = max(trainable, handle.n_trainable)
        draw = torch.Generator(ctx.device).manual_seed(1000 + ctx.seed)
        batch = (config.batch, config.length, config.width)

        def inputs(generator: torch.Generator, shape: tuple[int, ...]) -> Tensor:
            noise = torch.randn(shape, generator=generator, device=ctx.device, dtype=dtype)
            return config.mean + config.std * noise

        def loss(_: int, draw: torch.Generator = draw, batch: tuple[int, ...] = batch) -> Tensor:
            return _errors(student, teacher, inputs(draw, batch)).mean()

        ctx.train(name, handle.trainable(), loss, Optimiser(config.learning_rate, config.steps, linear_decay=True), [draw])
        unseen = torch.Generator(ctx.device).manual_seed(2000 + ctx.seed)
        parts = []
        for start in range(0, config.held_out, CHUNK):
            count = min(CHUNK, config.held_out - start)
            with torch.no_grad():
                parts.append(_errors(student, teacher, inputs(unseen, (count, config.length, config.width))))
        errors = torch.cat(parts)
        handle.remove()
        means, deviations = errors.mean(0).tolist(), (errors.std(0) / errors.shape[0] ** 0.5).tolist()
        for channel, risk in enumerate(predicted):
            rows.append(
                {
                    "method": name, "channel": channel, "floor": risk.mean_floor, "untuned": risk.mean_untuned,
                    "predicted": risk.mean_prefix_optimum if tokens else risk.mean_optimum,
                    "measured": means[channel], "standard_error": deviations[channel],
                    "condition": risk.prefix_condition if tokens else risk.condition,
                }
            )  # fmt: skip
    return Metrics(held_out={"channels": rows}, trainable=trainable)


def _errors(student: nn.Module, teacher: nn.Module, x: Tensor) -> Tensor:
    """Squared error, mean over time, of every sequence and channel: (B, D)."""
    with torch.no_grad():
        wanted = teacher(x)
    return (student(x) - wanted).square().mean(1)


THRESHOLDS = ("relative", "standard_errors", "condition")


def judge(results: Sequence[Result], threshold: Mapping[str, float]) -> Judgement:
    """Summed over channels whose optimum is within reach of training (condition at most ``condition``), the measured risk is
    within ``relative`` of the predicted one; over all channels, it is nowhere below by more than ``standard_errors``."""
    relative, deviations, condition = (limit(threshold, name) for name in ("relative", "standard_errors", "condition"))
    rows = [row for r in results for row in r.held_out["channels"]]
    table, worst, asked = [], 0.0, 0
    for method in dict.fromkeys(row["method"] for row in rows):
        of_method = [row for row in rows if row["method"] == method]
        within = [row for row in of_method if (row["condition"] or 1.0) <= condition]
        measured, predicted = (sum(row[key] for row in within) for key in ("measured", "predicted"))
        gap = measured / predicted - 1 if within else None
        if gap is not None:
            worst, asked = max(worst, abs(gap)), asked + 1
        table.append(
            {
                "method": method, "channels": len(of_method), "judged": len(within), "relative_gap": gap,
                "measured": sum(row["measured"] for row in of_method), "predicted": sum(row["predicted"] for row in of_method),
                "floor": sum(row["floor"] for row in of_method), "untuned": sum(row["untuned"] for row in of_method),
            }
        )  # fmt: skip
    lowest = min((row["measured"] - row["predicted"]) / row["standard_error"] for row in rows)
    measured_line = f"largest |measured/predicted - 1| {worst:.2%}; lowest value {lowest:.1f} standard errors from the optimum"
    if not asked:
        return Judgement(verdict="undecided", measured="no channel is well conditioned", table=table)
    good = worst <= relative and lowest >= -deviations
    return Judgement(verdict="reproduced" if good else "not reproduced", measured=measured_line, table=table)
