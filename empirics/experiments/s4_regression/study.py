"""The synthetic deep S4 study: a frozen network, a shallower target, and training by one method.

After Galim et al. 2024 (arXiv 2410.09016); sizes as in the authors' release (ssm-peft): width 64, frozen network of 4 layers
and 16 modes, target of 1 layer and 8 modes, inputs integers 0..9, 200 steps long, a fresh batch for every step.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import InvalidInput
from ...methods import apply
from ...methods.catalogue import recipes
from ...methods.scores import score, warm_up
from ...methods.selection import Selection, select
from ...models.s4 import DeepS4, DeepS4Config
from ...training.graphed import GraphedLoss

Progress = Callable[[int, float], None]


@dataclass(frozen=True)
class Sizes:
    """Sizes of the study.

    Attributes
    ----------
    width, layers, states:
        Of the frozen network.
    target_layers, target_states:
        Of the target.
    length, batch, steps:
        Sequence length, sequences in a batch, optimiser steps.
    """

    width: int = 64
    layers: int = 4
    states: int = 16
    target_layers: int = 1
    target_states: int = 8
    length: int = 200
    batch: int = 4000
    steps: int = 500


@dataclass(frozen=True)
class Outcome:
    """What one training run gave.

    Attributes
    ----------
    trainable:
        Trained numbers.
    least_train, last_train:
        Least and last mean squared error on the training batches (each batch is fresh, seen before the step on it).
    held_out:
        Mean squared error of the final weights on a batch drawn from a stream of its own.
    selection_seconds:
        Time the selection took (0 without one).
    curve:
        Training error at 50 evenly spaced steps.
    """

    trainable: int
    least_train: float
    last_train: float
    held_out: float
    selection_seconds: float
    curve: list[float]


METHODS = recipes("s4_regression")
"""Methods of the study. SDT keeps a share of the channels and of their states (``select_channels``, ``select_states``)."""


def frozen_and_target(sizes: Sizes, seed: int) -> tuple[DeepS4, DeepS4]:
    """The frozen network and the target of one seed, on the CPU."""
    torch.manual_seed(seed)
    frozen = DeepS4(DeepS4Config(sizes.width, sizes.layers, sizes.states))
    target = DeepS4(DeepS4Config(sizes.width, sizes.target_layers, sizes.target_states))
    return frozen, target.requires_grad_(False)


def batches(sizes: Sizes, seed: int, device: torch.device | str) -> Callable[[], Tensor]:
    """A stream of fresh inputs (batch, L, D) of integers 0..9; the same stream for the same seed and kind of device.

    They lie in memory as (D, batch, L), as layers read them, so that neither network copies them.
    """
    generator = torch.Generator(device).manual_seed(seed)

    def draw() -> Tensor:
        shape = (sizes.batch, sizes.length, sizes.width)
        drawn = torch.randint(0, 10, shape, generator=generator, device=device, dtype=torch.uint8)
        return drawn.permute(2, 0, 1).contiguous().float().permute(1, 2, 0)

    return draw


def mse(model: nn.Module, target: nn.Module, x: Tensor) -> Tensor:
    """Mean squared error over batch, time and channels."""
    with torch.no_grad():
        wanted = target(x)
    return F.mse_loss(*(v.permute(2, 0, 1) for v in (model(x), wanted)))  # contiguous in this order, as its gradient then is


def choose(
    model: DeepS4,
    target: DeepS4,
    draw: Callable[[], Tensor],
    rule: str,
    channels: float,
    states: float,
    seed: int,
    steps: int = 20,
) -> Selection:
    """Channels and states by a score after a warm-up of 20 steps at 1e-2 of the modes and C."""
    if rule == "random":
        return select(score("random", model, seed=seed), channels, states)
    moved = warm_up(
        model, lambda m, x: mse(m, target, x), (draw() for _ in range(steps)), 1e-2, targets=("log_A_real", "A_imag", "C")
    )
    return select(score(rule, model, moved=moved), channels, states)


def train(
    name: str,
    sizes: Sizes,
    seed: int,
    learning_rate: float,
    *,
    device: torch.device | str = "cpu",
    select_channels: float = 0.25,
    select_states: float = 0.5,
    progress: Progress | None = None,
) -> Outcome:
    """Train one method for ``sizes.steps`` AdamW steps and measure it on a held-out batch.

    Raises
    ------
    InvalidInput
        An unknown method or a learning rate that is not positive.
    """
    if name not in METHODS:
        raise InvalidInput(f"method {name!r} is not part of the study; choose {', '.join(METHODS)}")
    if not learning_rate > 0:
        raise InvalidInput(f"learning_rate is {learning_rate!r}, expected a positive number")
    recipe = METHODS[name]
    frozen, target = (m.to(device) for m in frozen_and_target(sizes, seed))
    draw, held_out = batches(sizes, 10_000 + seed, device), batches(sizes, 20_000 + seed, device)()
    if recipe.method is None:
        with torch.no_grad():
            start = mse(frozen, target, draw()).item()
            return Outcome(0, start, start, mse(frozen, target, held_out).item(), 0.0, [start])
    began = time.perf_counter()
    chosen, waited = None, 0.0
    if recipe.score:
        chosen = choose(frozen, target, draw, recipe.score, select_channels, select_states, seed)
        waited = time.perf_counter() - began
    options: dict[str, Any] = {}
    if recipe.method == "lora":  # a matrix of the small sizes may be narrower than the published rank
        fixed = recipe.options
        options["rank"] = min(fixed["rank"], sizes.width, sizes.states if "C" in fixed["targets"] else sizes.width)
    handle = apply(frozen, recipe.config(selection=chosen, **options), seed=seed)
    optimiser = torch.optim.AdamW(handle.trainable().values(), lr=learning_rate, weight_decay=0.0)
    passes = GraphedLoss(lambda x: mse(frozen, target, x), handle.trainable().values())
    losses = torch.zeros(sizes.steps, device=device)
    for step in range(sizes.steps):
        losses[step] = passes(draw())
        optimiser.step()
        if progress is not None and (step + 1) % 50 == 0:
            progress(step + 1, losses[step].item())
    with torch.no_grad():
        final = mse(frozen, target, held_out).item()
    curve = losses.cpu()
    finite = curve[torch.isfinite(curve)]
    every = max(1, sizes.steps // 50)
    return Outcome(
        handle.n_trainable,
        finite.min().item() if finite.numel() else float("inf"),
        curve[-1].item(),
        final,
        waited,
        [float(v) for v in curve[::every]],
    )
