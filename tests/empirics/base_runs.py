"""Made-up test runs of the base benchmark, for tests of its judge and of its figures."""

from __future__ import annotations

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
