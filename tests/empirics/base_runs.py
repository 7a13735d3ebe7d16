"""Made-up test runs of the experiments with a declared protocol, for tests of their judges and of their figures."""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from empirics.experiments.base_benchmark.records import class_record, corpus_bleu
from empirics.experiments.base_benchmark.verdicts import TASKS
from empirics.study.results import Result
from empirics.study.rows import Accuracy, Matthews, each_once

ROWS = 600
"""Test rows of a task."""


def result(task: str, method: str, seed: int, record: dict, score: float, trainable: int = 1000) -> Result:
    return Result(
        experiment="base_benchmark", claim="c", config={"task": task, "method": method, "learning_rate": 0.01}, seed=seed,
        status="finished", metrics={**record, "weights": "w"}, held_out={"test_score": score, "test_loss": 1.0},
        trainable=trainable, data_hash=task, seconds=1.0, git=None, versions={}, device="cpu", device_kind="cpu", scan=None,
    )  # fmt: skip


def run(task: str, method: str, seed: int, skill: float, noise: float = 0.2, **more) -> Result:
    """A run that is right on rows that are easy enough for its skill; hard rows are hard for all, but for some noise."""
    rows = np.random.default_rng([TASKS.index(task) if task in TASKS else 9, 0])
    own = np.random.default_rng([sum(map(ord, task + method)), seed, 1])
    hard, classes = rows.random(ROWS), rows.integers(0, 2, ROWS)
    right = hard + noise * own.standard_normal(ROWS) < skill
    if task == "dart":
        correct = own.binomial([[10, 9, 8, 7]], np.clip(skill - 0.3 * hard[:, None], 0, 1), (ROWS, 4))
        counts = np.concatenate([np.tile([10, 10], (ROWS, 1)), correct, np.tile([10, 9, 8, 7], (ROWS, 1))], axis=1)
        return result(task, method, seed, {"bleu_rows": counts.tolist()}, corpus_bleu(counts) / 100, **more)
    predicted = np.where(right, classes, 1 - classes).tolist()
    kind = Matthews if task == "cola" else Accuracy
    score = float(kind.of(classes.tolist(), [predicted]).scores(each_once(ROWS))[0, 0])
    return result(task, method, seed, class_record(classes.tolist(), predicted), score / 100, **more)


@cache
def cell(task: str, method: str, skill: float, noise: float, seeds: int = 10) -> tuple[Result, ...]:
    if task == "cola":
        skill = 0.8 + (skill - 0.8) / 2  # Matthews' correlation falls twice as fast as accuracy
    return tuple(run(task, method, seed, skill, noise) for seed in range(seeds))


def study(skills: dict[str, float], noise: float = 0.05, tasks=(*TASKS, "rte")) -> list[Result]:
    return [r for task in tasks for method, skill in skills.items() for r in cell(task, method, skill, noise)]


def curve(skills: dict[tuple[str, int], float], trainable: dict[tuple[str, int], int] | None = None) -> list[Result]:
    """Four seeds on two tasks for each method and rank."""
    return [
        found.model_copy(
            update={"config": {**found.config, "rank": rank}, "trainable": (trainable or {}).get((method, rank), 1000 * rank)}
        )
        for (method, rank), skill in skills.items()
        for task in ("cola", "polarity")
        for found in cell(task, f"{method}{rank}", skill, 0.05, 4)
        for found in [found.model_copy(update={"config": {**found.config, "method": method}})]
    ]


def images(skills: dict[str, float], seeds: int = 6, rows: int = 200) -> list[Result]:
    """Runs on images of which some are hard for all."""
    drawn = np.random.default_rng(0)
    hard, truth = drawn.random(rows), drawn.integers(0, 5, rows)
    found = []
    for method, skill in skills.items():
        for seed in range(seeds):
            own = np.random.default_rng([len(method), seed, sum(map(ord, method))])
            right = hard + 0.05 * own.standard_normal(rows) < skill
            predicted = np.where(right, truth, -1).tolist()
            found.append(
                Result(
                    experiment="vision_retuned", claim="c", config={"method": method, "learning_rate": 0.1}, seed=seed,
                    status="finished", metrics=class_record(truth.tolist(), predicted), trainable=10, seconds=1.0, git=None,
                    held_out={"test_accuracy": float(right.mean()), "test_loss": 1.0}, versions={}, device="cpu",
                    device_kind="cpu", scan=None,
                )
            )  # fmt: skip
    return found


def regression(errors: dict[str, float | None], seeds: int = 10, spread: float = 0.02) -> list[Result]:
    made = []
    for place, (method, error) in enumerate(errors.items()):
        noise = np.random.default_rng(place).standard_normal(seeds)
        for seed in range(seeds):
            mse = None if error is None else error * (2.0 + seed) * math.exp(spread * noise[seed])
            made.append(
                Result(
                    experiment="s4_retuned", claim="c", config={"method": method, "learning_rate": 0.1}, seed=seed,
                    status="finished", held_out={"mse": mse}, trainable=10, seconds=1.0, git=None, versions={}, device="cpu",
                    device_kind="cpu", scan=None,
                )
            )  # fmt: skip
    return made
