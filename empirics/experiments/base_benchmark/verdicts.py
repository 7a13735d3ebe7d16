"""The declared comparisons of the base benchmark, and its cells from the rows that its runs keep (docs/decisions/0007).

What decides them is in :mod:`...study.protocol`. The experiments that have the same runs with other comparisons
(``base_budget``, ``base_mamba2``) judge with :func:`judge_rows`, too.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ...errors import CheckpointError
from ...study import protocol
from ...study.judging import limit
from ...study.protocol import Cell, Cells, Family, Pair, Protocol
from ...study.results import Judgement, Result
from ...study.rows import Accuracy, Bleu, Matthews, Rows, draws, each_once
from ...study.statistics import interval
from ..lm_benchmark.run import require_same_origin
from .records import Outcomes, outcomes

__all__ = ["THRESHOLDS", "alike", "holds_back", "judge", "judge_rows", "points", "require_same_origin"]

TASKS = ("cola", "polarity", "subjectivity", "trec", "dart")
"""Tasks of every pooled comparison, as many points each."""
CONTROL_TASK = "rte"
"""On which nothing is learned: a declared control, in no pooled comparison."""
MATTHEWS = ("cola",)
"""Tasks whose score is Matthews' correlation and not accuracy."""

PRIMARY = (
    Pair("lora_linear", "prompt"),
    Pair("lora_linear", "prefix"),
    Pair("lora_linear", "lora_ssm"),
    Pair("lora_linear", "lora_both", equal_budget=True),
    Pair("lora_linear", "bitfit"),
    Pair("lora_linear", "additional_scan"),
    Pair("lora_linear", "initial_state"),
    Pair("lora_linear", "state_offset"),
    Pair("lora_linear", "sdt"),
    Pair("lora_ssm", "initial_state"),
    Pair("lora_ssm", "state_offset"),
    Pair("lora_ssm", "sdt"),
    Pair("sdt_lora", "lora_linear", equal_budget=True),
    Pair("sdt_lora", "lora_released", equal_budget=True),
    Pair("sdt_released", "lora_released", equal_budget=True),
)
"""The comparisons that decide; Holm's adjustment is over all of them, whether they have been run or not."""

CONSTANT = "constant answer"
"""The class that most of the test rows have, given to all of them: no other constant answer is right more often."""

BESIDE = (
    Pair("sdt_lora", "sdt_lora_random", "control", equal_budget=True),
    Pair("sdt_lora", "sdt_lora_shuffled", "control", equal_budget=True),
    Pair("sdt_lora", "sdt_lora_data_free", "control", equal_budget=True),
    Pair("full", "lora_linear", "anchor"),
    Pair("lora_linear", "frozen", "anchor"),
    Pair("lora_linear", CONSTANT, "chance", tasks=(CONTROL_TASK,)),
    Pair("full", CONSTANT, "chance", tasks=(CONTROL_TASK,)),
)
"""Controls, predicted to be above if the selection matters; anchors of the scale; and the task on which nothing is learned."""

FAMILY = Family(TASKS, PRIMARY, BESIDE)

THRESHOLDS = (*protocol.THRESHOLDS, "draws")
"""``draws``: how often the test rows are drawn again."""

DRAW_SEED = 0
"""Seed of the drawn rows: one draw for all methods of a task."""

Name = Callable[[Mapping[str, Any]], str]
"""A run's options -> what its method is called in comparisons."""


def method_of(options: Mapping[str, Any]) -> str:
    """The method as it is."""
    return str(options["method"])


def rows_of(task: str, kept: Sequence[Outcomes]) -> Rows:
    """The test rows of several runs on one task.

    Raises
    ------
    CheckpointError
        Their rows differ in number, in kind, or in what is true of them.
    """
    try:
        if kept[0].bleu is not None:
            return Bleu.of([run.bleu.tolist() for run in kept if run.bleu is not None])
        truth = kept[0].true
        if truth is None or any(run.true is None or not np.array_equal(run.true, truth) for run in kept):
            raise CheckpointError(f"the runs of {task} were tested on different rows; repeat them in a new --out folder")
        predicted = [run.predicted.tolist() for run in kept if run.predicted is not None]
        return (Matthews if task in MATTHEWS else Accuracy).of(truth.tolist(), predicted)
    except ValueError as error:
        raise CheckpointError(f"the rows of {task} are no rectangle: {error}; repeat these runs") from error


def cell_of(task: str, runs: Sequence[Result], repeats: int) -> Cell:
    """A cell from its runs, scored from their rows.

    Raises
    ------
    CheckpointError
        A run's rows are damaged, or do not give the score that it recorded.
    """
    ordered = sorted(runs, key=lambda run: run.seed)
    rows = rows_of(task, [outcomes(run) for run in ordered])
    scores = rows.scores(each_once(rows.count))[0]
    for run, found in zip(ordered, scores, strict=True):
        recorded = points(run)
        if abs(recorded - found) > 1e-6:
            raise CheckpointError(
                f"{task}, {run.config.get('method')}, seed {run.seed}: its rows give {found:.4f} points and it recorded "
                f"{recorded:.4f}; delete that run's file to repeat it"
            )
    drawn = rows.scores(draws(rows.count, repeats, DRAW_SEED))
    seeds = [run.seed for run in ordered]
    trained = ordered[0].trainable
    return Cell(dict(zip(seeds, scores.tolist(), strict=True)), trained or 0, dict(zip(seeds, drawn.T, strict=True)), rows.count)


