"""The base benchmark: test score of each method on each task, cells with all of their seeds.

Scores in points: Matthews' correlation and accuracy times 100, BLEU. Hollow markers train more or fewer numbers than LoRA on the
linear projections, by over a tenth. The frozen model and, on classes, the most frequent one are lines.
"""

from __future__ import annotations

from typing import Any

from matplotlib.figure import FigureBase

from theory.core.errors import InvalidInput

from .. import dots, style
from ..registry import Picture
from ..sources import command, experiment, summary_path
from . import lm_scores
from .base_benchmark import NAME

COMMAND = command(NAME, "sweep")

TASKS = {
    "cola": ("CoLA", "Matthews × 100"), "polarity": ("Polarity", "accuracy (%)"), "trec": ("TREC", "accuracy (%)"),
    "subjectivity": ("Subjectivity", "accuracy (%)"), "dart": ("DART", "BLEU"), "rte": ("RTE", "accuracy (%)"),
}  # fmt: skip
"""Title and score of each task."""
BUDGET = "lora_linear"
"""Method whose number of trained values is the budget."""
CONTROLS = ("sdt_lora_random", "sdt_lora_shuffled", "sdt_lora_data_free")
"""Controls of SDT's selection: they are drawn, and never told to be the best method."""


def data() -> dict[str, Any]:
    """Scores and lines by task; full size only, as far as cells are complete."""
    found = experiment(NAME, "sweep", accept_quick=False)
    scores: dict[str, dict[str, Any]] = {}
    lines: dict[str, dict[str, float]] = {}
    try:
        budget = {row["task"]: row["trainable"] for row in found.summary["table"] if row["method"] == BUDGET}
        for row in found.summary["table"]:
            task = row["task"]
            if "majority" in row:
                lines.setdefault(task, {})["majority"] = row["majority"]
            if row["method"] == "frozen":
                lines.setdefault(task, {})["frozen"] = row["points"]
                continue
            matched = task in budget and abs(row["trainable"] - budget[task]) <= 0.1 * budget[task]
            point = {"mean": row["points"], "low": row["low"], "high": row["high"], "matched": matched}
            scores.setdefault(task, {})[row["method"]] = point
    except (KeyError, TypeError) as error:
        raise InvalidInput(f"the results of {NAME} lack {error}; run {COMMAND}") from error
    order = [m for m in dots.METHODS if any(m in points for points in scores.values())]
    order += sorted({m for points in scores.values() for m in points} - set(order))
    return {
        "scores": {task: scores[task] for task in sorted(scores, key=[*TASKS, *scores].index)},
        "lines": {task: lines.get(task, {}) for task in scores}, "order": order, "seeds": len(found.summary["seeds"]),
    }  # fmt: skip


def says(data: dict[str, Any]) -> str:
    """The best method of the common budget on each task, where there are two of them at least."""
    best: dict[str, list[str]] = {}
    for task, points in data["scores"].items():
        fair = {method: point["mean"] for method, point in points.items() if point["matched"] and method not in CONTROLS}
        if len(fair) > 1:
            best.setdefault(max(fair, key=lambda m: fair[m]), []).append(TASKS.get(task, (task,))[0])
    won = [f"{dots.label(method)} on {enumerated(tasks)}" for method, tasks in best.items()]
    return f"Best mean at one budget: {'; '.join(won)}" if won else "Test scores of each method"


def enumerated(names: list[str]) -> str:
    """CoLA; CoLA and TREC; CoLA, TREC and DART."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


COLUMNS = 3
"""Panels beside each other."""


def height(data: dict[str, Any]) -> float:
    """By the numbers of methods and of tasks."""
    return 0.6 + -(-len(data["scores"]) // COLUMNS) * (0.45 + dots.ROW * len(data["order"]))


def draw(figure: FigureBase, data: dict[str, Any]) -> None:
    """Methods in the order of their families, a panel for each task."""
    rows = -(-len(data["scores"]) // COLUMNS)
    panels = figure.subplots(rows, min(COLUMNS, len(data["scores"])), sharey=True, squeeze=False).ravel()
    for axes in panels[len(data["scores"]) :]:
        axes.set_visible(False)
    for axes, (task, points) in zip(panels, data["scores"].items(), strict=False):
        dots.rows(axes, data["order"], points, hollow=lambda point: not point["matched"])
        title, score = TASKS.get(task, (task, "points"))
        axes.set_title(title)
        axes.set_xlabel(score)
        lm_scores.baselines(axes, data["lines"][task])
    lm_scores.legend(figure)
    style.note(figure, f"95 % intervals over {data['seeds']} seeds; cells with all of their seeds; better: right")


FIGURE = Picture(
    title="base benchmark: test score of each method on each task",
    claims=("lora_limits.in_proj_dominates",),
    sources=(str(summary_path(NAME)),),
    height=height,
    data=data,
    draw=draw,
    says=says,
    needs=COMMAND,
    width=style.WIDE,
)
