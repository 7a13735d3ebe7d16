"""Language tasks: test score of each method with its 95 % interval, task by task, and the differences behind the paper's claims.

Scores in points: Matthews' correlation and accuracy times 100, BLEU. Hollow markers train more or fewer numbers than the common
budget (by over a tenth); the frozen model and the guess of the most frequent class are lines. Grey among the differences: only
the tasks that full fine-tuning learns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from theory.core.errors import InvalidInput

from .. import dots, style
from ..registry import Picture
from ..sources import command, experiment, summary_path

NAME = "lm_benchmark"
COMMAND = command(NAME, "sweep")
TASKS = {
    "cola": ("CoLA", "Matthews × 100"), "rte": ("RTE", "accuracy (%)"), "polarity": ("Polarity", "accuracy (%)"),
    "dart": ("DART", "BLEU"),
}  # fmt: skip
"""Title and score of each task."""
ABREAST = 2
"""Panels beside each other."""


def data() -> dict[str, Any]:
    """Scores by task and method, and the comparisons of every claim; the full size only, for few steps say nothing here."""
    found = experiment(NAME, "sweep", accept_quick=False)
    try:
        scores: dict[str, dict[str, Any]] = {}
        lines: dict[str, dict[str, float]] = {}
        for row in (row for row in found.summary["table"] if "task" in row):
            if row["method"] == "frozen":
                lines.setdefault(row["task"], {})["frozen"] = row["points"]
            else:
                point = {"mean": row["points"], **{key: row[key] for key in ("low", "high", "matched", "trainable")}}
                scores.setdefault(row["task"], {})[row["method"]] = point
            if "majority" in row:
                lines.setdefault(row["task"], {})["majority"] = row["majority"]
        pairs = [
            {
                "name": f"{row['claim']} ", "pair": [c["better"], c["worse"]], "fair": c["equal_budget"], "mean": c["points"],
                "low": c["low"], "high": c["high"], "learned": c["learned"],
            }
            for row in found.summary["table"]
            if "claim" in row
            for c in (*row["comparisons"], *row["controls"])
        ]  # fmt: skip
    except (KeyError, TypeError) as error:
        raise InvalidInput(f"the results of {NAME} lack {error}; run {COMMAND}") from error
    order = [m for m in dots.METHODS if any(m in points for points in scores.values())]
    order += sorted({m for points in scores.values() for m in points} - set(order))
    counts = [row["seeds"] for row in found.summary["table"] if "task" in row]
    return {
        "scores": {task: scores[task] for task in sorted(scores, key=[*TASKS, *scores].index)}, "lines": lines, "order": order,
        "pairs": pairs, "seeds": seeds_in_words(counts), "model": found.summary["config"]["model"],
    }  # fmt: skip


def seeds_in_words(counts: Sequence[int]) -> str:
    """3 seeds; 1 to 3 seeds where runs are missing."""
    least, most = min(counts), max(counts)
    return f"{most if least == most else f'{least} to {most}'} seed{'s' if most > 1 else ''}"


def _bands(data: dict[str, Any]) -> int:
    return -(-len(data["scores"]) // ABREAST)


def height(data: dict[str, Any]) -> float:
    """By the numbers of methods, tasks and comparisons."""
    return 0.9 + _bands(data) * (0.6 + dots.ROW * len(data["order"])) + dots.PAIR * len(data["pairs"])


def draw(figure: Figure, data: dict[str, Any]) -> None:
    """Above: a panel for each task, families in one order. Below: paired differences; right of 0 is what the paper says."""
    bands, rows = _bands(data), dots.ROW * len(data["order"])
    above, below = figure.subfigures(
        2, 1, height_ratios=(bands * (0.6 + rows) + 0.45, dots.PAIR * len(data["pairs"]) + 0.45), squeeze=False
    )[:, 0]
    panels = np.ravel(above.subplots(bands, min(ABREAST, len(data["scores"])), sharey=True, squeeze=False))
    for axes, (task, points) in zip(panels, data["scores"].items(), strict=False):
        dots.rows(axes, data["order"], points, hollow=lambda point: not point["matched"])
        name_panel(axes, task, baselines(axes, data["lines"].get(task, {})))
    for axes in panels[len(data["scores"]) :]:
        axes.remove()
    above.supxlabel(f"95 % intervals over {data['seeds']}", fontsize=style.SMALL)
    handles = [
        Line2D([], [], color=style.BLACK, linewidth=0.8, linestyle="--"),
        Line2D([], [], color=style.GREY, linewidth=0.8, linestyle=":"),
        Line2D([], [], color=style.BLACK, marker="o", mfc="white", mew=0.8, linestyle="none"),
    ]
    above.legend(handles, ["frozen", "most frequent class", "off the budget"], loc="outside upper left", ncols=3)
    if data["pairs"]:
        axes = below.subplots()
        dots.differences(axes, data["pairs"])
        said = "difference in points, paired over\ntasks and seeds (paper: right of 0)"
        learned = [(place, row["learned"]) for place, row in enumerate(data["pairs"]) if row["learned"] is not None]
        for place, only in learned:
            if only["low"] is not None:
                axes.plot([only["low"], only["high"]], [place + 0.3] * 2, color=style.GREY, linewidth=0.9)
            axes.plot(only["points"], place + 0.3, "|", color=style.GREY, markersize=5)
        if learned:
            tasks = {task for _, only in learned for task in only["tasks"]}
            names = " and ".join(TASKS.get(task, (task,))[0] for task in sorted(tasks, key=[*TASKS, *sorted(tasks)].index))
            said += f"\ngrey: on {names} alone, which\nfull fine-tuning learns"
        axes.set_xlabel(said)


def name_panel(axes: Axes, task: str, remark: str = "") -> None:
    """The task above a panel, its score and a remark below."""
    title, score = TASKS.get(task, (task, "points"))
    axes.set_title(title)
    axes.set_xlabel(score + remark)


def baselines(axes: Axes, lines: dict[str, float]) -> str:
    """The frozen model and the most frequent class as vertical lines; a frozen model far to the left is a remark instead."""
    if "majority" in lines:
        axes.axvline(lines["majority"], color=style.GREY, linewidth=0.8, linestyle=":", zorder=1)
    if "frozen" not in lines:
        return ""
    left, right = axes.dataLim.x0, axes.dataLim.x1
    if lines["frozen"] < left - (right - left):
        return f"; frozen: {lines['frozen']:.0f}"
    axes.axvline(lines["frozen"], color=style.BLACK, linewidth=0.8, linestyle="--", zorder=1)
    return ""


FIGURE = Picture(
    title="language tasks: test score of each method, and the differences behind the paper's claims",
    claims=("lora_limits.in_proj_dominates",),
    sources=(str(summary_path(NAME)),),
    height=height,
    data=data,
    draw=draw,
    needs=COMMAND,
)
