"""Seeded warm-up runs of small deep S4 students, and every score against the true states and channels."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from theory.core.deep_s4 import Activation
from theory.core.errors import InvalidInput
from theory.core.tolerance import SIGNIFICANCE

from .scores import SCORES, Hit, by_channel, chance_of_at_least, compare, compare_channels, interval, score, top
from .truth import TrueDimensions, true_dimensions
from .warmup import Real, WarmUp, initial_student, outputs, perturbed, warm_up


@dataclass(frozen=True)
class Setting:
    """One experiment: network (layers, D, N), the teacher's changes per layer (channels × states), and the warm-up."""

    layers: int
    width: int
    states: int
    changed_channels: int
    changed_states: int
    steps: int
    lr: float = 1e-2
    activation: Activation = "relu"
    optimizer: Literal["adam", "sgd"] = "adam"
    batch: int = 8
    length: int = 48

    @property
    def name(self) -> str:
        """Readable label."""
        return f"{self.layers}×{self.width}×{self.states}, {self.activation}, {self.steps} {self.optimizer} steps"


SETTINGS = (
    Setting(1, 8, 8, 2, 3, 20),
    Setting(1, 8, 8, 2, 3, 100),
    Setting(2, 6, 4, 2, 2, 20),
    Setting(2, 6, 4, 2, 2, 100),
)


def single_run(setting: Setting, seed: int) -> tuple[WarmUp, Real, Real, TrueDimensions]:
    """Teacher, data, warm-up and truth of one seed. The teacher's changes are generic, so its truth is defined."""
    rng = np.random.default_rng([seed, setting.layers, setting.width, setting.states])
    student = initial_student(rng, setting.layers, setting.width, setting.states, setting.activation)
    teacher = perturbed(rng, student, setting.changed_channels, setting.changed_states)
    x = rng.standard_normal((setting.batch, setting.length, setting.width))
    y = outputs(teacher, x)
    run = warm_up(student, x, y, setting.steps, setting.lr, setting.optimizer)
    return run, x, y, true_dimensions(student.as_network(), teacher.as_network())


@dataclass(frozen=True)
class ScoreResult:
    """What one score found in one setting, states and channels, at as many picks as there are true ones (or twice as many)."""

    setting: str
    score: str
    level: Literal["states", "channels"]
    picks: str
    precision: tuple[float, float, float]
    recall: float
    chance: float
    p_value: float

    def beats_random(self, comparisons: int) -> bool:
        """Whether the exact tail probability is below SIGNIFICANCE / comparisons."""
        return self.p_value < SIGNIFICANCE / comparisons

    def to_json(self) -> dict[str, Any]:
        """Rounded JSON types."""
        out = asdict(self)
        out["precision"] = [round(v, 3) for v in self.precision]
        return out | {"recall": round(self.recall, 3), "chance": round(self.chance, 3), "p_value": float(f"{self.p_value:.1e}")}


def measure(setting: Setting, seeds: int, scores: tuple[str, ...] = tuple(SCORES)) -> list[ScoreResult]:
    """Every score over ``seeds`` seeds: mean precision with a 95 % interval, recall, chance and the exact tail probability.

    Raises InvalidInput for fewer than two seeds, or where a seed's truth is undefined.
    """
    if seeds < 2:
        raise InvalidInput(f"seeds = {seeds}: an interval needs at least two runs")
    hits: dict[tuple[str, Literal["states", "channels"], str], list[Hit]] = {}
    for seed in range(seeds):
        run, x, y, truth = single_run(setting, seed)
        rng = np.random.default_rng([seed, 1])
        for name in scores:
            values = score(name, run, x, y, rng)
            size, channels = len(truth.states()), len(truth.channels)
            for factor in (1, 2):
                found = compare(top(values, min(factor * size, truth.total), rng), truth)
                hits.setdefault((name, "states", f"{factor}×"), []).append(found)
            picked = top(by_channel(values), channels, rng)
            hits.setdefault((name, "channels", "1×"), []).append(compare_channels(picked, truth, setting.layers * setting.width))
    out = []
    for (name, level, picks), found_hits in hits.items():
        precision = interval([h.precision for h in found_hits])
        recall = float(np.mean([h.recall for h in found_hits]))
        chance = float(np.mean([h.chance for h in found_hits]))
        out.append(ScoreResult(setting.name, name, level, picks, precision, recall, chance, chance_of_at_least(found_hits)))
    return out


def comparisons(settings: int) -> int:
    """Tests in a table: settings × (scores but random) × (states 1×, states 2×, channels)."""
    return settings * (len(SCORES) - 1) * 3