def constant(runs: Sequence[Result], repeats: int) -> Cell:
    """:data:`CONSTANT` on the control task, the same for every seed of the runs."""
    truth = outcomes(runs[0]).true
    if truth is None:
        raise CheckpointError(f"the runs of {CONTROL_TASK} hold no classes; delete their files to repeat them")
    rows = Accuracy.of(truth.tolist(), [[int(np.bincount(truth).argmax())] * len(truth)])
    score, drawn = float(rows.scores(each_once(rows.count))[0, 0]), rows.scores(draws(rows.count, repeats, DRAW_SEED))[:, 0]
    seeds = sorted({run.seed for run in runs})
    return Cell(dict.fromkeys(seeds, score), 0, dict.fromkeys(seeds, drawn), rows.count)


def cells_of(results: Iterable[Result], repeats: int, name: Name) -> dict[tuple[str, str], Cell]:
    """All cells, and :data:`CONSTANT` beside those of the control task."""
    grouped: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        grouped.setdefault((result.config["task"], name(result.config)), []).append(result)
    found = {key: cell_of(key[0], runs, repeats) for key, runs in sorted(grouped.items())}
    at_chance = [run for (task, _), runs in sorted(grouped.items()) if task == CONTROL_TASK for run in runs]
    return found | ({(CONTROL_TASK, CONSTANT): constant(at_chance, repeats)} if at_chance else {})


def points(result: Result) -> float:
    """The score of a test run, in points."""
    return 100 * float(result.held_out["test_score"])


def alike(first: Result, second: Result) -> float:
    """Share of the test rows on which two runs of one task predict the same class, or make texts of the same n-gram counts."""
    one, other = outcomes(first), outcomes(second)
    if one.predicted is not None and other.predicted is not None:
        return float(np.mean(one.predicted == other.predicted))
    if one.bleu is not None and other.bleu is not None:
        return float(np.mean((one.bleu == other.bleu).all(axis=1)))
    raise CheckpointError(f"runs of {first.config['task']} and of {second.config['task']} cannot be compared row by row")


def holds_back(options: Mapping[str, Any]) -> bool:
    """Whether a cell whose learning rate stands at the end of its grid holds comparisons back: not on the control task."""
    return bool(options["task"] != CONTROL_TASK)


def judge(results: Sequence[Result], threshold: Mapping[str, float]) -> Judgement:
    """Every complete comparison, judged; the others pending. All primary ones have to stand.

    Raises
    ------
    CheckpointError
        Runs of one task come from different rows or models, or do not hold what their scores are made of.
    InvalidInput
        ``[threshold]`` lacks a number.
    """
    require_same_origin(results)
    return judge_rows(FAMILY, results, threshold)


def judge_rows(
    family: Family, results: Sequence[Result], threshold: Mapping[str, float], name: Name = method_of, shown: Sequence[str] = ()
) -> Judgement:
    """The judgement of any family of comparisons on runs that keep their rows.

    Parameters
    ----------
    name:
        How the family calls the method of a run.
    shown:
        Options that the rows of the table show besides task, method and learning rate.

    Raises
    ------
    CheckpointError, InvalidInput
        As :func:`judge`, but for the runs' origin.
    """
    declared, repeats = Protocol.of(threshold), int(limit(threshold, "draws"))
    cells = cells_of(results, repeats, name)
    return protocol.judge_family(family, cells, declared, table(family, results, cells, declared, name, shown))


def table(
    family: Family, results: Sequence[Result], cells: Cells, declared: Protocol, name: Name, shown: Sequence[str]
) -> list[dict[str, Any]]:
    """One row for each method on each task with all of its seeds: their mean with its interval, and what it trained."""
    order = [*family.tasks, CONTROL_TASK]
    rows = []
    for task in sorted({task for task, _ in cells}, key=lambda t: (order.index(t) if t in order else len(order), t)):
        of_task = [r for r in results if r.config["task"] == task]
        for called in dict.fromkeys(name(r.config) for r in of_task):
            runs = [r for r in of_task if name(r.config) == called]
            cell, options = cells[task, called], runs[0].config
            found = interval(list(cell.points.values()), declared.confidence)
            if len(cell.points) < declared.seeds:
                continue
            row = {
                "task": task, "method": options["method"], **{option: options[option] for option in shown},
                "trainable": cell.trainable, "learning_rate": options["learning_rate"],
                "seeds": len(cell.points), "rows": cell.rows, "points": found.mean, "low": found.low, "high": found.high,
                "test_loss": statistics.fmean(r.held_out["test_loss"] for r in runs),
            }  # fmt: skip
            for measured, scale in (("majority", 100.0), ("chrf", 1.0), ("no_class", 100.0)):
                values = [scale * r.held_out[f"test_{measured}"] for r in runs if f"test_{measured}" in r.held_out]
                if values:
                    row[measured] = statistics.fmean(values)
            rows.append(row)
    return rows
