"""How many steps of a recipe fit into a given time, from a few steps that are thrown away."""

from __future__ import annotations

import math
import tempfile
import time
from pathlib import Path

import torch

from ..data.corpus import Corpus
from ..errors import InvalidInput
from .loop import pretrain
from .parallel import Team
from .recipe import Recipe

FIRST, MEASURED = 40, 80
"""Steps that compile and settle, and steps that are timed after them."""

SLACK = 1.1
"""By how much later steps may be slower."""

AFTER = 30.0
"""Seconds for held-out bits per byte, baselines and files, of the full recipe on a GPU."""


def seconds_per_step(recipe: Recipe, corpus: Corpus, scan: str, team: Team) -> float:
    """Seconds of a step of the recipe on this machine, the mean over the processes."""
    trial = recipe.model_copy(update={"steps": FIRST + MEASURED, "warm_up": 0, "every": FIRST + MEASURED, "validation_bytes": 2})
    ends: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        pretrain(trial, corpus, Path(folder), scan=scan, team=team, tick=lambda what, done, of: ends.append(time.monotonic()))
    pace = torch.tensor((ends[-1] - ends[FIRST - 1]) / MEASURED, dtype=torch.float64, device=team.device)
    team.average([pace])
    return float(pace)


def steps_within(recipe: Recipe, seconds: float, pace: float) -> int:
    """Steps, in hundreds, that end within so many seconds, checkpoints and what comes after the last step included.

    Raises
    ------
    InvalidInput
        The time is too short for the recipe's warm-up.
    """
    each = SLACK * pace * (1 + 20 / recipe.every)  # a checkpoint and its validation take some twenty steps
    steps = math.floor(max(0.0, seconds - AFTER) / each / 100) * 100
    if steps < max(100, recipe.warm_up):
        raise InvalidInput(
            f"{seconds:.0f} s are enough for {steps} steps of {pace:.3g} s, fewer than the warm-up's {recipe.warm_up}; "
            "give more time, or --steps"
        )
    return steps
