"""Where LoRA is attached: test scores of its targets at one budget, task by task (claim lora_limits.in_proj_dominates).

The linear projections stand above the matrices of the state-space module; full fine-tuning and the frozen model are lines.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .. import dots, style
from ..registry import Picture
from . import lm_benchmark

TARGETS = (
    "lora_linear", "lora_in_proj", "lora_out_proj", "lora_both", "lora_ssm", "lora_x_proj", "lora_dt_proj", "lora_A",
)  # fmt: skip
"""From the linear projections to the state-space module."""


def data() -> dict[str, Any]:
    """The part of :mod:`.lm_benchmark`'s data that is about LoRA, with the score of training everything."""
    found = lm_benchmark.data()
    scores = {task: {m: p for m, p in points.items() if m in TARGETS} for task, points in found["scores"].items()}
    scores = {task: points for task, points in scores.items() if points}
    lines = {
        task: {**found["lines"].get(task, {}), **({"full": points["full"]["mean"]} if "full" in points else {})}
        for task, points in found["scores"].items()
        if task in scores
    }
    return {"scores": scores, "lines": lines, "seeds": found["seeds"]}


def _bands(data: dict[str, Any]) -> int:
    return -(-len(data["scores"]) // lm_benchmark.ABREAST)


def height(data: dict[str, Any]) -> float:
    """By the number of tasks."""
    return 0.75 + _bands(data) * (0.6 + 1.25 * dots.ROW * len(TARGETS))


def draw(figure: Figure, data: dict[str, Any]) -> None:
    """A panel for each task, each with the numbers trained, which are the budget where markers are filled."""
    columns = min(lm_benchmark.ABREAST, len(data["scores"]))
    panels = np.ravel(figure.subplots(_bands(data), columns, sharey=True, squeeze=False))
    for axes, (task, points) in zip(panels, data["scores"].items(), strict=False):
        dots.rows(axes, TARGETS, points, hollow=lambda point: not point["matched"])
        lines = data["lines"][task]
        remark = lm_benchmark.baselines(axes, lines)
        if "full" in lines:
            axes.axvline(lines["full"], color=style.BLACK, linewidth=0.8, zorder=1)
        lm_benchmark.name_panel(axes, task, remark)
    for axes in panels[len(data["scores"]) :]:
        axes.remove()
    figure.supxlabel(f"95 % intervals over {data['seeds']}; hollow: off the budget", fontsize=style.SMALL)
    handles = [
        Line2D([], [], color=style.BLACK, linewidth=0.8),
        Line2D([], [], color=style.BLACK, linewidth=0.8, linestyle="--"),
        Line2D([], [], color=style.GREY, linewidth=0.8, linestyle=":"),
    ]
    figure.legend(handles, ["all parameters", "frozen", "most frequent class"], loc="outside upper left", ncols=3)


FIGURE = Picture(
    title="LoRA by the matrices it is attached to: test scores at one budget",
    claims=lm_benchmark.FIGURE.claims,
    sources=lm_benchmark.FIGURE.sources,
    height=height,
    data=data,
    draw=draw,
    needs=lm_benchmark.COMMAND,
)
