"""How many steps of a recipe fit into a given time, from a few steps that are thrown away."""

from __future__ import annotations

import math
import tempfile
import time
from pathlib import Path

from ..errors import InvalidInput
from ..training.loop import OutOfTime
from .loop import pretrain
from .parallel import Team
from .recipe import Recipe
from .tokens import Encoded

FIRST, MEASURED = 40, 80
"""Steps that compile and settle, and steps that are timed after them."""

SLACK = 1.1
"""By how much later steps may be slower."""

AFTER = 30.0
"""Seconds for held-out bits per byte, baselines and files, of the full recipe on a GPU."""


def seconds_per_step(recipe: Recipe, text: Encoded, scan: str, team: Team, end: float = math.inf, graph: bool = False) -> float:
    """Seconds of a step of the recipe in this process.

    Raises
    ------
    InvalidInput
        The few steps are not done at ``end``, a value of ``time.monotonic()``.
    """
    brief = {"steps": FIRST + MEASURED, "warm_up": 0, "every": FIRST + MEASURED, "validation_bytes": 2, "keep_best": False}
    trial = recipe.model_copy(update=brief)
    ends: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        try:
            pretrain(
                trial, text, Path(folder), scan=scan, team=team, deadline=end, graph=graph,
                tick=lambda what, done, of: ends.append(time.monotonic()),
            )  # fmt: skip
        except OutOfTime as error:
            raise InvalidInput(
                f"the time was up before {FIRST + MEASURED} steps had shown how long one takes ({len(ends)} were done); "
                "give more time, or --steps"
            ) from error
    return (ends[-1] - ends[FIRST - 1]) / MEASURED


def steps_within(recipe: Recipe, seconds: float, pace: float) -> int:
    """Steps, in hundreds, that end within so many seconds, checkpoints and what comes after the last step included.

    Raises
    ------
    InvalidInput
        The time is too short for the recipe's warm-up.
    """
    each = SLACK * pace * (1 + 20 / recipe.every)  # a checkpoint and its validation take some twenty steps
    steps = math.floor(max(0.0, seconds - AFTER) / each / 100) * 100
    least = max(100, recipe.warm_up)
    if steps < least:
        what = "the warm-up's " if recipe.warm_up > 100 else ""
        raise InvalidInput(
            f"{max(0, seconds):.0f} s are enough for {steps} steps of {pace:.3g} s, fewer than {what}{least}; "
            "give more time, or --steps"
        )
    return steps
